/** The end of a measuring run: the report goes to files, and to whoever started the run. */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, relative } from "node:path";
import {
  type GradientReuseReport,
  type ReportMeta,
  renderHtml,
  renderTerminal,
  serializeReport,
} from "../gradflow/index.ts";
import { writeFilesAtomically } from "../io/atomicFiles.ts";
import { defaultBackend } from "../tensor/index.ts";

/** What the report says of the run's surroundings: when, how and with what it was started. */
export function environment(): Pick<ReportMeta, "createdAt" | "command" | "versions" | "machine"> {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const version =
    typeof manifest === "object" && manifest !== null && "version" in manifest
      ? String(manifest.version)
      : "unknown";
  const [, script = "", ...args] = process.argv;
  const { name, description, threads } = defaultBackend().info();
  const processor = cpus()[0]?.model || "unknown";
  return {
    createdAt: new Date().toISOString(),
    command: ["npx tsx", relative(process.cwd(), script), ...args.map(quoted)].join(" "),
    versions: { gradweave: version, node: process.version },
    machine: { cpu: name === "cpu" ? processor : `${processor}, ${name} on ${description}`, threads },
  };
}

/** An argument as a shell takes it. */
function quoted(argument: string): string {
  return /^[\w./:=,+-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

export interface PublishOptions {
  readonly folder: string;
  /** File name without its ending. */
  readonly name: string;
  /** Print no table. */
  readonly quiet?: boolean;
  /** Print the report as JSON on stdout; the table then goes to stderr. */
  readonly json?: boolean;
}

/**
 * Writes `<name>.json` and `<name>.html`, both or none, and prints the comparison for people and where to find the
 * files. Throws a ReportError when the report breaks its schema, and the file system's errors.
 */
export async function publishReport(
  report: GradientReuseReport,
  { folder, name, quiet = false, json = false }: PublishOptions,
): Promise<void> {
  const [data, page] = [join(folder, `${name}.json`), join(folder, `${name}.html`)];
  const text = serializeReport(report);
  await writeFilesAtomically(
    new Map([
      [data, text],
      [page, renderHtml(report)],
    ]),
  );
  if (json) process.stdout.write(text);
  if (quiet) return;
  const people = json ? process.stderr : process.stdout;
  const color = people.isTTY === true && !process.env.NO_COLOR;
  people.write(renderTerminal(report, { columns: people.columns || 100, color }));
  people.write(`\nReport: ${page} (open it in a browser), ${data}\n`);
}
