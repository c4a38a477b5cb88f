/**
 * Measures which tiles are fast on an adapter, once, and keeps the answer: in Node as a file in the user's cache, in
 * a browser in its local storage.
 */
import { extentsOf } from "./kernels/convolution/geometry.ts";
import { conv2d, conv2dWeightGradient } from "./kernels/convolution/index.ts";
import {
  type GradientTile,
  gradientTiles,
  isTuning,
  type ProductTile,
  productTiles,
  shapeClass,
  type Tuning,
} from "./kernels/convolution/tiles.ts";
import type { GpuRuntime, GpuView } from "./runtime.ts";

/** Of the kernels: what was measured with other ones says nothing. */
const version = 3;

/** Convolutions that stand for their class: layers of the paper's networks at a batch of `images`. */
const representatives: readonly {
  readonly C: number;
  readonly K: number;
  readonly size: number;
  readonly window: number;
}[] = [
  { C: 32, K: 8, size: 28, window: 3 },
  { C: 64, K: 32, size: 7, window: 3 },
  { C: 64, K: 32, size: 28, window: 3 },
  { C: 64, K: 64, size: 14, window: 3 },
  { C: 64, K: 64, size: 28, window: 3 },
  { C: 128, K: 32, size: 14, window: 1 },
  { C: 128, K: 128, size: 7, window: 1 },
  { C: 128, K: 128, size: 28, window: 1 },
];

/** Repetitions of a measurement; the fastest counts. */
const repetitions = 3;

function image(runtime: GpuRuntime, shape: readonly [number, number, number, number]): GpuView {
  const [N, C, H, W] = shape;
  const buffer = runtime.memory.allocate("f32", N * C * H * W, "workspace");
  return { buffer, shape, strides: [C * H * W, H * W, W, 1], offset: 0 };
}

async function milliseconds(runtime: GpuRuntime, body: () => void): Promise<number> {
  const { queue } = runtime.device;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= repetitions; i++) {
    const start = performance.now();
    body();
    runtime.commands.flush();
    await queue.onSubmittedWorkDone();
    // The first run compiles.
    if (i > 0) best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** The tile with which `run` is fastest. */
async function fastest<Tile>(
  tiles: readonly Tile[],
  runtime: GpuRuntime,
  run: (tile: Tile) => void,
): Promise<Tile> {
  let best = tiles[0];
  let least = Number.POSITIVE_INFINITY;
  for (const tile of tiles) {
    const time = await milliseconds(runtime, () => run(tile));
    if (time < least) [best, least] = [tile, time];
  }
  return best;
}

/** Measures every class on `images` images. Seconds on a GPU, a minute on a software adapter. */
export async function measureTiles(runtime: GpuRuntime, images: number): Promise<Tuning> {
  const products: Record<string, ProductTile> = {};
  const gradients: Record<string, GradientTile> = {};
  const before = runtime.tuning;
  try {
    for (const { C, K, size, window } of representatives) {
      const margin = (window - 1) / 2;
      const attributes = {
        stride: [1, 1],
        padding: [margin, margin, margin, margin],
        dilation: [1, 1],
        groups: 1,
      } as const;
      const x = image(runtime, [images, C, size, size]);
      const weight = image(runtime, [K, C, window, window]);
      const y = image(runtime, [images, K, size, size]);
      const extents = extentsOf(weight.shape, y.shape, attributes);
      // One element by one: the product sees an image as one row.
      const name = shapeClass(window === 1 ? { ...extents, Q: size * size } : extents);
      products[name] = await fastest(productTiles, runtime, (tile) => {
        runtime.tuning = { products: { [name]: tile }, gradients: {} };
        conv2d(runtime, [x, weight], y, attributes);
      });
      gradients[name] = await fastest(gradientTiles, runtime, (tile) => {
        runtime.tuning = { products: {}, gradients: { [name]: tile } };
        conv2dWeightGradient(runtime, [x, y], weight, { ...attributes, weightShape: weight.shape });
      });
      for (const { buffer } of [x, weight, y]) runtime.memory.release(buffer);
    }
  } finally {
    runtime.tuning = before;
  }
  return { products, gradients };
}

const nameOf = (adapter: string): string => `tiles-${version}-${adapter.replace(/[^\w.-]+/g, "_")}`;

/** What was measured on this adapter before, if anything. Damaged answers count as none. */
export async function storedTiles(adapter: string): Promise<Tuning | null> {
  try {
    const text = await readStored(nameOf(adapter));
    const value: unknown = text === null ? null : JSON.parse(text);
    return isTuning(value) ? value : null;
  } catch {
    return null;
  }
}

/** A browser's local storage; Node has one of its own, which warns when it is looked at. */
function pageStorage(): PageStorage | null {
  if (typeof process !== "undefined" && process.versions?.node !== undefined) return null;
  const { localStorage = null } = globalThis as { readonly localStorage?: PageStorage };
  return localStorage;
}

interface PageStorage {
  getItem(name: string): string | null;
  setItem(name: string, value: string): void;
}

async function readStored(name: string): Promise<string | null> {
  const page = pageStorage();
  if (page) return page.getItem(`gradweave/${name}`);
  const [{ readFileSync }, { join }, { cacheFolder }] = await nodeModules();
  return readFileSync(join(cacheFolder(), `${name}.json`), "utf8");
}

/** Keeps what was measured; where nothing can be kept it is measured again next time. */
export async function storeTiles(adapter: string, tuning: Tuning): Promise<void> {
  const text = JSON.stringify(tuning, null, 2);
  const page = pageStorage();
  if (page) {
    page.setItem(`gradweave/${nameOf(adapter)}`, text);
    return;
  }
  const [{ writeFileSync, renameSync }, { join }, { cacheFolder }] = await nodeModules();
  const path = join(cacheFolder(), `${nameOf(adapter)}.json`);
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
}

function nodeModules() {
  return Promise.all([import("node:fs"), import("node:path"), import("./cacheFolder.ts")]);
}
