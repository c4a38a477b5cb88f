/**
 * What norms compute by channel, from statistics to the coefficients that images are read with, in f64 and stored as
 * f32. It is little work, but done by JavaScript it would have to wait for the kernels before it.
 */
import type { HostView } from "../../../backend.ts";
import {
  type Expression,
  type FunctionBuilder,
  type Local,
  ModuleBuilder,
  type Operand,
} from "../encoder/index.ts";
import { addressOf, grainOf, type WasmRuntime } from "../runtime.ts";
import { floatBytes, rangeParameters } from "./rows.ts";

/** Where a channel's coefficients lie, and the bytes to those of the next. */
export interface Coefficients {
  readonly address: number;
  readonly bytes: number;
}

/** Statistics are `[2, C]`, mean and variance; weights and biases `[C]`; totals `[2, C]`. All of f32. */
export interface ChannelKernels {
  /** mean */
  means(statistics: HostView, to: Coefficients): void;
  /** mean, slope = weight / deviation, bias; deviation = √(variance + epsilon) */
  lines(statistics: HostView, weight: HostView, bias: HostView, epsilon: number, to: Coefficients): void;
  /**
   * With scale = weight / deviation, of the norm's input gradient: the slope of x - mean, −scale / deviation · Σ δx̂ / n,
   * the constant −scale · Σ δ / n, and the scale of δ.
   */
  gradientLines(
    statistics: HostView,
    weight: HostView,
    totals: HostView,
    { epsilon, count }: { readonly epsilon: number; readonly count: number },
    to: Coefficients,
  ): void;
  /** Σ δ and Σ δ (x − mean) / deviation from the four sums in f64 of each channel at `sums` (sums.ts) -> `[2, C]`. */
  finishSums(sums: number, statistics: HostView, epsilon: number, output: HostView): void;
}

/** A square root and some divisions, in nanoseconds. */
const nanosecondsPerChannel = 10;
const options = { grain: grainOf(nanosecondsPerChannel) };

const pair = { pair: "i32", pairRow: "i32", pairStep: "i32" } as const;
const weights = { weight: "i32", weightStep: "i32" } as const;
const target = { to: "i32", toStep: "i32" } as const;

/** A `[C]` as kernels take it: the address, and the bytes from channel to channel. */
export const vectorPlaceOf = (view: HostView) => [addressOf(view), floatBytes * view.strides[0]] as const;
/** A `[2, C]` as kernels take it: the address, the bytes to the second row, and from channel to channel. */
export const pairPlaceOf = (view: HostView) =>
  [addressOf(view), floatBytes * view.strides[0], floatBytes * view.strides[1]] as const;

/** The f32 at an address, as f64. */
export const load = ({ f64, f32 }: FunctionBuilder, at: Operand<"i32">): Expression<"f64"> =>
  f64.promote_f32(f32.load(at));

/** Writes an f64 as f32. */
export const store = (
  { f32 }: FunctionBuilder,
  at: Operand<"i32">,
  value: Operand<"f64">,
  offset = 0,
): void => f32.store(at, f32.demote_f64(value), offset);

function compile(runtime: WasmRuntime) {
  const module = new ModuleBuilder("channels");
  runtime.importMemory(module);
  /** Where channel c of an operand lies. */
  const place = ({ i32 }: FunctionBuilder, first: Local<"i32">, c: Local<"i32">, step: Operand<"i32">) =>
    i32.add(first, i32.mul(c, step));
  const deviationOf = (f: FunctionBuilder, variance: Operand<"i32">, epsilon: Local<"f64">) =>
    f.f64.sqrt(f.f64.add(load(f, variance), epsilon));

  module.func("means", { params: { ...rangeParameters, ...pair, ...target } }, (f, p) => {
    const c = f.local("i32", "c");
    f.forRange(c, p.begin, p.end, 1, () =>
      f.f32.store(place(f, p.to, c, p.toStep), f.f32.load(place(f, p.pair, c, p.pairStep))),
    );
  });

  const lineParameters = {
    ...{ ...rangeParameters, ...pair, ...weights },
    ...({ bias: "i32", biasStep: "i32", ...target, epsilon: "f64" } as const),
  };
  module.func("lines", { params: lineParameters }, (f, p) => {
    const c = f.local("i32", "c");
    f.forRange(c, p.begin, p.end, 1, () => {
      const from = f.let(place(f, p.pair, c, p.pairStep));
      const to = f.let(place(f, p.to, c, p.toStep));
      const deviation = f.let(deviationOf(f, f.i32.add(from, p.pairRow), p.epsilon));
      f.f32.store(to, f.f32.load(from));
      store(f, to, f.f64.div(load(f, place(f, p.weight, c, p.weightStep)), deviation), floatBytes);
      f.f32.store(to, f.f32.load(place(f, p.bias, c, p.biasStep)), 2 * floatBytes);
    });
  });

  const gradientParameters = {
    ...{ ...rangeParameters, ...pair, ...weights },
    ...({
      totals: "i32",
      totalsRow: "i32",
      totalsStep: "i32",
      ...target,
      epsilon: "f64",
      count: "f64",
    } as const),
  };
  module.func("gradientLines", { params: gradientParameters }, (f, p) => {
    const { i32, f64 } = f;
    const c = f.local("i32", "c");
    f.forRange(c, p.begin, p.end, 1, () => {
      const variance = i32.add(place(f, p.pair, c, p.pairStep), p.pairRow);
      const inverse = f.let(f64.div(1, deviationOf(f, variance, p.epsilon)), "inverse");
      const scale = f.let(f64.mul(load(f, place(f, p.weight, c, p.weightStep)), inverse), "scale");
      const totals = f.let(place(f, p.totals, c, p.totalsStep));
      const to = f.let(place(f, p.to, c, p.toStep));
      const product = f64.div(load(f, i32.add(totals, p.totalsRow)), p.count);
      store(f, to, f64.mul(f64.mul(f64.neg(scale), inverse), product));
      store(f, to, f64.mul(f64.neg(scale), f64.div(load(f, totals), p.count)), floatBytes);
      store(f, to, scale, 2 * floatBytes);
    });
  });

  const sumParameters = {
    ...{ ...rangeParameters, ...pair },
    ...({ sums: "i32", to: "i32", toRow: "i32", toStep: "i32", epsilon: "f64" } as const),
  };
  module.func("finishSums", { params: sumParameters }, (f, p) => {
    const { i32, f64 } = f;
    const c = f.local("i32", "c");
    f.forRange(c, p.begin, p.end, 1, () => {
      const sums = f.let(i32.add(p.sums, i32.shl(c, 5)));
      const to = f.let(place(f, p.to, c, p.toStep));
      const variance = i32.add(place(f, p.pair, c, p.pairStep), p.pairRow);
      const scale = f.let(f64.div(1, deviationOf(f, variance, p.epsilon)), "scale");
      store(f, to, f64.add(f64.load(sums), f64.load(sums, 8)));
      const products = f64.add(f64.load(sums, 16), f64.load(sums, 24));
      store(f, i32.add(to, p.toRow), f64.mul(products, scale));
    });
  });

  const { means, lines, gradientLines, finishSums } = runtime.instantiate(module);
  return { means, lines, gradientLines, finishSums };
}

export function channelKernels(runtime: WasmRuntime): ChannelKernels {
  const { means, lines, gradientLines, finishSums } = compile(runtime);
  const channelsOf = ({ shape }: HostView): number => shape[1];

  return {
    means(statistics, to) {
      runtime.forRange(
        means,
        channelsOf(statistics),
        [...pairPlaceOf(statistics), to.address, to.bytes],
        options,
      );
    },

    lines(statistics, weight, bias, epsilon, to) {
      const places = [
        ...pairPlaceOf(statistics),
        ...vectorPlaceOf(weight),
        ...vectorPlaceOf(bias),
        to.address,
        to.bytes,
      ];
      runtime.forRange(lines, channelsOf(statistics), [...places, epsilon], options);
    },

    gradientLines(statistics, weight, totals, { epsilon, count }, to) {
      const places = [
        ...pairPlaceOf(statistics),
        ...vectorPlaceOf(weight),
        ...pairPlaceOf(totals),
        to.address,
        to.bytes,
      ];
      runtime.forRange(gradientLines, channelsOf(statistics), [...places, epsilon, count], options);
    },

    finishSums(sums, statistics, epsilon, output) {
      const places = [...pairPlaceOf(statistics), sums, ...pairPlaceOf(output)];
      runtime.forRange(finishSums, channelsOf(statistics), [...places, epsilon], options);
    },
  };
}
