/**
 * The SIMD kernels of windows that lie side by side: 2 x 2, four at a time, and one that is as large as the image. Rows
 * are combined as they lie in memory, then even and odd columns are told apart. pool.ts says when they are called.
 */
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import type { RangeFunction, WasmRuntime } from "../runtime.ts";
import { evenAndOdd, interleave, takesLead, type Vector } from "./poolLanes.ts";
import { forEachGroup, forEachPlane, type Place, rangeParameters, type Strip, writeRow } from "./rows.ts";

type RowWriter = (
  f: FunctionBuilder,
  addresses: readonly Local<"i32">[],
  columns: Local<"i32">,
  rows: Local<"i32">,
) => void;

const counts = { planes: "i32", rows: "i32", columns: "i32" } as const;
const place = (name: string) =>
  ({ [name]: "i32", [`${name}Image`]: "i32", [`${name}Plane`]: "i32", [`${name}Row`]: "i32" }) as const;
const placeIn = (p: Readonly<Record<string, Local<"i32">>>, name: string): Place => [
  p[name],
  p[`${name}Image`],
  p[`${name}Plane`],
  p[`${name}Row`],
];

/** Eight columns of the two rows of a window, from 2 x 4 floats. */
const pairAt = (f: FunctionBuilder, address: Local<"i32">, offset: number): readonly [Vector, Vector] => [
  f.let(f.v128.load(address, offset)),
  f.let(f.v128.load(address, offset + 16)),
];

/** Writes the windows' four columns twice as wide: two vectors, or what a narrow row has of them. */
function storeDoubled(
  f: FunctionBuilder,
  to: Local<"i32">,
  group: number,
  [left, right]: readonly [Vector, Vector],
  count: Local<"i32"> | null,
): void {
  const { i32, v128 } = f;
  if (!count) {
    v128.store(to, left, 32 * group);
    v128.store(to, right, 32 * group + 16);
    return;
  }
  v128.store64_lane(to, left, 0);
  f.if(i32.ge_s(count, 2), () => v128.store64_lane(to, left, 1, 8));
  f.if(i32.ge_s(count, 3), () => v128.store64_lane(to, right, 0, 16));
}

/** Ranges of planes, counted through all images. */
export interface WindowKernels {
  /** (top..., bottom..., y..., planes, rows, columns), each operand an address and three strides. */
  readonly averagePairs: RangeFunction;
  readonly maximumPairs: RangeFunction;
  /** (gradient..., top..., bottom..., counts): to the two rows of every window. */
  readonly spreadPairs: RangeFunction;
  /** (gradient..., x..., planes, rows, columns): an equal share to every pixel of a plane. */
  readonly spreadWhole: RangeFunction;
  /** (xTop..., xBottom..., gradient..., top..., bottom..., counts) */
  readonly winnerPairs: RangeFunction;
}

/** 2 x 2 windows: operands are the upper and the lower rows of all windows. One window: rows of the image. */
export function windowKernels(runtime: WasmRuntime): WindowKernels {
  const module = new ModuleBuilder("pool");
  runtime.importMemory(module);

  const defineRows = (name: string, operands: readonly string[], onRow: RowWriter) =>
    module.func(
      name,
      { params: { ...rangeParameters, ...Object.assign({}, ...operands.map(place)), ...counts } },
      (f, p: Readonly<Record<string, Local<"i32">>>) => {
        const { begin, end, planes, rows, columns } = p;
        const places = operands.map((operand) => placeIn(p, operand));
        forEachPlane(f, places, { begin, end, planes, rows }, () => ({
          onRow: (addresses) => onRow(f, addresses, columns, rows),
        }));
      },
    );

  defineRows("averagePairs", ["top", "bottom", "y"], (f, [top, bottom, y], columns) => {
    const quarter = f.let(f.f32x4.splat(0.25), "quarter");
    const value = ([upper, lower]: readonly Local<"i32">[], offset: number) => {
      const [a, b] = pairAt(f, upper, offset);
      const [c, d] = pairAt(f, lower, offset);
      const sums = [f.let(f.f32x4.add(a, c)), f.let(f.f32x4.add(b, d))] as const;
      const [even, odd] = evenAndOdd(f, ...sums);
      return f.f32x4.mul(f.f32x4.add(even, odd), quarter);
    };
    writeRow(f, [top, bottom], y, columns, value, 2);
  });

  defineRows("maximumPairs", ["top", "bottom", "y"], (f, [top, bottom, y], columns) => {
    const value = ([upper, lower]: readonly Local<"i32">[], offset: number) => {
      const [a, b] = pairAt(f, upper, offset);
      const [c, d] = pairAt(f, lower, offset);
      const [even, odd] = evenAndOdd(f, f.let(f.f32x4.max(a, c)), f.let(f.f32x4.max(b, d)));
      return f.f32x4.max(even, odd);
    };
    writeRow(f, [top, bottom], y, columns, value, 2);
  });

  defineRows("spreadPairs", ["gradient", "top", "bottom"], (f, [gradient, top, bottom], columns) => {
    const quarter = f.let(f.f32x4.splat(0.25), "quarter");
    const strips: Strip[] = [
      [gradient, 1],
      [top, 2],
      [bottom, 2],
    ];
    forEachGroup(f, strips, columns, ([from, upper, lower], group, count) => {
      const share = f.let(f.f32x4.mul(f.v128.load(from, 16 * group), quarter));
      const both = interleave(f, share, share);
      storeDoubled(f, upper, group, both, count);
      storeDoubled(f, lower, group, both, count);
    });
  });

  defineRows("spreadWhole", ["gradient", "x"], (f, [gradient, x], columns, rows) => {
    const { f32x4, i32x4, v128 } = f;
    const area = f32x4.convert_i32x4_s(i32x4.splat(f.i32.mul(rows, columns)));
    const share = f.let(f32x4.div(v128.load32_splat(gradient), area), "share");
    writeRow(f, [], x, columns, () => share);
  });

  const winnerOperands = ["xTop", "xBottom", "gradient", "top", "bottom"];
  defineRows("winnerPairs", winnerOperands, (f, [xTop, xBottom, gradient, top, bottom], columns) => {
    const { v128 } = f;
    const strips: Strip[] = [
      [xTop, 2],
      [xBottom, 2],
      [gradient, 1],
      [top, 2],
      [bottom, 2],
    ];
    forEachGroup(f, strips, columns, ([xUpper, xLower, from, upper, lower], group, count) => {
      const [a, b] = evenAndOdd(f, ...pairAt(f, xUpper, 32 * group));
      const [c, d] = evenAndOdd(f, ...pairAt(f, xLower, 32 * group));
      const share = f.let(v128.load(from, 16 * group));
      const second = takesLead(f, b, a);
      const best = f.let(v128.bitselect(b, a, second), "best");
      const third = takesLead(f, c, best);
      best.set(v128.bitselect(c, best, third));
      const fourth = takesLead(f, d, best);
      const above = f.let(v128.andnot(v128.andnot(share, fourth), third));
      const rows = [
        [f.let(v128.andnot(above, second)), f.let(v128.and(above, second))],
        [f.let(v128.and(v128.andnot(share, fourth), third)), f.let(v128.and(share, fourth))],
      ] as const;
      for (const [r, to] of [upper, lower].entries())
        storeDoubled(f, to, group, interleave(f, ...rows[r]), count);
    });
  });

  const { averagePairs, maximumPairs, spreadPairs, spreadWhole, winnerPairs } = runtime.instantiate(module);
  return { averagePairs, maximumPairs, spreadPairs, spreadWhole, winnerPairs };
}
