/** cast: the same numbers in another dtype. */
import type { DType } from "../../backends/dtype.ts";
import { isFloat } from "../../backends/dtype.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { defineOp } from "../defineOp.ts";
import { dot, forEachIndex } from "./indexing.ts";

declare module "../../backends/backend.ts" {
  interface KernelAttributes {
    cast: { readonly dtype: DType };
  }
}

const castOp = defineOp({
  name: "cast",
  summary: "x in another dtype; floats are truncated towards zero for integers, bool is x ≠ 0",
  infer: ([x], { dtype }) => ({ shape: x.shape, dtype }),
  reference([x], output, { dtype }) {
    forEachIndex(x.shape, (index) => {
      const value = x.data[x.offset + dot(index, x.strides)];
      output.data[output.offset + dot(index, output.strides)] =
        dtype === "bool" ? Number(value !== 0) : value;
    });
  },
  gradients: [
    ({ gradient, inputs, attributes }) =>
      isFloat(attributes.dtype) && isFloat(inputs[0].dtype) ? to(gradient, inputs[0].dtype) : null,
  ],
  flops: () => 0,
  samples: () => [
    { inputs: [{ shape: [2, 3] }], attributes: { dtype: "f64" } },
    { inputs: [{ shape: [0] }], attributes: { dtype: "i32" } },
  ],
  draw: (source) => ({
    inputs: [{ shape: source.shape(0, 4) }],
    attributes: { dtype: source.pick(["f64", "bool"]) },
  }),
});

/** `x` in another dtype; `x` itself when it has it already. The gradient flows between f32 and f64. */
export function to(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : castOp([x], { dtype });
}
