/** Stops at the first NaN or infinity and names where it came from. */
import { isFloat } from "../backends/dtype.ts";
import { formatShape } from "../tensor/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { isBackwardRunning, refusePromise } from "./mode.ts";
import { onEdge, onOp } from "./observers.ts";

/** An op produced a NaN or an infinity. */
export class AnomalyError extends Error {
  override readonly name = "AnomalyError";
}

function firstAnomaly(tensor: Tensor): { readonly value: number; readonly position: number } | null {
  if (!isFloat(tensor.dtype)) return null;
  const values = tensor.dataSync();
  const position = values.findIndex((value) => !Number.isFinite(value));
  return position < 0 ? null : { value: values[position], position };
}

const inModule = (path: string): string => (path ? ` in ${path}` : "");

/**
 * Runs `body` with every op and every gradient piece checked, and throws an AnomalyError that names the op, the
 * module, the position and the range of the op's inputs at the first value that is not finite. Slow: every result
 * is read back. Needs a backend that reads synchronously. Throws when `body` returns a promise.
 */
export function detectAnomaly<Result>(body: () => Result): Result {
  const stops = [
    onOp(({ op, inputs, output, modulePath }) => {
      // What a backward pass computes is judged on the edges, where the op that it belongs to is known.
      if (isBackwardRunning()) return;
      const found = firstAnomaly(output);
      if (!found) return;
      throw new AnomalyError(
        `${op}${inModule(modulePath)}: produced ${found.value} at position ${found.position} of its output ` +
          `${formatShape(output.shape)}; inputs: ${inputs.map(describeRange).join(", ")}`,
      );
    }),
    onEdge(({ from, slot, gradient }) => {
      const found = firstAnomaly(gradient);
      if (!found) return undefined;
      throw new AnomalyError(
        `backward of ${from.describe()}: the gradient for its input ${slot} is ${found.value} ` +
          `at position ${found.position} of ${formatShape(gradient.shape)}`,
      );
    }),
  ];
  try {
    const result = body();
    refusePromise("detectAnomaly", result);
    return result;
  } finally {
    for (const stop of stops) stop();
  }
}

function describeRange(tensor: Tensor): string {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of tensor.dataSync()) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return `${formatShape(tensor.shape)} in [${low}, ${high}]`;
}
