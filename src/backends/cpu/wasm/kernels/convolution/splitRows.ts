/**
 * Takes an image apart by the phases of a stride of two columns: even and odd pixels of a row are parted in registers,
 * where a phase on its own would read every pixel and throw half of them away. Strided windows with few filters a group
 * spend a quarter of their time on this.
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { pickLanes } from "../rows.ts";
import { normRelu } from "./normRelu.ts";
import { planLayout } from "./plan.ts";
import type { TileShape } from "./tile.ts";

const clearParams = { to: "i32", count: "i32" } as const;
export type ClearRow = FunctionHandle<typeof clearParams, undefined>;

/** (to, count): zeroes so many floats. */
export function defineClearRow(module: ModuleBuilder): ClearRow {
  return module.func("clearRow", { params: clearParams, exported: false }, (f, { to, count }) => {
    const { i32, v128, f32, f32x4 } = f;
    const end = f.let(i32.add(to, i32.shl(count, 2)), "end");
    const whole = f.let(i32.add(to, i32.and(i32.shl(count, 2), -16)), "whole");
    f.forPointer(to, to, whole, 16, () => v128.store(to, f32x4.splat(0)));
    f.forPointer(to, to, end, 4, () => f32.store(to, 0));
  });
}

const splitParams = {
  plan: "i32",
  /** The first pixel of the channel, and the first phase plane of scratch memory. */
  source: "i32",
  plane: "i32",
  /** The row of the image that the first row of the plane is, which may lie outside, and from one to the next. */
  y: "i32",
  stepY: "i32",
  mean: "v128",
  slope: "v128",
  constant: "v128",
} as const;
export type SplitPlanes = FunctionHandle<typeof splitParams, undefined>;

/**
 * (plan, source, plane, y, stepY, mean, slope, constant): both horizontal phases of a channel's rows, `normed` or as
 * they are, for plans whose `evenPhase` is not below 0.
 */
export function defineSplitPlanes(
  module: ModuleBuilder,
  { fused }: TileShape,
  clear: ClearRow,
  normed: boolean,
): SplitPlanes {
  const name = normed ? "splitNormedPlanes" : "splitPlanes";
  return module.func(name, { params: splitParams, exported: false }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const field = (name: (typeof planLayout.fields)[number]) => f.let(planLayout.load(f, p.plan, name), name);
    const [extentV, extentH, sourceRow] = (["extentV", "extentH", "sourceRow"] as const).map(field);
    const [rowBytes, rowLength, planeRows] = (["rowBytes", "rowLength", "planeRows"] as const).map(field);
    const [phaseBytes, slack, columnTable] = (["phaseBytes", "slack", "columnTable"] as const).map(field);
    const evenPhase = field("evenPhase");
    const [from, end, left, i] = ["from", "end", "left", "i"].map((local) => f.local("i32", local));
    const sides = [evenPhase, f.let(i32.sub(1, evenPhase), "oddPhase")].map((phase) => {
      const stretch = f.let(i32.add(columnTable, i32.shl(phase, 4)), "stretch");
      return {
        row: f.let(i32.add(p.plane, i32.mul(phase, phaseBytes)), "row"),
        lead: f.let(i32.shl(i32.load(stretch), 2), "lead"),
        to: f.local("i32", "to"),
      };
    });
    const [even, odd] = sides;
    const line = [p.mean, p.slope, p.constant];
    const read = (vector: Local<"v128">) => (normed ? f.let(normRelu(f, fused, vector, line)) : vector);
    const zero = () => f32x4.splat(0);
    const advance = (bytes: number) => {
      from.set(i32.add(from, 2 * bytes));
      for (const { to } of sides) to.set(i32.add(to, bytes));
    };
    f.forRange(i, 0, planeRows, 1, () => {
      f.if(
        i32.lt_u(p.y, extentV),
        () => {
          from.set(i32.add(p.source, i32.mul(p.y, sourceRow)));
          // What a vector of zeros covers too much of is written later: the pixels, and the next row.
          for (const { row, lead, to } of sides) {
            v128.store(row, zero());
            to.set(i32.add(row, lead));
          }
          end.set(i32.add(from, i32.shl(i32.and(extentH, -8), 2)));
          f.while(
            () => i32.lt_u(from, end),
            () => {
              const [a, b] = [0, 16].map((offset) => read(f.let(v128.load(from, offset))));
              v128.store(even.to, pickLanes(f, a, b, [0, 2, 4, 6]));
              v128.store(odd.to, pickLanes(f, a, b, [1, 3, 5, 7]));
              advance(16);
            },
          );
          f.if(i32.and(extentH, 4), () => {
            const four = read(f.let(v128.load(from)));
            const parted = f.let(pickLanes(f, four, four, [0, 2, 1, 3]));
            v128.store64_lane(even.to, parted, 0);
            v128.store64_lane(odd.to, parted, 1);
            advance(8);
          });
          left.set(i32.and(extentH, 3));
          const one = (to: Local<"i32">, offset: number) => {
            v128.store32_lane(to, read(f.let(v128.load32_splat(from, offset))), 0);
            to.set(i32.add(to, 4));
          };
          f.if(left, () => one(even.to, 0));
          f.if(i32.gt_s(left, 1), () => one(odd.to, 4));
          f.if(i32.gt_s(left, 2), () => one(even.to, 8));
          for (const { to } of sides) v128.store(to, zero());
        },
        () => {
          for (const { row } of sides) f.call(clear, { to: row, count: rowLength });
        },
      );
      for (const { row } of sides) row.set(i32.add(row, rowBytes));
      p.y.set(i32.add(p.y, p.stepY));
    });
    for (const { row } of sides) f.call(clear, { to: row, count: slack });
  });
}
