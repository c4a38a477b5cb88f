/**
 * Max pooling by windows of 3 x 3 that move by 2 and overlap, as in the stem of a ResNet or DenseNet.
 *
 * A plane is copied into scratch memory with a margin of minus infinity, so that all windows are alike. The gradient
 * is added up there too: of the three columns of a window the last is the first of the next, so what it gets is
 * carried over to the next group of windows in a register.
 */
import type { HostView } from "../../../backend.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import type { WasmFunction, WasmRuntime } from "../runtime.ts";
import { evenAndOdd, interleave, takesLead, type Vector } from "./poolLanes.ts";
import { firstLanes, floatBytes, forEachRow, pickLanes, placeOf, writeRow } from "./rows.ts";

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

function defineMaximum(module: ModuleBuilder): void {
  const params = { x: "i32", xRow: "i32", y: "i32", yRow: "i32", rows: "i32", columns: "i32" } as const;
  module.func("maximum", { params }, (f, { x, xRow, y, yRow, rows, columns }) => {
    const { i32, f32x4 } = f;
    const once = f.let(i32.const(1), "once");
    const twoRows = f.let(i32.shl(xRow, 1), "twoRows");
    const windows = [0, 1, 2].map((r) => f.let(i32.add(x, i32.mul(xRow, r)), `x${r}`));
    const places = [
      ...windows.map((at) => [at, once, once, twoRows] as const),
      [y, once, once, yRow] as const,
    ];
    forEachRow(f, places, { images: once, planes: once, rows }, () => ({
      onRow: ([top, middle, bottom, out]) => {
        const value = (addresses: readonly Local<"i32">[], offset: number) => {
          const highest = [0, 16, 8, 24].map((bytes) => {
            const [a, b, c] = addresses.map((address) => f.v128.load(address, offset + bytes));
            return f.let(f32x4.max(f32x4.max(a, b), c));
          });
          const [even, odd] = evenAndOdd(f, highest[0], highest[1]);
          const next = pickLanes(f, highest[2], highest[3], [0, 2, 4, 6]);
          return f32x4.max(f32x4.max(even, odd), next);
        };
        writeRow(f, [top, middle, bottom], out, columns, value, 2);
      },
    }));
  });
}

function defineGradient(module: ModuleBuilder): void {
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
  module.func("gradient", { params }, (f, { x, xRow, gradient, gradientRow, to, rows, columns, lowest }) => {
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
  });
}

/** Compiles both. */
export function overlappingPools(
  runtime: WasmRuntime,
  copyPlanes: WasmFunction,
  clear: WasmFunction,
): OverlappingPools {
  const module = new ModuleBuilder("poolOverlapping");
  runtime.importMemory(module);
  defineMaximum(module);
  defineGradient(module);
  const { maximum, gradient: addGradient } = runtime.instantiate(module);

  /** The scratch plane: rows wide enough for whole groups of windows, minus infinity but for the image. */
  function paddedPlane(x: HostView, [, , P, Q]: readonly number[], { padding }: Pool2dAttributes) {
    const [, , H, W] = x.shape;
    const width = Math.max(padding[2] + W, 8 * Math.ceil(Q / 4) + 2);
    const floats = Math.max(padding[0] + H, 2 * P + 1) * width;
    const address = runtime.scratch("pool plane", floatBytes * floats);
    new Float32Array(runtime.memory.memory.buffer, address, floats).fill(Number.NEGATIVE_INFINITY);
    const rowBytes = floatBytes * width;
    return { address, floats, rowBytes, corner: padding[0] * rowBytes + floatBytes * padding[2] };
  }

  function forEachPlane(N: number, C: number, visit: (n: number, c: number) => void): void {
    for (let n = 0; n < N; n++) for (let c = 0; c < C; c++) visit(n, c);
  }

  return {
    maximum(x, output, attributes) {
      const [N, C, H, W] = x.shape;
      const [, , P, Q] = output.shape;
      const { address, rowBytes, corner } = paddedPlane(x, output.shape, attributes);
      const [from, fromImage, fromPlane, fromRow] = placeOf(x);
      const [to, toImage, toPlane, toRow] = placeOf(output);
      const inside = address + corner;
      forEachPlane(N, C, (n, c) => {
        const plane = from + n * fromImage + c * fromPlane;
        copyPlanes(plane, 0, fromRow, floatBytes, inside, 0, rowBytes, floatBytes, 1, H, W);
        maximum(address, rowBytes, to + n * toImage + c * toPlane, toRow, P, Q);
      });
    },

    inputGradient(x, gradient, output, attributes) {
      const [N, C, H, W] = x.shape;
      const [, , P, Q] = gradient.shape;
      const { address, floats, rowBytes, corner } = paddedPlane(x, gradient.shape, attributes);
      const sums = runtime.scratch("pool gradient", floatBytes * floats);
      const lowest = runtime.scratch("pool flag", floatBytes);
      const flag = new Int32Array(runtime.memory.memory.buffer, lowest, 1);
      flag[0] = 0;
      const [from, fromImage, fromPlane, fromRow] = placeOf(x);
      const [by, byImage, byPlane, byRow] = placeOf(gradient);
      const [to, toImage, toPlane, toRow] = placeOf(output);
      const inside = address + corner;
      forEachPlane(N, C, (n, c) => {
        const plane = from + n * fromImage + c * fromPlane;
        copyPlanes(plane, 0, fromRow, floatBytes, inside, 0, rowBytes, floatBytes, 1, H, W);
        clear(sums, floatBytes * floats);
        addGradient(address, rowBytes, by + n * byImage + c * byPlane, byRow, sums, P, Q, lowest);
        const target = to + n * toImage + c * toPlane;
        copyPlanes(sums + corner, 0, rowBytes, floatBytes, target, 0, toRow, floatBytes, 1, H, W);
      });
      return flag[0] === 0;
    },
  };
}
