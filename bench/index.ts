/**
 * `npm run bench [-- --quick] [-- --only kernels,steps,inference,sampling,edges,webgpu] [-- --threads 1,2]`: kernels, training
 * steps and inference beside other libraries, as far as they are installed (`npm ci --prefix bench --ignore-scripts`,
 * Debian's python3-torch and python3-opencv), and beside the ceilings of this machine. Prints Markdown, and writes it
 * with the raw figures to bench/results/ after each table. A figure counts only beside another of the same run.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { highest, measureCeilings } from "./ceilings.ts";
import { benchEdges } from "./edges.ts";
import { benchInference } from "./inference.ts";
import { benchKernels } from "./kernels.ts";
import { type Results, tables } from "./page.ts";
import { benchSampling } from "./sampling.ts";
import { benchSteps } from "./steps.ts";
import { benchWebGpu } from "./webgpu.ts";

const tableNames = ["kernels", "steps", "inference", "sampling", "edges"] as const;
/** Asked for by name only: on a machine without a GPU it takes long and says nothing of GPUs. */
const allTables = [...tableNames, "webgpu"] as const;

const usage = `npm run bench -- [--quick] [--only ${allTables.join(",")}] [--threads 1,2] [--out folder]`;

function fail(message: string): never {
  console.error(`bench: ${message}\n${usage}`);
  process.exit(2);
}

function readArguments() {
  try {
    return parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        only: { type: "string", default: tableNames.join(",") },
        threads: { type: "string" },
        out: { type: "string", default: path.join(import.meta.dirname, "results") },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

const { values } = readArguments();
if (values.help) {
  console.log(usage);
  process.exit(0);
}

const { quick } = values;
const only = values.only.split(",");
for (const name of only)
  if (!allTables.some((known) => known === name))
    fail(`there is no table "${name}"; --only takes ${allTables.join(", ")}`);
const cores = os.availableParallelism();
const everyCount = quick || cores === 1 ? [cores] : [1, cores];
const threads = values.threads?.split(",").map(Number) ?? everyCount;
for (const count of threads)
  if (!Number.isInteger(count) || count < 1)
    fail(`--threads ${values.threads} must be whole numbers from 1, such as 1,2`);

const [loadBefore = 0] = os.loadavg();
// OpenMP's threads wait for each other by spinning: with less than a core for each, PyTorch takes ten times as long.
if (loadBefore > 0.5)
  console.error(
    `bench: the load average is ${loadBefore.toFixed(1)}; figures mean little while others compute`,
  );

const date = new Date().toISOString().slice(0, 10);
// tfjs and jax-js are compared on one thread, whatever else is asked for.
const ceilingThreads = [...new Set([1, ...threads])];
const before = await measureCeilings(ceilingThreads);
let results: Results = {
  date,
  quick,
  machine: {
    cpu: os.cpus()[0]?.model ?? "unknown",
    cores,
    memoryBytes: os.totalmem(),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    v8: process.versions.v8,
    loadBefore,
  },
  ceilings: before,
  steps: [],
  kernels: [],
  inference: [],
  sampling: [],
  edges: null,
  webgpu: null,
};
const partial = tableNames.every((name) => only.includes(name)) ? "" : `-${only.join("-")}`;
const name = `${date}-node${process.versions.node.split(".")[0]}${partial}${quick ? "-quick" : ""}`;

/** Called after each table, so that a run which is stopped leaves those that it had. */
function save(measured: Partial<Results>): void {
  results = { ...results, ...measured };
  mkdirSync(values.out, { recursive: true });
  writeFileSync(path.join(values.out, `${name}.md`), tables(results));
  writeFileSync(path.join(values.out, `${name}.json`), `${JSON.stringify(results, null, 2)}\n`);
}

if (only.includes("steps")) save({ steps: await benchSteps(threads, quick) });
if (only.includes("kernels")) save({ kernels: await benchKernels(threads, quick) });
if (only.includes("inference")) save({ inference: await benchInference(threads, quick) });
if (only.includes("sampling")) save({ sampling: await benchSampling(quick) });
if (only.includes("edges")) save({ edges: await benchEdges(quick ? 100 : 2000) });
if (only.includes("webgpu")) save({ webgpu: await benchWebGpu(quick) });
if (!quick) save({ ceilings: highest(before, await measureCeilings(ceilingThreads)) });
console.log(tables(results));
