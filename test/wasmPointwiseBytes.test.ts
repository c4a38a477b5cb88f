/**
 * Pointwise expressions over booleans and bytes (comparisons, where) in SIMD: the same elements as the typed-array
 * loops give, whatever the layouts, and not a byte around them changed.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { HostView } from "../src/backends/backend.ts";
import { runPointwise } from "../src/backends/cpu/pointwise.ts";
import { webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { pointwiseKernel } from "../src/backends/cpu/wasm/kernels/pointwise.ts";
import type { DType } from "../src/backends/dtype.ts";
import * as e from "../src/backends/expression.ts";
import { inputView, layoutPlan, outputView, plain } from "./hostViews.ts";
import { kernelMemory } from "./support/kernelMemory.ts";
import { CutRuntime } from "./support/sharedViews.ts";

if (!webAssembly) throw new Error("these tests need WebAssembly");
const memory = kernelMemory();
let fallbacks = 0;
const kernel = pointwiseKernel(new CutRuntime(webAssembly, memory, false), () => {
  fallbacks++;
});

const [x, y, z] = [0, 1, 2].map(e.input);
type Kinds = readonly ["f32" | "u8" | "bool", ...("f32" | "u8" | "bool")[]];
interface ByteCase {
  readonly expression: e.Expression;
  readonly inputs: Kinds;
  readonly output: "f32" | "u8" | "bool";
}

const comparisons: ByteCase[] = [e.less, e.lessEqual, e.equal, e.notEqual].flatMap((compare) =>
  (["f32", "u8", "bool"] as const).map((dtype) => ({
    expression: compare(x, y),
    inputs: [dtype, dtype],
    output: "bool",
  })),
);
const choices: ByteCase[] = (["f32", "u8", "bool"] as const).map((dtype) => ({
  expression: e.select(x, y, z),
  inputs: ["bool", dtype, dtype],
  output: dtype,
}));
const others: ByteCase[] = [
  // The gradients of where.
  { expression: e.select(x, y, 0), inputs: ["bool", "f32"], output: "f32" },
  { expression: e.select(x, 0, y), inputs: ["bool", "f32"], output: "f32" },
  // The same byte as a condition, in a comparison and as a number.
  {
    expression: e.select(e.less(x, 100), e.select(x, e.add(x, y), y), e.neg(x)),
    inputs: ["u8", "f32"],
    output: "f32",
  },
  { expression: e.select(e.equal(x, y), 255, z), inputs: ["f32", "f32", "u8"], output: "u8" },
];

const shapes = fc.oneof(
  fc.tuple(fc.integer({ min: 0, max: 70 })),
  fc.tuple(fc.nat(4), fc.integer({ min: 0, max: 40 })),
  fc.tuple(fc.nat(3), fc.nat(4), fc.nat(5), fc.nat(19)),
  fc.constant([]),
);
const specials = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, 1];

/** The values as bytes, or as few f32 of which many are equal and some are special. */
function asKind(view: HostView, dtype: DType): HostView {
  const { data } = view;
  if (dtype === "f32")
    return { ...view, data: data.map((v, i) => (i % 5 === 0 ? specials[i % 6] : Math.round(3 * v))) };
  // Any byte that is not 0 is true to a condition; most should be small enough to meet their equals.
  const largest = dtype === "bool" ? 2 : 256;
  const byte = (v: number, i: number) =>
    Number.isNaN(v) ? 0xee : Math.floor(((v + 1) / 2) * largest) >> (i % 3);
  return { ...view, dtype, data: Uint8Array.from(data, byte) };
}

/** Memory in which each view lies between two margins, filled as poisoned memory is. */
function share(view: HostView): { readonly view: HostView; readonly block: HostView["data"] } {
  const margin = 21;
  const block = memory.allocate(view.dtype, view.data.length + 2 * margin);
  block.fill(view.dtype === "f32" ? Number.NaN : 0xee);
  block.set(view.data, margin);
  return { view: { ...view, data: block.subarray(margin, margin + view.data.length) }, block };
}

describe("pointwise expressions over bytes in SIMD", () => {
  it("give what the typed-array loops give, and write nothing else", () => {
    let taken = 0;
    const numRuns = 600;
    fc.assert(
      fc.property(
        fc.constantFrom(...comparisons, ...choices, ...others),
        shapes,
        fc.tuple(layoutPlan, layoutPlan, layoutPlan, layoutPlan),
        fc.nat(1e6),
        ({ expression, inputs: kinds, output: kind }, shape, plans, seed) => {
          const given = kinds.map((dtype, i) => asKind(inputView(shape, "f32", plans[i], seed + i), dtype));
          const target = asKind(outputView(shape, "f32", plans[3]), kind);
          const shared = [target, ...given].map(share);
          const [output, ...inputs] = shared.map(({ view }) => view);
          const before = fallbacks;
          kernel(inputs, output, { expression, parameters: [] });
          const wanted = Array.from(shared[0].block);
          if (fallbacks === before) {
            taken++;
            const expected = { ...target, data: target.data.slice() };
            runPointwise(given, expected, { expression, parameters: [] });
            wanted.splice(21, expected.data.length, ...expected.data);
          }
          expect(Array.from(shared[0].block)).toEqual(wanted);
          for (const { view, block } of shared) memory.release(view.dtype, block);
        },
      ),
      { numRuns, seed: 3 },
    );
    expect(taken).toBeGreaterThan(0.6 * numRuns);
  });

  it("leave bytes that are computed to the loops, which wrap them as the array does", () => {
    const view = (dtype: "f32" | "u8") => share(asKind(inputView([9], "f32", plain, 1), dtype)).view;
    const cases: [e.Expression, HostView[]][] = [
      [e.add(x, y), [view("u8"), view("u8")]],
      [e.select(x, 256, y), [view("u8"), view("u8")]],
      [e.select(x, y, 0), [view("u8"), view("f32")]],
      [e.neg(x), [view("u8")]],
    ];
    for (const [expression, inputs] of cases) {
      const before = fallbacks;
      kernel(inputs, view("u8"), { expression, parameters: [] });
      expect(fallbacks).toBe(before + 1);
    }
  });
});
