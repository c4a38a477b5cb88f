/**
 * Weight gradients of large images in parts: an item is some of the steps or blocks in which images are walked, with
 * sums of its own in the memory of the thread that takes it. Every part writes weights, and those of all parts are
 * added up at the end. So threads read other images, write nothing that another one reads, and wait for each other
 * twice and not after every step. How many parts there are does not depend on the number of threads, nor do the bits.
 *
 * Measured with two threads, 8 images, in turns with steps whose items are shared: 3x3 from 128 to 32 channels 10 to 15 %
 * faster on 56 x 56 and 6 to 11 on 28 x 28, 64 to 64 on 56 x 56 23 to 28 %, 1x1 there 5 to 8 %; steps of DenseNet-121 0 to
 * 5 %. One thread loses up to 1 % of these kernels, and 2 to 3 on 28 x 28.
 */
import type { HostView } from "../../../../backend.ts";
import type { FunctionBuilder, Local, ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../../runtime.ts";
import { floatBytes } from "./record.ts";

/** Few enough parts that writing weights costs little, and enough that a thread that is held up costs little. */
const [fewestParts, mostParts] = [4, 8];
/**
 * Each weight is the sum of so many products in a part at least, or writing it costs as much as is gained: where it is
 * made of the sums of sixteen products of squares, and where of a product's sums by lane.
 */
const positionsPerPart = { squares: 1500, dots: 6000 } as const;
/** Sums of a part stay in the second cache. */
const mostSumBytes = 2 ** 20;
/** What `addParts` writes at once. */
const fewestWeights = 4;
/** From one part's weights to the next: whole pairs of cache lines, which two threads would fight for. */
const alignment = 128;

/** Some steps each; one part is none. */
export interface Parts {
  readonly parts: number;
  readonly stepsPerPart: number;
}

/** What decides on the parts of a weight gradient. */
interface PartSizes {
  readonly kind: keyof typeof positionsPerPart;
  readonly weights: number;
  /** Of all images. */
  readonly positions: number;
  readonly steps: number;
  /** Steps before threads would wait for each other. */
  readonly atOnce: number;
  readonly sumBytes: number;
}

/** How many parts, by the size alone: one where they would not pay, or where `addParts` cannot add them up. */
export function partsOf({ kind, weights, positions, steps, atOnce, sumBytes }: PartSizes): Parts {
  const most = Math.min(mostParts, Math.floor(positions / positionsPerPart[kind]), Math.ceil(steps / atOnce));
  const isWorthIt = most >= fewestParts && sumBytes <= mostSumBytes && weights >= fewestWeights;
  if (!isWorthIt) return { parts: 1, stepsPerPart: steps };
  const stepsPerPart = Math.ceil(steps / most);
  return { parts: Math.ceil(steps / stepsPerPart), stepsPerPart };
}

/** Rounds up, so that what lies behind is for another thread. */
export const alignedBytes = (bytes: number): number => alignment * Math.ceil(bytes / alignment);

type Sizes = Readonly<Record<"begin" | "end" | "steps" | "stepsPerPart", Local<"i32">>>;

/** Visits parts, each with its first step and the one after its last. */
export function forParts(
  f: FunctionBuilder,
  { begin, end, steps, stepsPerPart }: Sizes,
  body: (part: Local<"i32">, first: Local<"i32">, last: Local<"i32">) => void,
): void {
  const { i32 } = f;
  const [part, first, last] = ["part", "first", "last"].map((name) => f.local("i32", name));
  f.forRange(part, begin, end, 1, () => {
    first.set(i32.mul(part, stepsPerPart));
    last.set(i32.add(first, stepsPerPart));
    last.set(f.select(last, steps, i32.lt_s(last, steps)));
    body(part, first, last);
  });
}

/** Floats of an item of `addParts`, and what adding up one of a part takes at its best. */
const [floatsPerItem, addNanoseconds] = [1024, 0.1];

const addParams = {
  ...({ begin: "i32", end: "i32", scratch: "i32" } as const),
  ...({ from: "i32", parts: "i32", partBytes: "i32", count: "i32", to: "i32" } as const),
};

/** `addParts` (begin, end, scratch, from, parts, partBytes, count, to): adds up `count` floats, `fewestWeights` at least. */
export function defineAddParts(module: ModuleBuilder): void {
  module.func("addParts", { params: addParams }, (f, { begin, end, from, parts, partBytes, count, to }) => {
    const { i32, v128, f32x4 } = f;
    const names = ["at", "offset", "address", "part", "limit"];
    const [at, offset, address, part, limit] = names.map((name) => f.local("i32", name));
    const sum = f.local("v128", "sum");
    const itemBytes = floatBytes * floatsPerItem;
    const bytes = f.let(i32.mul(count, floatBytes), "bytes");
    const last = f.let(i32.sub(bytes, 16), "last");
    limit.set(i32.mul(end, itemBytes));
    limit.set(f.select(limit, bytes, i32.lt_s(limit, bytes)));
    f.forPointer(at, i32.mul(begin, itemBytes), limit, 16, () => {
      // The last four overlap those before.
      offset.set(f.select(at, last, i32.lt_s(at, last)));
      address.set(i32.add(from, offset));
      sum.set(v128.load(address));
      f.forRange(part, 1, parts, 1, () => {
        address.set(i32.add(address, partBytes));
        sum.set(f32x4.add(sum, v128.load(address)));
      });
      v128.store(i32.add(to, offset), sum);
    });
  });
}

/** Lets `write` put the weights of every part somewhere, and adds them up. */
export function inParts(
  runtime: WasmRuntime,
  addParts: RangeFunction,
  parts: number,
  weight: HostView,
  write: (weights: number, partBytes: number) => void,
): void {
  const count = weight.shape.reduce((product, n) => product * n, 1);
  const partBytes = alignedBytes(floatBytes * count);
  const weights = runtime.scratch("conv2d parts", parts * partBytes);
  write(weights, partBytes);
  const items = Math.ceil(count / floatsPerItem);
  runtime.forRange(addParts, items, [weights, parts, partBytes, count, addressOf(weight)], {
    grain: grainOf(addNanoseconds * floatsPerItem * parts),
  });
}
