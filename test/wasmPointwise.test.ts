/**
 * Pointwise expressions as SIMD loops: random expressions over random layouts, bit by bit where f32 arithmetic leaves
 * no choice and within the stated errors where it does; special values; updates in place.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { enableRelaxedSimd, webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { pointwiseKernel } from "../src/backends/cpu/wasm/kernels/pointwise.ts";
import * as e from "../src/backends/expression.ts";
import { type Expression, evaluate } from "../src/backends/expression.ts";
import { dense, indices, inputView, type LayoutPlan, layoutPlan, outputView, plain } from "./hostViews.ts";
import {
  arithmeticTrees,
  contains,
  elementaryTrees,
  evaluateInF32,
  rangeOf,
  relativeErrors,
} from "./support/expressions.ts";
import { kernelMemory } from "./support/kernelMemory.ts";
import { CutRuntime } from "./support/sharedViews.ts";

const x = e.input(0);
const y = e.input(1);
const relaxed = enableRelaxedSimd();
const isRelaxed = relaxed === "built in" || relaxed === "by flag";

function engine() {
  if (!webAssembly) throw new Error("these tests need WebAssembly");
  return webAssembly;
}

/** The kernel without and, where the engine has it, with fused multiply-add, all on one memory. */
const memory = kernelMemory();
let fallbacks = 0;
const kernels = [false, ...(isRelaxed ? [true] : [])].map((fused) =>
  pointwiseKernel(new CutRuntime(engine(), memory, fused), () => {
    fallbacks++;
  }),
);

/** Runs with the view's data in shared memory amid NaN; nothing around it may change. */
function withShared(views: readonly HostView[], run: (shared: HostView[]) => void): void {
  const margin = 16;
  const blocks = views.map(({ data }) => {
    const block = memory.allocate("f32", data.length + 2 * margin);
    block.fill(Number.NaN);
    block.set(data, margin);
    return block;
  });
  run(
    views.map((view, i) => ({
      ...view,
      data: blocks[i].subarray(margin, margin + view.data.length),
    })),
  );
  for (const block of blocks) {
    const around = [...block.slice(0, margin), ...block.slice(-margin)];
    if (!around.every(Number.isNaN)) expect.fail("memory before or after a view was written");
    memory.release("f32", block);
  }
}

/** Values of every size, with the special ones among them. */
const specials = [
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0],
  ...[1e-45, -1e-45, 1.1e-38, -1.1e-38, 3.4028234663852886e38, -3.4028234663852886e38, 1, -1, 0.5, -0.5],
  ...[87, -87, 88.72283, 88.72284, -103.97, -103.98, 200, -200, 8388609, 1e-20, -1e-20, 0.625, 20, -20],
].map(Math.fround);

function spread(view: HostView, scale: number, share: number, seed: number): HostView {
  for (let i = 0; i < view.data.length; i++) {
    const draw = Math.imul(seed + i, 0x9e3779b1) >>> 8;
    view.data[i] = draw % 1000 < share * 1000 ? specials[draw % specials.length] : view.data[i] * scale;
  }
  return view;
}

interface Case {
  readonly shape: readonly number[];
  readonly plans: readonly LayoutPlan[];
  readonly parameters: readonly number[];
  readonly scale: number;
  readonly share: number;
  readonly seed: number;
}

const cases: fc.Arbitrary<Case> = fc.record({
  shape: fc.oneof(
    fc.tuple(fc.integer({ min: 1, max: 70 })),
    fc.tuple(fc.nat(4), fc.integer({ min: 0, max: 40 })),
    fc.tuple(fc.nat(3), fc.nat(4), fc.nat(5), fc.nat(19)),
    fc.constant([]),
  ),
  plans: fc.tuple(layoutPlan, layoutPlan, layoutPlan),
  parameters: fc.tuple(fc.constantFrom(0, 0.1, -1.5), fc.constantFrom(1, 3, 1e-8)),
  scale: fc.constantFrom(1, 1, 10, 100),
  share: fc.constantFrom(0, 0, 0.1),
  seed: fc.nat(1e6),
});

/** Runs both kernels on the case; `check` gets each element's result and inputs. Says whether they took it. */
function evaluateCase(
  expression: Expression,
  { shape, plans, parameters, scale, share, seed }: Case,
  check: (got: number, inputs: readonly number[]) => void,
): boolean {
  const views = plans.map((plan, i) =>
    spread(inputView(shape, "f32", plan, seed + i), scale, share, seed + i),
  );
  const values = views.map(dense);
  const before = fallbacks;
  for (const kernel of kernels)
    withShared([outputView(shape, "f32", plans[0]), ...views], ([output, ...inputs]) => {
      kernel(inputs, output, { expression, parameters });
      if (fallbacks > before) return;
      const results = dense(output);
      for (const [i] of [...indices(shape)].entries())
        check(
          results[i],
          values.map((all) => all[i]),
        );
      const inside = new Set<number>();
      for (const index of indices(shape))
        inside.add(index.reduce((at, n, axis) => at + n * output.strides[axis], output.offset));
      output.data.forEach((value, at) => {
        if (!inside.has(at) && !Number.isNaN(value))
          expect.fail(`element ${at} outside the view was written`);
      });
    });
  return fallbacks === before;
}

const show = (expression: Expression): string => JSON.stringify(expression);

describe("pointwise expressions in SIMD", () => {
  it("give the bits of f32 arithmetic, whatever the layout", () => {
    let taken = 0;
    const runs = 400;
    fc.assert(
      fc.property(arithmeticTrees, cases, (expression, given) => {
        const { parameters } = given;
        const took = evaluateCase(expression, given, (got, inputs) => {
          const want = evaluateInF32(expression, inputs, parameters);
          if (!Object.is(got, want))
            expect.fail(`${show(expression)} of ${inputs}: ${got}, should be ${want}`);
        });
        if (took) taken++;
      }),
      { numRuns: runs, seed: 1 },
    );
    expect(taken).toBeGreaterThan(0.6 * runs);
  });

  it("stay within the stated errors of the plain definition with elementary functions", () => {
    let [narrow, all] = [0, 0];
    fc.assert(
      fc.property(elementaryTrees, cases, (expression, given) => {
        const { parameters } = given;
        evaluateCase(expression, given, (got, inputs) => {
          const range = rangeOf(expression, inputs, parameters);
          all++;
          if (range.high - range.low <= 1e-5 * Math.abs(range.low) + 1e-30) narrow++;
          const exact = evaluate(expression, inputs, parameters);
          for (const [what, value] of Object.entries({ exact, got }))
            if (!contains(range, value))
              expect.fail(
                `${show(expression)} of ${inputs}: ${what} ${value} is not in ${JSON.stringify(range)}`,
              );
        });
      }),
      { numRuns: 400, seed: 2 },
    );
    // The intervals say something: most are hardly wider than the rounding.
    expect(narrow).toBeGreaterThan(0.7 * all);
  });
});

const unaryNames = [
  ...["neg", "exp", "log", "sqrt", "abs", "sign", "floor", "tanh", "sigmoid", "softplus"],
] as const as readonly e.UnaryFunction[];

/** The kernel's results for a list of numbers. */
function apply(kernel: (typeof kernels)[number], expression: Expression, values: Float32Array): Float32Array {
  const shape = [values.length];
  const view: HostView = { dtype: "f32", data: values, shape, strides: [1], offset: 0 };
  let results = new Float32Array(0);
  const before = fallbacks;
  withShared([outputView(shape, "f32", plain), view], ([output, input]) => {
    kernel([input], output, { expression, parameters: [] });
    results = Float32Array.from(output.data);
  });
  expect(fallbacks).toBe(before);
  return results;
}

describe("functions of one argument", () => {
  it.each(unaryNames)("%s of NaN, infinities, zeros, denormals and extremes", (name) => {
    const expression: Expression = { kind: "unary", name, x };
    for (const kernel of kernels) {
      const got = apply(kernel, expression, Float32Array.from(specials));
      specials.forEach((value, i) => {
        const exact = evaluate(expression, [value], []);
        const want = Math.fround(exact);
        const special = !Number.isFinite(want) || !Number.isFinite(value) || value === 0;
        if (special) expect(got[i], `${name}(${value})`).toBe(want);
        else if (!(Math.abs(got[i] - exact) <= 2e-7 * Math.abs(exact) + 2e-38))
          expect.fail(`${name}(${value}) is ${got[i]}, should be ${want}`);
      });
    }
  });

  it.each(["exp", "log", "tanh", "sigmoid", "softplus"] as const)("%s over all of f32", (name) => {
    const expression: Expression = { kind: "unary", name, x };
    const stride = 15_485_863;
    const count = Math.floor(2 ** 32 / 4093);
    const bits = Int32Array.from({ length: count }, (_, i) => Math.imul(i, stride));
    const values = new Float32Array(bits.buffer);
    const relative = relativeErrors[name] ?? 0;
    // exp is right to half of the smallest number, the others go to 0 where they are hardly normal.
    const absolute = { exp: 2 ** -150, log: 0, tanh: 0, sigmoid: 2e-38, softplus: 2e-38 }[name];
    for (const kernel of kernels) {
      const got = apply(kernel, expression, values);
      for (let i = 0; i < count; i++) {
        const exact = evaluate(expression, [values[i]], []);
        const want = Math.fround(exact);
        const isRight = Number.isFinite(want)
          ? Math.abs(got[i] - exact) <= relative * Math.abs(exact) + absolute
          : Object.is(got[i], want);
        if (!isRight) expect.fail(`${name}(${values[i]}) is ${got[i]}, should be ${exact}`);
        if (name === "tanh" && Math.abs(got[i]) > 1) expect.fail(`tanh(${values[i]}) is ${got[i]}`);
      }
    }
  });
});

describe("derivatives of functions that saturate", () => {
  it.each(["sigmoid", "tanh"] as const)("of %s keep their digits where the function is 1", (name) => {
    const derivative = e.differentiate({ kind: "unary", name, x }, 0);
    if (!derivative) throw new Error(`${name} has no derivative`);
    // Two objects for the same square, as remapping the inputs of a gradient makes them.
    const expression = e.remapInputs(derivative, [0]);
    const values = Float32Array.from({ length: 400 }, (_, i) => i / 5 - 40);
    const exact = (v: number): number => {
      const u = Math.exp(-Math.abs(name === "tanh" ? 2 * v : v));
      return ((name === "tanh" ? 4 : 1) * u) / (1 + u) ** 2;
    };
    for (const kernel of kernels) {
      const got = apply(kernel, expression, values);
      for (let i = 0; i < values.length; i++)
        if (!(Math.abs(got[i] - exact(values[i])) <= 5e-7 * exact(values[i])))
          expect.fail(`d ${name}(${values[i]}) is ${got[i]}, should be ${exact(values[i])}`);
      expect([...apply(kernel, expression, Float32Array.from(specials.slice(0, 3)))]).toEqual([
        Number.NaN,
        0,
        0,
      ]);
    }
  });
});

describe("comparisons and choices", () => {
  const pairs = specials.flatMap((a) => specials.map((b) => [a, b] as const));
  const both = [0, 1].map((i) => Float32Array.from(pairs, (pair) => pair[i]));
  const negativeZero: Expression = { kind: "constant", value: -0 };
  const names = ["less", "lessEqual", "equal", "notEqual", "min", "max"] as const;
  it.each(names)("%s of special values, as numbers and as conditions", (name) => {
    const compared: Expression = { kind: "binary", name, a: x, b: y };
    const shape = [pairs.length];
    const forms = [compared, e.select(compared, x, y), e.select(compared, 0, y), e.select(compared, x, 0)];
    for (const expression of [...forms, e.select(compared, negativeZero, x)])
      for (const kernel of kernels)
        withShared(
          [0, 0, 1].map((i) => ({ dtype: "f32", data: both[i], shape, strides: [1], offset: 0 })),
          ([output, ...inputs]) => {
            kernel(inputs, output, { expression, parameters: [] });
            pairs.forEach((pair, i) => {
              expect(output.data[i], `${show(expression)} of ${pair}`).toBe(
                evaluateInF32(expression, pair, []),
              );
            });
          },
        );
  });
});

describe("updates in place", () => {
  const update = e.add(e.mul(x, e.parameter(0)), y);
  it("reach every element once, at every length", () => {
    for (const kernel of kernels)
      for (let length = 0; length <= 40; length++)
        for (const rows of [1, 3]) {
          // A column has gaps between its elements, which the kernel does not take.
          if (rows > 1 && length === 1) continue;
          const shape = [rows, length];
          const gap = 5;
          const strides = [length + gap, 1];
          const data = Float32Array.from({ length: rows * (length + gap) }, (_, i) => i + 1);
          const change = { dtype: "f32" as const, data, shape, strides, offset: 0 };
          withShared([change, { ...change, strides: [0, 1] }], ([target, step]) => {
            kernel([target, step], target, { expression: update, parameters: [3] });
            const wanted = data.map((value, i) => {
              const column = i % (length + gap);
              return column < length ? value * 3 + data[column] : value;
            });
            expect([...target.data], `${rows} x ${length}`).toEqual([...wanted]);
          });
        }
  });
});

describe("run-time numbers", () => {
  it("are combined in f64: 1 − 0.999 is not off by the rounding of 0.999", () => {
    const expression = e.mul(e.sub(1, e.parameter(0)), x);
    const view: HostView = { dtype: "f32", data: Float32Array.of(1000), shape: [1], strides: [1], offset: 0 };
    for (const kernel of kernels)
      withShared([view, view], ([output, input]) => {
        kernel([input], output, { expression, parameters: [0.999] });
        expect(output.data[0]).toBe(1);
      });
  });

  it("may be infinite, or differ in the sign of zero only", () => {
    const expression = e.add(
      e.div(x, e.mul(e.parameter(0), { kind: "constant", value: -0 })),
      e.min(e.div(x, e.mul(e.parameter(0), { kind: "constant", value: 0 })), e.parameter(1)),
    );
    const view: HostView = { dtype: "f32", data: Float32Array.of(-1), shape: [], strides: [], offset: 0 };
    for (const kernel of kernels)
      withShared([view, view], ([output, input]) => {
        kernel([input], output, { expression, parameters: [1, Number.POSITIVE_INFINITY] });
        // −1 / −0 + min(−1 / 0, ∞) = ∞ − ∞
        expect(output.data[0]).toBeNaN();
      });
  });
});

describe("what the kernel does not take", () => {
  const row = (dtype: "f32" | "f64" | "bool", stride = 1): HostView => ({
    dtype,
    data: memory.allocate(dtype, 16),
    shape: [4],
    strides: [stride],
    offset: 0,
  });
  const heap: HostView = { ...row("f32"), data: new Float32Array(16) };
  const many = Array.from({ length: 300 }, (_, i) => e.parameter(i)).reduce(
    (sum, number) => e.add(sum, e.mul(x, number)),
    x,
  );
  it.each([
    ["pow", e.pow(x, y), [row("f32"), row("f32")], row("f32")],
    ["f64", e.add(x, y), [row("f64"), row("f64")], row("f64")],
    ["a boolean input with gaps", e.select(x, y, 0), [row("bool", 2), row("f32")], row("f32")],
    ["an input with gaps", e.neg(x), [row("f32", 2)], row("f32")],
    ["an output with gaps", e.neg(x), [row("f32")], row("f32", 2)],
    ["memory of its own", e.neg(x), [heap], row("f32")],
    ["more run-time numbers than its table holds", many, [row("f32")], row("f32")],
  ] satisfies [string, Expression, HostView[], HostView][])(
    "%s goes to the typed-array loop",
    (_, expression, inputs, output) => {
      for (const kernel of kernels) {
        const before = fallbacks;
        kernel(inputs, output, { expression, parameters: Array(300).fill(1) });
        expect(fallbacks).toBe(before + 1);
      }
    },
  );
});
