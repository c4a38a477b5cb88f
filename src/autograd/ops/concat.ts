/** concat and stack: tensors joined along an axis. Each input's gradient is a view of its stretch of the gradient. */
import type { ConcatAttributes } from "../../backends/cpu/loops/concat.ts";
import { formatShape, normalizeAxis } from "../../tensor/layout.ts";
import { Tensor } from "../../tensor/tensor.ts";
import { allocate, defineOp, type GradientRule, type Op, record, type TensorType } from "../defineOp.ts";
import { copyElements } from "./copy.ts";
import { dot, forEachIndex } from "./indexing.ts";
import { slice, unsqueeze } from "./slice.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    concat: ConcatAttributes;
  }
}

function inferConcat(inputs: readonly TensorType[], { axis }: ConcatAttributes): TensorType {
  const [first] = inputs;
  inputs.forEach(({ shape, dtype }, i) => {
    if (dtype !== first.dtype)
      throw new Error(
        `concat: input ${i} is ${dtype}, input 0 is ${first.dtype}; bring them to one dtype with to(dtype)`,
      );
    const fits =
      shape.length === first.shape.length && shape.every((n, at) => at === axis || n === first.shape[at]);
    if (!fits)
      throw new Error(
        `concat: input ${i} ${formatShape(shape)} does not match input 0 ${formatShape(first.shape)} ` +
          `outside axis ${axis}; reshape, slice or pad it, or join along another axis`,
      );
  });
  const total = inputs.reduce((sum, { shape }) => sum + shape[axis], 0);
  return { shape: first.shape.map((n, at) => (at === axis ? total : n)), dtype: first.dtype };
}

/** Concatenation splits the gradient: every input receives its own stretch, nothing is copied or shared. */
const stretch: GradientRule<ConcatAttributes> = ({ gradient, inputs, attributes: { axis } }, index) => {
  const start = inputs.slice(0, index).reduce((sum, { shape }) => sum + shape[axis], 0);
  return slice(gradient, axis, start, start + inputs[index].shape[axis]);
};

const join: Op<ConcatAttributes> = defineOp({
  name: "concat",
  summary: "the inputs one after the other along `axis`",
  infer: inferConcat,
  reference(inputs, output, { axis }) {
    let start = output.offset;
    for (const x of inputs) {
      forEachIndex(x.shape, (index) => {
        output.data[start + dot(index, output.strides)] = x.data[x.offset + dot(index, x.strides)];
      });
      start += x.shape[axis] * output.strides[axis];
    }
  },
  gradients: [stretch],
  flops: () => 0,
  samples: () => [
    { inputs: [{ shape: [2, 3, 5] }, { shape: [2, 1, 5] }, { shape: [2, 7, 5] }], attributes: { axis: 1 } },
    { inputs: [{ shape: [3] }, { shape: [0] }, { shape: [2] }], attributes: { axis: 0 } },
    { inputs: [{ shape: [2, 1] }], attributes: { axis: 1 } },
    { inputs: [{ shape: [0, 2] }, { shape: [0, 3] }], attributes: { axis: 1 } },
  ],
  draw(source) {
    const shape = source.shape(1, 4);
    const axis = source.integer(0, shape.length - 1);
    const inputs = Array.from({ length: source.integer(1, 4) }, () => ({
      shape: shape.map((n, at) => (at === axis ? source.integer(0, 4) : n)),
    }));
    return { inputs, attributes: { axis } };
  },
});

function checkCount(op: string, tensors: readonly Tensor[]): void {
  if (tensors.length === 0) throw new Error(`${op}: the list is empty; give at least one tensor`);
}

/**
 * The tensors one after the other along `axis`, in new memory. Throws when the list is empty, when shapes differ
 * outside the axis, or dtypes differ.
 */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  checkCount("concat", tensors);
  return join(tensors, { axis: normalizeAxis("concat", axis, tensors[0].rank) });
}

/** What a view of a growing concatenation holds: the views before it, and the channels that were then written. */
export interface Growth {
  readonly before: Growth | null;
  /** Channels of the memory. */
  readonly capacity: number;
  /** The written channels where they lie in the memory, apart from any tape. */
  readonly part: Tensor;
}

const growths = new WeakMap<Tensor, Growth>();

/** How `x` grew, or null when it is no view that `GrowingConcat` gave out. */
export function growthOf(x: Tensor): Growth | null {
  return growths.get(x) ?? null;
}

/**
 * A concatenation along the channels of `[N, C, …]` that grows without copying what is already there: memory of the
 * final width is allocated once, each part is written into its channels, and every concatenation in between is a
 * view. A dense block of k layers copies each feature map once instead of up to k times.
 */
export class GrowingConcat {
  readonly #parts: Tensor[] = [];
  readonly #memory: Tensor;
  #growth: Growth | null = null;
  #width = 0;

  /** Starts with `first`; `capacity` is the final number of channels. */
  constructor(first: Tensor, capacity: number) {
    const [images, , ...rest] = first.shape;
    this.#memory = allocate(first.backend, first.dtype, [images, capacity, ...rest], [first]);
    this.append(first);
  }

  /** Adds channels at the end. Throws when they do not fit: in shape, in dtype, or into the capacity. */
  append(part: Tensor): void {
    const { backend, storage, shape, strides } = this.#memory;
    const type = inferConcat([...this.#parts, part], { axis: 1 });
    if (type.shape[1] > shape[1])
      throw new Error(`GrowingConcat: ${type.shape[1]} channels exceed the capacity of ${shape[1]}`);
    const written = new Tensor(storage, part.shape, strides, this.#width * strides[1]);
    // Not counted as a change of the memory: no view made so far reaches these channels.
    backend.run({
      kernel: "copy",
      reference: copyElements,
      inputs: [part],
      output: written,
      attributes: {},
    });
    this.#growth = { before: this.#growth, capacity: shape[1], part: written };
    this.#parts.push(part);
    this.#width = type.shape[1];
  }

  /** [x0, x1, …] of all parts so far, as a view; on the tape it is a concatenation of the parts. */
  tensor(): Tensor {
    const { storage, shape, strides } = this.#memory;
    const [images, , ...rest] = shape;
    const view = new Tensor(storage, [images, this.#width, ...rest], strides);
    if (this.#growth) growths.set(view, this.#growth);
    return record({ name: "concat", gradients: [stretch] }, this.#parts, view, { axis: 1 });
  }
}

/**
 * The tensors side by side along a new axis at position `axis`. Throws when the list is empty, or when shapes or
 * dtypes differ.
 */
export function stack(tensors: readonly Tensor[], axis = 0): Tensor {
  checkCount("stack", tensors);
  const [first] = tensors;
  const at = normalizeAxis("stack", axis, first.rank + 1);
  tensors.forEach(({ shape }, i) => {
    if (formatShape(shape) !== formatShape(first.shape))
      throw new Error(
        `stack: input ${i} ${formatShape(shape)} does not match input 0 ${formatShape(first.shape)}; ` +
          "stacked tensors have one shape, use concat() for others",
      );
  });
  return join(
    tensors.map((x) => unsqueeze(x, at)),
    { axis: at },
  );
}
