/** Networks by name: `createModel("densenet-121")`. */
import { catalog } from "./catalog.ts";
import type { CommonOptions, ModelEntry } from "./modelEntry.ts";
import type { Network } from "./network.ts";

type Entry = (typeof catalog)[number];
type EntryOf<Name extends ModelName> = Extract<Entry, { readonly name: Name }>;

/** Names that `createModel` knows. */
export type ModelName = Entry["name"];

/** The options of a model: `ModelOptions<"csp-peleenet">`. */
export type ModelOptions<Name extends ModelName> = NonNullable<Parameters<EntryOf<Name>["create"]>[0]>;

/** How many letters must be put in, taken away or changed to make one word the other (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length];
}

/** The names of all models, in the order of their families. */
export function listModels(): ModelName[] {
  return catalog.map(({ name }) => name);
}

/** What is known of a model: summary, row of the paper, options with their defaults. Throws for unknown names. */
export function modelEntry(name: string): ModelEntry {
  const entry = catalog.find((candidate) => candidate.name === name);
  if (entry) return entry;
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  const distance = (known: string) => editDistance(plain(known), plain(name));
  const nearest = listModels()
    .sort((a, b) => distance(a) - distance(b))
    .slice(0, 3);
  throw new Error(
    `createModel: there is no model "${name}"; the nearest are ${nearest.join(", ")}, listModels() has all`,
  );
}

/**
 * Builds a network by name. Options that are not given have the model's defaults; those that it has not are refused.
 * Throws for unknown names, and names the nearest.
 *
 *     createModel("densenet-121", { classes: 10 })
 */
export function createModel<Name extends ModelName>(
  name: Name,
  options?: ModelOptions<Name>,
): ReturnType<EntryOf<Name>["create"]>;
export function createModel(name: string, options?: Partial<CommonOptions>): Network;
export function createModel(name: string, options: Partial<CommonOptions> = {}): Network {
  return modelEntry(name).create(options);
}
