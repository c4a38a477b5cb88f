/**
 * Whether an adapter computes what reproducible mode means. WGSL allows a driver to divide roughly, to fuse a product
 * with a sum, and to simplify sums as if nothing were rounded; whoever does so is found out here, by numbers of which
 * the CPU knows every bit.
 */
import type { Layout } from "../../backend.ts";
import { runInSingleRoundings } from "../../cpu/reproducible/functions.ts";
import { sumOfProducts } from "../../cpu/reproducible/sum.ts";
import * as e from "../../expression.ts";
import type { WebGpuBackend } from "../backend.ts";
import { launchPointwise } from "../kernels/pointwise.ts";
import type { GpuMemory } from "../memory.ts";
import type { GpuView } from "../runtime.ts";
import { sumOfProducts as sumOnDevice } from "./sum.ts";

const [x, y] = [e.input(0), e.input(1)];

/** What is computed of two numbers, and what it would tell. */
const expressions: readonly (readonly [name: string, expression: e.Expression])[] = [
  ["division", e.add(e.div(x, y), e.div(y, 6))],
  ["square root", e.sqrt(e.abs(x))],
  ["product and sum", e.sub(e.add(e.mul(x, y), x), e.mul(y, y))],
  ["small numbers", e.mul(e.mul(x, 2 ** -60), e.mul(y, 2 ** -66))],
  ["functions", e.add(e.exp(e.mul(x, 2 ** -8)), e.add(e.log(e.abs(y)), e.tanh(e.mul(y, 2 ** -10))))],
];

const count = 4096;
/** Sums, and terms of each. */
const sums = { rows: 32, terms: count / 32 } as const;

/** Numbers from 2^-12 to 2^12 of both signs, all 24 digits random, the same every time. */
function numbers(seed: number): Float32Array {
  let state = seed;
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => (random() - 0.5) * 2 ** (24 * random() - 11));
}

const row: Layout = { shape: [count], strides: [1], offset: 0 };
const table: Layout = { shape: [sums.rows, sums.terms], strides: [sums.terms, 1], offset: 0 };
const oneEach: Layout = { shape: [sums.rows], strides: [1], offset: 0 };

const hasSameBits = (own: ArrayLike<number>, expected: Float32Array): boolean =>
  expected.every((value, i) => Object.is(value, own[i]));

/** The names of what the adapter computes otherwise than the CPU; none where it can be used. */
export async function wrongArithmetic(backend: WebGpuBackend): Promise<string[]> {
  const values = [numbers(1), numbers(2)];
  // Half of the terms nearly cancel the other half.
  for (let i = 0; i < count; i += 2) {
    values[0][i + 1] = -values[0][i];
    values[1][i + 1] = values[1][i] * (1 + 2 ** -20);
  }
  const host = values.map((data) => ({ dtype: "f32" as const, data }));
  const { runtime } = backend;
  const taken = [0, 1, 2].map(() => runtime.memory.allocate("f32", count, "workspace"));
  const [left, right, result] = taken;
  backend.write(left, values[0]);
  backend.write(right, values[1]);
  const wrong: string[] = [];
  const check = async (name: string, length: number, expected: Float32Array): Promise<void> => {
    if (!hasSameBits(await backend.read(result, 0, length), expected)) wrong.push(name);
  };
  const on = (buffer: GpuMemory, layout: Layout): GpuView => ({ buffer, ...layout });
  for (const [name, expression] of expressions) {
    const expected = new Float32Array(count);
    const attributes = { expression, parameters: [] };
    runInSingleRoundings(
      host.map((own) => ({ ...own, ...row })),
      { dtype: "f32", data: expected, ...row },
      attributes,
    );
    launchPointwise(runtime, "self-check", [on(left, row), on(right, row)], on(result, row), attributes);
    await check(name, count, expected);
  }
  const expected = new Float32Array(sums.rows);
  const [a, b] = host.map((own) => ({ ...own, ...table }));
  sumOfProducts(a, b, { dtype: "f32", data: expected, ...oneEach });
  sumOnDevice(runtime, on(left, table), on(right, table), on(result, oneEach));
  await check("exact sums", sums.rows, expected);
  for (const buffer of taken) backend.release(buffer);
  return wrong;
}
