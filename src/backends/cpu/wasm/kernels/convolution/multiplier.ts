/**
 * Runs a convolution's products: keeps a plan for every size, packs the weights, deals the items out to threads. The
 * gathered operand may be a norm and a ReLU of the image, given as coefficients by channel (normRelu.ts).
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import { ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, grainOf, type WasmFunction, type WasmRuntime } from "../../runtime.ts";
import { defineTouchRows } from "../touch.ts";
import { type DotsPlan, makeDotsPlan } from "./dotsPlan.ts";
import {
  type InputPlan,
  type NarrowPhases,
  type ProductPlan,
  panelBytesOf,
  planInputGradient,
  planProduct,
} from "./inputPlan.ts";
import { defineJoinPlanes } from "./joinPlanes.ts";
import { defineNarrowProduct } from "./narrow.ts";
import { defineCopyNormed, defineNormRelu } from "./normRelu.ts";
import { definePackRows } from "./packRows.ts";
import { definePackSliver } from "./packSliver.ts";
import { definePackPanels } from "./panels.ts";
import { definePhasePairs } from "./phasePairs.ts";
import type { PhasePairsPlan } from "./phasePairsPlan.ts";
import type { Plan, WeightedPlan } from "./plan.ts";
import { PlanCache } from "./planCache.ts";
import { defineCopyRow, definePrepare } from "./prepareImage.ts";
import { defineGatheredProduct } from "./product.ts";
import { bytesOf, forwardProduct } from "./sizes.ts";
import { SquareRunner } from "./squareRunner.ts";
import { planSquareWeights, type SquareWeightsPlan } from "./squareWeightsPlan.ts";
import { type TileShape, tileRows } from "./tile.ts";
import { defineWeightGradient } from "./weightGradient.ts";
import { alignedBytes, defineAddParts, inParts } from "./weightParts.ts";

/** One multiply-add, and one float copied, of one thread at its best: for telling what is worth sharing. */
const [multiplyNanoseconds, copyNanoseconds] = [0.02, 0.2];

/** A weight gradient by squares, or by dot products. */
type WeightsPlan = { readonly squares: SquareWeightsPlan } | DotsPlan;

/** The weights as a product takes them. Strides in bytes: a row of the product's left operand, and a group of them. */
interface Weights {
  readonly view: HostView;
  readonly groupBytes: number;
  readonly rowBytes: number;
}

function weightsOf(view: HostView, { groups }: Conv2dAttributes, rowBytes: number): Weights {
  const [filterBytes] = bytesOf(view);
  return { view, groupBytes: (view.shape[0] / groups) * filterBytes, rowBytes };
}

const itemNanoseconds = ({ results, depth, positionsPerItem }: Plan): number =>
  multiplyNanoseconds * results * depth * positionsPerItem;

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
  definePhasePairs(module, shape, prepare);
  defineJoinPlanes(module, copyRow);
  const packRows = definePackRows(module, shape, {
    packSliver,
    copyRow,
    copyNormed,
    normRelu,
    touch,
  });
  defineWeightGradient(module, shape, prepare, packRows, touch);
  defineAddParts(module);
  return runtime.instantiate(module);
}

export class Multiplier {
  readonly #runtime: WasmRuntime;
  readonly #shape: TileShape;
  readonly #forward = new PlanCache<ProductPlan>(3);
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
    const plan = this.#forward.get([x, weight, y], attributes, () =>
      planProduct(this.#runtime, this.#shape, forwardProduct(x, weight, y, attributes)),
    );
    const [rowBytes] = bytesOf(weight);
    this.#multiply(plan, x, weightsOf(weight, attributes, rowBytes), y, coefficients);
  }

  /** Writes the gradient of the input to `x`. Calls `clear` before where some positions are read by no window. */
  inputGradient(
    gradient: HostView,
    weight: HostView,
    x: HostView,
    attributes: Conv2dAttributes,
    clear: () => void,
  ): void {
    const plan = this.#input.get([gradient, weight, x], attributes, () =>
      planInputGradient(this.#runtime, this.#shape, gradient, weight, x, attributes),
    );
    const [, channelBytes] = bytesOf(weight);
    const weights = weightsOf(weight, attributes, channelBytes);
    if (!plan.isWhole) clear();
    if ("products" in plan)
      for (const product of plan.products) this.#multiply(product, gradient, weights, x, 0);
    else if ("pairs" in plan) this.#multiplyPairs(plan.pairs, gradient, weights, x);
    else this.#multiplyPhases(plan.narrow, gradient, weights, x);
  }

  /** The phases of a stride, item by item. */
  #multiplyPhases(
    { plans, table, panelOffsets }: NarrowPhases,
    source: HostView,
    weights: Weights,
    target: HostView,
  ): void {
    const panels = this.#runtime.scratch("conv2d panels", panelOffsets[plans.length]);
    for (const [i, product] of plans.entries()) this.#packPanels(product, weights, panels + panelOffsets[i]);
    const operands = [addressOf(source), addressOf(target), panels, table, plans.length];
    const sizes = plans.map(({ plan }) => plan);
    this.#runtime.forRange(this.#functions().narrowPhases, sizes[0].items, operands, {
      scratchBytes: Math.max(...sizes.map(({ itemBytes, itemImageBytes }) => itemBytes + itemImageBytes)),
      grain: grainOf(sizes.reduce((sum, plan) => sum + itemNanoseconds(plan), 0)),
    });
  }

  /** A stride of 2, even and odd columns at a time. */
  #multiplyPairs(
    { sides, scratchBytes }: PhasePairsPlan,
    source: HostView,
    weights: Weights,
    target: HostView,
  ): void {
    const [even, odd] = sides.map(({ plan }) => plan);
    const panels = this.#runtime.scratch("conv2d panels", panelBytesOf(even) + panelBytesOf(odd));
    const addresses = [panels, panels + panelBytesOf(even)];
    for (const [i, side] of sides.entries()) this.#packPanels(side, weights, addresses[i]);
    const [, , H, W] = target.shape;
    this.#runtime.forRange(
      this.#functions().phasePairs,
      even.items,
      [even.address, odd.address, addressOf(source), ...addresses, addressOf(target), H, W],
      { scratchBytes, grain: grainOf(itemNanoseconds(even) + itemNanoseconds(odd)) },
    );
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
    const { joinPlanes, weightGradient, weightGradientParts, addParts } = this.#functions();
    const {
      record,
      items,
      scratchBytes,
      itemNanoseconds,
      batch,
      steps,
      stepsAtOnce,
      sumBytes,
      joinedRow,
      margin,
      between,
      parts,
      stepsPerPart,
    } = plan;
    let rows = addressOf(gradient);
    if (joinedRow > 0) {
      const [N, K, P, Q] = gradient.shape;
      const batches = Math.ceil(N / batch);
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
    if (parts > 1) {
      inParts(this.#runtime, addParts, parts, weight, (weights, partBytes) => {
        const sizes = [items, steps, stepsPerPart, alignedBytes(sumBytes), partBytes];
        const operands = [record, addressOf(x), rows, weights, coefficients, ...sizes];
        this.#runtime.forRange(weightGradientParts, parts, operands, {
          scratchBytes: alignedBytes(sumBytes) + scratchBytes,
        });
      });
      return;
    }
    const sums = this.#runtime.scratch("conv2d sums", sumBytes);
    const operands = [record, addressOf(x), rows, addressOf(weight), coefficients, sums];
    for (let first = 0; first < steps; first += stepsAtOnce) {
      const last = Math.min(steps, first + stepsAtOnce);
      const grain = grainOf(itemNanoseconds * (last - first));
      this.#runtime.forRange(weightGradient, items, [...operands, first, last, 0, steps], {
        scratchBytes,
        grain,
      });
    }
  }

  #functions(): Readonly<Record<string, WasmFunction>> {
    this.#compiled ??= compile(this.#runtime, this.#shape);
    return this.#compiled;
  }

  /** Packs the weights of every group, then multiplies item by item. */
  #multiply(
    product: ProductPlan,
    source: HostView,
    weights: Weights,
    target: HostView,
    coefficients: number,
  ): void {
    const { first } = product;
    if ("squares" in product) {
      const { squares } = product;
      const { view, rowBytes } = weights;
      this.#squares.multiply(squares, source, view, rowBytes, addressOf(target) + first, coefficients);
      return;
    }
    const { plan } = product;
    const { address, itemBytes, itemImageBytes, narrow } = plan;
    const { gatheredProduct, narrowProduct } = this.#functions();
    const packed = this.#runtime.scratch("conv2d panels", panelBytesOf(plan));
    this.#packPanels(product, weights, packed);
    this.#runtime.forRange(
      narrow ? narrowProduct : gatheredProduct,
      plan.items,
      [address, addressOf(source), packed, addressOf(target) + first, coefficients],
      { scratchBytes: itemBytes + itemImageBytes, grain: grainOf(itemNanoseconds(plan)) },
    );
  }

  #packPanels(
    { plan: { address, groups, panels, depth }, weightTable }: WeightedPlan,
    { view, groupBytes, rowBytes }: Weights,
    packed: number,
  ): void {
    const operands = [address, addressOf(view), groupBytes, rowBytes, weightTable, packed];
    this.#runtime.forRange(this.#functions().packPanels, groups * panels, operands, {
      grain: grainOf(copyNanoseconds * tileRows * depth),
    });
  }
}
