/** Convolutions on WebGPU with as many channels as layers have, against the CPU: weights read in place or packed. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { conv2d, grad, normReluConv2d, type Tensor, tensor } from "../src/index.ts";
import { furthest, noise } from "./support/noise.ts";
import { tensorsOnDevice, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

const layer = fc.record({
  images: fc.constantFrom(1, 3),
  groups: fc.constantFrom(1, 1, 2),
  inputs: fc.constantFrom(3, 4, 8, 12, 20),
  outputs: fc.constantFrom(1, 5, 8, 9, 16, 20),
  extent: fc.constantFrom(1, 4, 5, 7),
  window: fc.constantFrom(1, 1, 3, 3, 5),
  stride: fc.constantFrom(1, 1, 2),
  /** Where the weights begin in their memory: at a multiple of four they may be read in place. */
  offset: fc.constantFrom(0, 3, 8),
  fused: fc.boolean(),
});
type Layer = typeof layer extends fc.Arbitrary<infer Value> ? Value : never;
type Make = (values: Float32Array, shape: readonly number[]) => Tensor;

/** Output and gradients in image and weight. */
function resultsOf(
  make: Make,
  { images, groups, inputs, outputs, extent, window, stride, offset, fused }: Layer,
) {
  const shape = [images, groups * inputs, extent, extent];
  const x = make(
    noise(
      shape.reduce((a, b) => a * b),
      0,
      1,
    ),
    shape,
  );
  const weightShape = [groups * outputs, inputs, window, window];
  const size = weightShape.reduce((a, b) => a * b);
  const weight = make(noise(size + offset, 0, 2), [size + offset])
    .slice(0, offset, size + offset)
    .reshape(weightShape);
  const vector = (seed: number, mean: number) => make(noise(groups * inputs, mean, seed), [groups * inputs]);
  const parts = [x, weight, vector(3, 1), vector(4, 0)];
  const leaves = parts.map((part) => part.detach());
  for (const leaf of leaves) leaf.requiresGrad = true;
  const [image, filter, scale, shift] = leaves;
  const at = { stride, padding: window >> 1, groups };
  const y = fused
    ? normReluConv2d(image, filter, { weight: scale, bias: shift, ...at })
    : conv2d(image, filter, at).add(scale.sum()).add(shift.sum());
  const slope = make(noise(y.size, 0, 5), y.shape);
  return [y, ...grad(y, leaves, { gradients: [slope] })];
}

describe.skipIf(!options)("convolutions on WebGPU", async () => {
  it.each([
    ["of software adapters", true],
    ["of GPUs", false],
  ])(
    "are the CPU's, forward and back, whatever the channels and wherever the weights lie: kernels %s",
    async (_, quads) => {
      const onDevice = await tensorsOnDevice(options && { ...options, quads });
      const check = async (drawn: Layer) => {
        if (drawn.fused && drawn.images * drawn.extent * drawn.extent < 9) return;
        const found = await Promise.all(resultsOf(onDevice, drawn).map((each) => each.data()));
        const expected = resultsOf((values, shape) => tensor(values, { shape }), drawn).map((x) =>
          x.dataSync(),
        );
        found.forEach((values, i) => {
          expect(values.length).toBe(expected[i].length);
          expect(furthest(values, expected[i])).toBeLessThan(1e-3);
        });
      };
      await fc.assert(fc.asyncProperty(layer, check), { numRuns: 24, seed: 5 });
    },
    60_000,
  );

  it.each([
    ["of software adapters", true],
    ["of GPUs", false],
  ])(
    "lose no digits to a mean far from 0 in the norm in front of them: kernels %s",
    async (_, quads) => {
      const onDevice = await tensorsOnDevice(options && { ...options, quads });
      const property = fc.asyncProperty(
        fc.record({
          mean: fc.constantFrom(-1000, -30, 3, 100, 1000),
          channels: fc.integer({ min: 1, max: 9 }),
          extent: fc.integer({ min: 3, max: 7 }),
          window: fc.constantFrom(1, 3),
        }),
        async ({ mean, channels, extent, window }) => {
          const shape = [2, channels, extent, extent];
          const results = (make: Make) => {
            const x = make(noise(2 * channels * extent * extent, mean, 1), shape);
            const filter = make(noise(5 * channels * window * window, 0, 2), [5, channels, window, window]);
            filter.requiresGrad = true;
            const vectors = {
              weight: make(noise(channels, 1, 3), [channels]),
              bias: make(noise(channels, 0, 4), [channels]),
            };
            // The same on both sides, and representable: what is left is how the norm is applied.
            const statistics = make(
              Float32Array.from({ length: 2 * channels }, (_, i) => (i < channels ? mean : 1)),
              [2, channels],
            );
            const y = normReluConv2d(x, filter, { ...vectors, statistics, padding: window >> 1 });
            return [y, ...grad(y, [filter], { gradients: [make(noise(y.size, 0, 5), y.shape)] })];
          };
          const found = await Promise.all(results(onDevice).map((each) => each.data()));
          const expected = results((values, shape) => tensor(values, { shape })).map((each) =>
            each.dataSync(),
          );
          found.forEach((values, i) => {
            const size = furthest(expected[i], new Float32Array(expected[i].length));
            expect(furthest(values, expected[i])).toBeLessThan(2e-6 * size);
          });
        },
      );
      await fc.assert(property, { numRuns: 16, seed: 3 });
    },
    60_000,
  );

  it("keep a NaN to the outputs whose windows hold it", async () => {
    const onDevice = await tensorsOnDevice(options);
    const [channels, extent] = [5, 9];
    const values = noise(channels * extent * extent, 0, 1);
    values[0] = Number.NaN;
    values[values.length - 1] = Number.NaN;
    const x = onDevice(values, [1, channels, extent, extent]);
    const y = conv2d(x, onDevice(noise(4 * channels * 9, 0, 2), [4, channels, 3, 3]), { padding: 1 });
    const found = await y.data();
    found.forEach((value, i) => {
      const [row, column] = [Math.floor(i / extent) % extent, i % extent];
      const holds = Math.max(row, column) <= 1 || Math.min(row, column) >= extent - 2;
      expect([i, Number.isNaN(value)]).toEqual([i, holds]);
    });
  });
});
