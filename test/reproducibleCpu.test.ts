/**
 * Reproducible mode on the CPU: sums against exact rational arithmetic, functions against f64, and every op against its
 * reference loops.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { registeredOps } from "../src/autograd/defineOp.ts";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import {
  defaultBackend,
  exp,
  log,
  matmul,
  pow,
  setBackend,
  setDefaultBackend,
  sigmoid,
  softplus,
  sum,
  type Tensor,
  tanh,
  tensor,
} from "../src/index.ts";
import { casesOf, claimsOf, complaintsOf } from "./support/opsOnDevice.ts";
import { dots, exactDot, ulpsBetween } from "./support/rational.ts";

describe("reproducible mode on the CPU", () => {
  const before = defaultBackend();
  beforeAll(async () => {
    await setBackend("cpu", { reproducible: true });
  });
  afterAll(() => setDefaultBackend(before));

  it("says so, and leaves the other CPU backend as it is", async () => {
    expect(defaultBackend().info()).toMatchObject({ name: "cpu", reproducible: true });
    expect(before.info().reproducible).toBe(false);
    expect(await setBackend("cpu", { reproducible: false })).toBe(before);
    expect((await setBackend("cpu", { reproducible: true })).info().description).toMatch(/, reproducible$/);
  });

  it("is asked for by the environment as well", () => {
    vi.stubEnv("GRADWEAVE_REPRODUCIBLE", "1");
    expect(createCpuBackend({ wasm: false }).info().reproducible).toBe(true);
    expect(createCpuBackend({ wasm: false, reproducible: false }).info().reproducible).toBe(false);
    vi.stubEnv("GRADWEAVE_REPRODUCIBLE", "yes");
    expect(() => createCpuBackend({ wasm: false })).toThrow(
      'GRADWEAVE_REPRODUCIBLE is "yes"; it may be 0 or 1',
    );
    vi.unstubAllEnvs();
  });

  it("sums products exactly and rounds once", () => {
    fc.assert(
      fc.property(dots, ({ a, b }) => {
        const product = matmul(tensor(a, { shape: [1, a.length] }), tensor(b, { shape: [b.length, 1] }));
        expect(product.itemSync()).toBe(exactDot(a, b));
      }),
      { numRuns: 500 },
    );
  });

  it("takes sums of any order, also of many terms", () => {
    const length = 30_011;
    const values = Float32Array.from({ length }, (_, i) => Math.sin(i * i) * 2 ** (i % 19));
    const exact = exactDot(values, new Float32Array(length).fill(1));
    expect(sum(tensor(values)).itemSync()).toBe(exact);
    expect(sum(tensor(values.toReversed())).itemSync()).toBe(exact);
  });

  it("gives infinities and NaN as any sum does, and 0 for what is smaller than 2^-126", () => {
    const dot = (a: number[], b: number[]) =>
      matmul(tensor([a]), tensor(b.map((value) => [value]))).itemSync();
    expect(dot([1, 2], [Number.POSITIVE_INFINITY, 3])).toBe(Number.POSITIVE_INFINITY);
    expect(dot([1, 1], [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])).toBeNaN();
    expect(dot([1e-20, 1], [1e-20, 0])).toBe(0);
    expect(tensor([1e-20]).mul(1e-20).itemSync()).toBe(0);
    expect(sum(tensor([])).itemSync()).toBe(0);
  });

  it("rounds every function of an expression by itself", () => {
    // (1 + 2^-12)² = 1 + 2^-11 + 2^-24, whose last digit a product of its own loses.
    const x = tensor([1 + 2 ** -12]);
    expect(x.mul(x).sub(1).itemSync()).toBe(2 ** -11);
  });

  it.each([
    ["exp", exp, Math.exp, -87, 88, 2],
    ["log", log, Math.log, 2 ** -120, 1e6, 2],
    ["tanh", tanh, Math.tanh, -9, 9, 3],
    ["sigmoid", sigmoid, (x: number) => 1 / (1 + Math.exp(-x)), -80, 80, 4],
    ["softplus", softplus, (x: number) => Math.log1p(Math.exp(x)), -80, 80, 4],
    ["x³", (x: Tensor) => pow(x, 3), (x: number) => x ** 3, -80, 80, 2],
  ] as const)("%s is within a few units in the last place", (_, op, truth, from, to, allowed) => {
    const values = Float32Array.from({ length: 20_000 }, (_, i) => from + ((to - from) * i) / 20_000);
    const found = op(tensor(values)).dataSync();
    const worst = Math.max(...values.map((value, i) => ulpsBetween(found[i], truth(value))));
    expect(worst).toBeLessThanOrEqual(allowed);
  });

  it("computes every op and its gradients as their reference loops do, but for rounding", async () => {
    const backend = createCpuBackend({ reproducible: true, wasm: false });
    const complaints: string[] = [];
    // A cast to f64 has no f32 gradient to compare.
    for (const op of registeredOps().values())
      for (const example of op.name === "cast" ? [] : casesOf(op))
        for (const claim of claimsOf(example, backend)) complaints.push(...(await complaintsOf(claim)));
    expect(complaints).toEqual([]);
  });
});
