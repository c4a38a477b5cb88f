/**
 * The arithmetic of exact sums as WGSL, without f64: a product is split into two f32 that hold all of it, and a sum is
 * three f32, each what rounding took from the one before: some 70 digits.
 */
import type { Lanes } from "./loops.ts";
import { reproduciblePrinter } from "./printer.ts";

/** Whole vectors of four outputs or single ones, as the type T. */
const typesOf = (lanes: Lanes): string =>
  lanes === 4 ? "alias T = vec4<f32>;\nalias U = vec4<u32>;" : "alias T = f32;\nalias U = u32;";

/**
 * `zero` is 0, which no compiler knows: what it is mixed into cannot be fused, reordered or simplified. Splitting cuts the
 * 24 digits of a number in two times twelve, so that products of halves are exact.
 */
const arithmetic = `
struct Parts { high: T, low: T }
struct Sum { first: T, second: T, third: T }
fn opaque(x: T, zero: u32) -> T { return bitcast<T>(bitcast<U>(x) ^ U(zero)); }
fn two_sum(a: T, b: T, zero: u32) -> Parts {
  let sum = opaque(a + b, zero);
  let part = opaque(sum - a, zero);
  return Parts(sum, opaque(a - opaque(sum - part, zero), zero) + opaque(b - part, zero));
}
fn add_term(sum: Sum, term: T, zero: u32) -> Sum {
  let one = two_sum(sum.first, term, zero);
  let two = two_sum(sum.second, one.low, zero);
  return Sum(one.high, two.high, sum.third + two.low);
}
fn add_small(sum: Sum, term: T, zero: u32) -> Sum {
  let two = two_sum(sum.second, term, zero);
  return Sum(sum.first, two.high, sum.third + two.low);
}
fn add_product(sum: Sum, a: T, b: f32, zero: u32) -> Sum {
  let product = opaque(a * b, zero);
  let a_high = bitcast<T>(bitcast<U>(a) & U(0xfffff000u));
  let a_low = a - a_high;
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let b_low = b - b_high;
  let first = opaque(a_high * b_high - product, zero);
  let second = opaque(first + a_high * b_low, zero);
  let rest = opaque(second + a_low * b_high, zero) + a_low * b_low;
  return add_small(add_term(sum, product, zero), rest, zero);
}
`;

/** The three parts rounded once: the lower two to the odd neighbour first, which no tie can be mistaken for. */
const rounding = `
struct Two { high: f32, low: f32 }
fn two_of(a: f32, b: f32) -> Two {
  let sum = r_hidden(a + b);
  let part = r_hidden(sum - a);
  return Two(sum, r_hidden(a - r_hidden(sum - part)) + r_hidden(b - part));
}
fn round_once(first: f32, second: f32, third: f32) -> f32 {
  if ((bitcast<u32>(first) & 0x7f800000u) == 0x7f800000u) { return first; }
  let a = two_of(second, third);
  let b = two_of(first, a.high);
  let c = two_of(b.low, a.low);
  let d = two_of(b.high, c.high);
  let e = two_of(d.low, c.low);
  var low = bitcast<u32>(e.high);
  if (e.low != 0.0 && (low & 1u) == 0u) {
    if ((e.low > 0.0) == (e.high > 0.0)) { low += 1u; } else { low -= 1u; }
  }
  return r_rounded(d.high + bitcast<f32>(low));
}
`;

/** What the shaders of sums call: `Sum`, `add_term`, `add_small`, `add_product` and `round_once`. */
export const sumDeclarations = (lanes: Lanes): string =>
  reproduciblePrinter.declarations + typesOf(lanes) + arithmetic + rounding;
