/**
 * Correctly rounded quotients and square roots as WGSL, which guarantees neither: a quotient may be off by 2.5 units in
 * the last place. Both are taken of mantissas, where nothing overflows: the device's answer is corrected by what it
 * misses, and the last digit decided by the exact remainder, since no quotient and no root lies half way between two f32.
 */
export const divisionFunctions = `
// 0, which no compiler knows: what it is mixed into cannot be fused, reordered or simplified.
fn r_zero() -> u32 { return u32(p.threads) >> 31u; }
fn r_hidden(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ r_zero()); }
// m − a · b for a product that is nearly m; exact for the last digits of a.
fn r_remainder(m: f32, a: f32, b: f32) -> f32 {
  let product = r_hidden(a * b);
  let a_high = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let a_low = r_hidden(a - a_high);
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let b_low = r_hidden(b - b_high);
  let first = r_hidden(r_hidden(a_high * b_high) - product);
  let second = r_hidden(first + r_hidden(a_high * b_low));
  let third = r_hidden(second + r_hidden(a_low * b_high));
  let rest = r_hidden(third + r_hidden(a_low * b_low));
  return r_hidden(r_hidden(m - product) - rest);
}
fn r_is_ordinary(u: u32) -> bool {
  let exponent = u & 0x7f800000u;
  return exponent != 0u && exponent != 0x7f800000u;
}
fn r_mantissa(u: u32) -> f32 { return bitcast<f32>((u & 0x7fffffu) | 0x3f800000u); }
fn r_quotient(a: f32, b: f32) -> f32 {
  let u = bitcast<u32>(a);
  let v = bitcast<u32>(b);
  if (!r_is_ordinary(u) || !r_is_ordinary(v)) { return r_rounded(a / r_hidden(b)); }
  let m = r_mantissa(u);
  let d = r_mantissa(v);
  let rough = r_hidden(m / d);
  let q = r_hidden(rough + r_hidden(r_remainder(m, rough, d) / d));
  let rest = r_remainder(m, q, d);
  // Half a unit in the last place above and below q, times d.
  let bits = bitcast<u32>(q);
  let above = d * select(0x1p-25f, 0x1p-24f, q >= 1.0);
  let below = d * select(0x1p-25f, 0x1p-24f, q > 1.0);
  let nearest = select(select(bits, bits - 1u, rest < -below), bits + 1u, rest > above);
  let exponent = i32(nearest >> 23u) + i32((u >> 23u) & 255u) - i32((v >> 23u) & 255u);
  let sign = (u ^ v) & 0x80000000u;
  if (exponent > 254) { return bitcast<f32>(sign | 0x7f800000u); }
  if (exponent < 1) { return bitcast<f32>(sign); }
  return bitcast<f32>(sign | (u32(exponent) << 23u) | (nearest & 0x7fffffu));
}
fn r_sqrt(x: f32) -> f32 {
  let u = bitcast<u32>(x);
  if (x == 0.0 || is_nan(x)) { return x; }
  if (x < 0.0) { return f_nan(); }
  if (!r_is_ordinary(u)) { return x; }
  // x = m · 4^n with m from 1 to 4; 127 is odd, so the exponent's field is as well for a whole n.
  let field = i32(u >> 23u);
  let is_even = (field & 1) == 1;
  let m = r_mantissa(u) * select(2.0, 1.0, is_even);
  let n = (field - select(128, 127, is_even)) >> 1u;
  let rough = r_hidden(sqrt(m));
  let q = r_hidden(rough + r_hidden(r_remainder(m, rough, rough) / r_hidden(2.0 * rough)));
  let rest = r_remainder(m, q, q);
  let half = q * 0x1p-23f;
  let bits = bitcast<u32>(q);
  let nearest = select(select(bits, bits - 1u, rest <= -half), bits + 1u, rest > half);
  return bitcast<f32>(nearest + (bitcast<u32>(n) << 23u));
}
`;
