/**
 * Runs a convolution's products: keeps a plan for every size, packs the weights, deals the items out to threads. The
 * gathered operand may be a norm and a ReLU of the image, given as coefficients by channel (normRelu.ts).
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import { ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, grainOf, type WasmFunction, type WasmRuntime } from "../../runtime.ts";
import { type DotsPlan, makeDotsPlan } from "./dotsPlan.ts";
import { defineCopyRow, definePackSliver, definePrepare } from "./gather.ts";
import { defineJoinPlanes } from "./joinPlanes.ts";
import { defineNarrowProduct } from "./narrow.ts";
import { defineCopyNormed, defineNormRelu } from "./normRelu.ts";
import { definePackRows } from "./packRows.ts";
import { definePackPanels } from "./panels.ts";
import { makePlan, type Plan } from "./plan.ts";
import { PlanCache } from "./planCache.ts";
import { defineGatheredProduct } from "./product.ts";
import { floatBytes, writeIntegers, writeWords } from "./record.ts";
import { bytesOf, forwardProduct, inputGradientProducts, type WeightedProduct } from "./sizes.ts";
import { planSquareProduct, type SquareProductPlan } from "./squareProductPlan.ts";
import { SquareRunner } from "./squareRunner.ts";
import { planSquareWeights, type SquareWeightsPlan } from "./squareWeightsPlan.ts";
import { type TileShape, tileRows } from "./tile.ts";
import { defineTouchRows } from "./touch.ts";
import { defineWeightGradient } from "./weightGradient.ts";

/** A product and its place in the target. */
interface Placed {
  readonly first: number;
  /** Positions of an image that the product writes. */
  readonly positions: number;
}

interface GatheredPlan extends Placed {
  readonly plan: Plan;
  /** Address of where the weights of each step lie. */
  readonly weightTable: number;
}

interface SquaresPlan extends Placed {
  readonly squares: SquareProductPlan;
}

type ProductPlan = GatheredPlan | SquaresPlan;

/** One multiply-add, and one float copied, of one thread at its best: for telling what is worth sharing. */
const [multiplyNanoseconds, copyNanoseconds] = [0.02, 0.2];

/** The products of an input gradient, one for every phase of the stride. */
interface InputPlan {
  readonly plans: readonly ProductPlan[];
  /** Where they are done item by item: the table of `narrowPhases`, and bytes of panels. */
  readonly phases: {
    readonly plans: readonly GatheredPlan[];
    readonly table: number;
    readonly panelOffsets: readonly number[];
  } | null;
}

/** A weight gradient by squares, or by dot products. */
type WeightsPlan = { readonly squares: SquareWeightsPlan } | DotsPlan;

const itemNanoseconds = ({ results, depth, positionsPerItem }: Plan): number =>
  multiplyNanoseconds * results * depth * positionsPerItem;

const panelBytesOf = ({ groups, results, depth }: Plan): number => floatBytes * groups * results * depth;

function compile(runtime: WasmRuntime, shape: TileShape): Readonly<Record<string, WasmFunction>> {
  const module = new ModuleBuilder("convolution");
  runtime.importMemory(module);
  const copyRow = defineCopyRow(module);
  const normRelu = defineNormRelu(module, shape);
  const copyNormed = defineCopyNormed(module, shape);
  const touch = defineTouchRows(module);
  const prepare = definePrepare(module, shape, copyRow, normRelu, copyNormed, touch);
  const packSliver = definePackSliver(module, shape);
  definePackPanels(module);
  defineGatheredProduct(module, shape, prepare, packSliver, normRelu, touch);
  defineNarrowProduct(module, shape, prepare, copyRow);
  defineJoinPlanes(module, copyRow);
  const packRows = definePackRows(module, shape, {
    packSliver,
    copyRow,
    copyNormed,
    normRelu,
    touch,
  });
  defineWeightGradient(module, shape, prepare, packRows, touch);
  return runtime.instantiate(module);
}

export class Multiplier {
  readonly #runtime: WasmRuntime;
  readonly #shape: TileShape;
  readonly #forward = new PlanCache<readonly ProductPlan[]>(3);
  readonly #input = new PlanCache<InputPlan>(3);
  readonly #dots = new PlanCache<WeightsPlan>(3);
  readonly #normedDots = new PlanCache<WeightsPlan>(3);
  readonly #squares: SquareRunner;
  #compiled: Readonly<Record<string, WasmFunction>> | undefined;

  constructor(runtime: WasmRuntime) {
    this.#runtime = runtime;
    this.#shape = {
      fused: runtime.fused,
      vectors: runtime.revectorised ? 4 : 2,
    };
    this.#squares = new SquareRunner(runtime, this.#shape);
  }

  /** Writes the convolution of `x`, or of what `coefficients` make of it, to `y`. */
  forward(x: HostView, weight: HostView, y: HostView, attributes: Conv2dAttributes, coefficients = 0): void {
    const plans = this.#forward.get([x, weight, y], attributes, () =>
      this.#plan([forwardProduct(x, weight, y, attributes)]),
    );
    const [rowBytes] = bytesOf(weight);
    const groupBytes = (weight.shape[0] / attributes.groups) * rowBytes;
    for (const plan of plans) this.#multiply(plan, x, weight, groupBytes, rowBytes, y, coefficients);
  }

  /** Writes the gradient of the input to `x`. Calls `clear` before where some positions are read by no window. */
  inputGradient(
    gradient: HostView,
    weight: HostView,
    x: HostView,
    attributes: Conv2dAttributes,
    clear: () => void,
  ): void {
    const { plans, phases } = this.#input.get([gradient, weight, x], attributes, () =>
      this.#planPhases(this.#plan(inputGradientProducts(gradient, weight, x, attributes))),
    );
    const [w0, w1] = bytesOf(weight);
    const groupBytes = (weight.shape[0] / attributes.groups) * w0;
    const written = plans.reduce((sum, { positions }) => sum + positions, 0);
    if (written < x.shape[2] * x.shape[3]) clear();
    if (!phases) {
      for (const plan of plans) this.#multiply(plan, gradient, weight, groupBytes, w1, x, 0);
      return;
    }
    const { table, panelOffsets } = phases;
    const panels = this.#runtime.scratch("conv2d panels", panelOffsets[plans.length]);
    for (const [i, product] of phases.plans.entries())
      this.#packPanels(product, weight, groupBytes, w1, panels + panelOffsets[i]);
    const operands = [addressOf(gradient), addressOf(x), panels, table, plans.length];
    const sizes = phases.plans.map(({ plan }) => plan);
    this.#runtime.forRange(this.#functions().narrowPhases, sizes[0].items, operands, {
      scratchBytes: Math.max(...sizes.map(({ itemBytes, itemImageBytes }) => itemBytes + itemImageBytes)),
      grain: grainOf(sizes.reduce((sum, plan) => sum + itemNanoseconds(plan), 0)),
    });
  }

  /** Writes the gradient of the weight, which lies without gaps, for `x` or what `coefficients` make of it. */
  weightGradient(
    x: HostView,
    gradient: HostView,
    weight: HostView,
    attributes: Conv2dAttributes,
    coefficients = 0,
  ): void {
    const normed = coefficients > 0;
    const plan = (normed ? this.#normedDots : this.#dots).get([x, gradient, weight], attributes, () => {
      const squares = planSquareWeights(this.#runtime, x, gradient, weight, attributes);
      if (squares) return { squares };
      return makeDotsPlan(this.#runtime, this.#shape, x, gradient, weight, attributes, normed);
    });
    if ("squares" in plan) {
      this.#squares.weightGradient(plan.squares, x, gradient, weight, coefficients);
      return;
    }
    const { joinPlanes, weightGradient } = this.#functions();
    const {
      record,
      items,
      scratchBytes,
      itemNanoseconds,
      batch,
      batchesAtOnce,
      sumBytes,
      joinedRow,
      margin,
      between,
    } = plan;
    let rows = addressOf(gradient);
    const batches = Math.ceil(gradient.shape[0] / batch);
    if (joinedRow > 0) {
      const [N, K, P, Q] = gradient.shape;
      const [imageBytes, planeBytes, rowBytes] = bytesOf(gradient);
      rows = this.#runtime.scratch("conv2d gradient", batches * K * joinedRow);
      this.#runtime.forRange(joinPlanes, batches * K, [
        ...[
          addressOf(gradient),
          imageBytes,
          planeBytes,
          rowBytes,
          N,
          batch,
          P,
          Q,
          K,
          rows,
          joinedRow,
          margin,
          between,
        ],
      ]);
    }
    const sums = this.#runtime.scratch("conv2d sums", sumBytes);
    const operands = [record, addressOf(x), rows, addressOf(weight), coefficients, sums];
    for (let first = 0; first < batches; first += batchesAtOnce) {
      const last = Math.min(batches, first + batchesAtOnce);
      const grain = grainOf(itemNanoseconds * (last - first));
      this.#runtime.forRange(weightGradient, items, [...operands, first, last], { scratchBytes, grain });
    }
  }

  #functions(): Readonly<Record<string, WasmFunction>> {
    this.#compiled ??= compile(this.#runtime, this.#shape);
    return this.#compiled;
  }

  #plan(products: readonly WeightedProduct[]): readonly ProductPlan[] {
    return products.map((product) => {
      const { sizes, first } = product;
      const placed = { first, positions: sizes.vertical.outputs * sizes.horizontal.outputs };
      const squares = planSquareProduct(this.#runtime, product);
      if (squares) return { ...placed, squares };
      const plan = makePlan(this.#runtime, this.#shape, sizes);
      return { ...placed, plan, weightTable: writeIntegers(this.#runtime, product.weightTable) };
    });
  }

  /**
   * Whether all phases are done item by item. They must be cut alike: results are put between those of the other
   * phases of a row, so no two threads may have the same row.
   */
  #planPhases(plans: readonly ProductPlan[]): InputPlan {
    const gathered = plans.filter((product) => "plan" in product);
    const isAlike = ({ plan }: GatheredPlan) => {
      const [{ items, rowBlocks, cut }, first] = [plan, gathered[0].plan];
      const sameRows = rowBlocks === 1 || cut.rowsPerItem === first.cut.rowsPerItem;
      const sameItems = items === first.items && rowBlocks === first.rowBlocks;
      return sameItems && sameRows && cut.imagesPerItem === first.cut.imagesPerItem;
    };
    const isWhole = plans.length > 1 && gathered.length === plans.length;
    if (!isWhole || !gathered.every((product) => product.plan.narrow && isAlike(product)))
      return { plans, phases: null };
    const panelOffsets = [0];
    for (const { plan } of gathered)
      panelOffsets.push(panelOffsets[panelOffsets.length - 1] + panelBytesOf(plan));
    const entries = gathered.flatMap(({ plan, first }, i) => [plan.address, panelOffsets[i], first]);
    return { plans, phases: { plans: gathered, table: writeWords(this.#runtime, entries), panelOffsets } };
  }

  /** Packs the weights of every group, then multiplies item by item. Strides of the weights in bytes. */
  #multiply(
    product: ProductPlan,
    source: HostView,
    weight: HostView,
    groupBytes: number,
    rowBytes: number,
    target: HostView,
    coefficients: number,
  ): void {
    const { first } = product;
    if ("squares" in product) {
      const { squares } = product;
      this.#squares.multiply(squares, source, weight, rowBytes, addressOf(target) + first, coefficients);
      return;
    }
    const { plan } = product;
    const { address, itemBytes, itemImageBytes, narrow } = plan;
    const { gatheredProduct, narrowProduct } = this.#functions();
    const packed = this.#runtime.scratch("conv2d panels", panelBytesOf(plan));
    this.#packPanels(product, weight, groupBytes, rowBytes, packed);
    this.#runtime.forRange(
      narrow ? narrowProduct : gatheredProduct,
      plan.items,
      [address, addressOf(source), packed, addressOf(target) + first, coefficients],
      { scratchBytes: itemBytes + itemImageBytes, grain: grainOf(itemNanoseconds(plan)) },
    );
  }

  #packPanels(
    { plan: { address, groups, panels, depth }, weightTable }: GatheredPlan,
    weight: HostView,
    groupBytes: number,
    rowBytes: number,
    packed: number,
  ): void {
    const operands = [address, addressOf(weight), groupBytes, rowBytes, weightTable, packed];
    this.#runtime.forRange(this.#functions().packPanels, groups * panels, operands, {
      grain: grainOf(copyNanoseconds * tileRows * depth),
    });
  }
}
