/** The two stages of a reduction: reading all elements, and merging the parts of an output. */
import { scalarOf } from "../programs.ts";
import type { GpuRuntime, LaunchOperand } from "../runtime.ts";
import { expressionFunctions } from "../wgsl.ts";
import type { LoopAxes } from "./loopAxes.ts";
import type { Reduction } from "./reductionSpec.ts";

/** Declarations that every stage has. */
const types = (scalar: string, isVector: boolean): string =>
  isVector
    ? `alias T = vec4<${scalar}>;\nalias U = vec4<u32>;\nalias B = vec4<bool>;\n`
    : `alias T = ${scalar};\nalias U = u32;\nalias B = bool;\n`;

const lanes = ["x", "y", "z", "w"] as const;

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
export function launchScan(runtime: GpuRuntime, reduction: Reduction, scan: Scan): void {
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
export function launchMerge(runtime: GpuRuntime, reduction: Reduction, merging: Merge): void {
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
