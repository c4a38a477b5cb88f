/** The three transforms of winograd.ts, of four tiles at a time: of weights, of the gathered image, and of the sums. */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { pickLanes } from "../rows.ts";
import { planLayout } from "./plan.ts";
import { floatBytes } from "./record.ts";
import { columnsOf, type TileShape } from "./tile.ts";

/** Products of a tile: a square of so many. */
export const side = 4;
export const tileProducts = side * side;

/** Calls `transform` for every column of a matrix, then for every row of what came out. */
export function bothWays<T>(
  matrix: readonly (readonly T[])[],
  transform: (values: readonly T[]) => T[],
): T[][] {
  const columns = matrix[0].map((_, s) => transform(matrix.map((row) => row[s])));
  return columns[0].map((_, r) => transform(columns.map((column) => column[r])));
}

/**
 * (begin, end, scratch, plan, weights, rowBytes, table, panels, productBytes): the item is a panel. `table` has nine
 * offsets for each channel. Panels of each of the sixteen products begin `productBytes` after those of the one before.
 */
export function definePackWinograd(module: ModuleBuilder): void {
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", plan: "i32", weights: "i32" } as const),
    ...({ rowBytes: "i32", table: "i32", panels: "i32", productBytes: "i32" } as const),
  };
  module.func(
    "packWinograd",
    { params },
    (f, { begin, end, plan, weights, rowBytes, table, panels, productBytes }) => {
      const { i32, f32 } = f;
      const field = (name: (typeof planLayout.fields)[number]) => f.let(planLayout.load(f, plan, name), name);
      const [tall, height, channels] = (["tallPanels", "panelRows", "channels"] as const).map(field);
      const [item, first, rows, row, c] = ["item", "first", "rows", "row", "c"].map((name) =>
        f.local("i32", name),
      );
      const [from, offsets, to, at] = ["from", "offsets", "to", "at"].map((name) => f.local("i32", name));
      const half = f.let(f32.const(0.5), "half");
      const transform = ([a, b, c3]: readonly Local<"f32">[]) => {
        const outer = f.let(f32.mul(f32.add(a, c3), half));
        const inner = f.let(f32.mul(b, half));
        return [a, f.let(f32.add(outer, inner)), f.let(f32.sub(outer, inner)), c3];
      };
      f.forRange(item, begin, end, 1, () => {
        first.set(i32.add(i32.mul(item, height), f.select(item, tall, i32.lt_s(item, tall))));
        rows.set(i32.add(height, i32.lt_s(item, tall)));
        f.forRange(row, 0, rows, 1, () => {
          from.set(i32.add(weights, i32.mul(i32.add(first, row), rowBytes)));
          offsets.set(table);
          to.set(i32.add(panels, i32.shl(i32.add(i32.mul(first, channels), row), 2)));
          f.forRange(c, 0, channels, 1, () => {
            const weight = (r: number, s: number) =>
              f.let(f32.load(i32.add(from, i32.load(offsets, floatBytes * (3 * r + s)))));
            const matrix = [0, 1, 2].map((r) => [0, 1, 2].map((s) => weight(r, s)));
            at.set(to);
            for (const value of bothWays(matrix, transform).flat()) {
              f32.store(at, value);
              at.set(i32.add(at, productBytes));
            }
            offsets.set(i32.add(offsets, 9 * floatBytes));
            to.set(i32.add(to, i32.shl(rows, 2)));
          });
        });
      });
    },
  );
}

const inputParams = { plan: "i32", base: "i32", second: "i32", to: "i32", productBytes: "i32" } as const;
export type TransformInput = FunctionHandle<typeof inputParams, undefined>;

/**
 * (plan, base, second, to, productBytes): the sixteen slivers of a tile of columns, half of them gathered from `base`
 * and half from `second`, which is where the first one lies in the first phase of the item's first channel.
 */
export function defineTransformInput(module: ModuleBuilder, shape: TileShape): TransformInput {
  const half = shape.vectors / 2;
  return module.func("transformInput", { params: inputParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const field = (name: (typeof planLayout.fields)[number]) => f.let(planLayout.load(f, p.plan, name), name);
    const [channels, rowBytes, phaseBytes] = (["channels", "rowBytes", "phaseBytes"] as const).map(field);
    const channelBytes = field("channelBytes");
    const [c, at, out] = ["c", "at", "out"].map((name) => f.local("i32", name));
    const transform = ([a, b, c3, d]: readonly Local<"v128">[]) => [
      f.let(f32x4.sub(a, c3)),
      f.let(f32x4.add(b, c3)),
      f.let(f32x4.sub(c3, b)),
      f.let(f32x4.sub(b, d)),
    ];
    f.forRange(c, 0, channels, 1, () => {
      for (let v = 0; v < shape.vectors; v++) {
        at.set(i32.add(v < half ? p.base : p.second, 16 * (v % half)));
        const phases = [f.let(at)];
        while (phases.length < 4) phases.push(f.let(i32.add(phases[phases.length - 1], phaseBytes)));
        const below = phases.map((phase) => f.let(i32.add(phase, rowBytes)));
        const pixel = (r: number, s: number) => {
          const pointers = r < 2 ? phases : below;
          return f.let(v128.load(pointers[2 * (r % 2) + (s % 2)], floatBytes * Math.floor(s / 2)));
        };
        const matrix = [0, 1, 2, 3].map((r) => [0, 1, 2, 3].map((s) => pixel(r, s)));
        out.set(i32.add(p.to, 16 * v));
        for (const value of bothWays(matrix, transform).flat()) {
          v128.store(out, value);
          out.set(i32.add(out, p.productBytes));
        }
      }
      p.base.set(i32.add(p.base, channelBytes));
      p.second.set(i32.add(p.second, channelBytes));
      p.to.set(i32.add(p.to, floatBytes * columnsOf(shape)));
    });
  });
}

const outputParams = {
  from: "i32",
  productBytes: "i32",
  results: "i32",
  to: "i32",
  lineBytes: "i32",
} as const;
export type TransformOutput = FunctionHandle<typeof outputParams, undefined>;

/**
 * (from, productBytes, results, to, lineBytes): two lines of outputs of every result, of a tile of columns each two
 * outputs wide. A result's lines lie one after the other, `lineBytes` bytes each.
 */
export function defineTransformOutput(module: ModuleBuilder, shape: TileShape): TransformOutput {
  return module.func("transformOutput", { params: outputParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const [k, at, line] = ["k", "at", "line"].map((name) => f.local("i32", name));
    const transform = ([a, b, c, d]: readonly Local<"v128">[]) => [
      f.let(f32x4.add(f.let(f32x4.add(a, b)), c)),
      f.let(f32x4.sub(f.let(f32x4.sub(b, c)), d)),
    ];
    f.forRange(k, 0, p.results, 1, () => {
      line.set(i32.add(p.to, p.lineBytes));
      for (let v = 0; v < shape.vectors; v++) {
        at.set(p.from);
        const product = () => {
          const value = f.let(v128.load(at, 16 * v));
          at.set(i32.add(at, p.productBytes));
          return value;
        };
        const matrix = Array.from({ length: side }, () => Array.from({ length: side }, product));
        for (const [r, [even, odd]] of bothWays(matrix, transform).entries()) {
          const to = r === 0 ? p.to : line;
          v128.store(to, pickLanes(f, even, odd, [0, 4, 1, 5]), 32 * v);
          v128.store(to, pickLanes(f, even, odd, [2, 6, 3, 7]), 32 * v + 16);
        }
      }
      p.from.set(i32.add(p.from, floatBytes * columnsOf(shape)));
      p.to.set(i32.add(p.to, i32.shl(p.lineBytes, 1)));
    });
  });
}
