/**
 * How large the tiles of a convolution's kernels are. Registers, caches and the cost of a load differ from adapter to
 * adapter, so `tune()` measures a few sizes for each class of shapes; without it a fixed choice that is good on all.
 */
import { type Extents, roundUp } from "./geometry.ts";

/** Outputs of a product's thread: channels, and vectors of four neighbours in a row. */
export interface ProductTile {
  readonly channels: number;
  readonly vectors: number;
}

/** Channels of a weight gradient's thread. */
export interface GradientTile {
  readonly outputs: number;
  readonly inputs: number;
}

/** The largest tiles, by class of shapes; smaller shapes get smaller ones. */
export interface Tuning {
  readonly products: Readonly<Record<string, ProductTile>>;
  readonly gradients: Readonly<Record<string, GradientTile>>;
}

export const untuned: Tuning = { products: {}, gradients: {} };

const productDefault: ProductTile = { channels: 8, vectors: 4 };

/** What there is to choose from. */
export const productTiles: readonly ProductTile[] = [4, 8, 16].flatMap((channels) =>
  [1, 2, 4].map((vectors) => ({ channels, vectors })),
);
export const gradientTiles: readonly GradientTile[] = [4, 8, 16].flatMap((outputs) =>
  [2, 4, 8].map((inputs) => ({ outputs, inputs })),
);

/** Shapes that want the same tiles: by the window, the channels of a group, and how long a row is. */
export function shapeClass({ R, S, K, Q }: Extents): string {
  const window = R * S === 1 ? "1" : S <= 3 ? "3" : "n";
  const channels = K <= 8 ? "few" : K <= 48 ? "some" : "many";
  return `${window}/${channels}/${Q < 16 ? "short" : Q < 128 ? "medium" : "long"}`;
}

/** The largest size that is at most a quarter waste. */
function fitting(sizes: readonly number[], largest: number, wanted: number): number {
  const allowed = sizes.filter((size) => size <= largest);
  return allowed.find((size) => roundUp(wanted, size) <= 1.25 * wanted) ?? 1;
}

/** The tile of a product. */
export function productTileOf(extents: Extents, { products }: Tuning): ProductTile {
  const largest = products[shapeClass(extents)] ?? productDefault;
  return {
    channels: fitting([16, 8, 4, 2, 1], largest.channels, extents.K),
    vectors: fitting([4, 2, 1], largest.vectors, Math.ceil(extents.Q / 4)),
  };
}

/** The tile of a weight gradient. A long window keeps many sums for each pair of channels. */
export function gradientTileOf(extents: Extents, { gradients }: Tuning): GradientTile {
  const { K, C, S } = extents;
  const tuned = gradients[shapeClass(extents)];
  const largest = tuned ?? { outputs: 8, inputs: S === 1 ? 4 : 2 };
  const inputs = S <= 3 ? largest.inputs : 1;
  return {
    outputs: fitting([16, 8, 4, 2, 1], largest.outputs, K),
    inputs: fitting([8, 4, 2, 1], inputs, C),
  };
}

function isTile(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== "object" || value === null) return false;
  const sizes = new Map<string, unknown>(Object.entries(value));
  return names.every((name) => [1, 2, 4, 8, 16].some((size) => sizes.get(name) === size));
}

/** Whether what was read from a file is a tuning; one of another version of these kernels is not. */
export function isTuning(value: unknown): value is Tuning {
  if (typeof value !== "object" || value === null) return false;
  const { products, gradients } = value as { readonly products?: unknown; readonly gradients?: unknown };
  const all = (table: unknown, names: readonly string[]): boolean =>
    typeof table === "object" && table !== null && Object.values(table).every((tile) => isTile(tile, names));
  return all(products, ["channels", "vectors"]) && all(gradients, ["outputs", "inputs"]);
}
