/**
 * Sums over axes in SIMD. What is left of a sum once axes are merged falls into two patterns:
 *
 *     the densest axis is summed   [outer][kept][rows][columns] -> [kept]     full sums, per channel, trailing axes
 *     the densest axis is kept     [outer][rows][columns] -> [columns]        leading axes, as in a bias's gradient
 *
 * The first is `sums` of sums.ts. The second adds up rows of a strip of 16 columns in f32, 16 rows at most, then in
 * f64; both have the rounding bound of sums.ts. Anything else goes to the loops.
 *
 * Measured against the loops, ns per element of [64, 32, 14, 14]: over 0, 2 and 3 0.75 -> 0.09, over 2 and 3
 * 0.83 -> 0.11, over 0 2.4 -> 0.08, full 0.75 -> 0.06; of [64, 48, 7, 7]: 0.81 -> 0.11, 1.1 -> 0.24, 2.4 -> 0.08,
 * 0.75 -> 0.06.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import { collapseAxes } from "../../collapse.ts";
import type { SumAttributes } from "../../loops/reduce.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { floatBytes, rangeParameters, storeFirstLanes, upperHalf } from "./rows.ts";
import { type SumKernels, sumNanoseconds, sumOptions } from "./sums.ts";

export interface ReduceKernels {
  readonly sum: HostKernel<SumAttributes>;
}

/** Rows of f32 additions between two additions to the f64 totals. */
const stripRows = 16;
/** Columns that are added up together. */
const stripColumns = 16;

/** A sum that leaves fewer numbers than that is cut into blocks of so many elements, which threads can share. */
const fewPlanes = 16;
const blockElements = 32768;

/** One axis of the merged sum; strides in bytes. */
interface Axis {
  readonly extent: number;
  readonly from: number;
  /** 0 for an axis that is summed over. */
  readonly to: number;
}

const one: Axis = { extent: 1, from: 0, to: 0 };

/** The axes of a sum as kernels run over them; unused ones have extent 1. */
interface Pattern {
  /** The address of the first element, and the bytes from the output's first element to the first result. */
  readonly from: number;
  readonly to: number;
  readonly planes: Axis;
  readonly outer: Axis;
  readonly rows: Axis;
  readonly columns: Axis;
}

/**
 * The axes in the order of the input's memory, merged where possible, or null where no kernel takes them: the densest
 * axis has gaps, in the input or where it is kept in the output, or three axes apart are summed above it.
 */
function axesOf(x: HostView, output: HostView, summed: readonly number[]): readonly Axis[] | null {
  const order = x.shape.map((_, axis) => axis).sort((a, b) => x.strides[b] - x.strides[a]);
  const shape = order.map((axis) => x.shape[axis]);
  const collapsed = collapseAxes([
    { shape, strides: order.map((axis) => x.strides[axis]), offset: 0 },
    { shape, strides: order.map((axis) => (summed.includes(axis) ? 0 : output.strides[axis])), offset: 0 },
  ]);
  const axes = collapsed.shape.map((extent, axis) => ({
    extent,
    from: floatBytes * collapsed.strides[0][axis],
    to: floatBytes * collapsed.strides[1][axis],
  }));
  const densest = axes.at(-1);
  if (densest?.from !== floatBytes || (densest.to !== 0 && densest.to !== floatBytes)) return null;
  return axes.slice(0, -1).filter(({ to }) => to === 0).length <= 2 ? axes : null;
}

/** Strips of up to `vectors` vectors of columns over all rows; totals of one strip stay in registers. */
function defineSumRows(module: ModuleBuilder): void {
  const strip = (vectors: number) =>
    module.func(
      `strip${4 * vectors}`,
      {
        params: {
          ...{ x: "i32", images: "i32", image: "i32", rows: "i32", row: "i32", to: "i32", kept: "i32" },
        },
        exported: false,
      },
      (f, { x, images, image, rows, row, to, kept }) => {
        const { i32, f32x4, f64x2, v128 } = f;
        const sums = Array.from({ length: vectors }, (_, v) => f.local("v128", `sum${v}`));
        const lower = sums.map((_, v) => f.local("v128", `lower${v}`));
        const upper = sums.map((_, v) => f.local("v128", `upper${v}`));
        const [n, left, some, at] = ["n", "left", "some", "at"].map((name) => f.local("i32", name));
        f.forRange(n, 0, images, 1, () => {
          at.set(x);
          left.set(rows);
          f.while(
            () => i32.gt_s(left, 0),
            () => {
              some.set(f.select(left, stripRows, i32.lt_s(left, stripRows)));
              left.set(i32.sub(left, some));
              for (const sum of sums) sum.set(f32x4.splat(0));
              f.while(
                () => some,
                () => {
                  for (const [v, sum] of sums.entries()) sum.set(f32x4.add(sum, v128.load(at, 16 * v)));
                  at.set(i32.add(at, row));
                  some.set(i32.sub(some, 1));
                },
              );
              for (const [v, sum] of sums.entries()) {
                lower[v].set(f64x2.add(lower[v], f64x2.promote_low_f32x4(sum)));
                upper[v].set(f64x2.add(upper[v], f64x2.promote_low_f32x4(upperHalf(f, sum))));
              }
            },
          );
          x.set(i32.add(x, image));
        });
        for (const v of sums.keys()) {
          const both = f.let(joinHalves(f, lower[v], upper[v]));
          if (vectors > 1) v128.store(to, both, 16 * v);
          else
            f.if(
              i32.ge_s(kept, 4),
              () => v128.store(to, both),
              () => storeFirstLanes(f, to, both, kept),
            );
        }
      },
    );
  const [wide, narrow] = [strip(stripColumns / 4), strip(1)];

  module.func(
    "sumRows",
    {
      params: {
        ...rangeParameters,
        ...{ x: "i32", images: "i32", image: "i32", rows: "i32", row: "i32", columns: "i32", to: "i32" },
        ...{ plane: "i32", toPlane: "i32", strips: "i32" },
      },
    },
    (f, { begin, end, x, images, image, rows, row, columns, to, plane, toPlane, strips }) => {
      const { i32 } = f;
      const [p, strip, first] = ["p", "strip", "first"].map((name) => f.local("i32", name));
      const [from, out, kept] = ["from", "out", "kept"].map((name) => f.local("i32", name));
      const callStrip = (kernel: typeof wide) =>
        f.call(kernel, { x: from, images, image, rows, row, to: out, kept });
      f.while(
        () => i32.lt_s(begin, end),
        () => {
          p.set(i32.div_u(begin, strips));
          strip.set(i32.sub(begin, i32.mul(p, strips)));
          first.set(i32.mul(strip, floatBytes * stripColumns));
          kept.set(i32.sub(columns, i32.mul(strip, stripColumns)));
          from.set(i32.add(i32.add(x, i32.mul(p, plane)), first));
          out.set(i32.add(i32.add(to, i32.mul(p, toPlane)), first));
          f.if(
            i32.ge_s(kept, stripColumns),
            () => callStrip(wide),
            () =>
              f.while(
                () => i32.gt_s(kept, 0),
                () => {
                  callStrip(narrow);
                  kept.set(i32.sub(kept, 4));
                  from.set(i32.add(from, 4 * floatBytes));
                  out.set(i32.add(out, 4 * floatBytes));
                },
              ),
          );
          begin.set(i32.add(begin, 1));
        },
      );
    },
  );
}

/** Two pairs of f64 as four f32. */
function joinHalves(f: FunctionBuilder, lower: Local<"v128">, upper: Local<"v128">) {
  const [a, b] = [lower, upper].map((half) => f.let(f.f32x4.demote_f64x2_zero(half)));
  return f.i8x16.shuffle(a, b, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
}

/** The fast kernel; what it does not take goes to `fallback`. */
export function reduceKernels(
  runtime: WasmRuntime,
  { sums }: SumKernels,
  fallback: ReduceKernels,
): ReduceKernels {
  const module = new ModuleBuilder("reduce");
  runtime.importMemory(module);
  defineSumRows(module);
  const sumRows: RangeFunction = runtime.instantiate(module).sumRows;

  /** [outer][planes][rows][columns] -> `[planes][2]` f64 in memory; a sum is that of its pair. */
  function totalsOf(from: number, outer: Axis, planes: Axis, rows: Axis, columns: Axis): Float64Array {
    const at = runtime.scratch("sum totals", 16 * planes.extent);
    const args = [from, outer.from, planes.from, rows.from, outer.extent, rows.extent, columns.extent, at];
    const elements = outer.extent * rows.extent * columns.extent;
    runtime.forRange(sums, planes.extent, args, sumOptions(elements));
    return runtime.doublesAt(at, 2 * planes.extent);
  }

  /** The sum of [outer][rows][columns], block by block, in an order that does not depend on the threads. */
  function sumOfBlocks(from: number, outer: Axis, rows: Axis, columns: Axis): number {
    const axes = [outer, rows, columns];
    const cut = axes.findIndex(({ extent }) => extent > 1);
    const inside = axes.slice(cut + 1).reduce((product, { extent }) => product * extent, 1);
    const { extent, from: step } = axes[cut];
    const size = Math.max(1, Math.floor(blockElements / inside));
    const blocks = { extent: Math.floor(extent / size), from: size * step, to: 0 };
    const add = (start: number, planes: Axis, turns: number): number => {
      const [a, b, c] = axes.map((axis, i) => (i === cut ? { ...axis, extent: turns } : axis));
      let sum = 0;
      for (const total of totalsOf(start, a, planes, b, c)) sum += total;
      return sum;
    };
    const rest = extent - blocks.extent * size;
    return add(from, blocks, size) + (rest > 0 ? add(from + blocks.extent * blocks.from, one, rest) : 0);
  }

  /** [outer][kept][rows][columns] -> [kept] */
  function sumRuns(output: HostView, { from, to, planes, outer, rows, columns }: Pattern): void {
    const start = output.offset + to / floatBytes;
    const step = planes.to / floatBytes;
    const isCut =
      planes.extent < fewPlanes && outer.extent * rows.extent * columns.extent >= 2 * blockElements;
    if (isCut)
      for (let p = 0; p < planes.extent; p++)
        output.data[start + p * step] = sumOfBlocks(from + p * planes.from, outer, rows, columns);
    else {
      const totals = totalsOf(from, outer, planes, rows, columns);
      for (let p = 0; p < planes.extent; p++)
        output.data[start + p * step] = totals[2 * p] + totals[2 * p + 1];
    }
  }

  /** [kept][outer][rows][columns] -> [kept][columns] */
  function sumColumns(output: HostView, { from, to, planes, outer, rows, columns }: Pattern): void {
    const strips = Math.ceil(columns.extent / stripColumns);
    const counts = [outer.extent, outer.from, rows.extent, rows.from, columns.extent];
    const args = [from, ...counts, addressOf(output) + to, planes.from, planes.to, strips];
    const elements = outer.extent * rows.extent * Math.min(stripColumns, columns.extent);
    runtime.forRange(sumRows, planes.extent * strips, args, { grain: grainOf(sumNanoseconds(elements)) });
  }

  const sum: ReduceKernels["sum"] = (inputs, output, attributes) => {
    const [x] = inputs;
    const takes = runtime.accepts([x, output]) && !x.shape.includes(0);
    const axes = takes ? axesOf(x, output, attributes.axes) : null;
    if (!axes) {
      fallback.sum(inputs, output, attributes);
      return;
    }
    const columns = axes[axes.length - 1];
    const above = axes.slice(0, -1);
    const kept = above.filter(({ to }) => to !== 0);
    const [rows = one, outer = one] = above.filter(({ to }) => to === 0).reverse();
    const planes = kept.at(-1) ?? one;
    const visit = (from: number, to: number, [axis, ...inner]: readonly Axis[]): void => {
      if (axis === undefined)
        (columns.to === 0 ? sumRuns : sumColumns)(output, { from, to, planes, outer, rows, columns });
      else for (let i = 0; i < axis.extent; i++) visit(from + i * axis.from, to + i * axis.to, inner);
    };
    visit(addressOf(x), 0, kept.slice(0, -1));
  };

  return { sum };
}
