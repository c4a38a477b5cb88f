/**
 * logSumExp, softmax and its logarithm. A part of a sum of exponentials is kept beside the largest element that it
 * was shifted by, and scaled when a larger one turns up, so that nothing overflows however a sum is cut up.
 */
import type { KernelAttributes } from "../../backend.ts";
import { div, type Expression, exp, input, sub } from "../../expression.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { launchPointwise } from "./pointwise.ts";
import { launchReduction } from "./reduction.ts";
import { keptLayout, type OutputOperand } from "./reductionSpec.ts";

/** Infinite elements are not subtracted, which would give NaN; a NaN is in `total`, whatever `largest` makes of it. */
const declarations = `
fn is_infinite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u; }
fn is_lowest(x: f32) -> bool { return bitcast<u32>(x) == 0xff800000u; }
fn shift_of(largest: f32) -> f32 { return select(largest, 0.0, is_infinite(largest)); }
fn term(x: f32, largest: f32) -> f32 { return select(f_exp(x - shift_of(largest)), 0.0, is_lowest(x)); }
fn scaled(total: f32, before: f32, after: f32) -> f32 {
  if (is_lowest(before)) { return total; }
  return total * f_exp(shift_of(before) - shift_of(after));
}
`;

function launchExponentials(
  runtime: GpuRuntime,
  label: string,
  x: GpuView,
  axes: readonly number[],
  operands: readonly OutputOperand[],
  finish: string,
): void {
  launchReduction(runtime, {
    label,
    declarations,
    inputs: [x],
    axes,
    operands,
    slots: [
      { name: "largest", type: "f32", start: "-f_infinity()" },
      { name: "total", type: "f32", start: "0.0" },
    ],
    fold: `    if (a0 > largest) { total = scaled(total, largest, a0); largest = a0; }
    total += term(a0, largest);`,
    merge: `    if (other_largest > largest) {
      total = scaled(total, largest, other_largest) + other_total; largest = other_largest;
    } else { total += scaled(other_total, other_largest, largest); }`,
    finish,
  });
}

export const logSumExp: GpuKernel<KernelAttributes["logSumExp"]> = (runtime, [x], output, { axes }) =>
  launchExponentials(
    runtime,
    "logSumExp",
    x,
    axes,
    [{ name: "y", buffer: output.buffer, access: "write", layout: keptLayout(output, axes) }],
    "  y_set(y_at, shift_of(largest) + f_log(total));",
  );

/** Largest element and sum of every line, then all elements by themselves: `expression` of x, those two. */
function normalizeAlong(
  runtime: GpuRuntime,
  label: string,
  x: GpuView,
  output: GpuView,
  axis: number,
  { expression, total }: { readonly expression: Expression; readonly total: string },
): void {
  const shape = x.shape.map((extent, i) => (i === axis ? 1 : extent));
  const lines = shape.reduce((product, extent) => product * extent, 1);
  if (lines * x.shape[axis] === 0) return;
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((product, extent) => product * extent, 1));
  runtime.scratch(2 * lines, (buffer) => {
    const views = [0, lines].map((offset): GpuView => ({ buffer, shape, strides, offset }));
    const operands = views.map(
      (view, i): OutputOperand => ({
        name: i === 0 ? "shift" : "sum",
        buffer,
        access: "write",
        layout: keptLayout(view, [axis]),
      }),
    );
    launchExponentials(
      runtime,
      `${label} (lines)`,
      x,
      [axis],
      operands,
      `  shift_set(shift_at, largest);\n  sum_set(sum_at, select(${total}, f_nan(), is_infinite(largest)));`,
    );
    const repeated = views.map((view) => ({
      ...view,
      shape: x.shape,
      strides: strides.map((stride, i) => (i === axis ? 0 : stride)),
    }));
    launchPointwise(runtime, label, [x, ...repeated], output, { expression, parameters: [] });
  });
}

const shifted = sub(input(0), input(1));
const quotient = { expression: div(exp(shifted), input(2)), total: "total" };
const difference = { expression: sub(shifted, input(2)), total: "f_log(total)" };

export const softmax: GpuKernel<KernelAttributes["softmax"]> = (runtime, [x], output, { axis }) =>
  normalizeAlong(runtime, "softmax", x, output, axis, quotient);

export const logSoftmax: GpuKernel<KernelAttributes["logSoftmax"]> = (runtime, [x], output, { axis }) =>
  normalizeAlong(runtime, "logSoftmax", x, output, axis, difference);
