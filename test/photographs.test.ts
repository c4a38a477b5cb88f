/** Photographs from disk: decoding, resizing, crops, Darknet's random views, folders of classes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { distort } from "../src/data/darknetAugment.ts";
import {
  centreCrop,
  darknetView,
  decodePhotograph,
  openImageFolder,
  PhotographLoader,
  paperAugmentation,
  readPhotograph,
  resize,
  resizeShorterSide,
  tenCrop,
} from "../src/data/index.ts";
import { Generator } from "../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "gradweave-photographs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const numbered = (width: number, height: number) => ({
  width,
  height,
  pixels: Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * 37) % 256),
});
const encode = ({ width, height, pixels }: ReturnType<typeof numbered>) =>
  sharp(pixels, { raw: { width, height, channels: 3 } });

describe("decoding", () => {
  it("gives the pixels of a PNG, whatever its file is called", async () => {
    const image = numbered(7, 5);
    const path = join(folder, "picture.jpg");
    writeFileSync(path, await encode(image).png().toBuffer());
    const { width, height, pixels } = await readPhotograph(path);
    expect([width, height]).toEqual([7, 5]);
    expect([...pixels]).toEqual([...image.pixels]);
  });

  it("makes three equal colours of grey, and drops transparency", async () => {
    const grey = await sharp(Uint8Array.from([0, 100, 200, 255]), {
      raw: { width: 2, height: 2, channels: 1 },
    })
      .png()
      .toBuffer();
    expect([...(await decodePhotograph(grey)).pixels]).toEqual([
      0, 0, 0, 100, 100, 100, 200, 200, 200, 255, 255, 255,
    ]);
    const clear = await sharp({
      create: { width: 1, height: 1, channels: 4, background: { r: 9, g: 8, b: 7, alpha: 0.5 } },
    })
      .png()
      .toBuffer();
    expect((await decodePhotograph(clear)).pixels).toHaveLength(3);
  });

  it("refuses what is no image, is cut off, or claims too much, by name", async () => {
    await expect(decodePhotograph(Uint8Array.from([1, 2, 3]), "noise.jpg")).rejects.toThrow(
      /noise\.jpg: cannot be decoded as an image/,
    );
    const whole = await encode(numbered(64, 64)).jpeg().toBuffer();
    await expect(decodePhotograph(whole.subarray(0, whole.length / 2), "half.jpg")).rejects.toThrow(
      /half\.jpg/,
    );
    await expect(readPhotograph(folder)).rejects.toThrow("is a folder");
    const huge = Buffer.from(await encode(numbered(4, 4)).png().toBuffer());
    huge.writeUInt32BE(2 ** 20, 16);
    huge.writeUInt32BE(2 ** 20, 20);
    await expect(decodePhotograph(huge, "huge.png")).rejects.toThrow(/huge\.png/);
  });
});

describe("resizing", () => {
  // torch.nn.functional.interpolate(mode="bilinear", antialias=True) of PyTorch 1.13 on the same pixels.
  it.each([
    [
      3,
      2,
      [
        104.143, 86.286, 123.286, 146.235, 123.0, 99.765, 122.714, 159.714, 141.857, 104.688, 104.286,
        141.286,
      ],
    ],
    [4, 5, [58.143, 82.952, 119.952, 159.2, 63.08, 100.08, 127.92, 164.92, 68.8, 108.048, 145.048, 169.857]],
    [14, 10, [0, 37, 74, 27.75, 64.75, 101.75, 83.25, 120.25, 157.25, 138.75, 111.75, 148.75]],
  ])("to %i x %i is PyTorch's", (width, height, expected) => {
    const { values } = resize(numbered(7, 5), width, height);
    expected.forEach((value, i) => {
      const [pixel, colour] = [Math.floor(i / 3), i % 3];
      expect(255 * values[colour * width * height + pixel]).toBeCloseTo(value, 2);
    });
  });

  it("keeps the shape where the shorter side is given", () => {
    const [wide, tall] = [resizeShorterSide(numbered(30, 20), 8), resizeShorterSide(numbered(5, 11), 8)];
    expect([wide.width, wide.height]).toEqual([12, 8]);
    expect([tall.width, tall.height]).toEqual([8, 17]);
  });
});

describe("crops", () => {
  const image = resize(numbered(6, 5), 6, 5);
  const at = (x: number, y: number, colour = 0) => image.values[(colour * 5 + y) * 6 + x];

  it("take the middle", () => {
    const { values } = centreCrop(image, 3);
    expect([...values.subarray(0, 3)]).toEqual([at(2, 1), at(3, 1), at(4, 1)]);
    expect(() => centreCrop(image, 6)).toThrow("does not lie within 6 x 5");
  });

  it("take corners and middle, then mirrored", () => {
    const crops = tenCrop(image, 4);
    expect(crops).toHaveLength(10);
    expect(crops.map(({ values }) => values[0])).toEqual([
      at(0, 0),
      at(2, 0),
      at(0, 1),
      at(2, 1),
      at(1, 1),
      at(3, 0),
      at(5, 0),
      at(3, 1),
      at(5, 1),
      at(4, 1),
    ]);
  });
});

describe("Darknet's random view", () => {
  it("is the photograph itself where nothing is random", () => {
    const still = { angle: 0, aspect: 1, low: 8, high: 8, hue: 0, saturation: 1, exposure: 1 };
    const photograph = numbered(8, 8);
    const plain = resize(photograph, 8, 8).values;
    const views = Array.from({ length: 12 }, (_, seed) =>
      darknetView(photograph, 8, still, new Generator(seed)),
    );
    const mirrored = Float32Array.from(plain, (_, i) => plain[i - (i % 8) + 7 - (i % 8)]);
    const like = (expected: Float32Array) =>
      views.filter(({ values }) => values.every((value, i) => Math.abs(value - expected[i]) < 1e-5)).length;
    expect(like(plain) + like(mirrored)).toBe(12);
    expect(like(plain)).toBeGreaterThan(0);
    expect(like(mirrored)).toBeGreaterThan(0);
  });

  it("repeats itself for one seed, differs for another, and stays in range", () => {
    const photograph = numbered(40, 30);
    const view = (seed: number) =>
      darknetView(photograph, 16, { ...paperAugmentation, low: 16, high: 40 }, new Generator(seed)).values;
    expect(view(1)).toEqual(view(1));
    expect(view(1)).not.toEqual(view(2));
    expect(view(3).every((value) => value >= 0 && value <= 1)).toBe(true);
  });

  // Hue turned by 36 degrees, saturation times 1.2, value times 0.9 by OpenCV 4.6's RGB2HSV and back.
  it.each([
    [
      [0.8, 0.3, 0.1],
      [0.72, 0.6377143, 0],
    ],
    [
      [0.2, 0.5, 0.9],
      [0.1836, 0.054, 0.81],
    ],
    [
      [0.4, 0.4, 0.4],
      [0.36, 0.36, 0.36],
    ],
    [
      [0.1, 0.7, 0.2],
      [0, 0.63, 0.483],
    ],
    [
      [0, 0, 0],
      [0, 0, 0],
    ],
  ])("turns %j into OpenCV's colour", (given, expected) => {
    const colour = Float64Array.from(given);
    distort(colour, 0.1, 1.2, 0.9);
    expected.forEach((value, c) => void expect(colour[c]).toBeCloseTo(value, 5));
  });
});

describe("a folder of classes", () => {
  const root = join(folder, "set");
  beforeAll(async () => {
    for (const [label, name] of ["ant", "bee", "cat"].entries()) {
      mkdirSync(join(root, name), { recursive: true });
      for (let i = 0; i < 3; i++) {
        const background = { r: 60 * label, g: 10 * i, b: 200 };
        const image = sharp({ create: { width: 20 + i, height: 16, channels: 3, background } });
        writeFileSync(join(root, name, `${i}.png`), await image.png().toBuffer());
      }
      writeFileSync(join(root, name, "notes.txt"), "no image");
    }
  });

  it("has its classes in order and its images in batches", async () => {
    const set = await openImageFolder(root);
    expect(set.classes).toEqual(["ant", "bee", "cat"]);
    expect(set.count).toBe(9);
    const loader = new PhotographLoader(set, {
      batchSize: 4,
      side: 8,
      mean: [0.5, 0.5, 0.5],
      std: [0.5, 0.5, 0.5],
    });
    expect(loader.length).toBe(3);
    const counts: number[] = [];
    for await (const { images, labels, shape, count, index } of loader.epoch(0)) {
      counts.push(count);
      expect(shape).toEqual([count, 3, 8, 8]);
      expect([...labels]).toEqual(Array.from({ length: count }, (_, i) => Math.floor((4 * index + i) / 3)));
      expect(images[0]).toBeCloseTo((60 * labels[0]) / 255 / 0.5 - 1, 5);
    }
    expect(counts).toEqual([4, 4, 1]);
  });

  it("shuffles by seed and epoch", async () => {
    const set = await openImageFolder(root);
    const order = async (seed: number, epoch: number) => {
      const labels: number[] = [];
      const loader = new PhotographLoader(set, {
        batchSize: 2,
        side: 8,
        shuffle: true,
        seed,
        dropLast: true,
      });
      for await (const batch of loader.epoch(epoch)) labels.push(...batch.labels);
      return labels.join("");
    };
    expect(await order(1, 0)).toBe(await order(1, 0));
    expect(new Set([await order(1, 0), await order(1, 1), await order(2, 0)]).size).toBeGreaterThan(1);
    expect(await order(1, 0)).toHaveLength(8);
  });

  it("refuses folders without classes or images, and names a damaged file", async () => {
    mkdirSync(join(folder, "empty", "class"), { recursive: true });
    await expect(openImageFolder(join(folder, "empty"))).rejects.toThrow("hold no image files");
    await expect(openImageFolder(join(folder, "empty", "class"))).rejects.toThrow("has no folders");
    await expect(openImageFolder(join(folder, "nowhere"))).rejects.toThrow("does not exist");
    mkdirSync(join(folder, "damaged", "class"), { recursive: true });
    writeFileSync(join(folder, "damaged", "class", "bad.png"), "nothing");
    const loader = new PhotographLoader(await openImageFolder(join(folder, "damaged")), {
      batchSize: 1,
      side: 8,
    });
    await expect(loader.epoch(0).next()).rejects.toThrow(/bad\.png: cannot be decoded/);
  });
});
