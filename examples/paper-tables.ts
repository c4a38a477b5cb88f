/**
 * Tables 1 and 3 of the CSPNet paper beside our own counts: builds every network, counts its parameters and BFLOPs on
 * its graph, and says where and why they differ from what is printed. Takes seconds; nothing is trained or downloaded.
 *
 *     npx tsx examples/paper-tables.ts
 *     npx tsx examples/paper-tables.ts --format markdown --out docs/paper-tables.md
 *     npx tsx examples/paper-tables.ts --help
 */
import { dirname } from "node:path";
import { Command, Option } from "commander";
import { compareWithPaper, renderMarkdown, renderPaperTables } from "../src/cost/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import { prepareFolder, runCommand } from "../src/train/index.ts";

interface Options {
  readonly format: "table" | "markdown" | "json";
  readonly table?: "1" | "3";
  readonly out?: string;
}

const command = new Command("paper-tables")
  .description("Prints tables 1 and 3 of the CSPNet paper beside our counts, and why a row differs.")
  .addOption(
    new Option("--format <kind>", "for people, for documents or for programs")
      .choices(["table", "markdown", "json"])
      .default("table"),
  )
  .addOption(new Option("--table <number>", "one of them (default: both)").choices(["1", "3"]))
  .option("--out <file>", "write there instead of printing")
  .allowExcessArguments(false)
  .exitOverride()
  .addHelpText(
    "after",
    `
Examples:
  npx tsx examples/paper-tables.ts --table 3
  npx tsx examples/paper-tables.ts --format markdown --out docs/paper-tables.md   how that page is made
  npx tsx examples/paper-tables.ts --format json > tables.json

Exit codes: 0 done, 1 internal error, 2 wrong options, 5 out of disk.`,
  );

async function main(): Promise<number> {
  const { format, table, out }: Options = command.parse().opts();
  if (out !== undefined) await prepareFolder("--out", dirname(out));
  const tables = compareWithPaper().filter(({ number }) => table === undefined || number === Number(table));
  const text = {
    table: () => renderPaperTables(tables, process.stdout.columns || 140),
    markdown: () => renderMarkdown(tables),
    json: () => `${JSON.stringify({ paper: "arXiv 1911.11929", tables }, null, 2)}\n`,
  }[format]();
  if (out === undefined) process.stdout.write(text);
  else await writeFilesAtomically(new Map([[out, text]]));
  return 0;
}

await runCommand(main);
