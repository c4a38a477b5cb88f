/** dropoutMask: the generator's words computed where they are used; a thread computes one block of four. */
import type { KernelAttributes } from "../../backend.ts";
import { float } from "../parameters.ts";
import type { GpuKernel } from "../runtime.ts";

/** Philox 4x32-10, see src/tensor/philox.ts: the same words from the same counter and key. */
const philox = `
fn multiply_high(a: u32, b: u32) -> u32 {
  let a_high = a >> 16u;
  let a_low = a & 0xffffu;
  let b_high = b >> 16u;
  let b_low = b & 0xffffu;
  let middle = a_high * b_low + ((a_low * b_low) >> 16u);
  let crossed = a_low * b_high + (middle & 0xffffu);
  return a_high * b_high + (middle >> 16u) + (crossed >> 16u);
}
fn philox(counter: vec4<u32>, start_key: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var key = start_key;
  for (var round = 0; round < 10; round += 1) {
    c = vec4<u32>(
      multiply_high(0xcd9e8d57u, c.z) ^ c.y ^ key.x,
      0xcd9e8d57u * c.z,
      multiply_high(0xd2511f53u, c.x) ^ c.w ^ key.y,
      0xd2511f53u * c.x,
    );
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
`;

export const dropoutMask: GpuKernel<KernelAttributes["dropoutMask"]> = (
  runtime,
  _inputs,
  output,
  { draw: { counter, key }, probability },
) => {
  // A word is kept below this; words are integers, so rounding up changes nothing. 2^32 keeps all.
  const below = Math.ceil((1 - probability) * 2 ** 32);
  runtime.launch({
    label: "dropoutMask",
    operands: [{ name: "y", buffer: output.buffer, access: "write" }],
    numbers: {
      length: output.shape[0],
      y_o: output.offset,
      y_0: output.strides[0],
      counter_1: counter[0] | 0,
      counter_2: counter[1] | 0,
      counter_3: counter[2] | 0,
      key_0: key[0] | 0,
      key_1: key[1] | 0,
      below: below | 0,
      keeps_all: Number(below >= 2 ** 32),
      kept: float(probability < 1 ? 1 / (1 - probability) : 0),
    },
    threads: Math.ceil(output.shape[0] / 4),
    shader: () => ({
      declarations: philox,
      body: `  let words = philox(vec4<u32>(u32(id), u32(p.counter_1), u32(p.counter_2), u32(p.counter_3)), vec2<u32>(u32(p.key_0), u32(p.key_1)));
  for (var i = 0; i < 4; i += 1) {
    let at = 4 * id + i;
    if (at < p.length) {
      y_set(p.y_o + at * p.y_0, select(0.0, p.kept, p.keeps_all == 1 || words[i] < u32(p.below)));
    }
  }`,
    }),
  });
};
