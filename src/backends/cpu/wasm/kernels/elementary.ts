/**
 * exp, log, tanh, sigmoid and softplus in four f32 lanes, without branches and tables.
 *
 * Each is the classical reduction to a small interval and a polynomial there; the coefficients are those of Stephen
 * Moshier's Cephes library (single/expf.c, logf.c, tanhf.c, https://www.netlib.org/cephes), the least-maximum fits
 * that most vector libraries use. Infinities, NaN and zeros of either sign come out as from `Math`.
 *
 * Errors against f64, the worst of every 101st bit pattern, with and without fused multiply-add alike:
 *
 *     exp        9e-8 relative; denormal results to half of the smallest
 *     log        8.1e-8 relative, denormal arguments included
 *     tanh       1.4e-7 relative, never beyond ±1
 *     sigmoid    1.5e-7 relative down to 2e-38, below which it goes to 0
 *     softplus   1.4e-7 relative down to 2e-38, below which it goes to 0
 */
import type { Expression, FunctionBuilder, Local, Operand } from "../encoder/index.ts";
import { multiplyAdd } from "../runtime.ts";

type Vector = Local<"v128">;

/** What a function is written with. */
export interface Lanes {
  readonly f: FunctionBuilder;
  /** Whether a · b + c may be rounded once. */
  readonly fused: boolean;
  /** The number, rounded to f32, in all lanes. */
  readonly constant: (value: number) => Operand<"v128">;
  /** A 32-bit pattern in all lanes. */
  readonly bits: (pattern: number) => Operand<"v128">;
}

const log2e = Math.LOG2E;
/** ln 2 in two parts; whole numbers below 2^15 times the first are exact. */
const ln2High = 0.693359375;
const ln2Low = -2.1219444e-4;
const exponentBias = 127;
/** Adding it moves a number's whole part to the low bits of the mantissa, the bias of exponents on top. */
const rounder = 1.5 * 2 ** 23 + exponentBias;
const rounderBits = 0x4b400000 + exponentBias;

/** (exp(r) − 1 − r) / r² for |r| <= ln 2 / 2. */
const expCoefficients = [
  1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1,
];
/** (log(1 + x) − x + x² / 2) / x³ for sqrt(1/2) <= 1 + x < sqrt(2). */
const logCoefficients = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
  2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
];
/** (tanh(x) / x − 1) / x² as a function of x² for |x| <= 0.625. */
const tanhCoefficients = [
  -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
];

/** a · b + c */
const madd = ({ f, fused }: Lanes, a: Operand<"v128">, b: Operand<"v128">, c: Operand<"v128">): Vector =>
  f.let(multiplyAdd(f, fused, a, b, c));

/**
 * A polynomial, the highest coefficient first, as even(x²) + x · odd(x²): two sums that do not wait for each other
 * take half the time of Horner's one.
 */
function polynomial(lanes: Lanes, x: Vector, square: Vector, coefficients: readonly number[]): Vector {
  const horner = (parity: 0 | 1): Vector => {
    const [first, second, ...others] = coefficients.filter(
      (_, i) => (coefficients.length - 1 - i) % 2 === parity,
    );
    let sum = madd(lanes, lanes.constant(first), square, lanes.constant(second));
    for (const coefficient of others) sum = madd(lanes, sum, square, lanes.constant(coefficient));
    return sum;
  };
  const odd = horner(1);
  return madd(lanes, odd, x, horner(0));
}

/** x limited to [low, high]; NaN stays NaN. */
function limit({ f, constant }: Lanes, x: Vector, low: number, high: number): Vector {
  const { f32x4 } = f;
  return f.let(f32x4.pmax(f32x4.pmin(x, constant(high)), constant(low)));
}

/** exp(x) = 2^n · mantissa; n + bias is in the low bits of `exponent`. */
function expParts(lanes: Lanes, x: Vector): { mantissa: Vector; exponent: Vector } {
  const { f, constant } = lanes;
  const exponent = madd(lanes, x, constant(log2e), constant(rounder));
  const n = f.let(f.f32x4.sub(exponent, constant(rounder)));
  const rest = madd(lanes, n, constant(-ln2Low), madd(lanes, n, constant(-ln2High), x));
  const square = f.let(f.f32x4.mul(rest, rest));
  const curved = madd(lanes, polynomial(lanes, rest, square, expCoefficients), square, rest);
  return { mantissa: f.let(f.f32x4.add(curved, constant(1))), exponent };
}

/** exp(x). 2^n is multiplied in two halves, so that n may be 128 and the result denormal. */
export function expLanes(lanes: Lanes, x: Vector): Expression<"v128"> {
  const { f, bits } = lanes;
  const { f32x4, i32x4 } = f;
  // Beyond the limits everything is infinite or less than half the smallest denormal.
  const { mantissa, exponent } = expParts(lanes, limit(lanes, x, -104, 89));
  const n = f.let(i32x4.sub(exponent, bits(rounderBits)));
  const half = f.let(i32x4.shr_s(n, 1));
  const rest = f.let(i32x4.sub(n, half));
  const power = (k: Vector) => i32x4.shl(i32x4.add(k, bits(exponentBias)), 23);
  return f32x4.mul(f32x4.mul(mantissa, power(half)), power(rest));
}

/** exp(x) for sums with 1: 0 below −87.7 and infinite above 88.4, where exp itself is a little less abrupt. */
function abruptExp(lanes: Lanes, x: Vector): Vector {
  const { f32x4, i32x4 } = lanes.f;
  const { mantissa, exponent } = expParts(lanes, limit(lanes, x, -88, 88.7));
  return lanes.f.let(f32x4.mul(mantissa, i32x4.shl(exponent, 23)));
}

/** log(1 + x) for sqrt(1/2) <= 1 + x < sqrt(2), less a shift's low part and without its high part. */
function logNearOne(lanes: Lanes, x: Vector, shiftLow?: Vector): Vector {
  const { f, constant } = lanes;
  const square = f.let(f.f32x4.mul(x, x));
  const cubic = f.let(f.f32x4.mul(polynomial(lanes, x, square, logCoefficients), f.f32x4.mul(x, square)));
  const small = shiftLow ? f.let(f.f32x4.add(cubic, shiftLow)) : cubic;
  return f.let(f.f32x4.add(x, madd(lanes, square, constant(-0.5), small)));
}

/** The natural logarithm; −∞ at ±0, NaN below. */
export function logLanes(lanes: Lanes, x: Vector): Expression<"v128"> {
  const { f, constant, bits } = lanes;
  const { f32x4, i32x4, v128 } = f;
  // Denormals are scaled up by 2^23.
  const denormal = f.let(f32x4.lt(x, constant(2 ** -126)));
  const normal = f.let(v128.bitselect(f32x4.mul(x, constant(2 ** 23)), x, denormal));
  // x = 2^n · (1 + m) with 1 + m from sqrt(1/2): an exponent's carry comes at the mantissa of sqrt(2).
  const root = 0x3f3504f3;
  const shifted = f.let(i32x4.add(normal, bits(0x3f800000 - root)));
  const biased = f.let(f32x4.convert_i32x4_s(i32x4.shr_u(shifted, 23)));
  const bias = f.let(f32x4.add(v128.and(denormal, constant(23)), constant(exponentBias)));
  const n = f.let(f32x4.sub(biased, bias));
  const mantissa = i32x4.add(v128.and(shifted, bits(0x7fffff)), bits(root));
  const m = f.let(f32x4.sub(mantissa, constant(1)));
  const near = logNearOne(lanes, m, f.let(f32x4.mul(n, constant(ln2Low))));
  const value = madd(lanes, n, constant(ln2High), near);
  const ordinary = f.let(v128.and(f32x4.gt(x, constant(0)), f32x4.lt(x, constant(Number.POSITIVE_INFINITY))));
  // ∞ and NaN stay, 0 becomes −∞; a lane of ones, where x < 0, is a NaN.
  const zero = f.let(f32x4.eq(x, constant(0)));
  const limits = v128.bitselect(constant(Number.NEGATIVE_INFINITY), x, zero);
  const special = f.let(v128.or(limits, f32x4.lt(x, constant(0))));
  return v128.bitselect(value, special, ordinary);
}

/** 1 / (1 + exp(−x)) */
export function sigmoidLanes(lanes: Lanes, x: Vector): Expression<"v128"> {
  const { f, constant } = lanes;
  const grown = abruptExp(lanes, f.let(f.f32x4.neg(x)));
  return f.f32x4.div(constant(1), f.f32x4.add(grown, constant(1)));
}

/** tanh(x): a polynomial up to |x| = 0.625, then 1 − 2 / (1 + exp(2 |x|)), both with the sign of x. */
export function tanhLanes(lanes: Lanes, x: Vector): Expression<"v128"> {
  const { f, constant, bits } = lanes;
  const { f32x4, v128 } = f;
  const size = f.let(f32x4.abs(x));
  const square = f.let(f32x4.mul(x, x));
  const fourth = f.let(f32x4.mul(square, square));
  const cube = f.let(f32x4.mul(square, size));
  const small = madd(lanes, polynomial(lanes, square, fourth, tanhCoefficients), cube, size);
  const grown = abruptExp(lanes, f.let(f32x4.add(size, size)));
  const large = f.let(f32x4.sub(constant(1), f32x4.div(constant(2), f32x4.add(grown, constant(1)))));
  const either = v128.bitselect(small, large, f32x4.lt(size, constant(0.625)));
  return v128.or(either, v128.and(x, bits(0x80000000)));
}

/** log(1 + exp(x)) = max(x, 0) + log(1 + u), u = exp(−|x|); 1 + u is halved where it exceeds sqrt(2). */
export function softplusLanes(lanes: Lanes, x: Vector): Expression<"v128"> {
  const { f, constant } = lanes;
  const { f32x4, v128 } = f;
  const u = abruptExp(lanes, f.let(f32x4.neg(f32x4.abs(x))));
  const large = f.let(f32x4.gt(u, constant(Math.SQRT2 - 1)));
  const halved = f32x4.mul(f32x4.sub(u, constant(1)), constant(0.5));
  const near = logNearOne(lanes, f.let(v128.bitselect(halved, u, large)));
  const logarithm = f32x4.add(near, v128.and(large, constant(Math.LN2)));
  return f32x4.add(f32x4.pmax(x, constant(0)), logarithm);
}
