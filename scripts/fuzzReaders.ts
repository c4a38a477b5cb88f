/**
 * `npx tsx scripts/fuzzReaders.ts --inputs 1000000`: mutated files for every reader in turn. What is not read must be
 * refused by the reader's own error; a network that was read must run, or say why not. Anything else is a finding: its
 * bytes are kept under reports/fuzz, and the exit code is 1. A crash or a hang shows as the end of the printed lines.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Command } from "commander";
import * as fc from "fast-check";
import sharp from "sharp";
import { DataError, decodePhotograph } from "../src/data/index.ts";
import { nn, noGrad, randn, scope, type Tensor, tensor, zeros } from "../src/index.ts";
import * as io from "../src/io/index.ts";
import { wholeNumber } from "../src/train/index.ts";
import { mutatedBytes, mutatedCfg } from "../test/support/darknetMutations.ts";

const fixtures = path.resolve(import.meta.dirname, "../test/fixtures");
const findings = path.resolve(import.meta.dirname, "../reports/fuzz");
const folder = mkdtempSync(path.join(tmpdir(), "gradweave-fuzz-"));
const file = path.join(folder, "file");
/** Networks small enough to run. */
const limits = { featureMap: 2 ** 14, weights: 2 ** 14 };

interface Reader {
  readonly name: string;
  /** What a broken file may throw. */
  readonly refusal: new (
    ...values: never[]
  ) => Error;
  readonly inputs: readonly fc.Arbitrary<Uint8Array>[];
  /** Of a hundred inputs of all readers. */
  readonly share: number;
  read(bytes: Uint8Array): Promise<void>;
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const cfgFixture = (name: string): string => readFileSync(path.join(fixtures, `darknet/${name}.cfg`), "utf8");

const cfgs: Reader = {
  name: "cfg",
  refusal: io.DarknetError,
  inputs: ["every-section", "blocks", "detector", "shortcuts"].map((name) =>
    mutatedCfg(cfgFixture(name)).map((mutated) => new TextEncoder().encode(mutated)),
  ),
  share: 20,
  async read(bytes) {
    const cfg = io.readCfg(text(bytes));
    if (io.writeCfg(io.readCfg(io.writeCfg(cfg))) !== io.writeCfg(cfg)) throw new TypeError("writes another");
    io.darknetCosts(cfg);
    const plan = io.planNetwork(cfg, limits);
    const model = io.darknetModel(cfg, { limits }).eval();
    const last = plan.layers.map(({ index }) => index).slice(-1);
    scope(() => noGrad(() => model.featureMaps(zeros([1, ...plan.inputShape]), last)));
    for (const { storage } of model.stateDict().values()) storage.free();
  },
};

async function weightsReader(): Promise<Reader> {
  const model = io.darknetModel(io.readCfg(cfgFixture("detector"))).eval();
  await io.saveDarknetWeights(model, file);
  return {
    ...{ name: "weights", refusal: io.DarknetError, inputs: [mutatedBytes(readFileSync(file))], share: 25 },
    async read(bytes) {
      writeFileSync(file, bytes);
      await io.loadDarknetWeights(model, file);
    },
  };
}

async function safetensorsReader(): Promise<Reader> {
  const tensors: [string, Tensor][] = [
    ["a.weight", randn([2, 3])],
    ["b", tensor([1, 2], { dtype: "i32" })],
    ["c", zeros([3], { dtype: "bool" })],
    ["d", randn([0, 2])],
    ["e", randn([4], { dtype: "f64" })],
  ];
  await io.saveSafetensors(file, new Map(tensors), { format: "pt" });
  return {
    ...{ name: "safetensors", refusal: io.FileFormatError, share: 25 },
    inputs: [mutatedBytes(readFileSync(file))],
    async read(bytes) {
      writeFileSync(file, bytes);
      const opened = await io.openSafetensors(file);
      try {
        for (const name of opened.names) (await opened.tensor(name)).dispose();
      } finally {
        await opened.close();
      }
    },
  };
}

function onnxReader(): Reader {
  const network = new nn.Sequential(
    ...[new nn.Conv2d(1, 2, 3, { padding: 1 }), new nn.BatchNorm2d(2), new nn.LeakyReLU(0.1)],
    ...[new nn.MaxPool2d(2), new nn.AdaptiveAvgPool2d(2), new nn.Flatten(), new nn.Linear(8, 2)],
  ).eval();
  const image = randn([1, 1, 4, 4]);
  const files = [11, 13, 17].map((opset) =>
    readFileSync(path.join(fixtures, `onnx/pytorch-opset${opset}.onnx`)),
  );
  return {
    ...{ name: "onnx", refusal: io.FileFormatError, share: 25 },
    inputs: [io.exportOnnx(network, image), ...files].map(mutatedBytes),
    async read(bytes) {
      const module = await io.importOnnx(bytes);
      try {
        scope(() => noGrad(() => module.eval().forwardAll(image)));
      } catch (error) {
        if (error instanceof TypeError || error instanceof RangeError) throw error;
        if (!(error instanceof Error)) throw new TypeError(`threw ${String(error)}`);
      }
      for (const { storage } of module.stateDict().values()) storage.free();
    },
  };
}

async function imageReader(): Promise<Reader> {
  const pixels = { create: { width: 17, height: 11, channels: 3, background: "#804020" } } as const;
  const images = [await sharp(pixels).jpeg().toBuffer(), await sharp(pixels).png().toBuffer()];
  return {
    ...{ name: "images", refusal: DataError, inputs: images.map(mutatedBytes), share: 5 },
    async read(bytes) {
      await decodePhotograph(bytes);
    },
  };
}

const options = new Command("fuzzReaders")
  .option("--inputs <count>", "mutated files", wholeNumber({ least: 1, example: 1000 }), 10_000)
  .option("--seed <number>", "another seed, other files", wholeNumber({ least: 0, example: 1 }), 1)
  .parse()
  .opts<{ inputs: number; seed: number }>();

let failed = 0;
const readers = [cfgs, await weightsReader(), await safetensorsReader(), onnxReader(), await imageReader()];
for (const { name, refusal, inputs, share, read } of readers) {
  const total = Math.ceil((options.inputs * share) / 100);
  let [count, accepted, found, slowest] = [0, 0, 0, 0];
  for (let round = 0; count < total; round++) {
    const input = inputs[round % inputs.length];
    const sample = { seed: options.seed * 1_000_003 + round, numRuns: Math.min(200, total - count) };
    for (const bytes of fc.sample(input, sample)) {
      count += 1;
      const start = performance.now();
      try {
        await read(bytes);
        accepted += 1;
      } catch (error) {
        if (!(error instanceof refusal)) {
          found += 1;
          mkdirSync(findings, { recursive: true });
          writeFileSync(path.join(findings, `${name}-${options.seed}-${count}`), bytes);
          console.error(`${name}, input ${count}:`, error);
        }
      }
      slowest = Math.max(slowest, performance.now() - start);
    }
    if (found > 20) break;
  }
  failed += found;
  const memory = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(
    `${name}: ${count} files, ${accepted} read, ${count - accepted - found} refused, ${found} findings; ` +
      `slowest ${slowest.toFixed(0)} ms, ${memory} MiB resident at most`,
  );
}
rmSync(folder, { recursive: true });
process.exitCode = failed === 0 ? 0 : 1;
