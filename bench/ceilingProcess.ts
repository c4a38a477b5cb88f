/**
 * `tsx ceilingProcess.ts THREADS [V8 FLAG …]`: prints the ceilings of one engine configuration as JSON. A process of
 * its own, because V8 takes flags only before it first compiles.
 */
import v8 from "node:v8";
import { Worker } from "node:worker_threads";
import { enableRelaxedSimd, webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { copyModule, multiplyAddModule, operationsPerTurn, type TileSize } from "./ceilingKernels.ts";
import { quantile } from "./paired.ts";

/** Plain JavaScript, so that workers start without a loader. Posts how many milliseconds each chunk took. */
const workerSource = `"use strict";
const { workerData, parentPort } = require("node:worker_threads");
const { compiled, name, args, pages, begin, milliseconds } = workerData;
const memory = new WebAssembly.Memory({ initial: pages });
new Float32Array(memory.buffer).fill(0.5);
const run = new WebAssembly.Instance(compiled, { env: { memory } }).exports[name];
while (Date.now() < begin) run(...args);
const times = [];
const end = performance.now() + milliseconds;
for (let start = performance.now(); start < end; ) {
  run(...args);
  const now = performance.now();
  times.push(now - start);
  start = now;
}
parentPort.postMessage(times);
`;

interface Work {
  readonly compiled: object;
  readonly name: string;
  readonly args: readonly number[];
  /** Of 64 KiB, of each thread's own memory. */
  readonly pages: number;
  /** Operations or bytes of one call. */
  readonly amount: number;
}

/** Billions a second of all threads together, each at its own median. */
async function rate({ amount, ...work }: Work, threads: number): Promise<number> {
  const workerData = { ...work, begin: Date.now() + 300, milliseconds: 400 };
  const rates = Array.from({ length: threads }, async () => {
    const worker = new Worker(workerSource, { eval: true, execArgv: [], workerData });
    const times = await new Promise<number[]>((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
    await worker.terminate();
    return amount / quantile(times, 0.5) / 1e6;
  });
  return (await Promise.all(rates)).reduce((sum, one) => sum + one, 0);
}

/** 16 registers hold 12 sums, the operands of a row and a column, and one to spare; in pairs, twice the vectors. */
const narrow: TileSize = { rows: 6, vectors: 2 };
const wide: TileSize = { rows: 6, vectors: 4 };
const copiedBytes = 2 ** 26;

async function main([threads, ...flags]: readonly string[]): Promise<void> {
  for (const flag of flags) v8.setFlagsFromString(flag);
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const { Module } = webAssembly;
  const relaxed = enableRelaxedSimd({ exact: false });
  const tile = flags.length > 0 ? wide : narrow;
  const product = async (fused: boolean): Promise<number> => {
    const compiled = new Module(multiplyAddModule(tile, fused).encode());
    const turns = 20_000;
    const amount = turns * operationsPerTurn(tile);
    return rate({ compiled, name: "multiplyAdd", args: [turns], pages: 1, amount }, Number(threads));
  };
  const mulAdd = await product(false);
  const fused = relaxed === "missing" ? null : await product(true);
  const compiled = new Module(copyModule().encode());
  const args = [0, copiedBytes, copiedBytes];
  const pages = (2 * copiedBytes) / 2 ** 16;
  const copy = await rate({ compiled, name: "copy", args, pages, amount: 2 * copiedBytes }, Number(threads));
  console.log(JSON.stringify({ mulAdd, fused, copy }));
}

await main(process.argv.slice(2));
