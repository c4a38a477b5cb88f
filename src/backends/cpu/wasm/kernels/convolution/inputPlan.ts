/** How the products of a convolution, and those that its input gradient is made of, are planned. */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import type { WasmRuntime } from "../../runtime.ts";
import { type PhasePairsPlan, planPhasePairs } from "./phasePairsPlan.ts";
import { makePlan, type Plan, type WeightedPlan } from "./plan.ts";
import { floatBytes, writeIntegers, writeWords } from "./record.ts";
import { inputGradientProducts, type WeightedProduct } from "./sizes.ts";
import { planSquareProduct, type SquareProductPlan } from "./squareProductPlan.ts";
import type { TileShape } from "./tile.ts";

/** A product and its place in the target. */
interface Placed {
  readonly first: number;
  /** Positions of an image that the product writes. */
  readonly positions: number;
}

export interface GatheredPlan extends Placed, WeightedPlan {}

export interface SquaresPlan extends Placed {
  readonly squares: SquareProductPlan;
}

export type ProductPlan = GatheredPlan | SquaresPlan;

/** Products item by item, one for every phase of the stride: the table of `narrowPhases`, and bytes of panels. */
export interface NarrowPhases {
  readonly plans: readonly GatheredPlan[];
  readonly table: number;
  readonly panelOffsets: readonly number[];
}

/** An input gradient: in pairs of columns, by narrow phases item by item, or one product after the other. */
export type InputPlan = { readonly isWhole: boolean } & (
  | { readonly pairs: PhasePairsPlan }
  | { readonly narrow: NarrowPhases }
  | { readonly products: readonly ProductPlan[] }
);

export const panelBytesOf = ({ groups, results, depth }: Plan): number =>
  floatBytes * groups * results * depth;

export function planProduct(runtime: WasmRuntime, shape: TileShape, product: WeightedProduct): ProductPlan {
  const { sizes, first } = product;
  const placed = { first, positions: sizes.vertical.outputs * sizes.horizontal.outputs };
  const squares = planSquareProduct(runtime, product);
  if (squares) return { ...placed, squares };
  const plan = makePlan(runtime, shape, sizes);
  return { ...placed, plan, weightTable: writeIntegers(runtime, product.weightTable) };
}

export function planInputGradient(
  runtime: WasmRuntime,
  shape: TileShape,
  gradient: HostView,
  weight: HostView,
  x: HostView,
  attributes: Conv2dAttributes,
): InputPlan {
  const pairs = planPhasePairs(runtime, shape, gradient, weight, x, attributes);
  if (pairs) return { isWhole: true, pairs };
  const products = inputGradientProducts(gradient, weight, x, attributes).map((product) =>
    planProduct(runtime, shape, product),
  );
  const written = products.reduce((sum, { positions }) => sum + positions, 0);
  const isWhole = written >= x.shape[2] * x.shape[3];
  const narrow = planNarrowPhases(runtime, products);
  return narrow ? { isWhole, narrow } : { isWhole, products };
}

/**
 * All phases item by item, or null. They must be cut alike: results are put between those of the other phases of a row,
 * so no two threads may have the same row.
 */
function planNarrowPhases(runtime: WasmRuntime, products: readonly ProductPlan[]): NarrowPhases | null {
  const plans = products.filter((product) => "plan" in product);
  if (plans.length < 2 || plans.length < products.length) return null;
  const isAlike = ({ plan }: GatheredPlan) => {
    const [{ items, rowBlocks, cut }, first] = [plan, plans[0].plan];
    const sameRows = rowBlocks === 1 || cut.rowsPerItem === first.cut.rowsPerItem;
    const sameItems = items === first.items && rowBlocks === first.rowBlocks;
    return sameItems && sameRows && cut.imagesPerItem === first.cut.imagesPerItem;
  };
  if (!plans.every((product) => product.plan.narrow && isAlike(product))) return null;
  const panelOffsets = [0];
  for (const { plan } of plans) panelOffsets.push(panelOffsets[panelOffsets.length - 1] + panelBytesOf(plan));
  const entries = plans.flatMap(({ plan, first }, i) => [plan.address, panelOffsets[i], first]);
  return { plans, table: writeWords(runtime, entries), panelOffsets };
}
