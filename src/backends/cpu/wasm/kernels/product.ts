/**
 * The two loops that matrix products and convolutions are made of. Both read their right operand as rows found
 * through a table of byte offsets, so a convolution needs no im2col matrix: with the image padded, the taps of a
 * window are the same memory read from shifted places.
 *
 *     product   C[m][j]  = Σ_k A[m][k] · row_k[j]        matmul, convolution, its input gradient
 *     dots      D[m][k] += Σ_j Y[m][j] · row_k[j]        its weight gradient
 *
 * Tiles of 4 rows by 3 vectors of 4 columns keep 12 sums, 3 vectors of the row and one broadcast value in x64's 16
 * vector registers. Measured (Node 20, one busy core): 25 to 29 GFLOP/s from depth 32 to 576, against 4 to 5 of the
 * typed-array loops; with fused multiply-add the same, so the loads bind it and not the arithmetic.
 */
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { multiplyAdd, type WasmFunction, type WasmRuntime } from "../runtime.ts";

/** Columns of one tile of `product`; with fewer, the caller gives it room for so many. */
export const tileColumns = 12;
/** Rows of one tile: A is packed in panels of so many. */
export const tileRows = 4;

const vectors = tileColumns / 4;

export interface ProductKernels {
  /**
   * (a, rows, b, offsets, depth, c, rowBytes, columns): writes C's `rows` rows of `columns` >= 12 columns. `a` is
   * packed in panels `[depth][4]`, the last one as narrow as its rows. Row k of the right operand begins at
   * `b + offsets[k]` bytes.
   */
  readonly product: WasmFunction;
  /**
   * (y, rowBytes, rows, x, offsets, depth, d, columns, masks): adds to D `[rows][depth]`. `masks` is the address of
   * four vectors that keep the first 0, 1, 2, 3 lanes.
   */
  readonly dots: WasmFunction;
}

/** One panel of up to four rows against all columns; the last tile overlaps the one before instead of being narrow. */
function definePanel(module: ModuleBuilder, rows: number, fused: boolean) {
  return module.func(
    `product_${rows}x${tileColumns}`,
    {
      params: { a: "i32", b: "i32", offsets: "i32", depth: "i32", c: "i32", rowBytes: "i32", columns: "i32" },
      exported: false,
    },
    (f, { a, b, offsets, depth, c, rowBytes, columns }) => {
      const { i32, v128, f32x4 } = f;
      const tileBytes = 4 * tileColumns;
      const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
      const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
      const [left, entry, last] = [f.local("i32", "left"), f.local("i32", "entry"), f.local("i32", "last")];
      const [at, row, out] = [f.local("i32", "at"), f.local("i32", "row"), f.local("i32", "out")];
      const end = f.let(i32.shl(columns, 2), "end");
      last.set(i32.add(offsets, i32.shl(depth, 2)));
      f.forRange(at, 0, end, tileBytes, () => {
        f.if(i32.gt_s(i32.add(at, tileBytes), end), () => at.set(i32.sub(end, tileBytes)));
        for (const sum of sums) sum.set(f32x4.splat(0));
        left.set(a);
        f.forPointer(entry, offsets, last, 4, () => {
          row.set(i32.add(i32.add(b, at), i32.load(entry)));
          for (const [v, vector] of right.entries()) vector.set(v128.load(row, 16 * v));
          for (let r = 0; r < rows; r++) {
            const value = f.let(v128.load32_splat(left, 4 * r));
            right.forEach((vector, v) => {
              const sum = sums[r * vectors + v];
              sum.set(multiplyAdd(f, fused, value, vector, sum));
            });
          }
          left.set(i32.add(left, 4 * rows));
        });
        out.set(i32.add(c, at));
        for (let r = 0; r < rows; r++) {
          for (let v = 0; v < vectors; v++) v128.store(out, sums[r * vectors + v], 16 * v);
          if (r < rows - 1) out.set(i32.add(out, rowBytes));
        }
      });
    },
  );
}

function defineProduct(module: ModuleBuilder, fused: boolean): void {
  const panels = [1, 2, 3, 4].map((rows) => definePanel(module, rows, fused));
  module.func(
    "product",
    {
      params: {
        a: "i32",
        rows: "i32",
        b: "i32",
        offsets: "i32",
        depth: "i32",
        c: "i32",
        rowBytes: "i32",
        columns: "i32",
      },
    },
    (f, { a, rows, b, offsets, depth, c, rowBytes, columns }) => {
      const { i32 } = f;
      const shared = { a, b, offsets, depth, c, rowBytes, columns };
      const done = f.local("i32", "done");
      f.while(
        () => i32.le_s(i32.add(done, tileRows), rows),
        () => {
          f.call(panels[tileRows - 1], shared);
          a.set(i32.add(a, i32.mul(depth, 4 * tileRows)));
          c.set(i32.add(c, i32.mul(rowBytes, tileRows)));
          done.set(i32.add(done, tileRows));
        },
      );
      for (let rest = 1; rest < tileRows; rest++)
        f.if(i32.eq(i32.sub(rows, done), rest), () => f.call(panels[rest - 1], shared));
    },
  );
}

/** Dot products of up to four rows of Y with up to three rows of X. */
function defineDots(module: ModuleBuilder, rows: number, taps: number, fused: boolean) {
  return module.func(
    `dots_${rows}x${taps}`,
    {
      params: {
        y: "i32",
        rowBytes: "i32",
        x: "i32",
        offsets: "i32",
        d: "i32",
        resultBytes: "i32",
        columns: "i32",
        masks: "i32",
      },
      exported: false,
    },
    (f, { y, rowBytes, x, offsets, d, resultBytes, columns, masks }) => {
      const { i32, v128, f32x4, f32 } = f;
      const sums = Array.from({ length: rows * taps }, (_, i) => f.local("v128", `sum${i}`));
      const left = Array.from({ length: rows }, (_, r) => f.local("i32", `left${r}`));
      for (const [r, pointer] of left.entries()) pointer.set(r === 0 ? y : i32.add(left[r - 1], rowBytes));
      const right = Array.from({ length: taps }, (_, t) =>
        f.let(i32.add(x, i32.load(offsets, 4 * t)), `right${t}`),
      );
      const at = f.local("i32", "at");
      const whole = f.let(i32.shl(i32.and(columns, -4), 2), "whole");
      const add = (load: (pointer: Local<"i32">) => Local<"v128">): void => {
        const values = right.map(load);
        left.forEach((pointer, r) => {
          const value = load(pointer);
          values.forEach((tap, t) => {
            const sum = sums[r * taps + t];
            sum.set(multiplyAdd(f, fused, value, tap, sum));
          });
        });
      };
      f.forRange(at, 0, whole, 16, () => add((pointer) => f.let(v128.load(i32.add(pointer, at)))));
      const rest = f.let(i32.and(columns, 3), "rest");
      f.if(rest, () => {
        const mask = f.let(v128.load(i32.add(masks, i32.shl(rest, 4))), "mask");
        add((pointer) => f.let(v128.and(v128.load(i32.add(pointer, whole)), mask)));
      });
      sums.forEach((sum, i) => {
        const [r, t] = [Math.floor(i / taps), i % taps];
        if (t === 0 && r > 0) d.set(i32.add(d, resultBytes));
        const pairs = f.let(f32x4.add(sum, shuffleHalves(f, sum)), `pairs${i}`);
        const total = f32.add(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
        f32.store(d, f32.add(f32.load(d, 4 * t), total), 4 * t);
      });
    },
  );
}

/** The upper two lanes in the place of the lower two. */
function shuffleHalves(f: FunctionBuilder, vector: Local<"v128">) {
  return f.i8x16.shuffle(vector, vector, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
}

function defineAllDots(module: ModuleBuilder, fused: boolean): void {
  const tiles = [1, 2, 3, 4].map((rows) => [1, 2, 3].map((taps) => defineDots(module, rows, taps, fused)));
  module.func(
    "dots",
    {
      params: {
        y: "i32",
        rowBytes: "i32",
        rows: "i32",
        x: "i32",
        offsets: "i32",
        depth: "i32",
        d: "i32",
        columns: "i32",
        masks: "i32",
      },
    },
    (f, { y, rowBytes, rows, x, offsets, depth, d, columns, masks }) => {
      const { i32 } = f;
      const resultBytes = f.let(i32.shl(depth, 2), "resultBytes");
      const [m, k, height, width] = ["m", "k", "height", "width"].map((name) => f.local("i32", name));
      const entry = f.local("i32", "entry");
      const target = f.local("i32", "target");
      f.forRange(m, 0, rows, 4, () => {
        height.set(f.select(f.let(i32.sub(rows, m)), 4, i32.lt_s(i32.sub(rows, m), 4)));
        f.forRange(k, 0, depth, 3, () => {
          width.set(f.select(f.let(i32.sub(depth, k)), 3, i32.lt_s(i32.sub(depth, k), 3)));
          entry.set(i32.add(offsets, i32.shl(k, 2)));
          target.set(i32.add(d, i32.shl(k, 2)));
          for (const [r, row] of tiles.entries())
            for (const [t, tile] of row.entries())
              f.if(i32.and(i32.eq(height, r + 1), i32.eq(width, t + 1)), () =>
                f.call(tile, { y, rowBytes, x, offsets: entry, d: target, resultBytes, columns, masks }),
              );
        });
        y.set(i32.add(y, i32.shl(rowBytes, 2)));
        d.set(i32.add(d, i32.shl(resultBytes, 2)));
      });
    },
  );
}

/** Compiles both loops. */
export function productKernels(runtime: WasmRuntime): ProductKernels {
  const module = new ModuleBuilder("products");
  runtime.importMemory(module);
  defineProduct(module, runtime.fused);
  defineAllDots(module, runtime.fused);
  const { product, dots } = runtime.instantiate(module);
  return { product, dots };
}
