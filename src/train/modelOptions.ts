/** A network as the options of a command describe it: its name, the options of its family as JSON, its weights. */
import { InvalidArgumentError } from "commander";
import { z } from "zod";
import { FileFormatError, loadPretrained, openSafetensors } from "../io/index.ts";
import { type CommonOptions, createModel, listModels, modelEntry, type Network } from "../models/index.ts";
import type { Module } from "../nn/index.ts";
import { wrapText } from "../text/table.ts";
import { asUsage, UsageError } from "./exitCodes.ts";

const jsonObject = z.record(z.string(), z.json());

/** A paragraph for `--help`: every name that `--model` takes. */
export function modelsHelp(): string {
  return wrapText(`Models: ${listModels().join(", ")}`, 100, "  ").join("\n");
}

/** Options of a network, by name. */
export type GivenOptions = z.infer<typeof jsonObject>;

/** A parser for commander: `'{"growthRate": 8}'`. */
export function modelOptionsArgument(text: string): GivenOptions {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const parsed = jsonObject.safeParse(value);
  if (!parsed.success) throw new InvalidArgumentError(`Give a JSON object, such as '{"growthRate": 8}'.`);
  return parsed.data;
}

/** Number, string, list of lists of numbers: what a value must be to stand where another one stands. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "list" : `list of ${kindOf(value[0])}s`;
  return value === null ? "null" : typeof value;
}

/** Builds a network. Throws a UsageError for an unknown name (with the nearest) and for options that it has not. */
export function buildModel(name: string, given: GivenOptions, classes?: number): Network {
  const { defaults } = asUsage("--model", () => modelEntry(name));
  const known = new Map<string, unknown>(Object.entries(defaults));
  for (const [option, value] of Object.entries(given))
    if (known.has(option) && kindOf(value) !== kindOf(known.get(option)))
      throw new UsageError(
        `--model-options: ${option} of ${name} must be a ${kindOf(known.get(option))}, such as ` +
          `${JSON.stringify(known.get(option))}; got ${JSON.stringify(value)}`,
      );
  const options: Partial<CommonOptions> = { ...given, ...(classes === undefined ? {} : { classes }) };
  return asUsage(`--model ${name}`, () => createModel(name, options));
}

const storedOptions = z.string().transform((text, context) => {
  try {
    return jsonObject.parse(JSON.parse(text));
  } catch {
    context.addIssue({ code: "custom", message: "no JSON object" });
    return z.NEVER;
  }
});
const storedClasses = z.string().transform((text, context) => {
  try {
    return z.array(z.string()).parse(JSON.parse(text));
  } catch {
    context.addIssue({ code: "custom", message: "no list of names" });
    return z.NEVER;
  }
});
const description = z.object({
  model: z.string(),
  modelOptions: storedOptions,
  classes: storedClasses,
  imageSize: z.coerce.number().int().positive(),
});

/** What a weights file of ours says of the network that it belongs to. */
export type WeightsDescription = z.infer<typeof description>;

/** The texts of a weights file that `describeWeights` reads. */
export function weightsMetadata(network: WeightsDescription): Record<string, string> {
  const { model, modelOptions, classes, imageSize } = network;
  return {
    format: "pt",
    model,
    modelOptions: JSON.stringify(modelOptions),
    classes: JSON.stringify(classes),
    imageSize: String(imageSize),
  };
}

/** Errors of the file system say which option named the file. */
async function asNamedFile<Result>(
  option: string,
  path: string,
  body: () => Promise<Result>,
): Promise<Result> {
  try {
    return await body();
  } catch (cause) {
    if (!(cause instanceof Error && "code" in cause && typeof cause.code === "string")) throw cause;
    const why = cause.code === "ENOENT" ? "does not exist" : `cannot be read (${cause.code})`;
    throw new UsageError(`${option} ${path}: ${why}; give the path of a safetensors file`, { cause });
  }
}

/**
 * What a weights file says of its network; null where it says nothing, as those of other projects do. Throws a
 * UsageError for a file that cannot be read, a FileFormatError for a broken one.
 */
export async function describeWeights(path: string): Promise<WeightsDescription | null> {
  return asNamedFile("--weights", path, async () => {
    const file = await openSafetensors(path);
    try {
      const parsed = description.safeParse(Object.fromEntries(file.metadata));
      return parsed.success ? parsed.data : null;
    } finally {
      await file.close();
    }
  });
}

/** Fills `model` with a weights file, all of it. Throws a FileFormatError for the weights of another network. */
export async function loadWeights(model: Module, path: string): Promise<void> {
  try {
    await asNamedFile("--weights", path, () => loadPretrained(model, path));
  } catch (cause) {
    if (!(cause instanceof FileFormatError)) throw cause;
    // Its last line tells programmers what to pass.
    const account = cause.message.replace(/\nPass \{.*$/s, "");
    throw new FileFormatError(
      `${account}\nGive a whole file of this network's weights, or the --model that this file belongs to.`,
      { cause },
    );
  }
}
