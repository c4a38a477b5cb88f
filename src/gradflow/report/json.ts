/** The report as a JSON file: reading with one clear error, writing in a stable order. */

import { z } from "zod";
import { type GradientReuseReport, gradientReuseReportSchema, reportSchemaVersion } from "./schema.ts";

/** A report that cannot be read or must not be written; the message says where it is wrong and what to do. */
export class ReportError extends Error {
  override name = "ReportError";
}

/**
 * Reads a report.
 * @throws {ReportError} when the text is not JSON, has a newer or older schema version, or breaks the schema (with the path)
 */
export function parseReport(text: string): GradientReuseReport {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ReportError(`gradient reuse report: not JSON (${reason}); is the file complete?`);
  }
  const version = versionOf(value);
  if (version !== undefined && version > reportSchemaVersion) {
    throw new ReportError(
      `gradient reuse report: schemaVersion ${version} is newer than ${reportSchemaVersion}, the newest that this ` +
        "gradweave reads; update gradweave, or make the report again with this version",
    );
  }
  if (version !== undefined && version < reportSchemaVersion) {
    throw new ReportError(
      `gradient reuse report: schemaVersion ${version} is older than ${reportSchemaVersion}, the only one that this ` +
        "gradweave reads; make the report again with this version",
    );
  }
  return checked(value);
}

/**
 * Writes a report: keys in the schema's order, settings sorted, rows of numbers on one line, so that two runs
 * can be compared with `diff`.
 * @throws {ReportError} when a number is NaN or infinite (with its path) or the report breaks the schema
 */
export function serializeReport(report: GradientReuseReport): string {
  const path = firstNonFinite(report, "");
  if (path !== undefined) {
    throw new ReportError(
      `gradient reuse report: ${path.at} is ${path.value}, which JSON cannot hold; ` +
        "write null for a number that was not measured and give the reason in `gaps`",
    );
  }
  const { meta, ...rest } = checked(report);
  const settings = Object.fromEntries(Object.entries(meta.settings).sort(([a], [b]) => (a < b ? -1 : 1)));
  const { schemaVersion, ...body } = rest;
  return `${layOut({ schemaVersion, meta: { ...meta, settings }, ...body }, "")}\n`;
}

/** The report's format as a JSON Schema (draft 2020-12), for editors and for readers in other languages. */
export function reportJsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(gradientReuseReportSchema) };
}

function checked(value: unknown): GradientReuseReport {
  const result = gradientReuseReportSchema.safeParse(value);
  if (result.success) return result.data;
  throw new ReportError(
    `gradient reuse report: does not follow schema version ${reportSchemaVersion}\n${z.prettifyError(result.error)}`,
  );
}

function versionOf(value: unknown): number | undefined {
  if (typeof value !== "object" || value === null || !("schemaVersion" in value)) return undefined;
  return typeof value.schemaVersion === "number" ? value.schemaVersion : undefined;
}

function firstNonFinite(value: unknown, at: string): { at: string; value: number } | undefined {
  if (typeof value === "number") return Number.isFinite(value) ? undefined : { at, value };
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, child] of Object.entries(value)) {
    const childPath = Array.isArray(value) ? `${at}[${key}]` : at === "" ? key : `${at}.${key}`;
    const found = firstNonFinite(child, childPath);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** JSON with two spaces of indentation, but lists of plain values on one line. */
function layOut(value: unknown, indent: string): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((item) => typeof item !== "object" || item === null)) {
      return `[${value.map((item) => JSON.stringify(item)).join(", ")}]`;
    }
    return `[\n${value.map((item) => inner + layOut(item, inner)).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, child]) => child !== undefined);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([key, child]) => `${inner}${JSON.stringify(key)}: ${layOut(child, inner)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}
