/**
 * Functions of expressions in reproducible mode, on the CPU: f32 arithmetic one rounding at a time, which the WGSL of
 * ../../webgpu/reproducible/functions.ts repeats step by step. A sum, difference, product, quotient or root of f32 in
 * f64 that is then rounded to f32 is the correctly rounded one, since f64 has more than twice the digits.
 */
import {
  expCoefficients,
  expLimits,
  largestWholeExponent,
  ln2High,
  ln2Low,
  logCoefficients,
  oneBits,
  ratioCoefficients,
  rootBits,
  rounder,
  smallest,
  tanhCoefficients,
} from "../../reproducible/coefficients.ts";
import { type PointwiseDialect, pointwiseRunner } from "../pointwise.ts";

const f32 = Math.fround;

/** x rounded to f32, 0 with its sign where that is smaller than 2^-126: devices may have no such numbers. */
export function rounded(x: number): number {
  const y = f32(x);
  return y < smallest && y > -smallest ? y * 0 : y;
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

function bitsOf(x: number): number {
  float[0] = x;
  return bits[0];
}

function floatOf(pattern: number): number {
  bits[0] = pattern;
  return float[0];
}

const inF32 = (coefficients: readonly number[]): Float32Array => Float32Array.from(coefficients);

/** By Horner's rule. */
function polynomial(coefficients: Float32Array, x: number): number {
  let sum = coefficients[0];
  for (let i = 1; i < coefficients.length; i++) sum = f32(f32(sum * x) + coefficients[i]);
  return sum;
}

const exps = inF32(expCoefficients);
const logs = inF32(logCoefficients);
const tanhs = inF32(tanhCoefficients);
const ratios = inF32(ratioCoefficients);
const [high, low, log2e] = [f32(ln2High), f32(ln2Low), f32(Math.LOG2E)];
const [lowest, highest] = [f32(expLimits.low), f32(expLimits.high)];
const smallTanh = f32(0.625);

function exp(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > highest) return Number.POSITIVE_INFINITY;
  if (x < lowest) return 0;
  const n = f32(f32(f32(x * log2e) + rounder) - rounder);
  const rest = f32(f32(x - f32(n * high)) - f32(n * low));
  const curve = f32(polynomial(exps, rest) * f32(rest * rest));
  const mantissa = f32(f32(curve + rest) + 1);
  const half = n >> 1;
  const power = (k: number): number => floatOf((k + 127) << 23);
  return rounded(f32(mantissa * power(half)) * power(n - half));
}

function log(x: number): number {
  if (Number.isNaN(x) || x < 0) return Number.NaN;
  if (x === 0) return Number.NEGATIVE_INFINITY;
  if (x === Number.POSITIVE_INFINITY) return x;
  const shifted = (bitsOf(x) + (oneBits - rootBits)) | 0;
  const n = (shifted >>> 23) - 127;
  const m = f32(floatOf((shifted & 0x7fffff) + rootBits) - 1);
  const square = f32(m * m);
  const cubic = f32(polynomial(logs, m) * f32(m * square));
  const small = f32(f32(cubic + f32(n * low)) - f32(0.5 * square));
  return rounded(f32(m + small) + f32(n * high));
}

function tanh(x: number): number {
  if (Number.isNaN(x)) return x;
  const size = Math.abs(x);
  if (size < smallTanh) {
    const square = rounded(x * x);
    return rounded(x + rounded(rounded(x * square) * polynomial(tanhs, square)));
  }
  const t = exp(f32(-2 * size));
  const y = f32(f32(1 - t) / f32(1 + t));
  return x < 0 ? -y : y;
}

function sigmoid(x: number): number {
  if (Number.isNaN(x)) return x;
  const t = exp(-Math.abs(x));
  return rounded((x < 0 ? t : 1) / f32(1 + t));
}

function softplus(x: number): number {
  if (Number.isNaN(x)) return x;
  const t = exp(-Math.abs(x));
  const s = rounded(t / f32(2 + t));
  const square = rounded(s * s);
  const series = f32(1 + rounded(square * polynomial(ratios, square)));
  return rounded(Math.max(x, 0) + rounded(f32(2 * s) * series));
}

function pow(a: number, b: number): number {
  if (b === 0) return 1;
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.NaN;
  const size = Math.abs(b);
  const isWhole = Math.floor(b) === b;
  if (isWhole && size <= largestWholeExponent) {
    let result = 1;
    let base = a;
    for (let rest = size; rest > 0; rest >>= 1) {
      if (rest & 1) result = rounded(result * base);
      base = rounded(base * base);
    }
    return b < 0 ? rounded(1 / result) : result;
  }
  const value = exp(rounded(b * log(Math.abs(a))));
  if (a >= 0) return value;
  if (!isWhole) return a === Number.NEGATIVE_INFINITY ? value : Number.NaN;
  return size % 2 === 1 ? -value : value;
}

const dialect: PointwiseDialect = {
  unary: {
    neg: (x) => `-${x}`,
    exp: (x) => `f.exp(${x})`,
    log: (x) => `f.log(${x})`,
    sqrt: (x) => `f.rounded(Math.sqrt(${x}))`,
    abs: (x) => `Math.abs(${x})`,
    sign: (x) => `Math.sign(${x})`,
    floor: (x) => `Math.floor(${x})`,
    tanh: (x) => `f.tanh(${x})`,
    sigmoid: (x) => `f.sigmoid(${x})`,
    softplus: (x) => `f.softplus(${x})`,
  },
  binary: {
    add: (a, b) => `f.rounded(${a} + ${b})`,
    sub: (a, b) => `f.rounded(${a} - ${b})`,
    mul: (a, b) => `f.rounded(${a} * ${b})`,
    div: (a, b) => `f.rounded(${a} / ${b})`,
    pow: (a, b) => `f.pow(${a}, ${b})`,
    min: (a, b) => `Math.min(${a}, ${b})`,
    max: (a, b) => `Math.max(${a}, ${b})`,
    less: (a, b) => `${a} < ${b} ? 1 : 0`,
    lessEqual: (a, b) => `${a} <= ${b} ? 1 : 0`,
    equal: (a, b) => `${a} === ${b} ? 1 : 0`,
    notEqual: (a, b) => `${a} !== ${b} ? 1 : 0`,
  },
  number: rounded,
  load: (x) => `f.rounded(${x})`,
  functions: { rounded, exp, log, tanh, sigmoid, softplus, pow },
};

/** Runs expressions so; at least one operand must be f32, none f64. */
export const runInSingleRoundings = pointwiseRunner(dialect);
