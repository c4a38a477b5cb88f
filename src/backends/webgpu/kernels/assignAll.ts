/**
 * assignAll: what an optimizer does to all parameters. As many rows go into one launch as a kernel may have buffers;
 * a thread finds its row by its index, reads the row's elements once, does all assignments in registers, and writes
 * the targets.
 */
import type { KernelAttributes } from "../../backend.ts";
import { float, type Numeral, parameterBytes } from "../parameters.ts";
import { scalarOf } from "../programs.ts";
import type { GpuKernel, GpuRuntime, GpuView, LaunchOperand } from "../runtime.ts";
import { expressionFunction, expressionFunctions } from "../wgsl.ts";
import { LoopAxes } from "./loopAxes.ts";
import { expressionName } from "./pointwise.ts";

/**
 * Threads from which on a row has a launch to itself where every thread runs through the branches of all rows: half the
 * time for the weights of DenseNet-121, on the software adapter.
 */
const ownLaunch = 1024;

type Attributes = KernelAttributes["assignAll"];

/** A row of tensors, and how a thread walks over it. */
interface Row {
  readonly views: readonly GpuView[];
  /** By operand, the first one that is the same elements: they share a register. */
  readonly registers: readonly number[];
  readonly axes: LoopAxes;
  readonly isVector: boolean;
  readonly numbers: Readonly<Record<string, number>>;
}

function isSameView(a: GpuView, b: GpuView): boolean {
  return (
    a.buffer === b.buffer && a.offset === b.offset && a.strides.every((n, axis) => n === b.strides[axis])
  );
}

/** Four elements at a time where all operands allow it. `place` is the row's in its launch. */
function rowOf(views: readonly GpuView[], place: number): Row {
  const name = `r${place}_`;
  const merged = new LoopAxes(name, views);
  const isVector =
    merged.rank > 0 &&
    merged.shape[merged.rank - 1] % 4 === 0 &&
    views.every(
      ({ offset }, i) =>
        offset % 4 === 0 && LoopAxes.isAligned({ shape: merged.shape, strides: merged.strides[i] }),
    );
  const axes = isVector ? new LoopAxes(name, views, { width: 4 }) : merged;
  const numbers: Record<string, number> = { ...axes.numbers(), [`${name}size`]: axes.size };
  views.forEach(({ offset }, i) => {
    numbers[`${name}o${i}`] = offset;
  });
  const registers = views.map((view) => views.findIndex((other) => isSameView(view, other)));
  return { views, registers, axes, isVector, numbers };
}

/** WGSL: one row's assignments, by the thread's index `e` in the row. */
function rowText({ views, registers, axes, isVector }: Row, { assignments, parameters }: Attributes): string {
  const { name } = axes;
  const four = isVector ? "4" : "";
  const lines = [axes.split("e")];
  views.forEach((_, i) => {
    lines.push(`  let ${name}at${i} = p.${name}o${i} + ${axes.at(i)};`);
    if (registers[i] === i) lines.push(`  var ${name}v${i} = ${name}x${i}_get${four}(${name}at${i});`);
  });
  const tail = parameters.map((_, i) => `p.q${i}`);
  assignments.forEach(({ target, expression }, n) => {
    const call = (lane: string) =>
      `assign_${expressionName(expression)}_${signature(views, target)}(${[
        ...registers.map((register) => `${name}v${register}${lane}`),
        ...tail,
      ].join(", ")})`;
    const type = scalarOf(views[target].buffer.dtype);
    lines.push(
      `  let ${name}new${n} = ${isVector ? `vec4<${type}>(${[".x", ".y", ".z", ".w"].map(call).join(", ")})` : call("")};`,
      `  ${name}v${registers[target]} = ${name}new${n};`,
    );
  });
  for (const target of new Set(assignments.map(({ target }) => registers[target])))
    lines.push(`  ${name}x${target}_set${four}(${name}at${target}, ${name}v${target});`);
  return lines.join("\n");
}

/** The operands' types and that of the result, as a name. */
const signature = (views: readonly GpuView[], target: number): string =>
  [...views, views[target]].map(({ buffer }) => scalarOf(buffer.dtype)[0]).join("");

function functionsOf(rows: readonly Row[], { assignments, parameters }: Attributes): string {
  const functions = new Map<string, string>();
  for (const { views } of rows)
    for (const { target, expression } of assignments) {
      const name = `assign_${expressionName(expression)}_${signature(views, target)}`;
      if (functions.has(name)) continue;
      const types = views.map(({ buffer }) => scalarOf(buffer.dtype));
      functions.set(
        name,
        expressionFunction(name, expression, types, parameters.length, scalarOf(views[target].buffer.dtype)),
      );
    }
  return [...functions.values()].join("\n");
}

function launchRows(runtime: GpuRuntime, rows: readonly Row[], attributes: Attributes): void {
  const { assignments, parameters } = attributes;
  const targets = new Set(assignments.map(({ target }) => target));
  const numbers: Record<string, Numeral> = Object.assign({}, ...rows.map((row) => row.numbers));
  parameters.forEach((value, i) => {
    numbers[`q${i}`] = float(value);
  });
  runtime.launch({
    label: "assignAll",
    variant: [
      ...assignments.map(({ target, expression }) => `${target}=${expressionName(expression)}`),
      parameters.length,
      ...rows.map(
        ({ registers, axes, isVector }) => `${registers.join(",")}:${axes.rank}${isVector ? "v" : ""}`,
      ),
    ].join("/"),
    operands: rows.flatMap(({ views, axes, isVector, registers }) =>
      views.map(
        ({ buffer }, i): LaunchOperand => ({
          name: `${axes.name}x${i}`,
          buffer,
          access: [...targets].some((target) => registers[target] === i) ? "readWrite" : "read",
          vector: isVector,
        }),
      ),
    ),
    numbers,
    threads: rows.reduce((total, { axes }) => total + axes.size, 0),
    shader: () => {
      const lines = ["  var e = id;"];
      for (const row of rows) {
        const { name } = row.axes;
        lines.push(
          `  if (e < p.${name}size) {\n${rowText(row, attributes)}\n  return;\n  }`,
          `  e -= p.${name}size;`,
        );
      }
      return {
        declarations: expressionFunctions + functionsOf(rows, attributes),
        body: lines.join("\n"),
      };
    },
  });
}

export const assignAll: GpuKernel<Attributes> = (runtime, inputs, _output, attributes) => {
  const { operands, parameters } = attributes;
  const bufferLimit = runtime.device.limits.maxStorageBuffersPerShaderStage;
  // One number is the thread count.
  const numberLimit = parameterBytes / 4 - 1 - parameters.length;
  let rows: Row[] = [];
  let buffers = new Set<number>();
  let numbers = 0;
  const flush = () => {
    if (rows.length > 0) launchRows(runtime, rows, attributes);
    rows = [];
    buffers = new Set();
    numbers = 0;
  };
  for (let first = 0; first < inputs.length; first += operands) {
    const views = inputs.slice(first, first + operands);
    let row = rowOf(views, rows.length);
    if (runtime.traits.runsEveryBranch && row.axes.size >= ownLaunch) {
      launchRows(runtime, [rowOf(views, 0)], attributes);
      continue;
    }
    const added = views.filter(({ buffer }) => !buffers.has(buffer.id)).map(({ buffer }) => buffer.id);
    const tooMany = buffers.size + new Set(added).size > bufferLimit;
    if (tooMany || numbers + Object.keys(row.numbers).length > numberLimit) {
      flush();
      row = rowOf(views, 0);
    }
    rows.push(row);
    for (const { buffer } of views) buffers.add(buffer.id);
    numbers += Object.keys(row.numbers).length;
  }
  flush();
};
