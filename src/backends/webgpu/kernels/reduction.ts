/**
 * Reductions without barriers or atomics. A thread reduces every so-manieth element of one output; where outputs are
 * few, many threads share one and leave partial results that further launches merge, always in the same order. So the
 * bits do not depend on timing, and as no thread adds up more than some thousand elements one after the other, the
 * rounding of long sums grows with the number of levels more than with their length.
 */
import type { Layout } from "../../backend.ts";
import type { Numeral } from "../parameters.ts";
import { type Access, scalarOf } from "../programs.ts";
import type { GpuRuntime, GpuView, LaunchOperand } from "../runtime.ts";
import { expressionFunctions } from "../wgsl.ts";
import { axesOf, LoopAxes, otherAxes } from "./loopAxes.ts";

/** One number that a reduction carries from element to element. */
export interface Slot {
  readonly name: string;
  readonly type: "f32" | "i32";
  /** WGSL of its value before the first element. */
  readonly start: string;
}

/** An operand with one element per output. */
export interface OutputOperand {
  readonly name: string;
  readonly buffer: GpuView["buffer"];
  readonly access: Access;
  /** Over the axes that are kept, in their order. */
  readonly layout: Layout;
}

/** What to reduce, and how. All texts are WGSL. */
export interface Reduction {
  readonly label: string;
  /** What the texts depend on beside the label. */
  readonly variant?: string;
  /** `x0`, `x1`, … of one shape; an element of the i-th is `a0`, `a1`, … in `fold`. */
  readonly inputs: readonly GpuView[];
  /** How many of the inputs `fold` reads; the others are for `finish`. Default: all. */
  readonly folded?: number;
  readonly axes: readonly number[];
  /** Read as `name_get(name_at)`, written as `name_set(name_at, value)`. */
  readonly operands: readonly OutputOperand[];
  readonly numbers?: Readonly<Record<string, Numeral>>;
  /** Functions that the texts call. */
  readonly declarations?: string;
  readonly slots: readonly Slot[];
  /** Before the first element, and before `finish`: what holds for all elements of an output. */
  readonly prologue?: string;
  /** Updates the slots by one element, the `j`-th; `T` is f32, or vec4<f32> where four are read at a time. */
  readonly fold: string;
  /** Updates the slots by those of another part, `other_name`. */
  readonly merge: string;
  /** Writes the outputs. Given the reduced axes, to find an element again. */
  readonly finish: string | ((reduced: LoopAxes) => string);
  /** Whether `fold` works on four elements at a time. */
  readonly mayVectorise?: boolean;
}

/** Up to so many elements one thread takes an output by itself. */
const aloneLimit = 256;
/** The most that a thread adds up one after the other. */
const longestChunk = 1024;
const shortestChunk = 32;
/** Threads that keep a device busy. */
const busyThreads = 65_536;
/** Partial results that one thread merges. */
const mergedAtOnce = 64;

function chunksOf(outputs: number, steps: number): number {
  if (steps <= aloneLimit) return 1;
  const forSpeed = Math.min(Math.ceil(steps / shortestChunk), Math.ceil(busyThreads / Math.max(1, outputs)));
  return Math.max(forSpeed, Math.ceil(steps / longestChunk));
}

/** Declarations that every stage has. */
const types = (scalar: string, isVector: boolean): string =>
  isVector
    ? `alias T = vec4<${scalar}>;\nalias U = vec4<u32>;\nalias B = vec4<bool>;\n`
    : `alias T = ${scalar};\nalias U = u32;\nalias B = bool;\n`;

const lanes = ["x", "y", "z", "w"] as const;

/** Runs a reduction; over no elements the slots keep what they start with. */
export function launchReduction(runtime: GpuRuntime, reduction: Reduction): void {
  const { inputs, axes, operands, slots, mayVectorise = false, folded = inputs.length } = reduction;
  const keptAxes = otherAxes(inputs[0].shape.length, axes);
  const kept = new LoopAxes("k", [
    ...inputs.map((view) => axesOf(view, keptAxes)),
    ...operands.map(({ layout }) => layout),
  ]);
  const reducedLayouts = inputs.map((view) => axesOf(view, axes));
  const merged = new LoopAxes("r", reducedLayouts);
  const isVector =
    mayVectorise &&
    merged.rank > 0 &&
    merged.shape[merged.rank - 1] % 4 === 0 &&
    inputs.every(
      ({ offset }, i) =>
        offset % 4 === 0 &&
        LoopAxes.isAligned({ shape: merged.shape, strides: merged.strides[i] }) &&
        kept.strides[i].every((stride) => stride % 4 === 0),
    );
  const reduced = isVector ? new LoopAxes("r", reducedLayouts, { width: 4 }) : merged;
  const chunks = chunksOf(kept.size, reduced.size);
  const buffer = slots.every(({ type }) => type === "f32") ? "f32" : "i32";
  const partialLength = (parts: number) => slots.length * kept.size * parts;
  const scan = (partials: LaunchOperand | null) =>
    launchScan(runtime, reduction, { kept, reduced, isVector, folded, chunks, partials });
  if (chunks === 1) {
    scan(null);
    return;
  }
  runtime.scratch(
    partialLength(chunks),
    (first) => {
      scan({ name: "partial", buffer: first, access: "write" });
      const mergeFrom = (source: typeof first, parts: number): void => {
        const from: LaunchOperand = { name: "partial", buffer: source, access: "read" };
        if (parts <= mergedAtOnce) {
          launchMerge(runtime, reduction, { kept, reduced, parts, left: 1, from, to: null });
          return;
        }
        const left = Math.ceil(parts / (mergedAtOnce / 2));
        runtime.scratch(
          partialLength(left),
          (next) => {
            const to: LaunchOperand = { name: "merged", buffer: next, access: "write" };
            launchMerge(runtime, reduction, { kept, reduced, parts, left, from, to });
            mergeFrom(next, left);
          },
          buffer,
        );
      };
      mergeFrom(first, chunks);
    },
    buffer,
  );
}

/** WGSL: the index of the output, its digits, and the position of every operand. */
function openOutput({ inputs, operands }: Reduction, kept: LoopAxes): string {
  return [
    kept.split("k"),
    ...inputs.map((_, i) => `  let x${i}_k = p.x${i}_o + ${kept.at(i)};`),
    ...operands.map(({ name }, i) => `  let ${name}_at = p.${name}_o + ${kept.at(inputs.length + i)};`),
  ].join("\n");
}

function offsets({ inputs, operands }: Reduction): Record<string, number> {
  const numbers: Record<string, number> = {};
  inputs.forEach(({ offset }, i) => {
    numbers[`x${i}_o`] = offset;
  });
  for (const { name, layout } of operands) numbers[`${name}_o`] = layout.offset;
  return numbers;
}

const inputOperands = ({ inputs }: Reduction, vector: boolean): LaunchOperand[] =>
  inputs.map(({ buffer }, i) => ({ name: `x${i}`, buffer, access: "read", vector }));

/** A slot in memory of `buffer`'s dtype; the bits of the other kind pass unchanged. */
const stored = (type: string, memory: string, text: string): string =>
  type === memory ? text : `bitcast<${memory}>(${text})`;
const loaded = (type: string, memory: string, text: string): string =>
  type === memory ? text : `bitcast<${type}>(${text})`;

function finishText({ finish }: Reduction, reduced: LoopAxes): string {
  return typeof finish === "string" ? finish : finish(reduced);
}

interface Scan {
  readonly kept: LoopAxes;
  readonly reduced: LoopAxes;
  readonly isVector: boolean;
  readonly folded: number;
  readonly chunks: number;
  /** Where the parts of an output go; null where there is but one. */
  readonly partials: LaunchOperand | null;
}

/** Reads all elements, each thread those of one part of one output. */
function launchScan(runtime: GpuRuntime, reduction: Reduction, scan: Scan): void {
  const {
    label,
    variant = "",
    inputs,
    operands,
    slots,
    fold,
    merge,
    prologue = "",
    declarations = "",
  } = reduction;
  const { kept, reduced, isVector, folded, chunks, partials } = scan;
  // Neighbouring threads read neighbouring elements, along the parts of an output or from output to output.
  const lastOf = (axes: LoopAxes) => axes.strides[0][axes.rank - 1] ?? Number.POSITIVE_INFINITY;
  const partsFirst = chunks > 1 && lastOf(reduced) / (isVector ? 4 : 1) <= lastOf(kept);
  const memory = partials ? scalarOf(partials.buffer.dtype) : "f32";
  const scalar = scalarOf(inputs[0].buffer.dtype);
  runtime.launch({
    label,
    variant: `${variant}/scan/${kept.rank},${reduced.rank}${isVector ? "v" : ""}${partials ? (partsFirst ? "p" : "o") : ""}`,
    operands: [
      ...inputOperands(reduction, isVector),
      ...operands.filter(({ access }) => access === "read" || !partials),
      ...(partials ? [partials] : []),
    ],
    numbers: {
      ...offsets(reduction),
      ...kept.numbers(),
      ...reduced.numbers(),
      ...reduced.stepNumbers(chunks),
      outputs: kept.size,
      steps: reduced.size,
      chunks,
      ...reduction.numbers,
    },
    threads: kept.size * chunks,
    shader: () => {
      const typeOf = (type: string) => (isVector ? `vec4<${type}>` : type);
      const index = !partials
        ? "  let k = id;\n  let part = 0;"
        : partsFirst
          ? "  let k = id / p.chunks;\n  let part = id % p.chunks;"
          : "  let k = id % p.outputs;\n  let part = id / p.outputs;";
      const loads = inputs
        .slice(0, folded)
        .map((_, i) => `    let a${i} = x${i}_get${isVector ? "4" : ""}(x${i}_k + ${reduced.at(i)});`);
      const mergeLanes = isVector
        ? lanes
            .slice(1)
            .map(
              (lane) =>
                `  {\n${slots.map(({ name }) => `  let other_${name} = lanes_${name}.${lane};`).join("\n")}\n${merge}\n  }`,
            )
        : [];
      return {
        declarations: expressionFunctions + types(scalar, isVector) + declarations,
        body: [
          index,
          openOutput(reduction, kept),
          prologue,
          ...slots.map(({ name, type }) => `  var lanes_${name}: ${typeOf(type)};`),
          "  {",
          ...slots.map(({ name, type, start }) => `  var ${name} = ${typeOf(type)}(${start});`),
          reduced.split("part"),
          "  for (var j = part; j < p.steps; j += p.chunks) {",
          ...loads,
          fold,
          reduced.advance(),
          "  }",
          ...slots.map(({ name }) => `  lanes_${name} = ${name};`),
          "  }",
          ...slots.map(({ name }) => `  var ${name} = lanes_${name}${isVector ? ".x" : ""};`),
          ...mergeLanes,
          partials
            ? slots
                .map(
                  ({ name, type }, i) =>
                    `  partial_set((${i} * p.outputs + k) * p.chunks + part, ${stored(type, memory, name)});`,
                )
                .join("\n")
            : finishText(reduction, reduced),
        ].join("\n"),
      };
    },
  });
}

interface Merge {
  readonly kept: LoopAxes;
  readonly reduced: LoopAxes;
  /** Parts of every output now, and afterwards. */
  readonly parts: number;
  readonly left: number;
  readonly from: LaunchOperand;
  /** Where the parts that are left go; null where that is the result. */
  readonly to: LaunchOperand | null;
}

/** Merges parts of outputs, each thread the parts of one output that lie `left` apart. */
function launchMerge(runtime: GpuRuntime, reduction: Reduction, merging: Merge): void {
  const { label, variant = "", operands, slots, merge, prologue = "", declarations = "" } = reduction;
  const { kept, reduced, parts, left, from, to } = merging;
  const memory = scalarOf(from.buffer.dtype);
  runtime.launch({
    label: `${label} (merge)`,
    variant: `${variant}/${kept.rank},${reduced.rank}${to ? "p" : ""}`,
    operands: to ? [from, to] : [from, ...inputOperands(reduction, false), ...operands],
    numbers: {
      parts,
      left,
      outputs: kept.size,
      ...(to ? {} : { ...offsets(reduction), ...kept.numbers(), ...reduced.numbers(), ...reduction.numbers }),
    },
    threads: kept.size * left,
    shader: () => ({
      declarations:
        expressionFunctions + types(scalarOf(reduction.inputs[0].buffer.dtype), false) + declarations,
      body: [
        "  let k = id / p.left;\n  let part = id % p.left;",
        to ? "" : `${openOutput(reduction, kept)}\n${prologue}`,
        ...slots.map(({ name, type, start }) => `  var ${name} = ${type}(${start});`),
        "  for (var e = part; e < p.parts; e += p.left) {",
        ...slots.map(
          ({ name, type }, i) =>
            `    let other_${name} = ${loaded(type, memory, `partial_get((${i} * p.outputs + k) * p.parts + e)`)};`,
        ),
        merge,
        "  }",
        to
          ? slots
              .map(
                ({ name, type }, i) =>
                  `  merged_set((${i} * p.outputs + k) * p.left + part, ${stored(type, memory, name)});`,
              )
              .join("\n")
          : finishText(reduction, reduced),
      ].join("\n"),
    }),
  });
}

/** The layout of a reduction's output, whose reduced axes have extent 1, over the axes that are kept. */
export function keptLayout(output: GpuView, axes: readonly number[]): Layout {
  const kept = otherAxes(output.shape.length, axes);
  return { ...axesOf(output, kept), offset: output.offset };
}
