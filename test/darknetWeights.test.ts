/** Darknet's weights files: byte order and headers, partial files, and files that do not belong to the network. */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import {
  DarknetError,
  darknetCosts,
  darknetModel,
  loadDarknetWeights,
  readCfg,
  saveDarknetWeights,
} from "../src/io/index.ts";
import { manualSeed } from "../src/tensor/generator.ts";

const folder = mkdtempSync(path.join(tmpdir(), "darknet-weights-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = path.join(folder, "net.weights");

/** 1 x 1 images of 2 channels; layers 0 (with norm), 1 (bias alone), 3 and 4 (connected, with and without norm). */
const text = `[net]
channels=2
width=1
height=1
[convolutional]
batch_normalize=1
filters=3
[convolutional]
filters=2
groups=1
[dropout]
[connected]
batch_normalize=1
output=2
[connected]
output=1
`;
const network = () => darknetModel(readCfg(text)).eval();

const stateOf = (model: ReturnType<typeof network>) =>
  Object.fromEntries([...model.stateDict()].map(([name, values]) => [name, Array.from(values.dataSync())]));

/** A file of the numbers 1, 2, … after a header. */
function write(count: number, header: readonly number[] = [0, 2, 5, 7, 0], first = 1): void {
  const numbers = Float32Array.from({ length: count }, (_, i) => first + i);
  writeFileSync(
    file,
    Buffer.concat([Buffer.from(Int32Array.from(header).buffer), Buffer.from(numbers.buffer)]),
  );
}

beforeEach(() => void manualSeed(1));

describe("loadDarknetWeights", () => {
  it("reads biases, scales, means, variances and weights, and a connected layer's weights second", async () => {
    const model = network();
    write(41);
    expect(darknetCosts(model.plan).floats).toBe(41);
    await expect(loadDarknetWeights(model, file)).resolves.toEqual({
      major: 0,
      minor: 2,
      revision: 5,
      seen: 7n,
    });
    expect(stateOf(model)).toMatchObject({
      "layers.0.norm.bias": [1, 2, 3],
      "layers.0.norm.weight": [4, 5, 6],
      "layers.0.norm.running_mean": [7, 8, 9],
      "layers.0.norm.running_var": [10, 11, 12],
      "layers.0.conv.weight": [13, 14, 15, 16, 17, 18],
      "layers.1.conv.bias": [19, 20],
      "layers.1.conv.weight": [21, 22, 23, 24, 25, 26],
      "layers.3.norm.bias": [27, 28],
      "layers.3.linear.weight": [29, 30, 31, 32],
      "layers.3.norm.weight": [33, 34],
      "layers.3.norm.running_mean": [35, 36],
      "layers.3.norm.running_var": [37, 38],
    });
  });

  it.each([
    ["0.1 with 32 bits of seen", [0, 1, 0, 7], { major: 0, minor: 1, revision: 0, seen: 7n }],
    ["0.2 with 64 bits", [0, 2, 0, 7, 1], { major: 0, minor: 2, revision: 0, seen: 2n ** 32n + 7n }],
    ["1.0 with 64 bits", [1, 0, 0, 0, 0], { major: 1, minor: 0, revision: 0, seen: 0n }],
  ])("reads the header of version %s", async (_, header, expected) => {
    write(44, header);
    await expect(loadDarknetWeights(wide(), file)).resolves.toEqual(expected);
  });

  /** The network with one more connected output, 44 floats. */
  const wide = () => darknetModel(readCfg(text.replace(/output=1\n$/, "output=2\n"))).eval();

  it("turns connected weights of the oldest files, which are stored transposed", async () => {
    const model = network();
    write(44, [0, 1001, 0, 7]);
    await expect(loadDarknetWeights(wide(), file)).resolves.toMatchObject({ minor: 1001 });
    write(41, [0, 1001, 0, 7]);
    await loadDarknetWeights(model, file);
    expect(stateOf(model)["layers.3.linear.weight"]).toEqual([29, 31, 30, 32]);
  });

  it("loads the layers before a cutoff, from a partial file or a whole one", async () => {
    for (const count of [26, 41]) {
      const model = network();
      const untouched = stateOf(model)["layers.3.linear.weight"];
      write(count);
      await loadDarknetWeights(model, file, { cutoff: 3 });
      expect(stateOf(model)["layers.1.conv.weight"]).toEqual([21, 22, 23, 24, 25, 26]);
      expect(stateOf(model)["layers.3.linear.weight"]).toEqual(untouched);
    }
  });

  it("converts to the dtype of the network", async () => {
    const model = network().to("f64");
    write(41);
    await loadDarknetWeights(model, file);
    expect(model.stateDict().get("layers.0.conv.weight")?.dtype).toBe("f64");
    expect(stateOf(model)["layers.4.linear.weight"]).toHaveLength(2);
  });

  it.each([
    [
      "one float too few",
      () => write(40),
      /holds 40 floats, 1 fewer than the 41 of the cfg: it is the file of another network, or was cut off/,
    ],
    ["one too many", () => write(42), /holds 42 floats, 1 more than the 41/],
    ["the first two layers alone", () => write(26), /stops exactly after layer 1; pass \{ cutoff: 2 \}/],
    [
      "a part of the first layer",
      () => write(12),
      /holds 12 floats, 29 fewer than the 41 of the cfg: it is the file of another network, or was cut off/,
    ],
    ["no floats", () => write(0), /holds 0 floats, 41 fewer/],
    [
      "half a float",
      () => {
        write(41);
        truncateSync(file, 20 + 4 * 40 + 2);
      },
      /162 bytes after the header are no whole number/,
    ],
    ["no whole header", () => writeFileSync(file, new Uint8Array(11)), /11 bytes are too few for the header/],
    ["a header that misses seen", () => write(0, [0, 2, 5, 7]), /16 bytes are too few/],
    ["nothing", () => writeFileSync(file, ""), /0 bytes are too few/],
    [
      "NaN",
      () => write(41, [0, 2, 5, 7, 0], Number.NaN),
      /number 0 of layers[.]0[.]norm[.]bias \(layer 0\) is NaN/,
    ],
    [
      "a negative variance",
      () => write(41, [0, 2, 5, 7, 0], -10),
      /number 0 of layers[.]0[.]norm[.]running_var .* is -1/,
    ],
  ])("refuses a file with %s and leaves the network as it was", async (_, prepare, message) => {
    const model = network();
    const before = stateOf(model);
    prepare();
    const error = await loadDarknetWeights(model, file).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(DarknetError);
    expect(String(error)).toMatch(message);
    expect(stateOf(model)).toEqual(before);
  });

  it("refuses folders, devices, pipes, missing files and cutoffs that are none", async () => {
    await expect(loadDarknetWeights(network(), folder)).rejects.toThrow(`weights ${folder}: is no file`);
    await expect(loadDarknetWeights(network(), "/dev/zero")).rejects.toThrow("is no file");
    const pipe = path.join(folder, "pipe");
    execFileSync("sh", ["-c", `mkfifo "${pipe}"`]);
    await expect(loadDarknetWeights(network(), pipe)).rejects.toThrow("is no file");
    await expect(loadDarknetWeights(network(), path.join(folder, "none"))).rejects.toThrow("ENOENT");
    await expect(loadDarknetWeights(network(), file, { cutoff: 6 })).rejects.toThrow(
      "cutoff 6 must be an integer from 0 to the 5",
    );
  });
});

describe("saveDarknetWeights", () => {
  it("writes what it read, byte for byte", async () => {
    for (const header of [
      [0, 2, 5, 7, 1],
      [0, 1, 3, 7],
    ]) {
      write(41, header);
      const bytes = readFileSync(file);
      const model = network();
      const read = await loadDarknetWeights(model, file);
      const copy = path.join(folder, "copy.weights");
      await saveDarknetWeights(model, copy, read);
      expect(readFileSync(copy).equals(bytes)).toBe(true);
    }
  });

  it("writes version 0.2.5, and the first layers where asked", async () => {
    const model = network();
    await saveDarknetWeights(model, file, { seen: 5n, cutoff: 1 });
    const bytes = readFileSync(file);
    expect([...new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + 20))]).toEqual([
      0, 2, 5, 5, 0,
    ]);
    expect(bytes.byteLength).toBe(20 + 4 * 18);
    const other = network();
    await loadDarknetWeights(other, file, { cutoff: 1 });
    expect(stateOf(other)["layers.0.conv.weight"]).toEqual(stateOf(model)["layers.0.conv.weight"]);
  });

  it("leaves no half-written file, and refuses headers that cannot be", async () => {
    const target = path.join(folder, "refused.weights");
    for (const header of [
      { minor: 1001 },
      { seen: -1n },
      { seen: 2n ** 64n },
      { major: 0, minor: 1, seen: 2n ** 32n },
      { revision: 0.5 },
    ])
      await expect(saveDarknetWeights(network(), target, header)).rejects.toThrow(RangeError);
    expect(existsSync(target)).toBe(false);
    await expect(saveDarknetWeights(network(), path.join(folder, "no", "such"))).rejects.toThrow("ENOENT");
    expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});
