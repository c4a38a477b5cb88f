/**
 * Images as rows of floats: how kernels see `[N, C, H, W]` tensors whose planes lie anywhere, and how they run over
 * one row without a scalar loop at its end.
 */
import type { HostView } from "../../../backend.ts";
import type { Expression, FunctionBuilder, Local, Operand } from "../encoder/index.ts";
import { addressOf, type WasmRuntime } from "../runtime.ts";

export const floatBytes = 4;

/** What every plane is made of: a plane without gaps is one long row. */
export interface Rows {
  readonly rows: number;
  readonly columns: number;
}

/** The rows that planes of all views have in common, or null where the pixels of one are not in rows. */
export function rowsOf(views: readonly HostView[]): Rows | null {
  const [, , H, W] = views[0].shape;
  if (!views.every(({ strides }) => W === 1 || strides[3] === 1)) return null;
  const gapless = views.every(({ strides }) => H === 1 || strides[2] === W);
  return gapless ? { rows: 1, columns: H * W } : { rows: H, columns: W };
}

/** The same where kernels take the images, and what else belongs to them: f32 in the shared memory, not empty. */
export function rowsIn(
  runtime: WasmRuntime,
  images: readonly HostView[],
  others: readonly HostView[],
): Rows | null {
  const takes = runtime.accepts(images) && runtime.accepts(others) && !images[0].shape.includes(0);
  return takes ? rowsOf(images) : null;
}

/** A view as kernels take it: the address of its first element and the bytes from image, plane and row to the next. */
export function placeOf(
  view: HostView,
): readonly [address: number, image: number, plane: number, row: number] {
  const [image, plane, row] = view.strides.map((stride) => floatBytes * stride);
  return [addressOf(view), image, plane, row];
}

/** An operand inside a kernel: what `placeOf` gives. The address moves from image to image. */
export type Place = readonly [
  address: Local<"i32">,
  image: Local<"i32">,
  plane: Local<"i32">,
  row: Local<"i32">,
];

/** How the parameters of every range function begin. */
export const rangeParameters = { begin: "i32", end: "i32", scratch: "i32" } as const;
/** Parameters that `placeOf` gives the values of. */
export const xPlace = { x: "i32", xImage: "i32", xPlane: "i32", xRow: "i32" } as const;
export const yPlace = { y: "i32", yImage: "i32", yPlane: "i32", yRow: "i32" } as const;
export const gPlace = { g: "i32", gImage: "i32", gPlane: "i32", gRow: "i32" } as const;

/** What to do in a plane: called where one begins, with its index. */
export type OnPlane = (plane: Local<"i32">) => {
  /** Gets the row's address in every operand. */
  readonly onRow: (addresses: readonly Local<"i32">[]) => void;
  /** Called where the plane ends. */
  readonly onEnd?: () => void;
};

type Counts<Name extends string> = { readonly [Key in Name]: Local<"i32"> };

/** Visits the rows of one plane, whose addresses are given. */
function rowsOfPlane(
  f: FunctionBuilder,
  operands: readonly Place[],
  planeAt: readonly Local<"i32">[],
  rows: Local<"i32">,
  { onRow, onEnd }: ReturnType<OnPlane>,
): void {
  const { i32 } = f;
  const r = f.local("i32", "r");
  const rowAt = planeAt.map((address, i) => f.let(address, `row${i}`));
  f.forRange(r, 0, rows, 1, () => {
    onRow(rowAt);
    for (const [i, [, , , row]] of operands.entries()) rowAt[i].set(i32.add(rowAt[i], row));
  });
  onEnd?.();
}

/**
 * Visits the planes `begin` to before `end` of every image, image by image, so that memory is read in order: for
 * what has to meet a channel's images in their order.
 */
export function forEachChannel(
  f: FunctionBuilder,
  operands: readonly Place[],
  { images, begin, end, rows }: Counts<"images" | "begin" | "end" | "rows">,
  onPlane: OnPlane,
): void {
  const { i32 } = f;
  const [n, p] = ["n", "p"].map((name) => f.local("i32", name));
  for (const [address, , plane] of operands) address.set(i32.add(address, i32.mul(begin, plane)));
  const planeAt = operands.map((_, i) => f.local("i32", `plane${i}`));
  f.forRange(n, 0, images, 1, () => {
    for (const [i, [address]] of operands.entries()) planeAt[i].set(address);
    f.forRange(p, begin, end, 1, () => {
      rowsOfPlane(f, operands, planeAt, rows, onPlane(p));
      for (const [i, [, , plane]] of operands.entries()) planeAt[i].set(i32.add(planeAt[i], plane));
    });
    for (const [address, image] of operands) address.set(i32.add(address, image));
  });
}

/** Visits the planes `begin` to before `end` of all images, counted from one image to the next. */
export function forEachPlane(
  f: FunctionBuilder,
  operands: readonly Place[],
  { begin, end, planes, rows }: Counts<"begin" | "end" | "planes" | "rows">,
  onPlane: OnPlane,
): void {
  const { i32 } = f;
  const n = f.let(i32.div_u(begin, planes), "n");
  const p = f.let(i32.sub(begin, i32.mul(n, planes)), "p");
  for (const [address, image] of operands) address.set(i32.add(address, i32.mul(n, image)));
  const planeAt = operands.map(([address, , plane], i) =>
    f.let(i32.add(address, i32.mul(p, plane)), `plane${i}`),
  );
  const item = f.local("i32", "item");
  f.forRange(item, begin, end, 1, () => {
    rowsOfPlane(f, operands, planeAt, rows, onPlane(p));
    p.set(i32.add(p, 1));
    for (const [i, [, , plane]] of operands.entries()) planeAt[i].set(i32.add(planeAt[i], plane));
    f.if(i32.eq(p, planes), () => {
      p.set(0);
      for (const [i, [address, image]] of operands.entries())
        planeAt[i].set(address.tee(i32.add(address, image)));
    });
  });
}

/** Lanes of a vector that begins `count` elements before a row's end: ones in the first `count` lanes. */
export function firstLanes(f: FunctionBuilder, count: Local<"i32">): Expression<"v128"> {
  return f.i32x4.lt_s(f.v128.const(Int32Array.of(0, 1, 2, 3)), f.i32x4.splat(count));
}

/** Four lanes of two vectors: 0 to 3 are those of `a`, 4 to 7 those of `b`. */
export function pickLanes(
  f: FunctionBuilder,
  a: Local<"v128">,
  b: Local<"v128">,
  lanes: readonly [number, number, number, number],
): Expression<"v128"> {
  return f.i8x16.shuffle(
    a,
    b,
    lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
  );
}

/** The upper two lanes in the place of the lower two. */
export function upperHalf(f: FunctionBuilder, vector: Local<"v128">): Expression<"v128"> {
  return pickLanes(f, vector, vector, [2, 3, 0, 1]);
}

/** Stores the first `count` lanes, 1 to 3 of them. */
export function storeFirstLanes(
  f: FunctionBuilder,
  to: Local<"i32">,
  value: Local<"v128">,
  count: Local<"i32">,
): void {
  const { i32, v128 } = f;
  f.if(
    i32.and(count, 2),
    () => {
      v128.store64_lane(to, value, 0);
      f.if(i32.and(count, 1), () => v128.store32_lane(to, value, 2, 8));
    },
    () => v128.store32_lane(to, value, 0),
  );
}

/**
 * Computes vectors 0 to before `count`, which lie side by side, two at a time, and stores the second of each pair before
 * the first: V8 makes vectors of 256 bits, and half the instructions, of pairs that are stored from the top down. The
 * other way round it makes none in a loop, and elsewhere stores the lower half twice.
 */
export function inPairs<T>(
  count: number,
  compute: (vector: number) => T,
  store: (value: T, vector: number) => void,
): void {
  for (let first = 0; first < count; first += 2) {
    const values = Array.from({ length: Math.min(2, count - first) }, (_, i) => compute(first + i));
    for (const [i, value] of [...values.entries()].reverse()) store(value, first + i);
  }
}

/** Zeros as a constant: V8 makes no vector of 256 bits of two `splat`s. */
export function zeros({ v128 }: FunctionBuilder): Operand<"v128"> {
  return v128.const(new Float32Array(4));
}

/** Stores vectors side by side, as `inPairs` does. */
export function storePairs(
  f: FunctionBuilder,
  to: Local<"i32">,
  vectors: readonly Local<"v128">[],
  offset = 0,
): void {
  inPairs(
    vectors.length,
    (v) => vectors[v],
    (vector, v) => f.v128.store(to, vector, offset + 16 * v),
  );
}

/** An operand of a row: where its row begins, and how many of its floats belong to one column. */
export type Strip = readonly [row: Local<"i32">, floatsPerColumn: number];

/**
 * What becomes of the columns that are left when a row is no multiple of four: computed with some of those before, which
 * is the fastest, or alone, as must be where a row is written over an operand.
 */
type LastColumns = "again" | "alone";

/**
 * Visits a row four columns at a time. With `last` "again" the last visit overlaps the one before, so each must compute its
 * columns from operands that it does not write.
 *
 * @param visit gets the operands' addresses, moved along; the group of columns among those unrolled, 16 bytes times
 *   the floats per column after another; and where fewer than four columns are visited how many there are.
 *   It may give back its store, which then waits until the neighbouring group is computed
 */
export function forEachGroup(
  f: FunctionBuilder,
  strips: readonly Strip[],
  columns: Local<"i32">,
  visit: (
    addresses: readonly Local<"i32">[],
    group: number,
    count: Local<"i32"> | null,
  ) => undefined | (() => void),
  last: LastColumns = "again",
): void {
  const { i32 } = f;
  const unroll = 4;
  const at = strips.map(([row], i) => f.let(row, `at${i}`));
  const left = f.let(columns, "left");
  const groups = (count: number) => () => {
    inPairs(
      count,
      (group) => visit(at, group, null),
      (store) => store?.(),
    );
    for (const [i, [, floats]] of strips.entries())
      at[i].set(i32.add(at[i], 4 * floatBytes * floats * count));
    left.set(i32.sub(left, 4 * count));
  };
  f.if(
    i32.ge_s(columns, 4),
    () => {
      f.while(() => i32.ge_s(left, 4 * unroll), groups(unroll));
      f.while(() => i32.ge_s(left, 4), groups(1));
      f.if(left, () => {
        if (last === "alone") {
          visit(at, 0, left)?.();
          return;
        }
        // Back so far that the last group ends where the row does.
        left.set(i32.sub(left, 4));
        for (const [i, [, floats]] of strips.entries())
          at[i].set(i32.add(at[i], i32.mul(left, floatBytes * floats)));
        visit(at, 0, null)?.();
      });
    },
    () => visit(at, 0, columns)?.(),
  );
}

type RowValue = (addresses: readonly Local<"i32">[], offset: number) => Expression<"v128"> | Local<"v128">;

/**
 * Writes a row of `columns` floats.
 *
 * @param floatsPerColumn how many floats of each operand `from` belong to one that is written
 * @param value computes the four floats whose operands are `offset` bytes from the addresses
 */
export function writeRow(
  f: FunctionBuilder,
  from: readonly Local<"i32">[],
  to: Local<"i32">,
  columns: Local<"i32">,
  value: RowValue,
  floatsPerColumn = 1,
  last: LastColumns = "again",
): void {
  const strips = [to, ...from].map((row, i): Strip => [row, i === 0 ? 1 : floatsPerColumn]);
  const visit = ([out, ...addresses]: readonly Local<"i32">[], group: number, count: Local<"i32"> | null) => {
    const result = f.let(value(addresses, 16 * floatsPerColumn * group));
    return () => {
      if (count) storeFirstLanes(f, out, result, count);
      else f.v128.store(out, result, 16 * group);
    };
  };
  forEachGroup(f, strips, columns, visit, last);
}

/** Like `writeRow`, where the row that is written may be one of those that are read. */
export function rewriteRow(
  f: FunctionBuilder,
  from: readonly Local<"i32">[],
  to: Local<"i32">,
  columns: Local<"i32">,
  value: RowValue,
): void {
  writeRow(f, from, to, columns, value, 1, "alone");
}
