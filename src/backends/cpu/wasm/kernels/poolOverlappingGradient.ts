/** The gradient of max pooling by overlapping windows; poolOverlapping.ts tells how. */
import type { FunctionBuilder, Local, ModuleBuilder } from "../encoder/index.ts";
import { interleave, type Vector } from "./poolLanes.ts";
import {
  columnsAt,
  fill,
  lowest,
  planeParameters,
  rowAt,
  type Taps,
  windowReader,
} from "./poolOverlappingRows.ts";
import { firstLanes, floatBytes, pickLanes } from "./rows.ts";
import type { TouchRows } from "./touch.ts";

/** What the columns of four windows get of the windows' shares; `highest` are the maxima of this row. */
function shareColumns(f: FunctionBuilder, [first, second]: Taps, highest: Vector, share: Vector): Taps {
  const { f32x4, v128 } = f;
  const firstWins = f.let(f32x4.eq(first, highest));
  const rest = f.let(v128.andnot(share, firstWins));
  const secondWins = f.let(f32x4.eq(second, highest));
  return [
    f.let(v128.and(share, firstWins)),
    f.let(v128.and(rest, secondWins)),
    f.let(v128.andnot(rest, secondWins)),
  ];
}

/** The gradient of the windows of one plane -> y; the result is 1 if it is left to the loops. */
export function defineGradient(module: ModuleBuilder, fused: boolean, touch: TouchRows) {
  const params = { ...planeParameters, gradient: "i32", gradientRow: "i32" } as const;
  return module.func("gradient", { params, result: "i32", exported: false }, (f, p) => {
    const { i32, f32x4, v128 } = f;
    const absent = p.lines;
    const nowhere = f.let(i32.add(absent, p.lineBytes), "nowhere");
    const waiting = f.let(i32.add(nowhere, p.lineBytes), "waiting");
    const touched = f.let(i32.add(waiting, p.lineBytes), "touched");
    const margin = f.let(i32.shl(p.left, 2), "margin");
    const { forEachWindows, mayHaveNaN } = windowReader(f, p, { fused, watched: 2 });
    const zero = f.let(f32x4.splat(0), "zero");
    const lowestBest = f.let(zero, "lowestBest");
    /** Where eight columns lie inside from, if the row has so many. */
    const whole = f.let(i32.sub(p.W, 7), "whole");
    whole.set(f.select(whole, 0, i32.gt_s(whole, 0)));
    /** Where the last group of four windows begins in the gradient; fewer may follow. */
    const lastWhole = f.let(i32.sub(i32.shl(p.Q, 2), 16), "lastWhole");
    fill(f, absent, p.lineBytes, lowest);
    f.memory.fill(waiting, 0, p.lineBytes);

    /** Rows of y that get their gradient, from their margin on, and what goes on to the next group's first column. */
    const results = ["upper", "middle"].map((name) => ({
      row: f.local("i32", `${name}Result`),
      carried: f.local("v128", `${name}Carried`),
    }));
    const [row, windowRow, column] = ["row", "windowRow", "column"].map((name) => f.local("i32", name));
    const xRows = [0, 1, 2].map((r) => f.local("i32", `xRow${r}`));
    const begin = (r: number, { row: result, carried }: (typeof results)[number]) => {
      const index = f.let(i32.add(row, r));
      const address = i32.sub(i32.add(p.y, i32.mul(index, p.yRow)), margin);
      result.set(f.select(address, nowhere, i32.lt_u(index, p.H)));
      carried.set(zero);
    };
    /** What each row gets of four windows; one test tells for all of them whether the columns lie inside. */
    const write = (parts: readonly Taps[], place: Local<"i32">, isInside: boolean) => {
      const written = parts.map(([first, second, third], r) => {
        const { row: result, carried } = results[r];
        const even = f.let(f32x4.add(first, pickLanes(f, carried, third, [3, 4, 5, 6])));
        const vectors = interleave(f, even, second);
        carried.set(third);
        return { to: f.let(columnsAt(f, result, place)), vectors };
      });
      const writeAll = () => {
        for (const { to, vectors } of written)
          for (const [v, vector] of vectors.entries()) v128.store(to, vector, 16 * v);
      };
      if (isInside) {
        writeAll();
        return;
      }
      const writeAfterMargin = () => {
        for (const { to, vectors } of written) {
          v128.store32_lane(to, vectors[0], 1, floatBytes);
          v128.store64_lane(to, vectors[0], 1, 2 * floatBytes);
          v128.store(to, vectors[1], 16);
        }
      };
      const writeLanes = () => {
        for (let lane = 0; lane < 8; lane++)
          f.if(i32.lt_u(i32.add(column, lane), p.W), () => {
            for (const { to, vectors } of written)
              v128.store32_lane(to, vectors[lane >> 2], lane % 4, floatBytes * lane);
          });
      };
      column.set(i32.sub(i32.shr_u(place, 1), p.left));
      f.if(i32.lt_u(column, whole), writeAll, () =>
        f.if(i32.and(i32.eq(column, -1), i32.gt_s(whole, 0)), writeAfterMargin, writeLanes),
      );
    };
    /** The column after the last group's, and one that no window reaches. */
    const finish = ({ row: result, carried }: (typeof results)[number]) => {
      column.set(i32.sub(i32.shl(i32.and(i32.add(p.Q, 3), -4), 1), p.left));
      const last = f.let(f32x4.extract_lane(carried, 3));
      f.while(
        () => i32.lt_s(column, p.W),
        () => {
          f.f32.store(i32.add(i32.add(result, margin), i32.shl(column, 2)), last);
          last.set(0);
          column.set(i32.add(column, 1));
        },
      );
    };
    const highestOf = ([first, second, third]: Taps) =>
      f.let(f32x4.pmax(f32x4.pmax(first, second), third), "highest");

    row.set(i32.sub(0, p.top));
    f.forRange(windowRow, 0, p.P, 1, () => {
      for (const [r, address] of xRows.entries()) {
        const index = f.let(i32.add(row, r));
        address.set(rowAt(f, index, absent, p));
      }
      for (const [r, result] of results.entries()) begin(r, result);
      f.call(touch, {
        ...{ from: i32.add(xRows[1], margin), rowBytes: 0, rows: 1 },
        ...{ bytes: i32.shl(p.W, 2), to: touched },
      });
      forEachWindows(xRows, (taps, place, isInside) => {
        const share = f.let(v128.load(i32.add(p.gradient, place)), "share");
        const [upper, middle, lower] = taps.map(highestOf);
        const best = f.let(f32x4.pmax(f32x4.pmax(upper, middle), lower));
        const seen = f.let(best, "seen");
        if (!isInside)
          f.if(i32.gt_s(place, lastWhole), () => {
            const present = f.let(firstLanes(f, f.let(i32.and(p.Q, 3))));
            share.set(v128.and(share, present));
            seen.set(v128.and(best, present));
          });
        lowestBest.set(f32x4.pmin(lowestBest, seen));
        const upperWins = f.let(f32x4.eq(upper, best));
        const middleWins = f.let(f32x4.eq(middle, best));
        const rest = f.let(v128.andnot(share, upperWins));
        // The upper row was the lower one of the windows above, and has their shares waiting.
        const line = f.let(i32.add(waiting, place));
        const ofUpper = f.let(f32x4.add(v128.load(line), v128.and(share, upperWins)));
        v128.store(line, v128.andnot(rest, middleWins));
        const ofMiddle = f.let(v128.and(rest, middleWins));
        const parts = [shareColumns(f, taps[0], upper, ofUpper), shareColumns(f, taps[1], middle, ofMiddle)];
        write(parts, place, isInside);
      });
      for (const result of results) finish(result);
      row.set(i32.add(row, 2));
      p.gradient.set(i32.add(p.gradient, p.gradientRow));
    });

    // The lowest row of the last windows has no others below.
    f.if(i32.lt_s(row, p.H), () => {
      xRows[0].set(rowAt(f, row, absent, p));
      begin(0, results[0]);
      forEachWindows(xRows.slice(0, 1), ([taps], place, isInside) => {
        const share = f.let(v128.load(i32.add(waiting, place)));
        write([shareColumns(f, taps, highestOf(taps), share)], place, isInside);
      });
      finish(results[0]);
    });
    f.forRange(row, i32.add(row, 1), p.H, 1, () => {
      f.memory.fill(i32.add(p.y, i32.mul(row, p.yRow)), 0, i32.shl(p.W, 2));
    });
    // A window that holds nothing but minus infinity cannot be told from the margin.
    const isLowest = f.let(v128.any_true(f32x4.eq(lowestBest, f32x4.splat(lowest))));
    return i32.or(mayHaveNaN(), isLowest);
  });
}
