/**
 * A training on disk, so that it goes on after whatever ended it with the numbers it would have had: weights and
 * optimizer state as safetensors, the rest as JSON. The JSON file is written last and names the other two, which have
 * the step in their names: whenever the power fails, it names files that are complete and belong together.
 */
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { writeFilesAtomically } from "../io/atomicFiles.ts";
import { FileFormatError, loadPretrained, openSafetensors, saveSafetensors } from "../io/index.ts";
import type { Module } from "../nn/index.ts";
import type { Optimizer } from "../nn/optim/index.ts";
import { defaultGenerator, type Tensor } from "../tensor/index.ts";
import type { StepRecord } from "./trainingRun.ts";

const fileName = "training.json";
const formatVersion = 1;

const json: z.ZodType<SettingValue> = z.union([z.string(), z.number(), z.boolean(), z.null()]);

/** A value among the settings of a training. */
export type SettingValue = string | number | boolean | null;

const stateShape = z.strictObject({
  format: z.literal("gradweave training"),
  version: z.literal(formatVersion),
  /** Everything that the numbers depend on. */
  settings: z.record(z.string(), json),
  weights: z.string().regex(/^weights-\d+\.safetensors$/),
  optimizer: z.string().regex(/^optimizer-\d+\.safetensors$/),
  optimizerSteps: z.array(z.number().int().nonnegative()),
  generator: z.strictObject({
    algorithm: z.literal("philox4x32-10"),
    seed: z.string(),
    key: z.tuple([z.number(), z.number()]),
    stream: z.number(),
    draw: z.number(),
  }),
  /** A row a step: loss, accuracy, milliseconds, images, learning rate. */
  records: z.array(z.tuple([z.number(), z.number(), z.number(), z.number(), z.number()])),
});

type StoredState = z.infer<typeof stateShape>;

/** A training that was found on disk. */
export interface FoundTraining {
  readonly settings: Readonly<Record<string, SettingValue>>;
  readonly records: readonly StepRecord[];
  /**
   * Fills the model, the optimizer and the default generator. Throws a FileFormatError where a file is damaged or does
   * not fit.
   */
  restore(model: Module, optimizer: Optimizer): Promise<void>;
}

export interface SavedTraining {
  readonly settings: Readonly<Record<string, SettingValue>>;
  readonly records: readonly StepRecord[];
  readonly model: Module;
  readonly optimizer: Optimizer;
}

/** Keeps a training in `folder`, which must exist, in place of an earlier state. Throws the file system's error. */
export async function saveTraining(
  folder: string,
  { settings, records, model, optimizer }: SavedTraining,
): Promise<void> {
  const { tensors, steps } = optimizer.stateDict();
  const state: StoredState = {
    format: "gradweave training",
    version: formatVersion,
    settings,
    weights: `weights-${records.length}.safetensors`,
    optimizer: `optimizer-${records.length}.safetensors`,
    optimizerSteps: [...steps],
    generator: { ...defaultGenerator().state(), key: [...defaultGenerator().state().key] },
    records: records.map(({ loss, accuracy, milliseconds, images, learningRate }) => [
      loss,
      accuracy,
      milliseconds,
      images,
      learningRate,
    ]),
  };
  await saveSafetensors(join(folder, state.weights), model.stateDict());
  await saveSafetensors(join(folder, state.optimizer), tensors);
  await writeFilesAtomically(new Map([[join(folder, fileName), `${JSON.stringify(state)}\n`]]));
  const current = new Set([state.weights, state.optimizer]);
  for (const name of await readdir(folder))
    if (/^(weights|optimizer)-\d+\.safetensors$/.test(name) && !current.has(name))
      await rm(join(folder, name), { force: true });
}

/** The training that `folder` keeps, or null when there is none. Throws a FileFormatError for a damaged state. */
export async function findTraining(folder: string): Promise<FoundTraining | null> {
  const path = join(folder, fileName);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return null;
    throw error;
  }
  const state = parseState(path, text);
  const records = state.records.map(([loss, accuracy, milliseconds, images, learningRate], step) => ({
    step,
    loss,
    accuracy,
    milliseconds,
    images,
    learningRate,
  }));
  return {
    settings: state.settings,
    records,
    restore: (model, optimizer) => restore(folder, state, model, optimizer),
  };
}

function parseState(path: string, text: string): StoredState {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new FileFormatError(`${path}: is not JSON; delete its folder and train anew`, { cause });
  }
  const parsed = stateShape.safeParse(content);
  if (parsed.success) return parsed.data;
  const [problem] = parsed.error.issues;
  throw new FileFormatError(
    `${path}: is no state of a training of this version: ${problem.path.join(".") || "it"}: ${problem.message}; ` +
      "delete its folder and train anew",
  );
}

async function restore(
  folder: string,
  state: StoredState,
  model: Module,
  optimizer: Optimizer,
): Promise<void> {
  const what = `${basename(folder)}/${fileName}`;
  await loadPretrained(model, join(folder, state.weights), { names: (name) => name });
  const file = await openSafetensors(join(folder, state.optimizer));
  const tensors = new Map<string, Tensor>();
  try {
    for (const name of file.names) tensors.set(name, await file.tensor(name));
    optimizer.loadStateDict({ tensors, steps: state.optimizerSteps });
    defaultGenerator().restore(state.generator);
  } catch (cause) {
    if (cause instanceof FileFormatError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FileFormatError(`${what} does not fit its model: ${reason}`, { cause });
  } finally {
    for (const tensor of tensors.values()) tensor.dispose();
    await file.close();
  }
}
