/**
 * Convolution and its two gradients as products of packed panels. A 1x1 convolution without margin or stride reads its
 * image in place; every other image is copied once with its margin, item by item, into scratch memory that stays in
 * the cache.
 *
 * Letters as in the op: N images, C input channels, H x W input, K output channels, R x S window, P x Q output.
 */
import type { HostKernel, HostView } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import { ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, type WasmFunction, type WasmRuntime } from "../../runtime.ts";
import type { PlaneKernels } from "../planes.ts";
import { defineCopyRow, definePackSliver, definePrepare } from "./gather.ts";
import { definePackPanels } from "./panels.ts";
import { floatBytes, makePlan, type Plan } from "./plan.ts";
import { defineGatheredProduct } from "./product.ts";
import { writeIntegers } from "./record.ts";
import { bytesOf, forwardProduct, inputGradientProducts, isDense, type WeightedProduct } from "./sizes.ts";
import { columnsOf, dotStride, type TileShape } from "./tile.ts";
import { defineWeightGradient, dotsLayout, dotsScratch } from "./weightGradient.ts";

type ConvKernel = HostKernel<Conv2dAttributes>;

export interface Conv2dKernels {
  readonly conv2d: ConvKernel;
  readonly conv2dInputGradient: ConvKernel;
  readonly conv2dWeightGradient: ConvKernel;
}

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
  /** Images whose positions are walked as one. */
  readonly batch: number;
  /** Bytes of a channel of the output gradient over a batch, or 0 when it is read where it lies. */
  readonly joinedRow: number;
}

/** Rows of the gathered image that an item of the weight gradient takes, about. */
const gatheredRows = 64;
/** Positions the weight gradient walks at once at least; smaller images are walked together. */
const positionsPerBatch = 512;
/** Positions whose rows are packed at once: a panel of 6 gradient rows and 2 image rows fit the first cache. */
const largestBlock = 512;
/** So many items are enough for threads to share them evenly. */
const enoughItems = 8;

const elementsOf = (extents: readonly number[]): number =>
  extents.reduce((total, extent) => total * extent, 1);

function keyOf(views: readonly HostView[], { stride, padding, dilation, groups }: Conv2dAttributes): string {
  const sizes = views.flatMap(({ shape, strides }) => [...shape, ...strides]);
  return [...sizes, ...stride, ...padding, ...dilation, groups].join();
}

function compile(runtime: WasmRuntime, shape: TileShape): Readonly<Record<string, WasmFunction>> {
  const module = new ModuleBuilder("convolution");
  runtime.importMemory(module);
  const copyRow = defineCopyRow(module);
  const prepare = definePrepare(module, copyRow);
  const packSliver = definePackSliver(module, shape);
  definePackPanels(module);
  defineGatheredProduct(module, shape, prepare, packSliver);
  defineWeightGradient(module, shape, copyRow, prepare, packSliver);
  return runtime.instantiate(module);
}

/** The fast kernels; what they do not take (f64, images whose pixels are not in rows) goes to `fallback`. */
export function conv2dKernels(
  runtime: WasmRuntime,
  planes: PlaneKernels,
  fallback: Conv2dKernels,
): Conv2dKernels {
  const shape: TileShape = { fused: runtime.fused, vectors: runtime.revectorised ? 4 : 2 };
  let compiled: Readonly<Record<string, WasmFunction>> | undefined;
  const functions = () => {
    compiled ??= compile(runtime, shape);
    return compiled;
  };
  const products = new Map<string, readonly ProductPlan[]>();
  const dots = new Map<string, DotsPlan>();
  const takes = (views: readonly HostView[], images: readonly HostView[]): boolean =>
    runtime.accepts(views) &&
    images.every(({ shape: extents, strides }) => !extents.includes(0) && strides[3] === 1);

  function plansOf(key: string, make: () => readonly WeightedProduct[]): readonly ProductPlan[] {
    const known = products.get(key);
    if (known) return known;
    const plans = make().map(({ sizes, first, weightTable }) => ({
      plan: makePlan(runtime, shape, sizes),
      first,
      weightTable: writeIntegers(runtime, weightTable),
    }));
    products.set(key, plans);
    return plans;
  }

  /** Packs the weights of every group, then multiplies item by item. Strides of the weights in bytes. */
  function multiply(
    { plan, first, weightTable }: ProductPlan,
    source: HostView,
    weight: HostView,
    groupBytes: number,
    rowBytes: number,
    target: HostView,
  ): void {
    const { address, groups, panels, results, depth, block, itemImageBytes } = plan;
    const { packPanels, gatheredProduct } = functions();
    const packed = runtime.scratch("conv2d panels", floatBytes * groups * results * depth);
    runtime.forRange(packPanels, groups * panels, [
      ...[address, addressOf(weight), groupBytes, rowBytes, weightTable, packed],
    ]);
    runtime.forRange(
      gatheredProduct,
      plan.items,
      [address, addressOf(source), packed, addressOf(target) + first],
      { scratchBytes: floatBytes * columnsOf(shape) * (block + results) + itemImageBytes },
    );
  }

  const conv2d: ConvKernel = (inputs, y, attributes) => {
    const [x, weight, bias] = inputs;
    if (!takes([...inputs, y], [x, y])) return fallback.conv2d(inputs, y, attributes);
    const plans = plansOf(`forward ${keyOf([x, weight, y], attributes)}`, () => [
      forwardProduct(x, weight, y, attributes),
    ]);
    const [rowBytes] = bytesOf(weight);
    const groupBytes = (weight.shape[0] / attributes.groups) * rowBytes;
    for (const plan of plans) multiply(plan, x, weight, groupBytes, rowBytes, y);
    if (bias) addBias(y, bias);
  };

  function addBias(y: HostView, bias: HostView): void {
    const [N, K, P, Q] = y.shape;
    const values = runtime.scratch("conv2d bias", floatBytes * K);
    const copy = new Float32Array(runtime.memory.memory.buffer, values, K);
    for (let k = 0; k < K; k++) copy[k] = bias.data[bias.offset + k * bias.strides[0]];
    const [rows, columns] = isDense(y) ? [1, P * Q] : [P, Q];
    const [image, plane, row] = bytesOf(y);
    for (let n = 0; n < N; n++)
      for (let p = 0; p < rows; p++)
        planes.addToPlanes(addressOf(y) + n * image + p * row, plane, K, columns, values);
  }

  const conv2dInputGradient: ConvKernel = (inputs, x, attributes) => {
    const [gradient, weight] = inputs;
    if (!takes([...inputs, x], [gradient, x])) return fallback.conv2dInputGradient(inputs, x, attributes);
    const plans = plansOf(`input ${keyOf([gradient, weight, x], attributes)}`, () =>
      inputGradientProducts(gradient, weight, x, attributes),
    );
    const [w0, w1] = bytesOf(weight);
    const written = plans.reduce((sum, { plan }) => sum + plan.positions, 0);
    if (written < x.shape[2] * x.shape[3]) clearImages(x);
    const groupBytes = (weight.shape[0] / attributes.groups) * w0;
    for (const plan of plans) multiply(plan, gradient, weight, groupBytes, w1, x);
  };

  /** Zeroes: what no window reads has no gradient. */
  function clearImages(x: HostView): void {
    const [N, C, H, W] = x.shape;
    const [image, plane, row] = bytesOf(x);
    const [rows, columns] = isDense(x) ? [1, H * W] : [H, W];
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let h = 0; h < rows; h++)
          planes.clear(addressOf(x) + n * image + c * plane + h * row, floatBytes * columns);
  }

  function dotsPlan(
    x: HostView,
    gradient: HostView,
    weight: HostView,
    attributes: Conv2dAttributes,
  ): DotsPlan {
    const { sizes } = forwardProduct(x, weight, gradient, attributes);
    const { groups, channels, results, taps, inPlace } = sizes;
    const [imageBytes, channelBytes] = bytesOf(gradient);
    const images = gradient.shape[0];
    const positions = gradient.shape[2] * gradient.shape[3];
    const step = dotStride(shape);
    const batch = Math.min(images, Math.ceil(positionsPerBatch / positions));
    const inRows = batch === 1 && isDense(gradient) && positions % step === 0;
    const joinedRow = inRows ? 0 : floatBytes * step * Math.ceil((batch * positions) / step);
    const channelsPerItem = Math.min(channels, Math.max(1, Math.floor(gatheredRows / taps.length)));
    const channelBlocks = Math.ceil(channels / channelsPerItem);
    const wanted = Math.max(1, Math.ceil(enoughItems / (groups * channelBlocks)));
    const resultsPerItem = Math.ceil(results / Math.min(wanted, results));
    const resultBlocks = Math.ceil(results / resultsPerItem);
    const plan = makePlan(runtime, shape, sizes, { images: batch, channels: channelsPerItem });
    const gradientRow = inRows ? channelBytes : joinedRow;
    const width = columnsOf(shape);
    const blocks = Math.ceil((batch * positions) / largestBlock);
    const positionsPerBlock = width * Math.ceil((batch * positions) / blocks / width);
    const record = dotsLayout.write(runtime, {
      ...{ plan: plan.address, channelsPerItem, channelBlocks, resultsPerItem, resultBlocks },
      ...{ taps: taps.length, imagesPerBatch: batch, batches: Math.ceil(images / batch) },
      ...{ positions, positionsPerBlock },
      readInPlace: inPlace && inRows ? 1 : 0,
      gradientBatch: inRows ? imageBytes : groups * results * joinedRow,
      gradientGroup: results * gradientRow,
      gradientRow,
    });
    const rows = channelsPerItem * taps.length;
    return {
      record,
      items: groups * channelBlocks * resultBlocks,
      scratchBytes: dotsScratch(shape, resultsPerItem, rows, positionsPerBlock) + plan.itemImageBytes,
      batch,
      joinedRow,
    };
  }

  const conv2dWeightGradient: ConvKernel = (inputs, weight, attributes) => {
    const [x, gradient] = inputs;
    const packed = weight.strides.every(
      (stride, axis) => stride === elementsOf(weight.shape.slice(axis + 1)),
    );
    if (!packed || weight.shape.includes(0) || !takes([...inputs, weight], [x, gradient]))
      return fallback.conv2dWeightGradient(inputs, weight, attributes);
    const key = keyOf([x, gradient, weight], attributes);
    let plan = dots.get(key);
    if (!plan) {
      plan = dotsPlan(x, gradient, weight, attributes);
      dots.set(key, plan);
    }
    const { joinPlanes, weightGradient } = functions();
    const { record, items, scratchBytes, batch, joinedRow } = plan;
    let rows = addressOf(gradient);
    if (joinedRow > 0) {
      const [N, K, P, Q] = gradient.shape;
      const [imageBytes, planeBytes, rowBytes] = bytesOf(gradient);
      const batches = Math.ceil(N / batch);
      rows = runtime.scratch("conv2d gradient", batches * K * joinedRow);
      runtime.forRange(joinPlanes, batches * K, [
        ...[addressOf(gradient), imageBytes, planeBytes, rowBytes, N, batch, P, Q, K, rows, joinedRow],
      ]);
    }
    runtime.forRange(weightGradient, items, [record, addressOf(x), rows, addressOf(weight)], {
      scratchBytes,
    });
  };

  return { conv2d, conv2dInputGradient, conv2dWeightGradient };
}
