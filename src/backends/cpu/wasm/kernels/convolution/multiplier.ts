/**
 * Runs a convolution's products: keeps a plan for every size, packs the weights, deals the items out to threads. The
 * gathered operand may be a norm and a ReLU of the image, given as coefficients by channel (normRelu.ts).
 */
import type { HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import { ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, grainOf, type WasmFunction, type WasmRuntime } from "../../runtime.ts";
import { defineCopyRow, definePackSliver, definePrepare } from "./gather.ts";
import { defineJoinPlanes } from "./joinPlanes.ts";
import { defineNarrowProduct } from "./narrow.ts";
import { defineCopyNormed, defineNormRelu } from "./normRelu.ts";
import { definePackPanels } from "./panels.ts";
import { floatBytes, makePlan, narrowResults, type Plan } from "./plan.ts";
import { PlanCache } from "./planCache.ts";
import { defineGatheredProduct } from "./product.ts";
import { writeIntegers } from "./record.ts";
import { bytesOf, forwardProduct, inputGradientProducts, isDense, type WeightedProduct } from "./sizes.ts";
import { columnsOf, dotStride, type TileShape, tileRows } from "./tile.ts";
import { defineWeightGradient, dotSumBytes, dotsLayout } from "./weightGradient.ts";

interface ProductPlan {
  readonly plan: Plan;
  readonly first: number;
  /** Address of where the weights of each step lie. */
  readonly weightTable: number;
}

interface DotsPlan {
  readonly record: number;
  readonly items: number;
  readonly scratchBytes: number;
  /** How long an item takes for a batch. */
  readonly itemNanoseconds: number;
  /** Images whose positions are walked as one. */
  readonly batch: number;
  /** Batches whose gradient stays in the cache while all items read it. */
  readonly batchesAtOnce: number;
  /** Sums of all items. */
  readonly sumBytes: number;
  /** Bytes of a channel of the output gradient over a batch, or 0 when it is read where it lies. */
  readonly joinedRow: number;
  /** Zeros after each of its rows. */
  readonly margin: number;
}

/**
 * Rows of the gathered image that an item of the weight gradient takes: few enough to make items for all threads, as
 * long as the gradient, which every item reads whole, is not read too often.
 */
const [fewestRows, mostRows] = [32, 64];
/** One multiply-add, and one float copied, of one thread at its best: for telling what is worth sharing. */
const [multiplyNanoseconds, copyNanoseconds] = [0.02, 0.2];
/** Results of an item at least, so that gathering the rows stays a small share of it. */
const fewestResults = 24;
/** Positions the weight gradient walks at once at least; smaller images are walked together. */
const positionsPerBatch = 512;
/** Positions whose rows are packed at once: a panel of 6 gradient rows and 2 image rows fit the first cache. */
const largestBlock = 512;
/** An output gradient of this size is read from a cache the second time. */
const cachedBytes = 2 * 2 ** 20;
/** So many items are enough for threads to share them evenly. */
const enoughItems = 4;

function compile(runtime: WasmRuntime, shape: TileShape): Readonly<Record<string, WasmFunction>> {
  const module = new ModuleBuilder("convolution");
  runtime.importMemory(module);
  const copyRow = defineCopyRow(module);
  const normRelu = defineNormRelu(module, shape);
  const copyNormed = defineCopyNormed(module, shape);
  const prepare = definePrepare(module, copyRow, normRelu, copyNormed);
  const packSliver = definePackSliver(module, shape);
  definePackPanels(module);
  defineGatheredProduct(module, shape, prepare, packSliver, normRelu);
  defineNarrowProduct(module, shape, prepare, copyRow);
  defineJoinPlanes(module, copyRow);
  defineWeightGradient(module, shape, prepare, packSliver, copyRow, normRelu);
  return runtime.instantiate(module);
}

export class Multiplier {
  readonly #runtime: WasmRuntime;
  readonly #shape: TileShape;
  readonly #forward = new PlanCache<readonly ProductPlan[]>(3);
  readonly #input = new PlanCache<readonly ProductPlan[]>(3);
  readonly #dots = new PlanCache<DotsPlan>(3);
  readonly #normedDots = new PlanCache<DotsPlan>(3);
  #compiled: Readonly<Record<string, WasmFunction>> | undefined;

  constructor(runtime: WasmRuntime) {
    this.#runtime = runtime;
    this.#shape = { fused: runtime.fused, vectors: runtime.revectorised ? 4 : 2 };
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
    const plans = this.#input.get([gradient, weight, x], attributes, () =>
      this.#plan(inputGradientProducts(gradient, weight, x, attributes)),
    );
    const [w0, w1] = bytesOf(weight);
    const groupBytes = (weight.shape[0] / attributes.groups) * w0;
    const written = plans.reduce((sum, { plan }) => sum + plan.positions, 0);
    if (written < x.shape[2] * x.shape[3]) clear();
    for (const plan of plans) this.#multiply(plan, gradient, weight, groupBytes, w1, x, 0);
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
    const plan = (normed ? this.#normedDots : this.#dots).get([x, gradient, weight], attributes, () =>
      this.#dotsPlan(x, gradient, weight, attributes, normed),
    );
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
    return products.map(({ sizes, first, weightTable }) => ({
      plan: makePlan(this.#runtime, this.#shape, sizes),
      first,
      weightTable: writeIntegers(this.#runtime, weightTable),
    }));
  }

  /** Packs the weights of every group, then multiplies item by item. Strides of the weights in bytes. */
  #multiply(
    { plan, first, weightTable }: ProductPlan,
    source: HostView,
    weight: HostView,
    groupBytes: number,
    rowBytes: number,
    target: HostView,
    coefficients: number,
  ): void {
    const { address, groups, panels, results, depth, itemBytes, itemImageBytes, narrow } = plan;
    const { packPanels, gatheredProduct, narrowProduct } = this.#functions();
    const packed = this.#runtime.scratch("conv2d panels", floatBytes * groups * results * depth);
    const operands = [address, addressOf(weight), groupBytes, rowBytes, weightTable, packed];
    const panelNanoseconds = copyNanoseconds * tileRows * depth;
    this.#runtime.forRange(packPanels, groups * panels, operands, { grain: grainOf(panelNanoseconds) });
    this.#runtime.forRange(
      narrow ? narrowProduct : gatheredProduct,
      plan.items,
      [address, addressOf(source), packed, addressOf(target) + first, coefficients],
      {
        scratchBytes: itemBytes + itemImageBytes,
        grain: grainOf(multiplyNanoseconds * results * depth * plan.positionsPerItem),
      },
    );
  }

  #dotsPlan(
    x: HostView,
    gradient: HostView,
    weight: HostView,
    attributes: Conv2dAttributes,
    normed: boolean,
  ): DotsPlan {
    const shape = this.#shape;
    const { sizes } = forwardProduct(x, weight, gradient, attributes);
    const { groups, channels, results, taps, inPlace } = sizes;
    const [imageBytes, channelBytes] = bytesOf(gradient);
    const [images, , P, Q] = gradient.shape;
    const step = dotStride(shape);
    // With few results packing costs more than multiplying: rows of the padded image are read where they lie, and the
    // output gradient gets zeros where that has its margin.
    const narrow = !inPlace && results <= narrowResults;
    const margin = narrow ? sizes.horizontal.length - Q : 0;
    const positions = P * (Q + margin);
    const batch = narrow ? 1 : Math.min(images, Math.ceil(positionsPerBatch / positions));
    const inRows = !narrow && batch === 1 && isDense(gradient) && positions % step === 0;
    const joinedRow = inRows ? 0 : floatBytes * step * Math.ceil((batch * positions) / step);
    const allRows = channels * taps.length;
    const evenRows = Math.ceil((groups * allRows) / enoughItems);
    const fewRows = Math.min(mostRows, Math.max(fewestRows, evenRows), allRows);
    // Whole channels where they are small enough, so that no two items copy the same one.
    const rowsPerItem = fewRows - (fewRows > taps.length ? fewRows % taps.length : 0);
    const rowBlocks = Math.ceil(allRows / rowsPerItem);
    const wanted = Math.max(1, Math.ceil(enoughItems / (groups * rowBlocks)));
    const parts = Math.max(1, Math.min(wanted, Math.floor(results / fewestResults)));
    const resultsPerItem = Math.ceil(results / parts);
    const resultBlocks = Math.ceil(results / resultsPerItem);
    // A row may begin anywhere in its channel, and the last one end anywhere.
    const itemChannels = Math.min(channels, Math.ceil((rowsPerItem - 1) / taps.length) + 1);
    const plan = makePlan(this.#runtime, shape, sizes, { images: batch, channels: itemChannels });
    const gradientRow = inRows ? channelBytes : joinedRow;
    const sumBytes = dotSumBytes(shape, resultsPerItem, rowsPerItem);
    const width = columnsOf(shape);
    // Images that are walked together are packed together.
    const blocks = batch > 1 ? 1 : Math.ceil(positions / largestBlock);
    const positionsPerBlock = width * Math.ceil((batch * positions) / blocks / width);
    const slackBytes = narrow ? floatBytes * (sizes.horizontal.reach + step) : 0;
    const packedBytes = narrow ? 0 : floatBytes * rowsPerItem * positionsPerBlock;
    const record = dotsLayout.write(this.#runtime, {
      ...{ plan: plan.address, rowsPerItem, rowBlocks, resultsPerItem, resultBlocks },
      ...{ taps: taps.length, imagesPerBatch: batch, batches: Math.ceil(images / batch) },
      ...{ positions, positionsPerBlock, sumBytes },
      packedTable: writeIntegers(
        this.#runtime,
        Array.from({ length: rowsPerItem + 1 }, (_, row) => floatBytes * positionsPerBlock * row),
      ),
      slackBytes,
      readInPlace: narrow || (inPlace && inRows && !normed) ? 1 : 0,
      gradientBatch: inRows ? imageBytes : groups * results * joinedRow,
      gradientGroup: results * gradientRow,
      gradientRow,
    });
    return {
      record,
      items: groups * rowBlocks * resultBlocks,
      scratchBytes: packedBytes + plan.itemImageBytes + slackBytes,
      itemNanoseconds: multiplyNanoseconds * resultsPerItem * rowsPerItem * batch * positions,
      batch,
      batchesAtOnce: Math.max(
        1,
        Math.floor(cachedBytes / (floatBytes * batch * gradient.shape[1] * positions)),
      ),
      sumBytes: groups * rowBlocks * resultBlocks * sumBytes,
      joinedRow,
      margin,
    };
  }
}
