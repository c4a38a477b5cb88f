/** The WebAssembly masks of dropout against the generator's own Bernoulli draws: the same bits, of any length. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { dropoutMaskKernels } from "../src/backends/cpu/wasm/kernels/dropoutMask.ts";
import { dropout, Generator, ones } from "../src/index.ts";
import { outputView, plain } from "./hostViews.ts";
import { expectWithin, workplace } from "./support/sharedViews.ts";

const probabilities = fc.oneof(
  fc.constantFrom(0, 0.1, 0.25, 0.5, 1 - 2 ** -32, 1),
  fc.double({ min: 0, max: 1, noNaN: true }),
);

/** The mask by the generator's definition, from the same state. */
function expectedMask(generator: Generator, length: number, probability: number): Float32Array {
  const kept = new Float32Array(length);
  generator.bernoulli(kept, 1 - probability);
  return kept.map((value) => value * (probability < 1 ? 1 / (1 - probability) : 0));
}

/** Memory behind the mask, in which nothing may be written. */
const roomAfter = { ...plain, after: [20, 0, 0, 0, 0] };

describe("WebAssembly masks of dropout", () => {
  const { runtime, share, clear } = workplace(false);
  const kernels = dropoutMaskKernels(runtime);
  const never = (): never => {
    throw new Error("the kernel left its call to the reference loops");
  };

  it("are the generator's, whatever the seed, the draw and the length", () => {
    const lengths = fc.oneof(fc.nat(70), fc.constantFrom(1023, 2048, 2049, 4100));
    const seeds = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(lengths, probabilities, seeds, fc.nat(2 ** 46), (length, probability, seed, draws) => {
        clear();
        const [ours, theirs] = [0, 1].map(() => {
          const generator = new Generator(seed);
          generator.restore({ ...generator.state(), draw: draws });
          return generator;
        });
        const output = share(outputView([length], "f32", roomAfter));
        kernels.dropoutMask([], output, { draw: ours.takeDraw(), probability }, never);
        expectWithin(output, expectedMask(theirs, length, probability), new Float64Array(length));
        expect(ours.state()).toEqual(theirs.state());
      }),
      { numRuns: 300 },
    );
  });

  it.each([true, false])("are what dropout multiplies with (WebAssembly: %s)", (wasm) => {
    const backend = createCpuBackend({ wasm });
    for (const dtype of ["f32", "f64"] as const) {
      const y = dropout(ones([3, 5, 7], { backend, dtype }), 0.3, { generator: new Generator(5) });
      const expected = expectedMask(new Generator(5), 105, 0.3);
      for (const [i, value] of y.dataSync().entries()) expect(Math.fround(value)).toBe(expected[i]);
    }
  });
});
