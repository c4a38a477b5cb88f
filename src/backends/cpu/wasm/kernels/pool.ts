/**
 * Pooling in SIMD for the windows that networks have; any other goes to the loops:
 *
 *     avgPool2d    2 x 2 with stride 2 and no margin, and one window as large as the image; gradients of windows that
 *                  divide the image
 *     maxPool2d    2 x 2 with stride 2 and no margin, 3 x 3 with stride 2 and margins up to 2; both gradients
 *
 * Four windows at a time: rows are combined as they lie in memory, then even and odd columns are told apart.
 * Of equal elements the first wins, of NaNs the last, as in the loops.
 *
 * Measured against the loops, ns per input element of [64, 32, 14, 14] and [8, 64, 112, 112]:
 *
 *     avgPool2d 2 x 2       3.1 -> 0.12     2.9 -> 0.19     gradient     4.1 -> 0.13     3.7 -> 0.25
 *     maxPool2d 2 x 2       5.3 -> 0.22     5.1 -> 0.23     gradient     5.6 -> 0.27     5.3 -> 0.47
 *     maxPool2d 3 x 3      13.7 -> 0.37    15   -> 0.23     gradient    13.8 -> 1.5     14.6 -> 0.60
 *     one window            1.3 -> 0.09     1.2 -> 0.10
 *
 * The gradient of one window of 7 x 7, which is that of an adaptive pool, takes 2.4 -> 0.97 ns.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { AvgPool2dAttributes } from "../../loops/avgPool.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import type { PlaneKernels } from "./planes.ts";
import { evenAndOdd, interleave, takesLead, type Vector } from "./poolLanes.ts";
import { overlappingPools } from "./poolOverlapping.ts";
import type { ResizeKernels } from "./resize.ts";
import {
  floatBytes,
  forEachGroup,
  forEachPlane,
  type Place,
  placeOf,
  rangeParameters,
  type Strip,
  writeRow,
} from "./rows.ts";
import { type SumKernels, sumNanoseconds } from "./sums.ts";

export interface PoolKernels {
  readonly avgPool2d: HostKernel<AvgPool2dAttributes>;
  readonly avgPool2dInputGradient: HostKernel<AvgPool2dAttributes>;
  readonly maxPool2d: HostKernel<Pool2dAttributes>;
  readonly maxPool2dInputGradient: HostKernel<Pool2dAttributes>;
}

const counts = { planes: "i32", rows: "i32", columns: "i32" } as const;
const place = (name: string) =>
  ({ [name]: "i32", [`${name}Image`]: "i32", [`${name}Plane`]: "i32", [`${name}Row`]: "i32" }) as const;
const placeIn = (p: Readonly<Record<string, Local<"i32">>>, name: string): Place => [
  p[name],
  p[`${name}Image`],
  p[`${name}Plane`],
  p[`${name}Row`],
];

/** Eight columns of the two rows of a window, from 2 x 4 floats. */
const pairAt = (f: FunctionBuilder, address: Local<"i32">, offset: number): readonly [Vector, Vector] => [
  f.let(f.v128.load(address, offset)),
  f.let(f.v128.load(address, offset + 16)),
];

/** Writes the windows' four columns twice as wide: two vectors, or what a narrow row has of them. */
function storeDoubled(
  f: FunctionBuilder,
  to: Local<"i32">,
  group: number,
  [left, right]: readonly [Vector, Vector],
  count: Local<"i32"> | null,
): void {
  const { i32, v128 } = f;
  if (!count) {
    v128.store(to, left, 32 * group);
    v128.store(to, right, 32 * group + 16);
    return;
  }
  v128.store64_lane(to, left, 0);
  f.if(i32.ge_s(count, 2), () => v128.store64_lane(to, left, 1, 8));
  f.if(i32.ge_s(count, 3), () => v128.store64_lane(to, right, 0, 16));
}

/** Ranges of planes, counted through all images. */
interface PairKernels {
  /** (top..., bottom..., y..., planes, rows, columns), each operand an address and three strides. */
  readonly averagePairs: RangeFunction;
  readonly maximumPairs: RangeFunction;
  /** (gradient..., top..., bottom..., counts): to the two rows of every window. */
  readonly spreadPairs: RangeFunction;
  /** (xTop..., xBottom..., gradient..., top..., bottom..., counts) */
  readonly winnerPairs: RangeFunction;
}

/** 2 x 2 windows: operands are the upper and the lower rows of all windows. */
function pairKernels(runtime: WasmRuntime): PairKernels {
  const module = new ModuleBuilder("pool");
  runtime.importMemory(module);

  const defineRows = (name: string, operands: readonly string[], onRow: RowWriter) =>
    module.func(
      name,
      { params: { ...rangeParameters, ...Object.assign({}, ...operands.map(place)), ...counts } },
      (f, p: Readonly<Record<string, Local<"i32">>>) => {
        const { begin, end, planes, rows, columns } = p;
        const places = operands.map((operand) => placeIn(p, operand));
        forEachPlane(f, places, { begin, end, planes, rows }, () => ({
          onRow: (addresses) => onRow(f, addresses, columns),
        }));
      },
    );

  defineRows("averagePairs", ["top", "bottom", "y"], (f, [top, bottom, y], columns) => {
    const quarter = f.let(f.f32x4.splat(0.25), "quarter");
    const value = ([upper, lower]: readonly Local<"i32">[], offset: number) => {
      const [a, b] = pairAt(f, upper, offset);
      const [c, d] = pairAt(f, lower, offset);
      const sums = [f.let(f.f32x4.add(a, c)), f.let(f.f32x4.add(b, d))] as const;
      const [even, odd] = evenAndOdd(f, ...sums);
      return f.f32x4.mul(f.f32x4.add(even, odd), quarter);
    };
    writeRow(f, [top, bottom], y, columns, value, 2);
  });

  defineRows("maximumPairs", ["top", "bottom", "y"], (f, [top, bottom, y], columns) => {
    const value = ([upper, lower]: readonly Local<"i32">[], offset: number) => {
      const [a, b] = pairAt(f, upper, offset);
      const [c, d] = pairAt(f, lower, offset);
      const [even, odd] = evenAndOdd(f, f.let(f.f32x4.max(a, c)), f.let(f.f32x4.max(b, d)));
      return f.f32x4.max(even, odd);
    };
    writeRow(f, [top, bottom], y, columns, value, 2);
  });

  defineRows("spreadPairs", ["gradient", "top", "bottom"], (f, [gradient, top, bottom], columns) => {
    const quarter = f.let(f.f32x4.splat(0.25), "quarter");
    const strips: Strip[] = [
      [gradient, 1],
      [top, 2],
      [bottom, 2],
    ];
    forEachGroup(f, strips, columns, ([from, upper, lower], group, count) => {
      const share = f.let(f.f32x4.mul(f.v128.load(from, 16 * group), quarter));
      const both = interleave(f, share, share);
      storeDoubled(f, upper, group, both, count);
      storeDoubled(f, lower, group, both, count);
    });
  });

  const winnerOperands = ["xTop", "xBottom", "gradient", "top", "bottom"];
  defineRows("winnerPairs", winnerOperands, (f, [xTop, xBottom, gradient, top, bottom], columns) => {
    const { v128 } = f;
    const strips: Strip[] = [
      [xTop, 2],
      [xBottom, 2],
      [gradient, 1],
      [top, 2],
      [bottom, 2],
    ];
    forEachGroup(f, strips, columns, ([xUpper, xLower, from, upper, lower], group, count) => {
      const [a, b] = evenAndOdd(f, ...pairAt(f, xUpper, 32 * group));
      const [c, d] = evenAndOdd(f, ...pairAt(f, xLower, 32 * group));
      const share = f.let(v128.load(from, 16 * group));
      const second = takesLead(f, b, a);
      const best = f.let(v128.bitselect(b, a, second), "best");
      const third = takesLead(f, c, best);
      best.set(v128.bitselect(c, best, third));
      const fourth = takesLead(f, d, best);
      const above = f.let(v128.andnot(v128.andnot(share, fourth), third));
      const rows = [
        [f.let(v128.andnot(above, second)), f.let(v128.and(above, second))],
        [f.let(v128.and(v128.andnot(share, fourth), third)), f.let(v128.and(share, fourth))],
      ] as const;
      for (const [r, to] of [upper, lower].entries())
        storeDoubled(f, to, group, interleave(f, ...rows[r]), count);
    });
  });

  const { averagePairs, maximumPairs, spreadPairs, winnerPairs } = runtime.instantiate(module);
  return { averagePairs, maximumPairs, spreadPairs, winnerPairs };
}

type RowWriter = (f: FunctionBuilder, addresses: readonly Local<"i32">[], columns: Local<"i32">) => void;

const both = (pair: readonly number[], value: number): boolean => pair[0] === value && pair[1] === value;
const hasPairs = ({ kernelSize, stride, dilation }: Pool2dAttributes): boolean =>
  both(kernelSize, 2) && both(stride, 2) && both(dilation, 1);
const hasNoMargin = ({ padding }: Pool2dAttributes): boolean => padding.every((margin) => margin === 0);

/** The upper and the lower row of every 2 x 2 window, as operands. */
function windowRows(view: HostView): readonly number[] {
  const [address, image, plane, row] = placeOf(view);
  return [address, image, plane, 2 * row, address + row, image, plane, 2 * row];
}

/** Windows side by side that make up the whole image. */
function divides([, , H, W]: readonly number[], [, , P, Q]: readonly number[], attributes: Pool2dAttributes) {
  const { kernelSize, stride, dilation } = attributes;
  const areSideBySide = kernelSize.every((extent, axis) => extent === stride[axis]) && both(dilation, 1);
  return areSideBySide && hasNoMargin(attributes) && P * kernelSize[0] === H && Q * kernelSize[1] === W;
}

/** The fast kernels; what they do not take goes to `fallback`. */
export function poolKernels(
  runtime: WasmRuntime,
  { clear }: PlaneKernels,
  { sums }: SumKernels,
  { adaptiveAvgPool2dInputGradient }: Pick<ResizeKernels, "adaptiveAvgPool2dInputGradient">,
  fallback: PoolKernels,
): PoolKernels {
  const { averagePairs, maximumPairs, spreadPairs, winnerPairs } = pairKernels(runtime);
  const overlapping = overlappingPools(runtime);
  const takes = (views: readonly HostView[]): boolean =>
    runtime.accepts(views) &&
    views.every(({ shape, strides }) => !shape.includes(0) && (shape[3] === 1 || strides[3] === 1));
  /** 2 x 2 windows that all lie inside. */
  const isPaired = (x: readonly number[], y: readonly number[], attributes: Pool2dAttributes): boolean =>
    hasPairs(attributes) && hasNoMargin(attributes) && 2 * y[2] <= x[2] && 2 * y[3] <= x[3];

  /** Runs a kernel on the planes of windows [N, C, P, Q]. */
  function forPlanes(kernel: RangeFunction, [N, C, P, Q]: readonly number[], ...places: readonly number[]) {
    runtime.forRange(kernel, N * C, [...places, C, P, Q], { grain: grainOf(10 + 0.5 * P * Q) });
  }

  /** A last row or column that no window reads has no gradient: zeroed with the rest, a plane or a row at a time. */
  function clearAround(output: HostView, [, , P, Q]: readonly number[]): void {
    const [N, C, H, W] = output.shape;
    if (2 * P === H && 2 * Q === W) return;
    const [address, image, plane, row] = placeOf(output);
    const gapless = H === 1 || output.strides[2] === W;
    const [rows, columns] = gapless ? [1, H * W] : [H, W];
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let r = 0; r < rows; r++) clear(address + n * image + c * plane + r * row, floatBytes * columns);
  }

  /** One window as large as the image. */
  function averageWhole(x: HostView, output: HostView): void {
    const [N, C, H, W] = x.shape;
    const totalsAt = runtime.scratch("pool totals", 16 * C);
    const totals = new Float64Array(runtime.memory.memory.buffer, totalsAt, 2 * C);
    const [address, image, plane, row] = placeOf(x);
    const gapless = H === 1 || x.strides[2] === W;
    const [rows, columns] = gapless ? [1, H * W] : [H, W];
    for (let n = 0; n < N; n++) {
      const args = [address + n * image, 0, plane, row, 1, rows, columns, totalsAt];
      runtime.forRange(sums, C, args, { grain: grainOf(sumNanoseconds(H * W)) });
      const to = output.offset + n * output.strides[0];
      for (let c = 0; c < C; c++)
        output.data[to + c * output.strides[1]] = (totals[2 * c] + totals[2 * c + 1]) / (H * W);
    }
  }

  const avgPool2d: PoolKernels["avgPool2d"] = (inputs, output, attributes) => {
    const [x] = inputs;
    const [, , P, Q] = output.shape;
    const { kernelSize, dilation } = attributes;
    const whole = P * Q === 1 && kernelSize[0] === x.shape[2] && kernelSize[1] === x.shape[3];
    if (!takes([x, output])) fallback.avgPool2d(inputs, output, attributes);
    else if (isPaired(x.shape, output.shape, attributes))
      forPlanes(averagePairs, output.shape, ...windowRows(x), ...placeOf(output));
    else if (whole && hasNoMargin(attributes) && both(dilation, 1)) averageWhole(x, output);
    else fallback.avgPool2d(inputs, output, attributes);
  };

  const avgPool2dInputGradient: PoolKernels["avgPool2dInputGradient"] = (inputs, output, attributes) => {
    const [gradient] = inputs;
    const loops = () => fallback.avgPool2dInputGradient(inputs, output, attributes);
    if (!takes([gradient, output])) loops();
    else if (isPaired(output.shape, gradient.shape, attributes)) {
      clearAround(output, gradient.shape);
      forPlanes(spreadPairs, gradient.shape, ...placeOf(gradient), ...windowRows(output));
    } else if (divides(output.shape, gradient.shape, attributes))
      adaptiveAvgPool2dInputGradient(inputs, output, { inputShape: output.shape }, loops);
    else loops();
  };

  const maxPool2d: PoolKernels["maxPool2d"] = (inputs, output, attributes) => {
    const [x] = inputs;
    if (!takes([x, output])) fallback.maxPool2d(inputs, output, attributes);
    else if (isPaired(x.shape, output.shape, attributes))
      forPlanes(maximumPairs, output.shape, ...windowRows(x), ...placeOf(output));
    else if (overlapping.takes(attributes)) overlapping.maximum(x, output, attributes);
    else fallback.maxPool2d(inputs, output, attributes);
  };

  const maxPool2dInputGradient: PoolKernels["maxPool2dInputGradient"] = (inputs, output, attributes) => {
    const [x, gradient] = inputs;
    const taken = takes([x, gradient, output]);
    if (taken && isPaired(x.shape, gradient.shape, attributes)) {
      clearAround(output, gradient.shape);
      const places = [...windowRows(x), ...placeOf(gradient), ...windowRows(output)];
      forPlanes(winnerPairs, gradient.shape, ...places);
    } else if (
      !taken ||
      !overlapping.takes(attributes) ||
      !overlapping.inputGradient(x, gradient, output, attributes)
    )
      fallback.maxPool2dInputGradient(inputs, output, attributes);
  };

  return { avgPool2d, avgPool2dInputGradient, maxPool2d, maxPool2dInputGradient };
}
