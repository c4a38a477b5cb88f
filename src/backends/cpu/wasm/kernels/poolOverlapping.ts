/**
 * Max pooling by windows of 3 x 3 that move by 2 and overlap, as in the stem of a ResNet or DenseNet.
 *
 * A plane is copied into a thread's scratch memory with a margin of minus infinity, so that all windows are alike.
 * The gradient is added up there too: of the three columns of a window the last is the first of the next, so what it
 * gets is carried over to the next group of windows in a register.
 */
import type { HostView } from "../../../backend.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { grainOf, type WasmRuntime } from "../runtime.ts";
import { defineCopyRow } from "./planes.ts";
import { evenAndOdd, interleave, takesLead, type Vector } from "./poolLanes.ts";
import {
  firstLanes,
  floatBytes,
  forEachPlane,
  gPlace,
  type Place,
  pickLanes,
  placeOf,
  rangeParameters,
  writeRow,
  xPlace,
  yPlace,
} from "./rows.ts";

export interface OverlappingPools {
  /** x [N, C, H, W] -> [N, C, P, Q] */
  maximum(x: HostView, output: HostView, attributes: Pool2dAttributes): void;
  /**
   * x [N, C, H, W], gradient [N, C, P, Q] -> [N, C, H, W], or false where a window holds nothing but minus infinity,
   * which cannot be told from the margin.
   */
  inputGradient(x: HostView, gradient: HostView, output: HostView, attributes: Pool2dAttributes): boolean;
}

/** The three columns of four windows in the row at `address`, 9 floats. */
function tapsAt(f: FunctionBuilder, address: Local<"i32">, offset: number): readonly Vector[] {
  const load = (bytes: number) => f.let(f.v128.load(address, offset + bytes));
  const [even, odd] = evenAndOdd(f, load(0), load(16));
  return [even, odd, f.let(pickLanes(f, load(8), load(24), [0, 2, 4, 6]))];
}

/** Windows of one padded plane -> y. */
function defineMaximum(module: ModuleBuilder) {
  const params = { x: "i32", xRow: "i32", y: "i32", yRow: "i32", rows: "i32", columns: "i32" } as const;
  return module.func("maximum", { params, exported: false }, (f, { x, xRow, y, yRow, rows, columns }) => {
    const { i32, f32x4 } = f;
    const row = f.local("i32", "row");
    const windows = [0, 1, 2].map((r) => f.let(i32.add(x, i32.mul(xRow, r)), `x${r}`));
    f.forRange(row, 0, rows, 1, () => {
      const value = (addresses: readonly Local<"i32">[], offset: number) => {
        const highest = [0, 16, 8, 24].map((bytes) => {
          const [a, b, c] = addresses.map((address) => f.v128.load(address, offset + bytes));
          return f.let(f32x4.max(f32x4.max(a, b), c));
        });
        const [even, odd] = evenAndOdd(f, highest[0], highest[1]);
        const next = pickLanes(f, highest[2], highest[3], [0, 2, 4, 6]);
        return f32x4.max(f32x4.max(even, odd), next);
      };
      writeRow(f, windows, y, columns, value, 2);
      for (const window of windows) window.set(i32.add(window, i32.shl(xRow, 1)));
      y.set(i32.add(y, yRow));
    });
  });
}

/** Adds the gradient of the windows of one padded plane to another as large. */
function defineGradient(module: ModuleBuilder) {
  const params = {
    x: "i32",
    xRow: "i32",
    gradient: "i32",
    gradientRow: "i32",
    to: "i32",
    rows: "i32",
    columns: "i32",
    lowest: "i32",
  } as const;
  return module.func(
    "gradient",
    { params, exported: false },
    (f, { x, xRow, gradient, gradientRow, to, rows, columns, lowest }) => {
      const { i32, f32, f32x4, v128 } = f;
      const [row, left] = [f.local("i32", "row"), f.local("i32", "left")];
      const from = f.local("i32", "from");
      const xAt = [0, 1, 2].map((r) => f.local("i32", `x${r}`));
      const toAt = [0, 1, 2].map((r) => f.local("i32", `to${r}`));
      const carried = [0, 1, 2].map((r) => f.local("v128", `carried${r}`));
      const [best, winner, suspect] = ["best", "winner", "suspect"].map((name) => f.local("v128", name));
      f.forRange(row, 0, rows, 1, () => {
        for (const r of xAt.keys()) {
          xAt[r].set(i32.add(x, i32.mul(xRow, r)));
          toAt[r].set(i32.add(to, i32.mul(xRow, r)));
          carried[r].set(f32x4.splat(0));
        }
        from.set(gradient);
        left.set(columns);
        f.while(
          () => i32.gt_s(left, 0),
          () => {
            const present = f.let(firstLanes(f, left), "present");
            const taps = xAt.flatMap((address) => tapsAt(f, address, 0));
            best.set(taps[0]);
            winner.set(f.i32x4.splat(0));
            for (const [t, tap] of taps.entries()) {
              if (t === 0) continue;
              const leads = takesLead(f, tap, best);
              best.set(v128.bitselect(tap, best, leads));
              winner.set(v128.bitselect(v128.const(new Int32Array(4).fill(t)), winner, leads));
            }
            const nothing = f32x4.eq(best, f32x4.splat(Number.NEGATIVE_INFINITY));
            suspect.set(v128.or(suspect, v128.and(nothing, present)));
            const share = f.let(v128.and(v128.load(from), present), "share");
            for (const [r, address] of toAt.entries()) {
              const [first, second, third] = [0, 1, 2].map((s) => {
                const wins = f.i32x4.eq(winner, v128.const(new Int32Array(4).fill(3 * r + s)));
                return f.let(v128.and(share, wins));
              });
              const even = f.let(f32x4.add(first, pickLanes(f, carried[r], third, [3, 4, 5, 6])));
              for (const [v, part] of interleave(f, even, second).entries())
                v128.store(address, f32x4.add(v128.load(address, 16 * v), part), 16 * v);
              carried[r].set(third);
              address.set(i32.add(address, 32));
            }
            for (const address of xAt) address.set(i32.add(address, 32));
            from.set(i32.add(from, 16));
            left.set(i32.sub(left, 4));
          },
        );
        for (const [r, address] of toAt.entries())
          f32.store(address, f32.add(f32.load(address), f32x4.extract_lane(carried[r], 3)));
        x.set(i32.add(x, i32.shl(xRow, 1)));
        to.set(i32.add(to, i32.shl(xRow, 1)));
        gradient.set(i32.add(gradient, gradientRow));
      });
      f.if(v128.any_true(suspect), () => i32.store(lowest, 1));
    },
  );
}

/** How an image [H, W] lies in a padded plane, and how many windows [P, Q] there are. */
const geometry = {
  planes: "i32",
  H: "i32",
  W: "i32",
  P: "i32",
  Q: "i32",
  rowBytes: "i32",
  corner: "i32",
  paddedBytes: "i32",
} as const;
type Geometry = { readonly [Name in keyof typeof geometry]: Local<"i32"> };

/** Compiles both. */
export function overlappingPools(runtime: WasmRuntime): OverlappingPools {
  const module = new ModuleBuilder("poolOverlapping");
  runtime.importMemory(module);
  const copyRow = defineCopyRow(module);
  const [maximum, addGradient] = [defineMaximum(module), defineGradient(module)];

  /** Copies rows of a plane into the padded one or out of it. */
  const copyImage = (
    f: FunctionBuilder,
    from: Local<"i32">,
    fromRow: Local<"i32">,
    to: Local<"i32">,
    toRow: Local<"i32">,
    { H, W }: Geometry,
  ): void => {
    const { i32 } = f;
    const [row, source, target] = [f.local("i32", "row"), f.let(from, "source"), f.let(to, "target")];
    f.forRange(row, 0, H, 1, () => {
      f.call(copyRow, { from: source, fromStep: floatBytes, to: target, toStep: floatBytes, columns: W });
      source.set(i32.add(source, fromRow));
      target.set(i32.add(target, toRow));
    });
  };

  const fillWithLowest = (f: FunctionBuilder, address: Local<"i32">, bytes: Local<"i32">): void => {
    const at = f.local("i32", "at");
    const lowest = f.let(f.f32x4.splat(Number.NEGATIVE_INFINITY), "lowest");
    f.forRange(at, 0, bytes, 16, () => f.v128.store(f.i32.add(address, at), lowest));
  };

  module.func(
    "maximumPlanes",
    { params: { ...rangeParameters, ...xPlace, ...yPlace, ...geometry } },
    (f, { begin, end, scratch, ...p }) => {
      const { i32 } = f;
      fillWithLowest(f, scratch, p.paddedBytes);
      const inside = f.let(i32.add(scratch, p.corner), "inside");
      const once = f.let(i32.const(1), "once");
      const places: Place[] = [
        [p.x, p.xImage, p.xPlane, p.xRow],
        [p.y, p.yImage, p.yPlane, p.yRow],
      ];
      forEachPlane(f, places, { begin, end, planes: p.planes, rows: once }, () => ({
        onRow: ([x, y]) => {
          copyImage(f, x, p.xRow, inside, p.rowBytes, p);
          f.call(maximum, { x: scratch, xRow: p.rowBytes, y, yRow: p.yRow, rows: p.P, columns: p.Q });
        },
      }));
    },
  );

  module.func(
    "gradientPlanes",
    { params: { ...rangeParameters, ...xPlace, ...gPlace, ...yPlace, ...geometry, lowest: "i32" } },
    (f, { begin, end, scratch, lowest, ...p }) => {
      const { i32 } = f;
      fillWithLowest(f, scratch, p.paddedBytes);
      const sums = f.let(i32.add(scratch, p.paddedBytes), "sums");
      const inside = f.let(i32.add(scratch, p.corner), "inside");
      const insideSums = f.let(i32.add(sums, p.corner), "insideSums");
      const once = f.let(i32.const(1), "once");
      const places: Place[] = [
        [p.x, p.xImage, p.xPlane, p.xRow],
        [p.g, p.gImage, p.gPlane, p.gRow],
        [p.y, p.yImage, p.yPlane, p.yRow],
      ];
      const windows = { x: scratch, xRow: p.rowBytes, to: sums, rows: p.P, columns: p.Q, lowest };
      forEachPlane(f, places, { begin, end, planes: p.planes, rows: once }, () => ({
        onRow: ([x, gradient, y]) => {
          copyImage(f, x, p.xRow, inside, p.rowBytes, p);
          f.memory.fill(sums, 0, p.paddedBytes);
          f.call(addGradient, { ...windows, gradient, gradientRow: p.gRow });
          copyImage(f, insideSums, p.rowBytes, y, p.yRow, p);
        },
      }));
    },
  );

  const { maximumPlanes, gradientPlanes } = runtime.instantiate(module);

  /** The padded plane: rows wide enough for whole groups of windows. */
  function geometryOf({ shape }: HostView, [, , P, Q]: readonly number[], { padding }: Pool2dAttributes) {
    const [, C, H, W] = shape;
    const width = Math.max(padding[2] + W, 8 * Math.ceil(Q / 4) + 2);
    const rowBytes = floatBytes * width;
    const corner = padding[0] * rowBytes + floatBytes * padding[2];
    const paddedBytes = 16 * Math.ceil((Math.max(padding[0] + H, 2 * P + 1) * rowBytes) / 16);
    return { args: [C, H, W, P, Q, rowBytes, corner, paddedBytes], paddedBytes };
  }

  return {
    maximum(x, output, attributes) {
      const [N, C, H, W] = x.shape;
      const { args, paddedBytes } = geometryOf(x, output.shape, attributes);
      runtime.forRange(maximumPlanes, N * C, [...placeOf(x), ...placeOf(output), ...args], {
        scratchBytes: paddedBytes,
        grain: grainOf(H * W),
      });
    },

    inputGradient(x, gradient, output, attributes) {
      const [N, C, H, W] = x.shape;
      const { args, paddedBytes } = geometryOf(x, gradient.shape, attributes);
      const lowest = runtime.scratch("pool flag", floatBytes);
      const flag = new Int32Array(runtime.memory.memory.buffer, lowest, 1);
      flag[0] = 0;
      const places = [...placeOf(x), ...placeOf(gradient), ...placeOf(output)];
      runtime.forRange(gradientPlanes, N * C, [...places, ...args, lowest], {
        scratchBytes: 2 * paddedBytes,
        grain: grainOf(2 * H * W),
      });
      return flag[0] === 0;
    },
  };
}
