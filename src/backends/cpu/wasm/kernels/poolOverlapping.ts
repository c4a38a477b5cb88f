/**
 * Max pooling by windows of 3 x 3 that move by 2 and overlap, as in the stem of a ResNet or DenseNet.
 *
 * Images are read where they lie, four windows at a time: eight columns, and a ninth that is the first of the next
 * four. Columns and rows of the margin are minus infinity. Every row's maxima are computed once and wait for the window
 * below.
 *
 * The maximum that takes care of NaN costs eight instructions, the one that does not costs one. So what is read is
 * multiplied and added up on the way, and only a plane whose sum is NaN is done again with care; its gradient is left
 * to the loops, as is that of windows of minus infinity, which cannot be told from the margin.
 *
 * The gradient goes the same way back: first to the row of a window that has its maximum, the uppermost if several
 * have, where it waits for the share of the window below; then to the first column that has the row's maximum. A
 * window's third column is the first of the next: what it gets is carried over in a register.
 *
 * Measured on one core of an EPYC whose copy takes 0.30 ns per float, ns per pixel of [8, 64, 112, 112] and, where a
 * row has but two groups and both touch a margin, of [64, 32, 14, 14]. In brackets what it took to copy every plane into
 * a padded one and to compare with NaN in mind:
 *
 *     maximum     0.21 (0.89)     0.43 (1.1)
 *     gradient    0.45 (1.7)      1.0  (2.2)
 *
 * In the second cache they take 0.13 and 0.35: the gradient's 48 vector instructions and 15 shuffles for eight pixels
 * bind it as much as the memory does. The processor reads ahead in one row after the other, but less so in two at a time,
 * so the row before the last one of a window is touched (touch.ts): 3 % for the gradient, nothing for the maximum. Rows
 * further ahead cost more than they give, and two rows of windows at a time take 1.7 times as long: stores to four rows
 * side by side reach the memory at two thirds of the rate of two.
 */
import type { HostView } from "../../../backend.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { ModuleBuilder } from "../encoder/index.ts";
import { grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { defineGradient } from "./poolOverlappingGradient.ts";
import {
  fill,
  geometry,
  lowest,
  planeParameters,
  rowAt,
  type Taps,
  windowReader,
} from "./poolOverlappingRows.ts";
import {
  floatBytes,
  forEachPlane,
  gPlace,
  type Place,
  placeOf,
  rangeParameters,
  storeFirstLanes,
  xPlace,
  yPlace,
} from "./rows.ts";
import { defineTouchRows } from "./touch.ts";

export interface OverlappingPools {
  /** Whether the windows are such as these kernels know, with every one of them holding a pixel. */
  takes(attributes: Pool2dAttributes): boolean;
  /** x [N, C, H, W] -> [N, C, P, Q] */
  maximum(x: HostView, output: HostView, attributes: Pool2dAttributes): void;
  /** x [N, C, H, W], gradient [N, C, P, Q] -> [N, C, H, W], or false where it is left to the loops. */
  inputGradient(x: HostView, gradient: HostView, output: HostView, attributes: Pool2dAttributes): boolean;
}

/** Windows of one plane -> y. `careful` gives NaN where there is one; otherwise the result is 1 if there may be. */
function defineMaximum(module: ModuleBuilder, fused: boolean, careful: boolean) {
  const name = careful ? "carefulMaximum" : "maximum";
  return module.func(name, { params: planeParameters, result: "i32", exported: false }, (f, p) => {
    const { i32, v128 } = f;
    const higher = careful ? f.f32x4.max : f.f32x4.pmax;
    const ofRow = ([first, second, third]: Taps) => higher(higher(first, second), third);
    const [absent, waiting] = [p.lines, f.let(i32.add(p.lines, p.lineBytes), "waiting")];
    fill(f, absent, p.lineBytes, lowest);
    const { forEachWindows, mayHaveNaN } = windowReader(f, p, { fused, watched: careful ? 0 : 2 });
    const row = f.let(i32.sub(0, p.top), "row");
    const upper = f.let(rowAt(f, row, absent, p), "upper");
    forEachWindows([upper], ([taps], place) => {
      v128.store(i32.add(waiting, place), ofRow(taps));
    });
    const [middle, lower] = [f.local("i32", "middle"), f.local("i32", "lower")];
    const windowRow = f.local("i32", "windowRow");
    f.forRange(windowRow, 0, p.P, 1, () => {
      for (const address of [middle, lower]) {
        row.set(i32.add(row, 1));
        address.set(rowAt(f, row, absent, p));
      }
      forEachWindows([middle, lower], ([inMiddle, inLower], place, isInside) => {
        const line = f.let(i32.add(waiting, place));
        const below = f.let(ofRow(inLower));
        const best = f.let(higher(higher(v128.load(line), ofRow(inMiddle)), below));
        v128.store(line, below);
        const to = f.let(i32.add(p.y, place));
        if (isInside) {
          v128.store(to, best);
          return;
        }
        const count = f.let(i32.sub(p.Q, i32.shr_u(place, 2)));
        f.if(
          i32.ge_s(count, 4),
          () => v128.store(to, best),
          () => storeFirstLanes(f, to, best, count),
        );
      });
      p.y.set(i32.add(p.y, p.yRow));
    });
    return careful ? i32.const(0) : mayHaveNaN();
  });
}

/** Ranges of planes, counted through all images. */
interface Ranges {
  /** (x..., y..., geometry) */
  readonly maximumPlanes: RangeFunction;
  /** (x..., gradient..., y..., geometry, refused): stores 1 at `refused` where planes are left to the loops. */
  readonly gradientPlanes: RangeFunction;
}

function compile(runtime: WasmRuntime): Ranges {
  const module = new ModuleBuilder("poolOverlapping");
  runtime.importMemory(module);
  const [maximum, carefulMaximum] = [false, true].map((careful) =>
    defineMaximum(module, runtime.fused, careful),
  );
  const addGradient = defineGradient(module, runtime.fused, defineTouchRows(module));

  module.func(
    "maximumPlanes",
    { params: { ...rangeParameters, ...xPlace, ...yPlace, ...geometry } },
    (f, { begin, end, scratch, x, xImage, xPlane, y, yImage, yPlane, ...p }) => {
      const places: Place[] = [
        [x, xImage, xPlane, p.xRow],
        [y, yImage, yPlane, p.yRow],
      ];
      const rows = f.let(f.i32.const(1));
      forEachPlane(f, places, { begin, end, planes: p.planes, rows }, () => ({
        onRow: ([plane, to]) => {
          const given = { ...p, x: plane, y: to, lines: scratch };
          f.if(f.call(maximum, given), () => f.drop(f.call(carefulMaximum, given)));
        },
      }));
    },
  );

  module.func(
    "gradientPlanes",
    { params: { ...rangeParameters, ...xPlace, ...gPlace, ...yPlace, ...geometry, refused: "i32" } },
    (f, { begin, end, scratch, refused, x, xImage, xPlane, g, gImage, gPlane, gRow, ...rest }) => {
      const { y, yImage, yPlane, ...p } = rest;
      const places: Place[] = [
        [x, xImage, xPlane, p.xRow],
        [g, gImage, gPlane, gRow],
        [y, yImage, yPlane, p.yRow],
      ];
      const rows = f.let(f.i32.const(1));
      forEachPlane(f, places, { begin, end, planes: p.planes, rows }, () => ({
        onRow: ([plane, gradient, to]) => {
          const given = { ...p, x: plane, y: to, lines: scratch, gradient, gradientRow: gRow };
          f.if(f.call(addGradient, given), () => f.i32.store(refused, 1));
        },
      }));
    },
  );

  const { maximumPlanes, gradientPlanes } = runtime.instantiate(module);
  return { maximumPlanes, gradientPlanes };
}

/** The kernels, compiled when they first run. */
export function overlappingPools(runtime: WasmRuntime): OverlappingPools {
  let compiled: Ranges | undefined;
  const ranges = (): Ranges => {
    compiled ??= compile(runtime);
    return compiled;
  };

  /** A line holds the columns of whole groups of windows and of the image, margins included. */
  function geometryOf({ shape }: HostView, [, , P, Q]: readonly number[], { padding }: Pool2dAttributes) {
    const [, C, H, W] = shape;
    const [top, , left] = padding;
    const lineBytes = 16 * (Math.ceil(Math.max(8 * Math.ceil(Q / 4) + 4, left + W) / 4) + 1);
    return { args: [C, H, W, P, Q, top, left, lineBytes], lineBytes };
  }

  return {
    takes({ kernelSize, stride, dilation, padding }) {
      const isKnown = [kernelSize, stride, dilation].every(([a, b], i) => a === b && a === [3, 2, 1][i]);
      return isKnown && padding.every((margin) => margin <= 2);
    },

    maximum(x, output, attributes) {
      const [N, C, H, W] = x.shape;
      const { args, lineBytes } = geometryOf(x, output.shape, attributes);
      runtime.forRange(ranges().maximumPlanes, N * C, [...placeOf(x), ...placeOf(output), ...args], {
        scratchBytes: 2 * lineBytes,
        grain: grainOf(0.2 * H * W),
      });
    },

    inputGradient(x, gradient, output, attributes) {
      const [N, C, H, W] = x.shape;
      const { args, lineBytes } = geometryOf(x, gradient.shape, attributes);
      const refused = runtime.scratch("pool flag", floatBytes);
      runtime.integersAt(refused, 1)[0] = 0;
      const places = [...placeOf(x), ...placeOf(gradient), ...placeOf(output)];
      runtime.forRange(ranges().gradientPlanes, N * C, [...places, ...args, refused], {
        scratchBytes: 3 * lineBytes + floatBytes,
        grain: grainOf(0.5 * H * W),
      });
      return runtime.integersAt(refused, 1)[0] === 0;
    },
  };
}
