/**
 * Functions of expressions in reproducible mode as WGSL: the single roundings of ../../cpu/reproducible/functions.ts,
 * step by step. `r_rounded` stands around every operation: compilers fuse a product with a sum and take (a + b) − a for b,
 * but not when bits are taken apart in between.
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
  tanhCoefficients,
} from "../../reproducible/coefficients.ts";
import { literal } from "../wgsl.ts";
import { divisionFunctions } from "./division.ts";

const float = (value: number): string => literal(value, "f32");

function horner(name: string, coefficients: readonly number[]): string {
  const [first, ...others] = coefficients;
  const lines = others.map((coefficient) => `  sum = r_rounded(r_rounded(sum * x) + ${float(coefficient)});`);
  return `fn ${name}(x: f32) -> f32 {\n  var sum = ${float(first)};\n${lines.join("\n")}\n  return sum;\n}`;
}

/** What printed expressions call; they stand behind the declarations of `expressionFunctions`. */
export const reproducibleFunctions = `
fn r_rounded(x: f32) -> f32 {
  let u = bitcast<u32>(x);
  return bitcast<f32>(select(u, u & 0x80000000u, (u & 0x7f800000u) == 0u));
}
fn r_negative(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ 0x80000000u); }
fn r_size(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) & 0x7fffffffu); }
fn r_max(a: f32, b: f32) -> f32 {
  if (is_nan(a) || is_nan(b)) { return f_nan(); }
  if (a == b) { return bitcast<f32>(bitcast<u32>(a) & bitcast<u32>(b)); }
  return select(b, a, a > b);
}
fn r_min(a: f32, b: f32) -> f32 {
  if (is_nan(a) || is_nan(b)) { return f_nan(); }
  if (a == b) { return bitcast<f32>(bitcast<u32>(a) | bitcast<u32>(b)); }
  return select(b, a, a < b);
}
fn r_sign(x: f32) -> f32 {
  if (is_nan(x) || x == 0.0) { return x; }
  return select(-1.0, 1.0, x > 0.0);
}
fn r_floor(x: f32) -> f32 {
  if (x == 0.0) { return x; }
  return floor(x);
}
${divisionFunctions}${horner("r_exp_series", expCoefficients)}
${horner("r_log_series", logCoefficients)}
${horner("r_tanh_series", tanhCoefficients)}
${horner("r_ratio_series", ratioCoefficients)}
fn r_power_of_two(k: i32) -> f32 { return bitcast<f32>(u32(k + 127) << 23u); }
fn r_exp(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (x > ${float(expLimits.high)}) { return f_infinity(); }
  if (x < ${float(expLimits.low)}) { return 0.0; }
  let n = r_rounded(r_rounded(x * ${float(Math.LOG2E)}) + ${float(rounder)}) - ${float(rounder)};
  let near = r_rounded(x - r_rounded(n * ${float(ln2High)}));
  let rest = r_rounded(near - r_rounded(n * ${float(ln2Low)}));
  let curve = r_rounded(r_exp_series(rest) * r_rounded(rest * rest));
  let mantissa = r_rounded(r_rounded(curve + rest) + 1.0);
  let k = i32(n);
  let half = k >> 1u;
  return r_rounded(r_rounded(mantissa * r_power_of_two(half)) * r_power_of_two(k - half));
}
fn r_log(x: f32) -> f32 {
  if (is_nan(x) || x < 0.0) { return f_nan(); }
  if (x == 0.0) { return -f_infinity(); }
  if (bitcast<u32>(x) == 0x7f800000u) { return x; }
  let shifted = bitcast<u32>(x) + ${oneBits - rootBits}u;
  let n = f32(i32(shifted >> 23u) - 127);
  let m = r_rounded(bitcast<f32>((shifted & 0x7fffffu) + ${rootBits}u) - 1.0);
  let square = r_rounded(m * m);
  let cubic = r_rounded(r_log_series(m) * r_rounded(m * square));
  let lower = r_rounded(cubic + r_rounded(n * ${float(ln2Low)}));
  let small = r_rounded(lower - r_rounded(0.5 * square));
  return r_rounded(r_rounded(m + small) + r_rounded(n * ${float(ln2High)}));
}
fn r_tanh(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let size = r_size(x);
  if (size < 0.625) {
    let square = r_rounded(x * x);
    return r_rounded(x + r_rounded(r_rounded(x * square) * r_tanh_series(square)));
  }
  let t = r_exp(r_rounded(-2.0 * size));
  let y = r_quotient(r_rounded(1.0 - t), r_rounded(1.0 + t));
  return select(y, r_negative(y), x < 0.0);
}
fn r_sigmoid(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let t = r_exp(r_negative(r_size(x)));
  return r_quotient(select(1.0, t, x < 0.0), r_rounded(1.0 + t));
}
fn r_softplus(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  let t = r_exp(r_negative(r_size(x)));
  let s = r_quotient(t, r_rounded(2.0 + t));
  let square = r_rounded(s * s);
  let series = r_rounded(1.0 + r_rounded(square * r_ratio_series(square)));
  return r_rounded(r_max(x, 0.0) + r_rounded(r_rounded(2.0 * s) * series));
}
fn r_pow(a: f32, b: f32) -> f32 {
  if (b == 0.0) { return 1.0; }
  if (is_nan(a) || is_nan(b)) { return f_nan(); }
  let size = r_size(b);
  let is_whole = floor(b) == b;
  if (is_whole && size <= ${float(largestWholeExponent)}) {
    var result = 1.0;
    var base = a;
    for (var rest = i32(size); rest > 0; rest >>= 1u) {
      if ((rest & 1) == 1) { result = r_rounded(result * base); }
      base = r_rounded(base * base);
    }
    if (b < 0.0) { return r_quotient(1.0, result); }
    return result;
  }
  let value = r_exp(r_rounded(b * r_log(r_size(a))));
  if (a >= 0.0) { return value; }
  if (!is_whole) { return select(f_nan(), value, bitcast<u32>(a) == 0xff800000u); }
  return select(value, r_negative(value), size % 2.0 == 1.0);
}
`;
