/** Training images by one word, split, chosen, and as inputs of networks with any number of channels. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import sharp from "sharp";
import { afterAll, describe, expect, it } from "vitest";
import {
  greyPhotographs,
  networkInput,
  openImages,
  PhotographLoader,
  type PhotographSource,
  samplePhotographs,
  splitPhotographs,
  subsetPhotographs,
} from "../src/data/index.ts";

const folder = mkdtempSync(join(tmpdir(), "gradweave-images-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function writeSet(root: string, counts: Readonly<Record<string, number>>): Promise<string> {
  for (const [name, count] of Object.entries(counts)) {
    mkdirSync(join(root, name), { recursive: true });
    for (let i = 0; i < count; i++) {
      const background = { r: 10 * i, g: 50, b: 90 };
      const image = sharp({ create: { width: 9, height: 8, channels: 3, background } });
      writeFileSync(join(root, name, `${i}.png`), await image.png().toBuffer());
    }
  }
  return root;
}

const source = (labels: number[], name = "set"): PhotographSource => ({
  name,
  classes: ["a", "b", "c", "d"],
  count: labels.length,
  labels,
  read: async (index) => ({ width: 1, height: 1, pixels: Uint8Array.of(index, index, index) }),
});

const indices = async (set: PhotographSource) =>
  Promise.all(Array.from({ length: set.count }, async (_, i) => (await set.read(i)).pixels[0]));

describe("a split", () => {
  it("takes the share of every class, leaves both sides something, and repeats itself", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 5, maxLength: 60 }),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.nat(100),
        async (labels, share, seed) => {
          const set = source(labels);
          const { train, validation } = splitPhotographs(set, share, seed);
          const [kept, held] = [await indices(train), await indices(validation)];
          expect([...kept, ...held].sort((a, b) => a - b)).toEqual(labels.map((_, i) => i));
          for (const i of kept) expect(train.labels[kept.indexOf(i)]).toBe(labels[i]);
          for (const label of new Set(labels)) {
            const all = labels.filter((other) => other === label).length;
            const there = held.filter((i) => labels[i] === label).length;
            expect(there).toBeLessThan(all);
            if (all > 1) expect(Math.abs(there - share * all)).toBeLessThanOrEqual(1);
          }
          expect(await indices(splitPhotographs(set, share, seed).validation)).toEqual(held);
        },
      ),
    );
  });

  it("is refused where nothing is left, and for shares that are none", () => {
    expect(() => splitPhotographs(source([0, 1, 2]), 0.5)).toThrow("no class has two images");
    expect(() => splitPhotographs(source([0, 0]), 1)).toThrow("the share 1 must lie between 0 and 1");
  });
});

describe("a choice", () => {
  it("has so many photographs with their labels, in order", async () => {
    const set = source(Array.from({ length: 30 }, (_, i) => i % 4));
    const chosen = samplePhotographs(set, 7, 3);
    const numbers = await indices(chosen);
    expect(numbers).toHaveLength(7);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(Array.from(chosen.labels)).toEqual(numbers.map((i) => i % 4));
    expect(samplePhotographs(set, 99)).toBe(set);
    expect(() => subsetPhotographs(set, [30])).toThrow("photographs 0 to 29, there is no 30");
  });
});

describe("openImages", () => {
  it("finds a validation folder, and splits where there is none", async () => {
    const root = join(folder, "two");
    await writeSet(join(root, "train"), { ant: 3, bee: 2 });
    await writeSet(join(root, "val"), { ant: 1, bee: 2 });
    const { train, validation, grey } = await openImages(root);
    expect([train.count, validation.count, grey]).toEqual([5, 3, false]);
    const alone = await openImages(join(root, "train"), { validationShare: 0.34 });
    expect([alone.train.count, alone.validation.count]).toEqual([3, 2]);
    expect(alone.train.classes).toEqual(["ant", "bee"]);
  });

  it("refuses classes that differ, and folders that are none", async () => {
    const root = join(folder, "differ");
    await writeSet(join(root, "train"), { ant: 1, bee: 1 });
    await writeSet(join(root, "test"), { ant: 1, cat: 1 });
    await expect(openImages(root)).rejects.toThrow("train has the classes ant, bee, test has ant, cat");
    await expect(openImages(join(folder, "nowhere"))).rejects.toThrow("does not exist");
  });

  it("reads MNIST as photographs of three equal colours", async () => {
    const { train, validation, grey } = await openImages("mnist");
    expect([train.count, validation.count, grey, train.classes.length]).toEqual([60000, 10000, true, 10]);
    const { width, height, pixels } = await train.read(0);
    expect([width, height, pixels.length]).toEqual([28, 28, 2352]);
    // The first digit is a 5; its top stroke has this pixel (row 5, column 12).
    const at = (5 * 28 + 12) * 3;
    expect([train.labels[0], ...pixels.subarray(at, at + 3)]).toEqual([5, 3, 3, 3]);
  });

  it("refuses coloured sets as grey ones", () => {
    const images = new Uint8Array(12);
    const set = {
      name: "rgb",
      images,
      labels: new Uint8Array(1),
      count: 1,
      channels: 3,
      height: 2,
      width: 2,
    };
    expect(() => greyPhotographs({ ...set, classes: ["a"] })).toThrow("rgb: has 3 channels");
  });
});

describe("inputs of a network", () => {
  const image = { width: 2, height: 1, values: Float32Array.of(0.25, 0.5, 0.5, 0.5, 0.75, 0.5) };

  it("are normalised by channel, and the mean of the colours where there are not three", () => {
    const three = networkInput(image, { mean: [0.25, 0, 0], std: [0.5, 1, 1] });
    expect([...three]).toEqual([0, 0.5, 0.5, 0.5, 0.75, 0.5]);
    expect([...networkInput(image, { channels: 1 })]).toEqual([0.5, 0.5]);
    expect([...networkInput(image, { channels: 2, mean: [0, 0.5], std: [1, 1] })]).toEqual([0.5, 0.5, 0, 0]);
    expect([...image.values]).toEqual([0.25, 0.5, 0.5, 0.5, 0.75, 0.5]);
    expect(() => networkInput(image, { channels: 1, mean: [0, 0, 0] })).toThrow("mean has 3 numbers");
  });

  it("come in batches from any batch of an epoch on, the same as from its start", async () => {
    const set = source(Array.from({ length: 7 }, (_, i) => i % 4));
    const loader = new PhotographLoader(set, { batchSize: 2, side: 3, channels: 1, shuffle: true, seed: 5 });
    const batches = async (startBatch: number) => {
      const seen: unknown[] = [];
      for await (const { images, labels, shape, index } of loader.epoch(2, { startBatch }))
        seen.push({ images: [...images], labels: [...labels], shape, index });
      return seen;
    };
    const all = await batches(0);
    expect(all).toHaveLength(4);
    for (const start of [1, 3, 4]) expect(await batches(start)).toEqual(all.slice(start));
    await expect(batches(5)).rejects.toThrow("startBatch 5 must be from 0 to the 4 batches");
  });
});
