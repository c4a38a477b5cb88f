/**
 * `npx tsx bench/dispatch.ts [-- --quick]`: what an op costs besides its arithmetic, and how long a program takes from
 * its start to the end of its first training step.
 *
 * Dispatch is measured on tensors of four numbers, in chains of 100 ops within one scope; the figures are per op of
 * the chain. The cold start is that of the compiled package in a fresh process, on one step of the example's DenseNet
 * with a batch of 16, from before the process is made until it has ended.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { ones, scope, type Tensor } from "../src/index.ts";
import { milliseconds, quantile } from "./paired.ts";

const root = path.resolve(import.meta.dirname, "..");
const chainLength = 100;

interface Figure {
  readonly what: string;
  readonly median: number;
  /** The middle half of the repetitions. */
  readonly spread: readonly [low: number, high: number];
}

function figure(what: string, values: readonly number[]): Figure {
  return {
    what,
    median: quantile(values, 0.5),
    spread: [quantile(values, 0.25), quantile(values, 0.75)],
  };
}

/** Applies the functions in turn, `chainLength` ops in all. */
function chain(start: Tensor, ...steps: readonly ((x: Tensor) => Tensor)[]): Tensor {
  let x = start;
  for (let i = 0; i < chainLength; i++) x = steps[i % steps.length](x);
  return x;
}

/** Microseconds per op of each kind of chain; the chains take turns. */
function benchDispatch(repetitions: number): Figure[] {
  const [a, b, gradient] = [ones([4]), ones([4]), ones([4])];
  const x = ones([4], { requiresGrad: true });
  const mixed = () =>
    chain(
      x,
      (y) => y.add(b),
      (y) => y.mul(b),
      (y) => y.relu(),
    );
  const chains: Readonly<Record<string, () => unknown>> = {
    "x.add(y), nothing requires grad": () => chain(a, (y) => y.add(b)),
    "x.relu(), nothing requires grad": () => chain(a, (y) => y.relu()),
    "add, mul, relu, recorded": mixed,
    "add, mul, relu, recorded, and its backward": () => mixed().backward(gradient),
  };
  const times = new Map(Object.keys(chains).map((what) => [what, [] as number[]]));
  for (let i = -repetitions; i < repetitions; i++)
    for (const [what, run] of Object.entries(chains)) {
      const time = milliseconds(() => scope(() => void run()));
      if (i >= 0) times.get(what)?.push((1000 * time) / chainLength);
    }
  return [...times].map(([what, values]) => figure(what, values));
}

/** The first step of the example's DenseNet, as a program of its own; `library` is the compiled package. */
function firstStep(library: string): string {
  const url = (file: string) => JSON.stringify(pathToFileURL(path.join(library, file)).href);
  return `
    import { crossEntropy, optim, randint, randn, scope } from ${url("index.js")};
    import { densenet } from ${url("models/index.js")};
    const size = { blocks: [3, 3, 3], growthRate: 8, bottleneckWidth: 2, stemChannels: 16, stem: "small" };
    const model = densenet({ ...size, inChannels: 1, classes: 10 });
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9, nesterov: true });
    const [images, labels] = [randn([16, 1, 28, 28]), randint(0, 10, [16])];
    const loss = scope(() => {
      const loss = crossEntropy(model.forward(images), labels);
      loss.backward();
      optimizer.step();
      return loss;
    });
    process.exit(Number.isFinite(loss.itemSync()) ? 0 : 1);`;
}

/** Milliseconds of fresh processes, after one that fills the disk's cache. */
function benchColdStart(processes: number): Figure {
  const folder = mkdtempSync(path.join(os.tmpdir(), "gradweave-bench-"));
  try {
    const compiler = path.join(root, "node_modules", "typescript", "bin", "tsc");
    const options = ["--outDir", folder, "--declaration", "false", "--declarationMap", "false"];
    execFileSync(process.execPath, [compiler, "-p", "tsconfig.build.json", ...options], { cwd: root });
    writeFileSync(path.join(folder, "package.json"), '{ "type": "module" }');
    const program = path.join(folder, "firstStep.js");
    writeFileSync(program, firstStep(folder));
    const start = () => void execFileSync(process.execPath, [program], { stdio: "inherit" });
    start();
    return figure(
      "from `node` to the end of the first training step",
      Array.from({ length: processes }, () => milliseconds(start)),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const { values } = parseArgs({ options: { quick: { type: "boolean", default: false } } });
const row = ({ what, median, spread: [low, high] }: Figure, digits: number): string =>
  `| ${what} | ${median.toFixed(digits)} | ${low.toFixed(digits)} to ${high.toFixed(digits)} |`;

console.log(`| dispatch, per op | µs | middle half |
|---|---:|---:|
${benchDispatch(values.quick ? 300 : 2000)
  .map((each) => row(each, 2))
  .join("\n")}

| cold start | ms | middle half |
|---|---:|---:|
${row(benchColdStart(values.quick ? 5 : 20), 0)}`);
