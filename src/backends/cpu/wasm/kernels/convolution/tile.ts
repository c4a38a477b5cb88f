/**
 * The two innermost loops that convolutions, their gradients and matrix products are made of. Each keeps its sums in
 * registers and reads one vector of a row for every multiply-add but a few.
 *
 *     product   C[m][j]  = Σ_k A[k][m] · B[k][j]        6 rows by 2 or 4 vectors of columns
 *     dots      D[m][t] += Σ_j Y[m][j] · X[t][j]        6 rows by 2 rows, lanes summed at the end
 *
 * x64 has 16 vector registers and V8 keeps one for itself: 12 sums, 2 vectors and a broadcast value are all 15.
 * Measured on one Zen 4 core, ceiling from registers alone 59 GFLOP/s: 6 x 2 vectors 58, 4 x 3 (16 registers, so it
 * spills) 27. With V8's revectorisation pairs of vectors become one of 256 bits, and twice as many fit: 6 x 4 reaches
 * 116 of 118. It takes pairs only when all sums start from the same zero and pairs of stores end them.
 */
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import { storePairs } from "../rows.ts";

/** Rows of the largest tile. */
export const tileRows = 6;
/** Rows of X that one tile of `dots` takes. */
export const dotTaps = 2;

/** How wide the tiles are, by what V8 makes of pairs of vectors. */
export interface TileShape {
  readonly fused: boolean;
  /** Vectors of four columns in a product's tile: 2, or 4 with revectorisation. */
  readonly vectors: number;
}

/** Columns of a product's tile. */
export const columnsOf = ({ vectors }: TileShape): number => 4 * vectors;
/** Positions that one turn of `dots` takes. */
export const dotStride = ({ vectors }: TileShape): number => 2 * vectors;
/** Bytes of the sums that `dots` keeps in memory for one tile. */
export const dotTileBytes = (shape: TileShape): number => 4 * tileRows * dotTaps * dotStride(shape);

const productParams = { a: "i32", b: "i32", depth: "i32", c: "i32", rowBytes: "i32" } as const;
export type ProductTile = FunctionHandle<typeof productParams, undefined>;

interface ProductOptions {
  /** Bytes from one step of the depth to the next: of A and of B. Default: of a panel and of a sliver of this tile. */
  readonly steps?: { readonly a: number; readonly b: number };
  /** Adds up the products before they are added to C, which rounds less where depths follow each other. */
  readonly apart?: boolean;
}

/**
 * (a, b, depth, c, rowBytes): `rows` rows of C from a panel `[depth][rows]` of A and a sliver `[depth][columns]` of B.
 * `accumulate` adds to what C holds.
 */
export function defineProductTile(
  module: ModuleBuilder,
  shape: TileShape,
  rows: number,
  accumulate: boolean,
  { steps = { a: 4 * rows, b: 4 * columnsOf(shape) }, apart = false }: ProductOptions = {},
): ProductTile {
  const { vectors, fused } = shape;
  const name = `product_${rows}x${columnsOf(shape)}${accumulate ? "_add" : ""}`;
  return module.func(name, { params: productParams, exported: false }, (f, { a, b, depth, c, rowBytes }) => {
    const { i32, v128, f32x4 } = f;
    const sums = Array.from({ length: rows * vectors }, (_, i) => f.local("v128", `sum${i}`));
    const right = Array.from({ length: vectors }, (_, i) => f.local("v128", `right${i}`));
    const left = f.local("v128", "left");
    const out = f.local("i32", "out");
    const eachRow = (visit: (row: number) => void): void => {
      out.set(c);
      for (let r = 0; r < rows; r++) {
        visit(r);
        if (r < rows - 1) out.set(i32.add(out, rowBytes));
      }
    };
    if (accumulate && !apart)
      eachRow((r) => {
        for (let v = 0; v < vectors; v++) sums[r * vectors + v].set(v128.load(out, 16 * v));
      });
    else {
      const zero = f.let(f32x4.splat(0), "zero");
      for (const sum of sums) sum.set(zero);
    }
    const end = f.let(i32.add(a, i32.mul(depth, steps.a)), "end");
    f.forPointer(a, a, end, steps.a, () => {
      for (const [v, vector] of right.entries()) vector.set(v128.load(b, 16 * v));
      for (let r = 0; r < rows; r++) {
        left.set(v128.load32_splat(a, 4 * r));
        for (const [v, vector] of right.entries()) {
          const sum = sums[r * vectors + v];
          sum.set(multiplyAdd(f, fused, left, vector, sum));
        }
      }
      b.set(i32.add(b, steps.b));
    });
    eachRow((r) => {
      const row = sums.slice(r * vectors, (r + 1) * vectors);
      if (accumulate && apart)
        for (const [v, sum] of row.entries()) sum.set(f32x4.add(sum, v128.load(out, 16 * v)));
      storePairs(f, out, row);
    });
  });
}

const dotParams = { y: "i32", yRow: "i32", x: "i32", xRow: "i32", bytes: "i32", sums: "i32" } as const;
export type DotTile = FunctionHandle<typeof dotParams, undefined>;

/**
 * (y, yRow, x, xRow, bytes, sums): sums of `rows` by `taps` dot products, kept in memory lane by lane, over rows of
 * `bytes` bytes, a multiple of `4 * dotStride`. `accumulate` adds to what is there.
 */
export function defineDotTile(
  module: ModuleBuilder,
  shape: TileShape,
  rows: number,
  taps: number,
  accumulate: boolean,
): DotTile {
  const { fused } = shape;
  const parts = dotStride(shape) / 4;
  return module.func(
    `dots_${rows}x${taps}${accumulate ? "_add" : ""}`,
    { params: dotParams, exported: false },
    (f, { y, yRow, x, xRow, bytes, sums }) => {
      const { i32, v128, f32x4 } = f;
      const totals = Array.from({ length: rows * taps * parts }, (_, i) => f.local("v128", `sum${i}`));
      const zero = f.let(f32x4.splat(0), "zero");
      for (const [i, total] of totals.entries()) total.set(accumulate ? v128.load(sums, 16 * i) : zero);
      const lefts = rowPointers(f, y, yRow, rows, "left");
      const rights = rowPointers(f, x, xRow, taps, "right");
      const at = f.local("i32", "at");
      f.forRange(at, 0, bytes, 16 * parts, () => {
        const loadAll = (row: Local<"i32">) => {
          const from = f.let(i32.add(row, at));
          return Array.from({ length: parts }, (_, p) => f.let(v128.load(from, 16 * p)));
        };
        const right = rights.map(loadAll);
        for (const [r, row] of lefts.entries()) {
          const left = loadAll(row);
          for (const [t, vectors] of right.entries())
            for (const [p, vector] of vectors.entries()) {
              const total = totals[(r * taps + t) * parts + p];
              total.set(multiplyAdd(f, fused, left[p], vector, total));
            }
        }
      });
      storePairs(f, sums, totals);
    },
  );
}

function rowPointers(
  f: FunctionBuilder,
  first: Local<"i32">,
  step: Local<"i32">,
  count: number,
  name: string,
): Local<"i32">[] {
  const pointers = [first];
  while (pointers.length < count)
    pointers.push(f.let(f.i32.add(pointers[pointers.length - 1], step), `${name}${pointers.length}`));
  return pointers;
}
