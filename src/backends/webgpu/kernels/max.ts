/**
 * max, its gradient, the gradient's gradient, and argmax: a reduction to the place of the winner, the first largest
 * element or the first NaN.
 */
import type { KernelAttributes } from "../../backend.ts";
import { scalarOf } from "../programs.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { axesOf, LoopAxes, otherAxes } from "./loopAxes.ts";
import { launchReduction } from "./reduction.ts";
import { keptLayout, type OutputOperand } from "./reductionSpec.ts";

/** No place at all: larger than every other. */
const nowhere = "2147483647";

/** Winners of x over `axes`; `finish` writes, from the place `winner`, to the operand. */
function launchWinners(
  runtime: GpuRuntime,
  label: string,
  inputs: readonly GpuView[],
  axes: readonly number[],
  operand: OutputOperand,
  finish: string | ((reduced: LoopAxes) => string),
): void {
  const type = scalarOf(inputs[0].buffer.dtype);
  const isFloat = type === "f32";
  const nan = (text: string) => (isFloat ? `is_nan(${text})` : "false");
  launchReduction(runtime, {
    label,
    inputs,
    folded: 1,
    axes,
    operands: [operand],
    slots: [
      { name: "largest", type, start: isFloat ? "-f_infinity()" : "-2147483648" },
      { name: "winner", type: "i32", start: nowhere },
    ],
    fold: `    if (winner == ${nowhere} || (!${nan("largest")} && (${nan("a0")} || a0 > largest))) {
      largest = a0; winner = j;
    }`,
    merge: `    let ties = ${isFloat ? "same(other_largest, largest) || (is_nan(other_largest) && is_nan(largest))" : "other_largest == largest"};
    if (ties) { winner = min(winner, other_winner); }
    else if (!${nan("largest")} && (${nan("other_largest")} || other_largest > largest)) {
      largest = other_largest; winner = other_winner;
    }`,
    finish,
  });
}

/** The value of the last input at the winner's place. */
const valueAtWinner =
  (input: number) =>
  (reduced: LoopAxes): string =>
    `${reduced.split("winner")}\n  y_set(y_at, x${input}_get(x${input}_k + ${reduced.at(input)}));`;

const result = (output: GpuView, axes: readonly number[]): OutputOperand => ({
  name: "y",
  buffer: output.buffer,
  access: "write",
  layout: keptLayout(output, axes),
});

export const max: GpuKernel<KernelAttributes["max"]> = (runtime, [x], output, { axes }) =>
  launchWinners(runtime, "max", [x], axes, result(output, axes), valueAtWinner(0));

export const maxPick: GpuKernel<KernelAttributes["maxPick"]> = (runtime, [x, v], output, { axes }) =>
  launchWinners(runtime, "maxPick", [x, v], axes, result(output, axes), valueAtWinner(1));

export const argmax: GpuKernel<KernelAttributes["argmax"]> = (runtime, [x], output, { axis }) =>
  launchWinners(runtime, "argmax", [x], [axis], result(output, [axis]), "  y_set(y_at, winner);");

/** First the winners, then every element asks whether it is one. */
export const maxInputGradient: GpuKernel<KernelAttributes["maxInputGradient"]> = (
  runtime,
  [x, gradient],
  output,
  { axes },
) => {
  const keptAxes = otherAxes(x.shape.length, axes);
  const kept = new LoopAxes("k", [axesOf(output, keptAxes), axesOf(gradient, keptAxes)]);
  const reduced = new LoopAxes("r", [axesOf(output, axes)]);
  if (kept.size * reduced.size === 0) return;
  const shape = keptAxes.map((axis) => x.shape[axis]);
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((product, extent) => product * extent, 1));
  runtime.scratch(
    kept.size,
    (winners) => {
      const place: OutputOperand = {
        name: "y",
        buffer: winners,
        access: "write",
        layout: { shape, strides, offset: 0 },
      };
      launchWinners(runtime, "maxWinners", [x], axes, place, "  y_set(y_at, winner);");
      runtime.launch({
        label: "maxInputGradient",
        variant: `${kept.rank},${reduced.rank}`,
        operands: [
          { name: "winner", buffer: winners, access: "read" },
          { name: "gradient", buffer: gradient.buffer, access: "read" },
          { name: "y", buffer: output.buffer, access: "write" },
        ],
        numbers: {
          ...kept.numbers(),
          ...reduced.numbers(),
          count: reduced.size,
          gradient_o: gradient.offset,
          y_o: output.offset,
        },
        threads: kept.size * reduced.size,
        shader: () => {
          const scalar = scalarOf(output.buffer.dtype);
          return {
            body: `  let k = id / p.count;
  let r = id % p.count;
${kept.split("k")}
${reduced.split("r")}
  var value = ${scalar}(0);
  if (winner_get(k) == r) { value = gradient_get(p.gradient_o + ${kept.at(1)}); }
  y_set(p.y_o + ${kept.at(0)} + ${reduced.at(0)}, value);`,
          };
        },
      });
    },
    "i32",
  );
};
