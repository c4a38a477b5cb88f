/** Checks of dtypes that several ops share, so that they say the same thing in the same words. */
import { isFloat } from "../../backends/dtype.ts";
import type { TensorType } from "../defineOp.ts";

/** Throws unless all operands are f32 or all are f64. */
export function checkFloats(op: string, ...operands: readonly Pick<TensorType, "dtype">[]): void {
  checkSameDtype(op, ...operands);
  const [{ dtype }] = operands;
  if (!isFloat(dtype)) throw new Error(`${op}: takes f32 and f64, not ${dtype}; convert with to("f32")`);
}

/** Throws unless all operands have one dtype. */
export function checkSameDtype(op: string, ...operands: readonly Pick<TensorType, "dtype">[]): void {
  const dtypes = operands.map(({ dtype }) => dtype);
  if (new Set(dtypes).size > 1)
    throw new Error(`${op}: inputs are ${dtypes.join(" and ")}; bring them to one dtype with to(dtype)`);
}

/** Throws unless `index` holds i32. */
export function checkIndexDtype(op: string, what: string, { dtype }: Pick<TensorType, "dtype">): void {
  if (dtype !== "i32") throw new Error(`${op}: ${what} must be i32, not ${dtype}; convert with to("i32")`);
}
