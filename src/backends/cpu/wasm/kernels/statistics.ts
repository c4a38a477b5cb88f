/**
 * The statistics of a batch: mean and biased variance of every channel, from sums in one pass (batchNorm.ts has the
 * equations). A channel whose sums are not finite is added up again in f64.
 */
import type { FunctionHandle, Local, ModuleBuilder } from "../encoder/index.ts";
import { floatBytes, forEachChannel, rangeParameters, xPlace } from "./rows.ts";

/** A mean so much larger than the deviation (squared) has cost the variance four bits: the shift was a bad one. */
const worstShift = 16;

const counts = { images: "i32", rows: "i32", columns: "i32" } as const;
const sumsParameters = { ...rangeParameters, ...xPlace, ...counts, totals: "i32" } as const;
const momentsParameters = { ...sumsParameters, shifts: "i32" } as const;

type Sums = FunctionHandle<typeof sumsParameters, undefined>;
type Moments = FunctionHandle<typeof momentsParameters, undefined>;

const exactParameters = { channel: "i32", ...xPlace, ...counts, mean: "f64", power: "i32" } as const;

/** Σ (x − mean)^power of one channel in f64, for a power of 1 or 2. */
function defineExactSum(module: ModuleBuilder) {
  return module.func("exactSum", { params: exactParameters, result: "f64", exported: false }, (f, p) => {
    const { i32, f32, f64 } = f;
    const total = f.local("f64", "total");
    const [at, end] = [f.local("i32", "at"), f.local("i32", "end")];
    const operand = [p.x, p.xImage, p.xPlane, p.xRow] as const;
    const { images, rows, columns } = p;
    const given = { images, rows, begin: p.channel, end: f.let(i32.add(p.channel, 1)) };
    forEachChannel(f, [operand], given, () => ({
      onRow: ([row]) => {
        end.set(i32.add(row, i32.mul(columns, floatBytes)));
        f.forPointer(at, row, end, floatBytes, () => {
          const difference = f.let(f64.sub(f64.promote_f32(f32.load(at)), p.mean));
          const factor = f.select(difference, 1, i32.eq(p.power, 2));
          total.set(f64.add(total, f64.mul(difference, factor)));
        });
      },
    }));
    return total;
  });
}

/**
 * `statistics` (x, image, plane, row, images, rows, columns, totals, shifts, firstSums, y, yRow, yStep, plane, count): a
 * range of channels. y is `[2][channels]` f32; `firstSums` has room for `[channels][2]` f64 and `totals` for
 * `[channels][4]`; `plane` and `count` are the values of a channel in one image and in all.
 */
export function defineStatistics(module: ModuleBuilder, sums: Sums, moments: Moments): void {
  const exactSum = defineExactSum(module);
  const params = {
    ...momentsParameters,
    ...({ firstSums: "i32", y: "i32", yRow: "i32", yStep: "i32", plane: "f64", count: "f64" } as const),
  };
  module.func("statistics", { params }, (f, p) => {
    const { i32, f32, f64 } = f;
    const { begin, end, scratch, x, xImage, xPlane, xRow, images, rows, columns, totals, shifts } = p;
    const place = { x, xImage, xPlane, xRow, rows, columns };
    const c = f.local("i32", "c");
    const [shift, difference, square] = ["shift", "difference", "square"].map((name) => f.local("f64", name));
    const mean = (sumsAt: Local<"i32">, offset: number) =>
      f64.div(f64.add(f64.load(sumsAt, offset), f64.load(sumsAt, offset + 8)), p.count);
    const store = (at: Local<"i32">, value: Local<"f64">) => f32.store(at, f32.demote_f64(value));

    f.call(sums, { ...place, begin, end, scratch, images: 1, totals: p.firstSums });
    f.forRange(c, begin, end, 1, () => {
      const sumsAt = f.let(i32.add(p.firstSums, i32.shl(c, 4)));
      const sum = f64.add(f64.load(sumsAt), f64.load(sumsAt, 8));
      f32.store(i32.add(shifts, i32.shl(c, 2)), f32.demote_f64(f64.div(sum, p.plane)));
    });
    f.call(moments, { ...place, begin, end, scratch, images, totals, shifts });

    f.forRange(c, begin, end, 1, () => {
      const sumsAt = f.let(i32.add(totals, i32.shl(c, 5)), "sumsAt");
      const shiftAt = f.let(i32.add(shifts, i32.shl(c, 2)), "shiftAt");
      const meanAt = f.let(i32.add(p.y, i32.mul(c, p.yStep)), "meanAt");
      const varianceAt = f.let(i32.add(meanAt, p.yRow), "varianceAt");
      const take = () => {
        shift.set(f64.promote_f32(f32.load(shiftAt)));
        difference.set(mean(sumsAt, 0));
        square.set(mean(sumsAt, 16));
      };
      take();
      f.if(
        f64.lt(f64.abs(f64.add(difference, square)), Number.POSITIVE_INFINITY),
        () => {
          const spread = f64.sub(square, f64.mul(difference, difference));
          f.if(f64.gt(f64.mul(difference, difference), f64.mul(worstShift, spread)), () => {
            f32.store(shiftAt, f32.demote_f64(f64.add(shift, difference)));
            f.call(moments, { ...place, begin: c, end: i32.add(c, 1), scratch, images, totals, shifts });
            take();
          });
          const variance = f.let(f64.max(0, f64.sub(square, f64.mul(difference, difference))));
          difference.set(f64.add(shift, difference));
          store(meanAt, difference);
          store(varianceAt, variance);
        },
        () => {
          const exact = { ...place, channel: c, images };
          difference.set(f64.div(f.call(exactSum, { ...exact, mean: 0, power: 1 }), p.count));
          square.set(f64.div(f.call(exactSum, { ...exact, mean: difference, power: 2 }), p.count));
          store(meanAt, difference);
          store(varianceAt, square);
        },
      );
    });
  });
}
