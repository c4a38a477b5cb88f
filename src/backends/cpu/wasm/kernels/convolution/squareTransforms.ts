/** The transforms of squareProduct.ts and squareWeights.ts, of sixteen channels at a time. */
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { storePairs } from "../rows.ts";
import { pixelBytes, transpose } from "./channelsLast.ts";
import { floatBytes } from "./record.ts";

/** Products of a square: a square of so many. */
const side = 4;
export const tileProducts = side * side;

/** Calls `transform` for every column of a matrix, then for every row of what came out. */
export function bothWays<T>(
  matrix: readonly (readonly T[])[],
  transform: (values: readonly T[]) => T[],
): T[][] {
  const columns = matrix[0].map((_, s) => transform(matrix.map((row) => row[s])));
  return columns[0].map((_, r) => transform(columns.map((column) => column[r])));
}

/** Two neighbouring vectors, which V8 may make into one of 256 bits. */
type Pair = readonly [Local<"v128">, Local<"v128">];
/** A row of a square. */
type Row = readonly Pair[];

function arithmeticOf(f: FunctionBuilder) {
  const each = (operation: "add" | "sub", a: Row, b: Row): Row =>
    a.map(([first, second], i) => [
      f.let(f.f32x4[operation](first, b[i][0])),
      f.let(f.f32x4[operation](second, b[i][1])),
    ]);
  return {
    add: (a: Row, b: Row) => each("add", a, b),
    sub: (a: Row, b: Row) => each("sub", a, b),
  };
}
type Arithmetic = ReturnType<typeof arithmeticOf>;

const params = {
  from: "i32",
  /** Images of so many rows and columns of squares, and bytes of a row of pixels. */
  images: "i32",
  rows: "i32",
  columns: "i32",
  rowBytes: "i32",
  to: "i32",
  /** From one transformed square to the next, and from one of the sixteen to the next. */
  squareBytes: "i32",
  productBytes: "i32",
} as const;
export type TransformSquares = FunctionHandle<typeof params, undefined>;

/**
 * A transform both ways, row by row: reads rows with `row`, transformed along it, and gives four in their order to
 * `put`. Asking for a row late keeps registers free.
 */
type Transform = (operations: Arithmetic, row: (r: number) => Row, put: (row: Row) => void) => void;

/** Both ways, of what `pixel` gives by row and column. */
function transformSquare(
  f: FunctionBuilder,
  transform: Transform,
  columns: number,
  pixel: (r: number, s: number) => Pair,
  put: (row: Row) => void,
): void {
  const operations = arithmeticOf(f);
  const read = (r: number): Row => {
    const pixels = Array.from({ length: columns }, (_, s) => pixel(r, s));
    const along: Pair[] = [];
    transform(
      operations,
      (s) => [pixels[s]],
      (row) => along.push(...row),
    );
    return along;
  };
  transform(operations, read, put);
}

const loadPair = (f: FunctionBuilder, at: Local<"i32">, offset: number): Pair => [
  f.let(f.v128.load(at, offset)),
  f.let(f.v128.load(at, offset + 16)),
];

/** Bytes of a pair, which pixels are made of. */
const pairBytes = 32;

const squareParams = { from: "i32", rowBytes: "i32", to: "i32", productBytes: "i32" } as const;

/**
 * Visits the squares of all images: `pixels` is where the images begin, whose squares have `size` pixels on a side and
 * begin two apart; transformed squares follow each other from `squares` on.
 */
function walkSquares(
  f: FunctionBuilder,
  { images, rows, columns, rowBytes, squareBytes }: Readonly<Record<keyof typeof params, Local<"i32">>>,
  { pixels, squares, size }: { pixels: Local<"i32">; squares: Local<"i32">; size: number },
  visit: (pixels: Local<"i32">, squares: Local<"i32">) => void,
): void {
  const { i32 } = f;
  const [image, row, at, end] = ["image", "row", "at", "end"].map((name) => f.local("i32", name));
  f.forRange(image, 0, images, 1, () => {
    f.forRange(row, 0, rows, 1, () => {
      end.set(i32.add(pixels, i32.mul(columns, 2 * pixelBytes)));
      f.forPointer(at, pixels, end, 2 * pixelBytes, () => {
        visit(at, squares);
        squares.set(i32.add(squares, squareBytes));
      });
      pixels.set(i32.add(pixels, i32.shl(rowBytes, 1)));
    });
    if (size > 2) pixels.set(i32.add(pixels, i32.mul(rowBytes, size - 2)));
  });
}

/**
 * Squares of `size` pixels on a side, two apart, into sixteen rows of `to`, square by square. A square has a function
 * of its own, since V8 made no pairs of what is computed in a loop or under a condition, with stores in rising order
 * (`inPairs` in rows.ts); from the top down a loop has not been tried.
 */
function defineTransform(
  module: ModuleBuilder,
  name: string,
  size: number,
  transform: Transform,
): TransformSquares {
  const ofSquare = module.func(`${name}Square`, { params: squareParams, exported: false }, (f, p) => {
    const { i32 } = f;
    const lines = [p.from];
    while (lines.length < size) lines.push(f.let(i32.add(lines[lines.length - 1], p.rowBytes)));
    for (let offset = 0; offset < pixelBytes; offset += pairBytes) {
      const at = f.let(p.to);
      const pixel = (r: number, s: number) => loadPair(f, lines[r], pixelBytes * s + offset);
      transformSquare(f, transform, size, pixel, (row) => {
        for (const pair of row) {
          storePairs(f, at, pair, offset);
          at.set(i32.add(at, p.productBytes));
        }
      });
    }
  });
  return module.func(name, { params, exported: false }, (f, p) => {
    const { rowBytes, productBytes } = p;
    walkSquares(f, p, { pixels: p.from, squares: p.to, size }, (from, to) =>
      f.call(ofSquare, { from, rowBytes, to, productBytes }),
    );
  });
}

/** Bᵀ d B of squares of 4 x 4 pixels, with the last row of Bᵀ turned about in sign. */
export const defineTransformPixels = (module: ModuleBuilder): TransformSquares =>
  defineTransform(module, "transformPixels", side, ({ add, sub }, row, put) => {
    const [first, third] = [row(0), row(2)];
    put(sub(first, third));
    const second = row(1);
    put(add(second, third));
    put(sub(third, second));
    put(sub(row(3), second));
  });

/** A g Aᵀ of squares of 2 x 2 outputs' gradients. */
export const defineTransformGradient = (module: ModuleBuilder): TransformSquares =>
  defineTransform(module, "transformGradient", 2, ({ add, sub }, row, put) => {
    const [first, second] = [row(0), row(1)];
    put(first);
    put(add(first, second));
    put(sub(first, second));
    put(second);
  });

/**
 * (from, images, rows, columns, rowBytes, to, squareBytes, productBytes): Aᵀ m A of squares of sums, the other way
 * round: from transformed squares to rows of pixels.
 */
export function defineTransformOutputs(module: ModuleBuilder): TransformSquares {
  const transform: Transform = ({ add, sub }, row, put) => {
    const [first, second, third] = [row(0), row(1), row(2)];
    put(add(add(first, second), third));
    put(add(sub(second, third), row(3)));
  };
  const ofSquare = module.func(
    "transformOutputsSquare",
    { params: squareParams, exported: false },
    (f, p) => {
      const { i32 } = f;
      const lines = [p.to, f.let(i32.add(p.to, p.rowBytes))];
      for (let offset = 0; offset < pixelBytes; offset += pairBytes) {
        const at = f.let(p.from);
        const pixel = (): Pair => {
          const pair = loadPair(f, at, offset);
          at.set(i32.add(at, p.productBytes));
          return pair;
        };
        const rows: Row[] = [];
        transformSquare(f, transform, side, pixel, (row) => rows.push(row));
        for (const [r, row] of rows.entries())
          for (const [s, pair] of row.entries()) storePairs(f, lines[r], pair, pixelBytes * s + offset);
      }
    },
  );
  return module.func("transformOutputs", { params, exported: false }, (f, p) => {
    const { rowBytes, productBytes } = p;
    walkSquares(f, p, { pixels: p.to, squares: p.from, size: 2 }, (to, from) =>
      f.call(ofSquare, { from, rowBytes, to, productBytes }),
    );
  });
}

const weightParams = {
  sums: "i32",
  /** From one of the sixteen to the next. */
  productBytes: "i32",
  filters: "i32",
  channels: "i32",
  to: "i32",
  /** From a filter's weights to the next one's. */
  filterBytes: "i32",
} as const;
export type TransformSums = FunctionHandle<typeof weightParams, undefined>;

/** Gᵀ m G of sums of a group of channels, filter by filter: the nine weights of every channel, one after the other. */
export function defineTransformSums(module: ModuleBuilder): TransformSums {
  return module.func("transformSums", { params: weightParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const names = ["filter", "channel", "sums", "to", "at"];
    const [filter, channel, sums, to, at] = names.map((name) => f.local("i32", name));
    const half = f.let(f32x4.splat(0.5), "half");
    const transform = ([a, b, c, d]: readonly Local<"v128">[]) => {
      const even = f.let(f32x4.mul(f.let(f32x4.add(b, c)), half));
      const odd = f.let(f32x4.mul(f.let(f32x4.sub(b, c)), half));
      return [f.let(f32x4.add(a, even)), odd, f.let(f32x4.add(even, d))];
    };
    f.forRange(filter, 0, p.filters, 1, () => {
      sums.set(p.sums);
      to.set(p.to);
      f.forRange(channel, 0, p.channels, 4, () => {
        at.set(sums);
        const next = () => {
          const value = f.let(v128.load(at));
          at.set(i32.add(at, p.productBytes));
          return value;
        };
        const square = Array.from({ length: side }, () => Array.from({ length: side }, next));
        const nine = bothWays(square, transform).flat();
        const fours = [nine.slice(0, 4), nine.slice(4, 8)].map((four) => transpose(f, four));
        const put = (i: number) => {
          for (const [j, four] of fours.entries()) v128.store(to, four[i], 16 * j);
          v128.store32_lane(i32.add(to, 32), nine[8], i);
          to.set(i32.add(to, 9 * floatBytes));
        };
        put(0);
        for (let i = 1; i < 4; i++) f.if(i32.lt_s(i32.add(channel, i), p.channels), () => put(i));
        sums.set(i32.add(sums, 16));
      });
      p.sums.set(i32.add(p.sums, pixelBytes));
      p.to.set(i32.add(p.to, p.filterBytes));
    });
  });
}

/** The sums of a group of channels as they are, filter by filter: the one weight of every channel. */
export function defineCopySums(module: ModuleBuilder): TransformSums {
  return module.func("copySums", { params: weightParams, exported: false }, (f, p) => {
    const { i32, v128 } = f;
    const names = ["filter", "channel", "left", "to", "sums"];
    const [filter, channel, left, to, sums] = names.map((name) => f.local("i32", name));
    f.forRange(filter, 0, p.filters, 1, () => {
      sums.set(p.sums);
      to.set(p.to);
      f.forRange(channel, 0, p.channels, 4, () => {
        const four = f.let(v128.load(sums));
        left.set(i32.sub(p.channels, channel));
        f.if(
          i32.ge_s(left, 4),
          () => v128.store(to, four),
          () => {
            for (let i = 0; i < 3; i++)
              f.if(i32.gt_s(left, i), () => v128.store32_lane(i32.add(to, floatBytes * i), four, i));
          },
        );
        sums.set(i32.add(sums, 16));
        to.set(i32.add(to, 16));
      });
      p.sums.set(i32.add(p.sums, pixelBytes));
      p.to.set(i32.add(p.to, p.filterBytes));
    });
  });
}
