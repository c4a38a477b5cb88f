/** Weights of a checkpoint into a model, with an account of what fitted. */
import { copyInto, noGrad, to } from "../../autograd/index.ts";
import type { Shape } from "../../backends/backend.ts";
import type { Module } from "../../nn/index.ts";
import { formatShape, sameShape } from "../../tensor/layout.ts";
import { scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { FileFormatError } from "../errors.ts";
import { openSafetensors, type SafetensorsFile } from "../safetensors/index.ts";
import { type NamedPart, type NameMapping, partShape, type TensorPart, takePart } from "./names.ts";
import { pretrainedNames } from "./tables.ts";

export interface LoadPretrainedOptions {
  /**
   * How the file calls its tensors: one of `pretrainedNames`, or a function from its names to the model's, with null for
   * tensors to leave out. Default: the one of `pretrainedNames` under which most tensors fit.
   */
  readonly names?: NameMapping | ((stored: string) => string | null);
  /** Throw, before anything is written, unless every tensor of the model and of the file fits. Default true. */
  readonly strict?: boolean;
}

/** A tensor that has a place in the model and another shape there. */
export interface MisshapenTensor {
  /** In the model. */
  readonly name: string;
  readonly stored: Shape;
  readonly expected: Shape;
}

/** What a checkpoint and a model had in common. Names are the model's but for `unexpected`, which are the file's. */
export interface PretrainedReport {
  /** The mapping of names that was used. */
  readonly mapping: string;
  readonly loaded: readonly string[];
  /** Tensors of the model that the file does not hold. Counters of batches do not count: they train nothing. */
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly misshapen: readonly MisshapenTensor[];
}

/** What a stored tensor fills. */
interface Assignment {
  readonly stored: string;
  readonly target: string;
  readonly part: TensorPart;
}

interface Plan {
  readonly assignments: readonly Assignment[];
  readonly report: PretrainedReport;
}

const isCounter = (name: string): boolean => name.endsWith("num_batches_tracked");

function planLoading(file: SafetensorsFile, state: ReadonlyMap<string, Tensor>, names: NameMapping): Plan {
  const assignments: Assignment[] = [];
  const misshapen: MisshapenTensor[] = [];
  const unexpected: string[] = [];
  const filledBy = new Map<string, string>();
  for (const { name: stored, shape } of file.tensors.values()) {
    const parts: readonly NamedPart[] = names.map(stored);
    if (!parts.some(({ name }) => state.has(name)) && parts.length > 0) unexpected.push(stored);
    for (const { name: target, part } of parts) {
      const tensor = state.get(target);
      if (!tensor) continue;
      const other = filledBy.get(target);
      if (other !== undefined)
        throw new FileFormatError(
          `loadPretrained: ${stored} and ${other} both stand for ${target} (names of ${names.name}); ` +
            "leave one out with a function for names",
        );
      filledBy.set(target, stored);
      const given = partShape(shape, part);
      if (sameShape(given, tensor.shape)) assignments.push({ stored, target, part });
      else misshapen.push({ name: target, stored: given, expected: tensor.shape });
    }
  }
  const missing = [...state.keys()].filter((name) => !filledBy.has(name) && !isCounter(name));
  const loaded = assignments.map(({ target }) => target);
  return { assignments, report: { mapping: names.name, loaded, missing, unexpected, misshapen } };
}

/** The mapping under which most tensors fit. */
function choose(file: SafetensorsFile, state: ReadonlyMap<string, Tensor>): NameMapping {
  const known: readonly NameMapping[] = Object.values(pretrainedNames);
  const fitting = ({ map }: NameMapping): number =>
    file.names.reduce((sum, stored) => sum + map(stored).filter(({ name }) => state.has(name)).length, 0);
  return known.reduce((best, candidate) => (fitting(candidate) > fitting(best) ? candidate : best));
}

const listed = (what: string, items: readonly string[]): string[] =>
  items.length === 0
    ? []
    : [
        `${items.length} ${what}:`,
        ...items.slice(0, 10).map((item) => `    ${item}`),
        ...(items.length > 10 ? [`    and ${items.length - 10} more`] : []),
      ];

function checkComplete(path: string, module: Module, report: PretrainedReport): void {
  const { missing, unexpected, misshapen, loaded, mapping } = report;
  const lines = [
    ...listed("tensors of the model are missing in the file", missing),
    ...listed("tensors of the file have no place in the model", unexpected),
    ...listed(
      "tensors have another shape",
      misshapen.map(
        ({ name, stored, expected }) =>
          `${name} is ${formatShape(stored)}, the model has ${formatShape(expected)}`,
      ),
    ),
  ];
  if (lines.length === 0) return;
  throw new FileFormatError(
    `loadPretrained: ${path} does not fit ${module.constructor.name}; ${loaded.length} tensors would ` +
      `(names of ${mapping}).\n  ${lines.join("\n  ")}\n` +
      "Pass { strict: false } to load what fits, or other names.",
  );
}

/**
 * Loads the weights of a safetensors file into `model`, by torchvision's or timm's names of DenseNet, ResNet, ResNeXt,
 * CSPResNeXt, CSPDarknet, Darknet and EfficientNet, or by names of your own. Everything is compared before the first
 * number is written, then one tensor is in memory at a time; dtypes are converted. Throws a FileFormatError when the
 * file is broken and, if `strict`, when something does not fit: it lists what is missing, unexpected and misshapen.
 *
 *     const { missing } = await loadPretrained(model, "resnet50.safetensors", { strict: false });
 *
 * A name is no promise of the same function: timm's CSP networks have leaky ReLUs of slope 0.01 where Darknet's, and
 * ours, have 0.1, and sides of equal width in their first stage.
 */
export async function loadPretrained(
  model: Module,
  path: string,
  { names, strict = true }: LoadPretrainedOptions = {},
): Promise<PretrainedReport> {
  const file = await openSafetensors(path);
  try {
    const state = model.stateDict();
    const mapping = typeof names === "function" ? ownNames(names) : (names ?? choose(file, state));
    const { assignments, report } = planLoading(file, state, mapping);
    if (strict) checkComplete(path, model, report);
    await fill(file, state, assignments);
    return report;
  } finally {
    await file.close();
  }
}

function ownNames(map: (stored: string) => string | null): NameMapping {
  return {
    name: "your own",
    map: (stored) => {
      const name = map(stored);
      return name === null ? [] : [{ name, part: "whole" }];
    },
  };
}

async function fill(
  file: SafetensorsFile,
  state: ReadonlyMap<string, Tensor>,
  assignments: readonly Assignment[],
): Promise<void> {
  const byStored = new Map<string, Assignment[]>();
  for (const assignment of assignments)
    byStored.set(assignment.stored, [...(byStored.get(assignment.stored) ?? []), assignment]);
  for (const [stored, parts] of byStored) {
    const source = await file.tensor(stored);
    scope(() =>
      noGrad(() => {
        for (const { target, part } of parts) {
          const own = state.get(target);
          if (own) copyInto(own, to(takePart(source, part), own.dtype));
        }
      }),
    );
    source.dispose();
  }
}
