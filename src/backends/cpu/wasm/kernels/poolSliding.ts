/**
 * Max pooling by windows of any size that move by one pixel, as in spatial pyramid pooling (5 x 5, 9 x 9, 13 x 13):
 * first the maxima along rows, then of those along columns, so that a window of K x L costs K + L instead of K · L.
 *
 * The order of a window's pixels survives that: the first of the largest in the first row that has it, or the last
 * NaN in the last row that has one, as in the loops. For the gradient each maximum carries its place along.
 *
 * Measured against the loops, one thread, ns per pixel of [2, 128, 13, 13]: 5 x 5 84 -> 3.8, its gradient 83 -> 5.3;
 * 13 x 13 330 -> 12, its gradient 240 -> 11.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { takesLead } from "./poolLanes.ts";
import { floatBytes, placeOf, storeFirstLanes } from "./rows.ts";

export interface SlidingPoolKernels {
  readonly maxPool2d: HostKernel<Pool2dAttributes>;
  readonly maxPool2dInputGradient: HostKernel<Pool2dAttributes>;
}

/** One comparison of one pixel. */
const nanosecondsPerStep = 0.4;

const placeNames = (name: string) => [name, `${name}Image`, `${name}Plane`, `${name}Row`];
const counts = [
  ...["channels", "rows", "columns", "outRows", "outColumns"],
  ...["windowRows", "windowColumns", "top", "left", "lineBytes", "rowBytes"],
];

type Parameters = Readonly<Record<string, Local<"i32">>>;

/** Defines a kernel over planes; `onPlane` gets where each of the operands begins. */
function definePlanes(
  module: ModuleBuilder,
  name: string,
  operands: readonly string[],
  onPlane: (f: FunctionBuilder, p: Parameters, starts: readonly Local<"i32">[]) => void,
): void {
  const names = ["begin", "end", "scratch", ...operands.flatMap(placeNames), ...counts];
  const params: Readonly<Record<string, "i32">> = Object.fromEntries(names.map((key) => [key, "i32"]));
  module.func(name, { params }, (f, p: Parameters) => {
    const { i32 } = f;
    const item = f.local("i32", "item");
    const starts = operands.map((operand) => f.local("i32", `${operand}At`));
    f.forRange(item, p.begin, p.end, 1, () => {
      const image = f.let(i32.div_u(item, p.channels), "image");
      const plane = f.let(i32.sub(item, i32.mul(image, p.channels)), "plane");
      for (const [i, operand] of operands.entries()) {
        const inImage = i32.add(p[operand], i32.mul(image, p[`${operand}Image`]));
        starts[i].set(i32.add(inImage, i32.mul(plane, p[`${operand}Plane`])));
      }
      onPlane(f, p, starts);
    });
  });
}

/**
 * Visits each group of four windows of each row with the address of its first pixel, on a copy of the row that has
 * minus infinity at both ends; `groupAt` is where its result belongs in the scratch memory.
 */
function forEachRowGroup(
  f: FunctionBuilder,
  p: Parameters,
  x: Local<"i32">,
  visit: (pixel: Local<"i32">, groupAt: Local<"i32">, row: Local<"i32">, column: Local<"i32">) => void,
): void {
  const { i32, v128 } = f;
  const [row, column, at, from, groupAt] = ["row", "column", "at", "from", "groupAt"].map((name) =>
    f.local("i32", name),
  );
  f.forRange(at, 0, p.lineBytes, 16, () => {
    v128.store(i32.add(p.scratch, at), v128.const(new Float32Array(4).fill(Number.NEGATIVE_INFINITY)));
  });
  from.set(x);
  groupAt.set(i32.add(p.scratch, p.lineBytes));
  const inside = f.let(i32.add(p.scratch, i32.shl(p.left, 2)), "inside");
  f.forRange(row, 0, p.rows, 1, () => {
    f.memory.copy(inside, from, i32.shl(p.columns, 2));
    f.forRange(column, 0, p.outColumns, 4, () => {
      at.set(i32.add(p.scratch, i32.shl(column, 2)));
      visit(at, groupAt, row, column);
      groupAt.set(i32.add(groupAt, 16));
    });
    from.set(i32.add(from, p.xRow));
  });
}

/** Visits each group of four windows of each output row with the rows it spans: from `at`, `count` of them. */
function forEachColumnGroup(
  f: FunctionBuilder,
  p: Parameters,
  y: Local<"i32">,
  yRow: Local<"i32">,
  visit: (group: {
    readonly at: Local<"i32">;
    readonly count: Local<"i32">;
    readonly to: Local<"i32">;
    readonly left: Local<"i32">;
  }) => void,
): void {
  const { i32 } = f;
  const [row, first, last, count, at, group, to, left] = [
    ...["outRow", "first", "last", "count", "rowsAt", "group", "to", "columnsLeft"],
  ].map((name) => f.local("i32", name));
  f.forRange(row, 0, p.outRows, 1, () => {
    first.set(i32.sub(row, p.top));
    last.set(i32.add(first, p.windowRows));
    first.set(f.select(first, 0, i32.gt_s(first, 0)));
    last.set(f.select(last, p.rows, i32.lt_s(last, p.rows)));
    group.set(i32.add(i32.add(p.scratch, p.lineBytes), i32.mul(first, p.rowBytes)));
    to.set(y);
    left.set(p.outColumns);
    f.while(
      () => i32.gt_s(left, 0),
      () => {
        at.set(group);
        count.set(i32.sub(last, first));
        visit({ at, count, to, left });
        group.set(i32.add(group, 16));
        to.set(i32.add(to, 16));
        left.set(i32.sub(left, 4));
      },
    );
    y.set(i32.add(y, yRow));
  });
}

function defineMaximum(module: ModuleBuilder): void {
  definePlanes(module, "slidingMaximum", ["x", "y"], (f, p, [x, y]) => {
    const { i32, f32x4, v128 } = f;
    const best = f.local("v128", "best");
    const i = f.local("i32", "i");
    forEachRowGroup(f, p, x, (pixel, groupAt) => {
      best.set(v128.load(pixel));
      f.forRange(i, 1, p.windowColumns, 1, () => {
        pixel.set(i32.add(pixel, floatBytes));
        best.set(f32x4.max(best, v128.load(pixel)));
      });
      v128.store(groupAt, best);
    });
    forEachColumnGroup(f, p, y, p.yRow, ({ at, count, to, left }) => {
      best.set(v128.load(at));
      f.forRange(i, 1, count, 1, () => {
        at.set(i32.add(at, p.rowBytes));
        best.set(f32x4.max(best, v128.load(at)));
      });
      f.if(
        i32.ge_s(left, 4),
        () => v128.store(to, best),
        () => storeFirstLanes(f, to, best, left),
      );
    });
  });
}

/** `y`'s rows have no gaps, so that a pixel's place is its number in the plane. */
function defineGradient(module: ModuleBuilder): void {
  definePlanes(module, "slidingGradient", ["x", "gradient", "y"], (f, p, [x, gradient, y]) => {
    const { i32, f32, i32x4, v128 } = f;
    const [best, place, winner] = ["best", "place", "winner"].map((name) => f.local("v128", name));
    const [i, target] = ["i", "target"].map((name) => f.local("i32", name));
    const placesAt = f.let(i32.mul(p.rows, p.rowBytes), "placesAt");
    const lowest = v128.const(new Float32Array(4).fill(Number.NEGATIVE_INFINITY));
    f.memory.fill(y, 0, i32.shl(i32.mul(p.rows, p.columns), 2));

    const compare = (value: Local<"v128">, otherPlace: Local<"v128">) => {
      const leads = takesLead(f, value, best);
      best.set(v128.bitselect(value, best, leads));
      winner.set(v128.bitselect(otherPlace, winner, leads));
    };

    forEachRowGroup(f, p, x, (pixel, groupAt, row, column) => {
      const lanes = v128.const(Int32Array.of(0, 1, 2, 3));
      place.set(i32x4.add(lanes, i32x4.splat(i32.sub(column, p.left))));
      best.set(lowest);
      // Where there is nothing but minus infinity, the first pixel inside wins.
      winner.set(i32x4.max_s(place, v128.const(new Int32Array(4))));
      f.forRange(i, 0, p.windowColumns, 1, () => {
        compare(f.let(v128.load(pixel)), place);
        place.set(i32x4.add(place, i32x4.splat(1)));
        pixel.set(i32.add(pixel, floatBytes));
      });
      v128.store(groupAt, best);
      const before = f.let(i32x4.splat(i32.mul(row, p.columns)), "before");
      v128.store(i32.add(groupAt, placesAt), i32x4.add(winner, before));
    });

    forEachColumnGroup(f, p, gradient, p.gradientRow, ({ at, count, to, left }) => {
      best.set(lowest);
      winner.set(v128.load(i32.add(at, placesAt)));
      f.while(
        () => count,
        () => {
          compare(f.let(v128.load(at)), f.let(v128.load(i32.add(at, placesAt))));
          at.set(i32.add(at, p.rowBytes));
          count.set(i32.sub(count, 1));
        },
      );
      const add = (lane: number) => {
        target.set(i32.add(y, i32.shl(i32x4.extract_lane(winner, lane), 2)));
        f32.store(target, f32.add(f32.load(target), f32.load(to, floatBytes * lane)));
      };
      add(0);
      for (const lane of [1, 2, 3]) f.if(i32.gt_s(left, lane), () => add(lane));
    });
  });
}

/** The fast kernels; other windows and layouts go to `fallback`. */
export function slidingPoolKernels(runtime: WasmRuntime, fallback: SlidingPoolKernels): SlidingPoolKernels {
  let compiled: { readonly maximum: RangeFunction; readonly gradient: RangeFunction } | undefined;

  function kernels() {
    if (compiled) return compiled;
    const module = new ModuleBuilder("poolSliding");
    runtime.importMemory(module);
    defineMaximum(module);
    defineGradient(module);
    const { slidingMaximum, slidingGradient } = runtime.instantiate(module);
    compiled = { maximum: slidingMaximum, gradient: slidingGradient };
    return compiled;
  }

  /** Windows that move by one pixel and all have a pixel inside, on rows of floats. */
  function takes(views: readonly HostView[], attributes: Pool2dAttributes): boolean {
    const { kernelSize, stride, padding, dilation } = attributes;
    const [top, bottom, left, right] = padding;
    return (
      [...stride, ...dilation].every((step) => step === 1) &&
      Math.max(top, bottom) < kernelSize[0] &&
      Math.max(left, right) < kernelSize[1] &&
      runtime.accepts(views) &&
      views.every(({ shape, strides }) => !shape.includes(0) && (shape[3] === 1 || strides[3] === 1))
    );
  }

  /** @param maps rows of numbers that a plane needs in scratch memory for each of its rows */
  function run(
    range: RangeFunction,
    operands: readonly HostView[],
    windows: readonly number[],
    { kernelSize, padding }: Pool2dAttributes,
    maps: number,
  ): void {
    const [N, C, H, W] = operands[0].shape;
    const [, , P, Q] = windows;
    const rowBytes = 16 * Math.ceil(Q / 4);
    const lineBytes = rowBytes + 16 * Math.ceil(kernelSize[1] / 4);
    const steps = H * W * kernelSize[1] + P * Q * kernelSize[0];
    runtime.forRange(
      range,
      N * C,
      [
        ...operands.flatMap(placeOf),
        ...[C, H, W, P, Q],
        ...[...kernelSize, padding[0], padding[2], lineBytes, rowBytes],
      ],
      { grain: grainOf(nanosecondsPerStep * steps), scratchBytes: lineBytes + maps * H * rowBytes },
    );
  }

  return {
    maxPool2d(inputs, output, attributes) {
      const views = [inputs[0], output];
      if (takes(views, attributes)) run(kernels().maximum, views, output.shape, attributes, 1);
      else fallback.maxPool2d(inputs, output, attributes);
    },

    maxPool2dInputGradient(inputs, output, attributes) {
      const [x, gradient] = inputs;
      const views = [x, gradient, output];
      const [, , H, W] = output.shape;
      const gapless = H === 1 || output.strides[2] === W;
      if (gapless && takes(views, attributes)) run(kernels().gradient, views, gradient.shape, attributes, 2);
      else fallback.maxPool2dInputGradient(inputs, output, attributes);
    },
  };
}
