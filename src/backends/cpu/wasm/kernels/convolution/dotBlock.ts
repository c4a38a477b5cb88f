/** Tiles of dot products over one block of positions, and what becomes of their sums in the end. */
import type {
  Expression,
  FunctionBuilder,
  FunctionHandle,
  Local,
  ModuleBuilder,
  Reusable,
} from "../../encoder/index.ts";
import { floatBytes } from "./record.ts";
import { defineDotTile, dotStride, dotTaps, dotTileBytes, type TileShape, tileRows } from "./tile.ts";

/** Adds up the lanes of a tile's sums and writes them to the weights, of one or two taps. */
export function defineFinish(module: ModuleBuilder, shape: TileShape) {
  const parts = dotStride(shape) / 4;
  const params = {
    sums: "i32",
    rows: "i32",
    taps: "i32",
    to: "i32",
    rowBytes: "i32",
  } as const;
  return module.func("finishDots", { params, exported: false }, (f, { sums, rows, taps, to, rowBytes }) => {
    const { i32, v128, f32x4, i8x16 } = f;
    const row = f.local("i32", "row");
    /** The lanes of one tap's sums, in one vector. */
    const lanesOf = (tap: number): Local<"v128"> => {
      let vector = f.let(v128.load(sums, 16 * parts * tap));
      for (let part = 1; part < parts; part++)
        vector = f.let(f32x4.add(vector, v128.load(sums, 16 * (parts * tap + part))));
      return vector;
    };
    const pick = (a: Local<"v128">, b: Local<"v128">, lanes: readonly number[]) =>
      i8x16.shuffle(
        a,
        b,
        lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte)),
      );
    const writeRows = (count: 1 | 2): void =>
      f.forRange(row, 0, rows, 1, () => {
        const first = lanesOf(0);
        const second = count === 2 ? lanesOf(1) : first;
        const halves = f.let(f32x4.add(pick(first, second, [0, 1, 4, 5]), pick(first, second, [2, 3, 6, 7])));
        const totals = f.let(f32x4.add(halves, pick(halves, halves, [1, 0, 3, 2])));
        v128.store32_lane(to, totals, 0);
        if (count === 2) v128.store32_lane(i32.add(to, floatBytes), totals, 2);
        sums.set(i32.add(sums, 16 * parts * count));
        to.set(i32.add(to, rowBytes));
      });
    f.if(
      i32.eq(taps, 2),
      () => writeRows(2),
      () => writeRows(1),
    );
  });
}

const blockParams = {
  gradient: "i32",
  gradientRow: "i32",
  apart: "i32",
  results: "i32",
  x: "i32",
  table: "i32",
  rows: "i32",
  bytes: "i32",
  sums: "i32",
} as const;

/** Panels for so many results, as even as they can be: tiles of few rows reach less than those of 5 or 6. */
export function panelCount({ i32 }: FunctionBuilder, results: Local<"i32">): Expression<"i32"> {
  return i32.div_u(i32.add(results, tileRows - 1), tileRows);
}

/** Results of a panel; the taller ones come first. */
export function panelHeight(
  { i32 }: FunctionBuilder,
  results: Local<"i32">,
  panels: Local<"i32">,
  panel: Local<"i32">,
): Expression<"i32"> {
  return i32.add(i32.div_u(results, panels), i32.lt_u(panel, i32.rem_u(results, panels)));
}

/** Where the rows of panels lie: in bytes, from a row to the next one and from a panel's first row to the next panel's. */
export interface PanelSteps {
  readonly row: Local<"i32">;
  readonly panel: (height: Local<"i32">) => Expression<"i32">;
}

/**
 * Panels take rows that lie side by side; with `apart`, rows that are as far from each other as there are panels. Channels
 * of 56 x 56 floats lie 256 bytes more than three times 4 KB apart, so that six neighbours and two rows of the image fill
 * all ways of the same lines of the first cache. Apart they are 1 % faster, and rows that follow each other without gaps
 * 3 % slower.
 */
export function panelSteps(
  f: FunctionBuilder,
  rowBytes: Reusable<"i32">,
  panels: Local<"i32">,
  apart: Local<"i32">,
): PanelSteps {
  const { i32 } = f;
  const one = f.let(i32.const(1), "one");
  const next = f.let(f.select(panels, one, apart), "next");
  return {
    row: f.let(i32.mul(rowBytes, next), "rowStep"),
    panel: (height) => i32.mul(rowBytes, f.let(f.select(one, height, apart))),
  };
}

/** All gradient rows of an item against its image rows, row t `table[t]` bytes from `x`, over one block of positions. */
export function defineDotBlock(
  module: ModuleBuilder,
  shape: TileShape,
  accumulate: boolean,
): FunctionHandle<typeof blockParams, undefined> {
  const tiles = Array.from({ length: tileRows }, (_, rows) =>
    Array.from({ length: dotTaps }, (_, taps) =>
      defineDotTile(module, shape, rows + 1, taps + 1, accumulate),
    ),
  );
  return module.func(
    accumulate ? "addDotBlock" : "firstDotBlock",
    { params: blockParams, exported: false },
    (f, { gradient, gradientRow, apart, results, x, table, rows, bytes, sums }) => {
      const { i32 } = f;
      const [panel, height, tap, taps] = ["panel", "height", "tap", "taps"].map((name) =>
        f.local("i32", name),
      );
      const [entry, right, xRow] = ["entry", "right", "xRow"].map((name) => f.local("i32", name));
      const atMost = (local: Local<"i32">, limit: number): void =>
        local.set(f.select(local, limit, i32.lt_s(local, limit)));
      const panels = f.let(panelCount(f, results), "panels");
      const steps = panelSteps(f, gradientRow, panels, apart);
      f.forRange(panel, 0, panels, 1, () => {
        height.set(panelHeight(f, results, panels, panel));
        entry.set(table);
        f.forRange(tap, 0, rows, dotTaps, () => {
          taps.set(i32.sub(rows, tap));
          atMost(taps, dotTaps);
          right.set(i32.add(x, i32.load(entry)));
          xRow.set(i32.sub(i32.load(entry, 4), i32.load(entry)));
          for (const [i, byTaps] of [...tiles.entries()].reverse())
            f.if(i32.eq(height, i + 1), () => {
              for (const [t, tile] of byTaps.entries())
                f.if(i32.eq(taps, t + 1), () =>
                  f.call(tile, {
                    y: gradient,
                    yRow: steps.row,
                    x: right,
                    xRow,
                    bytes,
                    sums,
                  }),
                );
            });
          sums.set(i32.add(sums, dotTileBytes(shape)));
          entry.set(i32.add(entry, 4 * dotTaps));
        });
        gradient.set(i32.add(gradient, steps.panel(height)));
      });
    },
  );
}
