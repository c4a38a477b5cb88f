/** Every operator of ONNX that can be imported. */
import { constantOperators } from "./constants.ts";
import type { OperatorTable } from "./node.ts";
import { pointwiseOperators } from "./pointwise.ts";
import { reductionOperators } from "./reductions.ts";
import { resizeOperators } from "./resize.ts";
import { selectionOperators } from "./selections.ts";
import { shapeOperators } from "./shapes.ts";
import { windowOperators } from "./windows.ts";

/** Operators by name, of ONNX's own domain. */
export const operators: OperatorTable = {
  ...constantOperators,
  ...pointwiseOperators,
  ...reductionOperators,
  ...resizeOperators,
  ...selectionOperators,
  ...shapeOperators,
  ...windowOperators,
};

/** The names of the operators that `importOnnx` can run, in alphabetical order. */
export function importableOnnxOperators(): string[] {
  return Object.keys(operators).sort();
}
