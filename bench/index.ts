/**
 * `npm run bench [-- --quick] [-- --peers]`: kernels, a training step, and what the edges cost; with --peers also the
 * same work in other libraries, as far as they are installed (`npm ci --prefix bench`, and Debian's python3-torch).
 * Prints Markdown and writes it with the raw figures to bench/results/. A figure counts only beside another of the
 * same run.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { comparePeers } from "./compare.ts";
import { comparisonSection } from "./comparisonPage.ts";
import { benchEdges } from "./edges.ts";
import { benchKernels } from "./kernels.ts";
import { benchSteps } from "./step.ts";

const { values } = parseArgs({
  options: { quick: { type: "boolean", default: false }, peers: { type: "boolean", default: false } },
});
const machine = {
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.availableParallelism(),
  node: process.version,
};
const date = new Date().toISOString().slice(0, 10);

const edges = await benchEdges(values.quick ? 100 : 2000);
const steps = benchSteps(values.quick ? 5 : 40);
const kernels = benchKernels(values.quick ? 60 : 400);
const quickly = { pairs: 10, budget: 2_000, longestRun: 2_000 };
const thoroughly = { pairs: 60, budget: 30_000, longestRun: 400_000 };
const comparison = values.peers ? await comparePeers(values.quick ? quickly : thoroughly) : undefined;

const page = `# Benchmarks of ${date}

${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, one thread, f32${values.quick ? ", quick run" : ""}.

## Training step, batch 64, 28 x 28

| network | ms | images/s | sampled step over plain |
|---|---:|---:|---:|
${steps.map((s) => `| ${s.network} | ${s.milliseconds.toFixed(1)} | ${s.imagesPerSecond.toFixed(0)} | ${s.sampledOverPlain.toFixed(3)} |`).join("\n")}

## Edges without a listener

Engine as it is over the same engine without edges, ${edges.pairs} alternating pairs of a step of tiny tensors:
${edges.ratio.toFixed(4)} (middle half of the pairs ${edges.spread.map((ratio) => ratio.toFixed(3)).join(" to ")}).

## Kernels

| kernel | figure | unit |
|---|---:|---|
${kernels.map((k) => `| ${k.kernel} | ${k.figure.toFixed(2)} | ${k.unit} |`).join("\n")}
${comparison ? `\n${comparisonSection(comparison)}` : ""}`;

const folder = path.resolve(import.meta.dirname, "results");
mkdirSync(folder, { recursive: true });
const name = `${date}-node${process.versions.node.split(".")[0]}${values.quick ? "-quick" : ""}`;
writeFileSync(path.join(folder, `${name}.md`), page);
writeFileSync(
  path.join(folder, `${name}.json`),
  `${JSON.stringify({ date, machine, edges, steps, kernels, comparison }, null, 2)}\n`,
);
console.log(page);
