/** copy: the elements in fresh, contiguous memory. */
import type { HostKernel } from "../../backends/backend.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp } from "../defineOp.ts";
import { dot, forEachIndex } from "./indexing.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    copy: Readonly<Record<string, never>>;
  }
}

/** The reference loop of copy. */
export const copyElements: HostKernel<Readonly<Record<string, never>>> = ([x], output) => {
  forEachIndex(x.shape, (index) => {
    output.data[output.offset + dot(index, output.strides)] = x.data[x.offset + dot(index, x.strides)];
  });
};

const copy = defineOp({
  name: "copy",
  summary: "x in memory of its own",
  infer: ([x]) => x,
  reference: copyElements,
  gradients: [({ gradient }) => gradient],
  flops: () => 0,
  samples: () => [
    { inputs: [{ shape: [2, 3] }], attributes: {} },
    { inputs: [{ shape: [] }], attributes: {} },
    { inputs: [{ shape: [0, 3] }], attributes: {} },
  ],
  draw: (source) => ({ inputs: [{ shape: source.shape(0, 4) }], attributes: {} }),
});

/** A copy in fresh contiguous memory; the gradient flows through. */
export function clone(x: Tensor): Tensor {
  return copy([x], {});
}

/** `x` itself when its memory is contiguous, else a copy. */
export function contiguous(x: Tensor): Tensor {
  return x.isContiguous ? x : clone(x);
}
