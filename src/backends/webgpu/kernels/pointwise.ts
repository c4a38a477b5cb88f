/** Every pointwise op: one thread computes four neighbours where all operands allow it, else one element. */
import type { PointwiseAttributes } from "../../../autograd/ops/pointwise.ts";
import { collapseAxes } from "../../cpu/collapse.ts";
import type { Expression } from "../../expression.ts";
import { float, type Numeral } from "../parameters.ts";
import { scalarOf } from "../programs.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";

/** Expressions get small numbers as names: two that look the same are the same shader. */
const names = new Map<string, number>();
const known = new WeakMap<Expression, number>();

/** A short name for what the expression computes. */
export function expressionName(expression: Expression): number {
  const before = known.get(expression);
  if (before !== undefined) return before;
  const text = JSON.stringify(expression, (_, value: unknown) =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value,
  );
  const name = names.get(text) ?? names.size;
  names.set(text, name);
  known.set(expression, name);
  return name;
}

/** `output = expression(inputs)`, element by element; inputs have the output's shape. */
export function launchPointwise(
  runtime: GpuRuntime,
  label: string,
  inputs: readonly GpuView[],
  output: GpuView,
  { expression, parameters }: PointwiseAttributes,
): void {
  const views = [output, ...inputs];
  const { shape, strides } = collapseAxes(views);
  const rank = shape.length;
  const inner = rank - 1;
  const isVector =
    rank > 0 &&
    shape[inner] % 4 === 0 &&
    strides.every(
      (own, i) =>
        views[i].offset % 4 === 0 &&
        own.every((stride, axis) =>
          axis === inner ? stride === 1 || (i > 0 && stride === 0) : stride % 4 === 0,
        ),
    );
  const flat = views.map((_, i) => (isVector ? strides[i][inner] === 0 : false));
  const width = isVector ? 4 : 1;
  const threads = shape.reduce((product, extent) => product * extent, 1) / width;
  const numbers: Record<string, Numeral> = {};
  for (let axis = 1; axis < rank; axis++)
    numbers[`d${axis}`] = axis === inner ? shape[axis] / width : shape[axis];
  views.forEach(({ offset }, i) => {
    numbers[`o${i}`] = offset;
    strides[i].forEach((stride, axis) => {
      numbers[`s${i}_${axis}`] = axis === inner ? stride * width : stride;
    });
  });
  parameters.forEach((value, i) => {
    numbers[`q${i}`] = float(value);
  });
  runtime.launch({
    label,
    variant: `${expressionName(expression)}/${rank}/${flat.map(Number).join("")}${isVector ? "v" : ""}`,
    operands: views.map(({ buffer }, i) => ({
      name: `v${i}`,
      buffer,
      access: i === 0 ? "write" : "read",
      vector: isVector && !flat[i],
    })),
    numbers,
    threads,
    shader: () => {
      const lines = ["  var rest = id;"];
      for (let axis = rank - 1; axis > 0; axis--)
        lines.push(`  let i${axis} = rest % p.d${axis};`, `  rest = rest / p.d${axis};`);
      lines.push("  let i0 = rest;");
      const position = (i: number): string =>
        [`p.o${i}`, ...Array.from({ length: rank }, (_, axis) => `i${axis} * p.s${i}_${axis}`)].join(" + ");
      inputs.forEach((_, i) => {
        lines.push(`  let a${i} = v${i + 1}_get${isVector && !flat[i + 1] ? "4" : ""}(${position(i + 1)});`);
      });
      const call = (lane: string): string =>
        `apply(${[
          ...inputs.map((_, i) => (isVector && !flat[i + 1] ? `a${i}.${lane}` : `a${i}`)),
          ...parameters.map((_, i) => `p.q${i}`),
        ].join(", ")})`;
      const result = scalarOf(output.buffer.dtype);
      lines.push(
        isVector
          ? `  v0_set4(${position(0)}, vec4<${result}>(${["x", "y", "z", "w"].map(call).join(", ")}));`
          : `  v0_set(${position(0)}, ${call("")});`,
      );
      return {
        declarations:
          runtime.printer.declarations +
          runtime.printer.print(
            "apply",
            expression,
            inputs.map(({ buffer }) => scalarOf(buffer.dtype)),
            parameters.length,
            result,
          ),
        body: lines.join("\n"),
      };
    },
  });
}

/** The kernel of all pointwise ops. */
export const pointwise: GpuKernel<PointwiseAttributes> = (runtime, inputs, output, attributes) =>
  launchPointwise(runtime, "pointwise", inputs, output, attributes);
