/**
 * Sums over images: of elements, of squares, of products. All other reductions of batch norm and `sum` are made of
 * these.
 *
 * Vectors of f32 are added up over at most `chunk` elements, 16 in each of 16 lanes, and then added to totals in
 * f64. So every partial sum has gone through at most `roundings` roundings of f32, whatever the size of the tensor:
 *
 *     |error| <= roundings * 2^-24 * Σ |term|
 *
 * Ranges are of planes, so that a plane's terms are added up in the same order for every number of threads.
 */
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { grainOf, multiplyAdd, type RangeFunction, type RangeOptions, type WasmRuntime } from "../runtime.ts";
import {
  firstLanes,
  forEachChannel,
  type Place,
  rangeParameters,
  storePairs,
  upperHalf,
  xPlace,
  yPlace,
} from "./rows.ts";
import { defineStatistics } from "./statistics.ts";

/** Elements that are added up in f32. */
const chunk = 256;
/** Vectors of sums that grow side by side, which hides the latency of an addition. */
const lanesOfSums = 4;

/** Additions of f32 on the way of one term into a total: its own lane's, and two where four vectors become one. */
export const sumRoundings = chunk / (4 * lanesOfSums) + 1 + 2;

/** Bytes of scratch memory that these functions need, which grow two sums at most. */
const sumScratchBytes = 2 * 16 * lanesOfSums;

/** Ranges of planes: every function begins with `begin`, `end` and `scratch`. */
export interface SumKernels {
  /**
   * (x, image, plane, row, images, rows, columns, totals): the sum of every plane over all images. Totals are
   * `[planes][2]` f64; a sum is that of its pair.
   */
  readonly sums: RangeFunction;
  /**
   * (x, image, plane, row, images, rows, columns, totals, shifts, y, yImage, yPlane, yRow): the sums of y and of
   * y * (x - shift), with a shift by plane, f32. Totals are `[planes][2][2]` f64.
   */
  readonly products: RangeFunction;
  /** Mean and variance of channels: statistics.ts. */
  readonly statistics: RangeFunction;
}

/** How long a plane takes, in nanoseconds. */
export function sumNanoseconds(elements: number): number {
  return 10 + 0.1 * elements;
}

/** How ranges of planes of so many elements, over all images, are run. */
export function sumOptions(elements: number): RangeOptions {
  return { grain: grainOf(sumNanoseconds(elements)), scratchBytes: sumScratchBytes };
}

/** Adds to the sums what the vectors of one place in each operand are worth; `keep` clears lanes beyond the row. */
export type Add = (
  vectors: readonly Local<"v128">[],
  sums: readonly Local<"v128">[],
  keep: (vector: Local<"v128">) => Local<"v128">,
) => void;

/**
 * Adds the terms of one row to `totals`, an f64x2 for each sum.
 *
 * @param scratch where sums go by way of memory, since V8 makes vectors of 256 bits only of those that are stored
 */
function addRow(
  f: FunctionBuilder,
  rows: readonly Local<"i32">[],
  columns: Local<"i32">,
  totals: readonly Local<"v128">[],
  scratch: Local<"i32"> | null,
  add: Add,
): void {
  const { i32, v128, f32x4, f64x2 } = f;
  const sums = Array.from({ length: lanesOfSums }, (_, u) =>
    totals.map((_, s) => f.local("v128", `sum${s}_${u}`)),
  );
  const at = rows.map((row, i) => f.let(row, `at${i}`));
  const left = f.let(columns, "left");
  const inChunk = f.local("i32", "inChunk");
  const addVectors = (count: number) => {
    for (let u = 0; u < count; u++)
      add(
        at.map((pointer) => f.let(v128.load(pointer, 16 * u))),
        sums[u],
        (vector) => vector,
      );
    for (const pointer of at) pointer.set(i32.add(pointer, 16 * count));
    inChunk.set(i32.sub(inChunk, 4 * count));
  };
  f.while(
    () => i32.gt_s(left, 0),
    () => {
      const zero = f.let(f32x4.splat(0));
      for (const sum of sums.flat()) sum.set(zero);
      inChunk.set(f.select(left, chunk, i32.lt_s(left, chunk)));
      left.set(i32.sub(left, inChunk));
      f.while(
        () => i32.ge_s(inChunk, 4 * lanesOfSums),
        () => addVectors(lanesOfSums),
      );
      if (scratch) {
        const all = totals.flatMap((_, s) => sums.map((group) => group[s]));
        storePairs(f, scratch, all);
        for (const [i, sum] of all.entries()) sum.set(v128.load(scratch, 16 * i));
      }
      f.while(
        () => i32.ge_s(inChunk, 4),
        () => addVectors(1),
      );
      f.if(inChunk, () => {
        const mask = f.let(firstLanes(f, inChunk), "mask");
        add(
          at.map((pointer) => f.let(v128.load(pointer))),
          sums[1],
          (vector) => f.let(v128.and(vector, mask)),
        );
      });
      totals.forEach((total, s) => {
        const [a, b, c, d] = sums.map((group) => group[s]);
        const all = f.let(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)));
        const upper = f64x2.promote_low_f32x4(upperHalf(f, all));
        const both = f64x2.add(f64x2.promote_low_f32x4(all), upper);
        total.set(f64x2.add(total, both));
      });
    },
  );
}

/** Parameters of a range of planes that are added up over all images. */
export const sumCounts = { images: "i32", rows: "i32", columns: "i32", totals: "i32" } as const;

/** Adds up every plane over all images; totals wait in memory for the next image. */
export function addPlanes(
  f: FunctionBuilder,
  { revectorised }: Pick<WasmRuntime, "revectorised">,
  operands: readonly Place[],
  given: { readonly [Name in "begin" | "end" | "scratch" | keyof typeof sumCounts]: Local<"i32"> },
  sums: number,
  /** Loads what a plane needs to know when it begins. */
  onPlane: (plane: Local<"i32">) => Add,
): void {
  const { i32, v128 } = f;
  const { totals, columns, begin, end, scratch } = given;
  const bytes = 16 * sums;
  f.memory.fill(i32.add(totals, i32.mul(begin, bytes)), 0, i32.mul(i32.sub(end, begin), bytes));
  forEachChannel(f, operands, given, (plane) => {
    const add = onPlane(plane);
    const at = f.let(i32.add(totals, i32.mul(plane, bytes)), "total");
    const values = Array.from({ length: sums }, (_, s) => f.let(v128.load(at, 16 * s), `total${s}`));
    return {
      onRow: (addresses) => addRow(f, addresses, columns, values, revectorised ? scratch : null, add),
      onEnd: () => {
        for (const [s, value] of values.entries()) v128.store(at, value, 16 * s);
      },
    };
  });
}

/** Compiles the three. */
export function sumKernels(runtime: WasmRuntime): SumKernels {
  const module = new ModuleBuilder("sums");
  runtime.importMemory(module);

  const sumsHandle = module.func(
    "sums",
    { params: { ...rangeParameters, ...xPlace, ...sumCounts } },
    (f, { x, xImage, xPlane, xRow, ...given }) => {
      addPlanes(f, runtime, [[x, xImage, xPlane, xRow]], given, 1, () => ([value], [sum], keep) => {
        sum.set(f.f32x4.add(sum, keep(value)));
      });
    },
  );

  const shiftOf = (f: FunctionBuilder, shifts: Local<"i32">, plane: Local<"i32">) =>
    f.let(f.v128.load32_splat(f.i32.add(shifts, f.i32.shl(plane, 2))), "shift");

  // (..., totals, shifts): the sums of x - shift and of its square. Totals as those of `products`.
  const momentsHandle = module.func(
    "moments",
    { params: { ...rangeParameters, ...xPlace, ...sumCounts, shifts: "i32" } },
    (f, { x, xImage, xPlane, xRow, shifts, ...given }) => {
      addPlanes(f, runtime, [[x, xImage, xPlane, xRow]], given, 2, (channel) => {
        const shift = shiftOf(f, shifts, channel);
        return ([value], [first, second], keep) => {
          const difference = keep(f.let(f.f32x4.sub(value, shift)));
          first.set(f.f32x4.add(first, difference));
          second.set(multiplyAdd(f, runtime.fused, difference, difference, second));
        };
      });
    },
  );

  module.func(
    "products",
    {
      params: {
        ...rangeParameters,
        ...xPlace,
        ...sumCounts,
        shifts: "i32",
        ...yPlace,
      },
    },
    (f, { x, xImage, xPlane, xRow, shifts, y, yImage, yPlane, yRow, ...given }) => {
      const operands: Place[] = [
        [x, xImage, xPlane, xRow],
        [y, yImage, yPlane, yRow],
      ];
      addPlanes(f, runtime, operands, given, 2, (channel) => {
        const shift = shiftOf(f, shifts, channel);
        return ([left, right], [first, second], keep) => {
          const difference = keep(f.let(f.f32x4.sub(left, shift)));
          const factor = keep(right);
          first.set(f.f32x4.add(first, factor));
          second.set(multiplyAdd(f, runtime.fused, factor, difference, second));
        };
      });
    },
  );

  defineStatistics(module, sumsHandle, momentsHandle);
  const { sums, products, statistics } = runtime.instantiate(module);
  return { sums, products, statistics };
}
