/** Reading and writing Darknet's network descriptions: text to typed sections and back. */
import type { z } from "zod";
import { DarknetError, quote } from "./error.ts";
import { type LayerSection, type LayerType, layerSchemas, type NetSection, netSchema } from "./schema.ts";
import { type RawSection, splitSections } from "./sections.ts";

/** A network as its cfg describes it. Layers are counted from 0 and do not include [net]. */
export interface DarknetCfg {
  readonly net: NetSection;
  readonly layers: readonly LayerSection[];
}

/** The values of a section's keys. Throws with the line of the first key that is unknown or has a bad value. */
function readKeys<Schema extends z.ZodObject>(
  { type, line, entries }: RawSection,
  schema: Schema,
): z.output<Schema> {
  for (const { key, line: at } of entries.values())
    if (!Object.hasOwn(schema.shape, key))
      throw new DarknetError(
        `unknown key ${quote(key)}; known are ${Object.keys(schema.shape).join(", ")}. Comment it out if it changes nothing`,
        { line: at, section: type },
      );
  const result = schema.safeParse(Object.fromEntries([...entries].map(([key, { value }]) => [key, value])));
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const key = String(issue.path[0]);
  const entry = entries.get(key);
  if (!entry) throw new DarknetError(`has no ${key}; add it`, { line, section: type });
  throw new DarknetError(`${key}=${quote(entry.value).slice(1, -1)}: ${key} ${issue.message}`, {
    line: entry.line,
    section: type,
  });
}

function isLayerType(type: string): type is LayerType {
  return Object.hasOwn(layerSchemas, type);
}

function readLayer(section: RawSection): LayerSection {
  const { type, line } = section;
  if (!isLayerType(type))
    throw new DarknetError(
      `this section type is not supported; supported are ${Object.keys(layerSchemas).join(", ")}`,
      { line, section: type.slice(0, 60) },
    );
  const keys = readKeys(section, layerSchemas[type]);
  // TypeScript does not follow that the schema found under a type gives that type's keys.
  return { kind: type, line, ...keys } as LayerSection;
}

/**
 * Reads a cfg. Every section is checked against what Darknet reads from it; where layers lie and what shapes they have
 * is checked by `planNetwork`. Short names such as [conv] become their long ones, and a repeated key's first value
 * counts, as in Darknet.
 *
 * Throws a `DarknetError` with line and section for anything unknown: a section type, a key, an activation, a value
 * that is no number where one is needed. Darknet itself ignores unknown keys, takes an unknown activation for ReLU, and
 * reads "x" as 0: a network that computes something else than its author meant.
 */
export function readCfg(text: string): DarknetCfg {
  const [first, ...rest] = splitSections(text);
  if (!first) throw new DarknetError("the text has no sections; a cfg starts with [net]");
  if (first.type !== "net")
    throw new DarknetError("the first section must be [net]", { line: first.line, section: first.type });
  const net: NetSection = { kind: "net", line: first.line, ...readKeys(first, netSchema) };
  const layers = rest.map(readLayer);
  if (layers.length === 0)
    throw new DarknetError("there are no layers after [net]", { line: first.line, section: "net" });
  return { net, layers };
}

function valueText(value: unknown): string {
  return Array.isArray(value) ? value.join(",") : String(value);
}

/** Keys that are written even where their absence means the same: OpenCV has other defaults for them. */
const alwaysWritten = new Set([
  ...[
    "batch",
    "width",
    "height",
    "channels",
    "filters",
    "size",
    "stride",
    "pad",
    "activation",
    "output",
    "groups",
  ],
  ...["probability", "classes", "num"],
]);

/** The lines of a section: every key whose value is not what its absence means. */
function sectionLines(section: NetSection | LayerSection): string[] {
  const schema: z.ZodObject = section.kind === "net" ? netSchema : layerSchemas[section.kind];
  const lines = [`[${section.kind}]`];
  for (const [key, field] of Object.entries(schema.shape)) {
    const value: unknown = Reflect.get(section, key);
    const absent = (field as z.ZodType).safeParse(undefined);
    const implied = absent.success && valueText(absent.data) === valueText(value);
    if (value !== undefined && (!implied || alwaysWritten.has(key))) lines.push(`${key}=${valueText(value)}`);
  }
  return lines;
}

/**
 * The text of a cfg, without comments and without most keys that have their default value. Reading it gives the same
 * network: `readCfg(writeCfg(cfg))` differs from `cfg` in line numbers only.
 */
export function writeCfg(cfg: DarknetCfg): string {
  return [cfg.net, ...cfg.layers].map((section) => `${sectionLines(section).join("\n")}\n`).join("\n");
}
