/** Initial values of weights. All draw from the generator given, or from the one seeded by `manualSeed`. */
import { copyInto } from "../autograd/index.ts";
import { type FloatArray, full, redraw, zeros } from "../tensor/create.ts";
import type { Generator } from "../tensor/generator.ts";
import { formatShape, sizeOf } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface InitOptions {
  readonly generator?: Generator;
}

let isDrawing = true;

/**
 * Runs `build`, in which layers and the functions of this module draw no random numbers: weights stay at zero. For
 * models whose weights are loaded or set right after, or are not needed.
 *
 *     const model = nn.init.withoutDrawing(() => createModel("resnet-50"));
 */
export function withoutDrawing<Result>(build: () => Result): Result {
  const saved = isDrawing;
  isDrawing = false;
  try {
    return build();
  } finally {
    isDrawing = saved;
  }
}

/** How many inputs feed one output of the weight `[out, in, …window]`, and how many outputs one input feeds. */
function fans(name: string, weight: Tensor): { fanIn: number; fanOut: number } {
  if (weight.rank < 2)
    throw new Error(`${name}: weight ${formatShape(weight.shape)} needs at least 2 dimensions [out, in, …]`);
  const window = sizeOf(weight.shape.slice(2));
  return { fanIn: weight.shape[1] * window, fanOut: weight.shape[0] * window };
}

function fill(
  weight: Tensor,
  { generator }: InitOptions,
  draw: (values: FloatArray, from: Generator) => void,
): void {
  if (!isDrawing) return;
  if (weight.isContiguous && weight.size === weight.storage.length) {
    redraw(weight, draw, generator);
    return;
  }
  scope(() => {
    const values = zeros(weight.shape, { dtype: weight.dtype });
    redraw(values, draw, generator);
    copyInto(weight, values);
  });
}

/** Fills with a constant. */
export function constant(weight: Tensor, value: number): void {
  copyInto(weight, full([], value, { dtype: weight.dtype }));
}

/** Normal numbers of the given standard deviation around `mean`. */
export function normal(weight: Tensor, mean: number, std: number, init: InitOptions = {}): void {
  fill(weight, init, (values, from) => from.normal(values, mean, std));
}

/** Uniform numbers in [low, high). */
export function uniform(weight: Tensor, low: number, high: number, init: InitOptions = {}): void {
  fill(weight, init, (values, from) => from.uniform(values, low, high));
}

/** He et al. 2015 for ReLU: normal with standard deviation √(2 / fan). */
export function kaimingNormal(
  weight: Tensor,
  init: InitOptions & { readonly mode?: "fanIn" | "fanOut" } = {},
): void {
  const fan = fans("kaimingNormal", weight)[init.mode ?? "fanIn"];
  normal(weight, 0, Math.sqrt(2 / fan), init);
}

/** Uniform in ±√(1 / fanIn): what PyTorch's layers start with. */
export function kaimingUniform(weight: Tensor, init: InitOptions = {}): void {
  const bound = Math.sqrt(1 / fans("kaimingUniform", weight).fanIn);
  uniform(weight, -bound, bound, init);
}

/** Glorot & Bengio 2010: uniform in ±√(6 / (fanIn + fanOut)). */
export function xavierUniform(weight: Tensor, init: InitOptions = {}): void {
  const { fanIn, fanOut } = fans("xavierUniform", weight);
  const bound = Math.sqrt(6 / (fanIn + fanOut));
  uniform(weight, -bound, bound, init);
}
