/** Every operator of ONNX that can be imported. */
import type { OperatorTable } from "./node.ts";
import { pointwiseOperators } from "./pointwise.ts";
import { reductionOperators } from "./reductions.ts";
import { resizeOperators } from "./resize.ts";
import { shapeOperators } from "./shapes.ts";
import { windowOperators } from "./windows.ts";

/** Operators by name, of ONNX's own domain. */
export const operators: OperatorTable = {
  ...pointwiseOperators,
  ...reductionOperators,
  ...resizeOperators,
  ...shapeOperators,
  ...windowOperators,
};

/** The names of the operators that `importOnnx` can run, in alphabetical order. */
export function importableOnnxOperators(): string[] {
  return Object.keys(operators).sort();
}
