/**
 * softmax, its logarithm and the logarithm of the sum, in SIMD. Exponentials are f32 within the error of
 * elementary.ts; their sum is carried in f64, so what it adds to the error does not grow with the line:
 *
 *     s = x − largest, rounded once          |error of exp(s)| <= (|s| + 2) · 2^-24 · exp(s)
 *     softmax       exp(s) / Σ               error of exp(s), mean of the errors in Σ, two roundings more
 *     logSoftmax    s − ln Σ                 |s| · 2^-24, that mean, 2 · 2^-24 · ln Σ and one rounding
 *
 * Measured against the reference loops on the same memory, one thread, ns per element (the exponential alone 0.9):
 *
 *     softmax of [64, 1000] along 1     30 -> 1.6      of [2, 21, 64, 64] along 1     40 -> 1.8
 *     logSumExp of [8, 1000]            51 -> 2.3
 */
import type { HostBackendKernel, HostView } from "../../../backend.ts";
import type { WasmRuntime } from "../runtime.ts";
import { expLanes, type Lanes, logLanes } from "./elementary.ts";
import { type Line, lineKernel, swapped, type Vector } from "./lines.ts";
import { upperHalf } from "./rows.ts";

interface AxisAttributes {
  readonly axis: number;
}

interface AxesAttributes {
  readonly axes: readonly number[];
}

export interface SoftmaxKernels {
  readonly softmax: HostBackendKernel<AxisAttributes>;
  readonly logSoftmax: HostBackendKernel<AxisAttributes>;
  readonly logSumExp: HostBackendKernel<AxesAttributes>;
}

const x = 0;
const y = 1;

function lanesOf({ f }: Line, fused: boolean): Lanes {
  return {
    f,
    fused,
    constant: (value) => f.v128.const(new Float32Array(4).fill(value)),
    bits: (pattern) => f.v128.const(new Int32Array(4).fill(pattern)),
  };
}

/** The largest element of each line in its lane, or in all. A NaN may be lost here: the sum will be NaN. */
function largestOf({ f, along, vectors, forEachStep }: Line): readonly Vector[] {
  const { f32x4 } = f;
  const largest = Array.from({ length: vectors }, () =>
    f.let(f32x4.splat(Number.NEGATIVE_INFINITY), "largest"),
  );
  forEachStep(({ vector, load }) => {
    const value = load(x, Number.NEGATIVE_INFINITY);
    largest[vector].set(f32x4.pmax(largest[vector], value));
  });
  if (along)
    for (const vector of largest)
      for (const turn of [0, 1] as const) vector.set(f32x4.pmax(vector, swapped(f, vector, turn)));
  return largest;
}

/** Σ exp(x − shift) of each line. */
function sumOf(
  line: Line,
  lanes: Lanes,
  shift: readonly Vector[],
  onStep: "store" | "forget",
): readonly Vector[] {
  const { f, along, forEachStep } = line;
  const { f32x4, f64x2, i8x16 } = f;
  const [lower, upper] = ["lower", "upper"].map((name) => shift.map(() => f.let(f64x2.splat(0), name)));
  forEachStep(({ vector, load, store }) => {
    const shifted = f.let(f32x4.sub(load(x, Number.NEGATIVE_INFINITY), shift[vector]));
    const value = f.let(expLanes(lanes, shifted));
    lower[vector].set(f64x2.add(lower[vector], f64x2.promote_low_f32x4(value)));
    upper[vector].set(f64x2.add(upper[vector], f64x2.promote_low_f32x4(upperHalf(f, value))));
    if (onStep === "store") store(y, value);
  });
  return lower.map((half, v) => {
    if (along) {
      const both = f.let(f64x2.add(half, upper[v]));
      const total = f.let(f64x2.add(both, upperHalf(f, both)));
      const sum = f.let(f32x4.demote_f64x2_zero(total));
      return f.let(f32x4.splat(f32x4.extract_lane(sum, 0)), "sum");
    }
    const halves = [half, upper[v]].map((each) => f.let(f32x4.demote_f64x2_zero(each)));
    const bytes = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
    return f.let(i8x16.shuffle(halves[0], halves[1], bytes), "sum");
  });
}

/** Compiles the three, each when it first runs. */
export function softmaxKernels(runtime: WasmRuntime): SoftmaxKernels {
  const { fused } = runtime;

  const normalized = lineKernel(runtime, {
    name: "softmax",
    operands: ["all", "all"],
    vectors: 4,
    write(line) {
      const sum = sumOf(line, lanesOf(line, fused), largestOf(line), "store");
      line.forEachStep(({ vector, load, store }) => {
        store(y, line.f.let(line.f.f32x4.div(load(y), sum[vector])));
      });
    },
  });

  const logarithm = lineKernel(runtime, {
    name: "logSoftmax",
    operands: ["all", "all"],
    vectors: 4,
    write(line) {
      const { f32x4 } = line.f;
      const lanes = lanesOf(line, fused);
      const largest = largestOf(line);
      const logs = sumOf(line, lanes, largest, "forget").map((sum) =>
        line.f.let(logLanes(lanes, sum), "log"),
      );
      line.forEachStep(({ vector, load, store }) => {
        store(y, line.f.let(f32x4.sub(f32x4.sub(load(x), largest[vector]), logs[vector])));
      });
    },
  });

  const logarithmOfSum = lineKernel(runtime, {
    name: "logSumExp",
    operands: ["all", "one"],
    vectors: 4,
    write(line) {
      const { f } = line;
      const { f32x4, v128 } = f;
      const lanes = lanesOf(line, fused);
      // An infinite largest element is the result; to subtract it would give NaN.
      const shifts = largestOf(line).map((largest) => {
        const infinite = f32x4.eq(f32x4.abs(largest), lanes.constant(Number.POSITIVE_INFINITY));
        return f.let(v128.andnot(largest, infinite), "shift");
      });
      for (const [v, sum] of sumOf(line, lanes, shifts, "forget").entries())
        line.storeOne(y, v, f.let(f32x4.add(shifts[v], logLanes(lanes, sum))));
    },
  });

  const floats = (views: readonly HostView[]): boolean => views.every(({ dtype }) => dtype === "f32");
  return {
    softmax(inputs, output, attributes, reference) {
      const views = [inputs[0], output];
      if (!floats(views) || !normalized(views, [attributes.axis])) reference(inputs, output, attributes);
    },
    logSoftmax(inputs, output, attributes, reference) {
      const views = [inputs[0], output];
      if (!floats(views) || !logarithm(views, [attributes.axis])) reference(inputs, output, attributes);
    },
    logSumExp(inputs, output, attributes, reference) {
      const views = [inputs[0], output];
      if (!floats(views) || !logarithmOfSum(views, attributes.axes)) reference(inputs, output, attributes);
    },
  };
}
