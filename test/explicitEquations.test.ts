/** The hand-written equations (1) to (4) and autograd give the same gradients, and each depends on what it should. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { add, concat, conv2d, grad, mul, slice, sum } from "../src/autograd/index.ts";
import {
  type CspMaps,
  type CspWeights,
  cspBackward,
  cspForward,
  denseBackward,
  denseForward,
} from "../src/gradflow/index.ts";
import { randn } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** Different numbers for every name, the same for the same name. */
function source(seed: number) {
  const generator = new Generator(seed);
  return (shape: readonly number[]) => randn(shape, { dtype: "f64", generator });
}

/** The largest difference, relative to the largest number. */
function relativeError(actual: Tensor, expected: Tensor): number {
  expect(actual.shape).toEqual(expected.shape);
  const [a, b] = [actual.dataSync(), expected.dataSync()];
  const largest = Math.max(...Array.from(b, Math.abs), Number.MIN_VALUE);
  return Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]))) / largest;
}

function expectClose(what: string, actual: readonly Tensor[], expected: readonly Tensor[]): void {
  expect(actual.length, what).toBe(expected.length);
  actual.forEach((tensor, i) => {
    expect(relativeError(tensor, expected[i]), `${what} ${i}`).toBeLessThanOrEqual(1e-10);
  });
}

const bits = (tensors: readonly Tensor[]) => tensors.map((tensor) => Array.from(tensor.dataSync()));

/** A same-size convolution, without a word from the code under test. */
const star = (w: Tensor, x: Tensor) => conv2d(x, w, { padding: (w.shape[3] - 1) / 2 });

const asked = (tensors: readonly Tensor[]) => {
  for (const tensor of tensors) tensor.requiresGrad = true;
};

/** Σ xᵢ · outerᵢ: a loss whose gradient from behind the stage is `outer`. */
const against = (x: readonly Tensor[], outer: readonly Tensor[]) =>
  x.map((map, i) => sum(mul(map, outer[i]))).reduce((a, b) => add(a, b));

interface Sizes {
  readonly layers: number;
  readonly images: number;
  readonly channels: number;
  readonly bypass: number;
  readonly growth: readonly number[];
  readonly kernels: readonly number[];
  readonly height: number;
  readonly width: number;
  readonly outT: number;
  readonly outU: number;
  readonly seed: number;
}

const upTo = (max: number) => fc.integer({ min: 1, max });
const sizes: fc.Arbitrary<Sizes> = fc.record({
  layers: upTo(5),
  images: upTo(3),
  channels: upTo(5),
  bypass: upTo(4),
  growth: fc.array(upTo(4), { minLength: 5, maxLength: 5 }),
  kernels: fc.array(fc.constantFrom(1, 3), { minLength: 7, maxLength: 7 }),
  height: upTo(6),
  width: upTo(6),
  outT: upTo(4),
  outU: upTo(4),
  seed: fc.nat(9999),
});

const kernel = (size: number) => [size, size];

function denseWeights(
  { layers, channels, growth, kernels }: Sizes,
  numbers: (shape: readonly number[]) => Tensor,
) {
  let read = channels;
  return Array.from({ length: layers }, (_, i) => {
    const weight = numbers([growth[i], read, ...kernel(kernels[i])]);
    read += growth[i];
    return weight;
  });
}

function cspNumbers(drawn: Sizes) {
  const numbers = source(drawn.seed);
  const { images, channels, bypass, growth, layers, kernels, height, width, outT, outU } = drawn;
  const dense = denseWeights(drawn, numbers);
  const denseWidth = growth.slice(0, layers).reduce((total, n) => total + n, channels);
  const weights: CspWeights = {
    dense,
    T: numbers([outT, denseWidth, ...kernel(kernels[5])]),
    U: numbers([outU, bypass + outT, ...kernel(kernels[6])]),
  };
  const x0 = numbers([images, bypass + channels, height, width]);
  return { weights, x0, gradientOfU: numbers([images, outU, height, width]) };
}

const listed = ({ dense, T, U }: CspWeights) => [...dense, T, U];
const listedMaps = ({ bypass, dense, T, U }: CspMaps) => [bypass, ...dense, T, U];

describe("equations (1) and (2)", () => {
  it("give autograd's feature maps, map gradients and weight gradients", () => {
    fc.assert(
      fc.property(sizes, (drawn) => {
        const numbers = source(drawn.seed);
        const weights = denseWeights(drawn, numbers);
        const x = [numbers([drawn.images, drawn.channels, drawn.height, drawn.width])];
        asked([...weights, ...x]);
        for (const weight of weights) x.push(star(weight, concat(x, 1)));
        const outer = x.map(({ shape }) => numbers(shape));

        const explicit = denseForward(x[0], weights);
        const backward = denseBackward(explicit, weights, outer);
        const gradients = grad(against(x, outer), [...weights, ...x]);
        expectClose("x", explicit, x);
        expectClose("∂L/∂w", backward.weights, gradients.slice(0, weights.length));
        expectClose("g", backward.maps, gradients.slice(weights.length));
      }),
      { numRuns: 60 },
    );
  });
});

describe("equations (3) and (4)", () => {
  it("give autograd's feature maps, map gradients and weight gradients", () => {
    fc.assert(
      fc.property(sizes, (drawn) => {
        const { weights, x0, gradientOfU } = cspNumbers(drawn);
        asked([x0, ...listed(weights)]);
        const bypass = slice(x0, 1, 0, drawn.bypass);
        const dense = [slice(x0, 1, drawn.bypass)];
        for (const weight of weights.dense) dense.push(star(weight, concat(dense, 1)));
        const T = star(weights.T, concat(dense, 1));
        const maps = { bypass, dense, T, U: star(weights.U, concat([bypass, T], 1)) };

        const explicit = cspForward(x0, drawn.bypass, weights);
        const backward = cspBackward(explicit, weights, gradientOfU);
        const all = [...listed(weights), ...listedMaps(maps), x0];
        const gradients = grad(against([maps.U], [gradientOfU]), all);
        expectClose("x", listedMaps(explicit), listedMaps(maps));
        expectClose(
          "gradient",
          [...listed(backward.weights), ...listedMaps(backward.maps), backward.input],
          gradients,
        );
      }),
      { numRuns: 60 },
    );
  });

  it("lets nothing of one side into the other side's update, whatever the sizes", () => {
    fc.assert(
      fc.property(sizes, (drawn) => {
        const { weights, x0, gradientOfU } = cspNumbers(drawn);
        const maps = cspForward(x0, drawn.bypass, weights);
        const before = cspBackward(maps, weights, gradientOfU);
        const denseSide = ({ weights: w, maps: g }: typeof before) =>
          bits([...w.dense, w.T, ...g.dense, g.T]);

        // Other values that go around the block: only w_U learns of it.
        const numbers = source(drawn.seed + 1);
        const around = concat([numbers(maps.bypass.shape), slice(x0, 1, drawn.bypass)], 1);
        const other = cspBackward(cspForward(around, drawn.bypass, weights), weights, gradientOfU);
        expect(denseSide(other)).toEqual(denseSide(before));
        expect(bits([other.maps.bypass])).toEqual(bits([before.maps.bypass]));
        expect(bits([other.weights.U])).not.toEqual(bits([before.weights.U]));

        // Another block, another transition: the gradient of x_0' stays what it was.
        const changed = {
          ...weights,
          dense: weights.dense.map(({ shape }) => numbers(shape)),
          T: numbers(weights.T.shape),
        };
        const block = cspBackward(cspForward(x0, drawn.bypass, changed), changed, gradientOfU);
        expect(bits([block.maps.bypass])).toEqual(bits([before.maps.bypass]));
        expect(bits([block.weights.T])).not.toEqual(bits([before.weights.T]));
      }),
      { numRuns: 40 },
    );
  });

  it("updates w_U's two halves from g_U and, each, from one of x_0' and x_T alone", () => {
    fc.assert(
      fc.property(sizes, (drawn) => {
        const { weights, x0, gradientOfU } = cspNumbers(drawn);
        const maps = cspForward(x0, drawn.bypass, weights);
        const half = (used: CspMaps, from: number, to?: number) =>
          bits([slice(cspBackward(used, weights, gradientOfU).weights.U, 1, from, to)]);
        const numbers = source(drawn.seed + 1);
        const otherT = { ...maps, T: numbers(maps.T.shape) };
        const otherBypass = { ...maps, bypass: numbers(maps.bypass.shape) };
        expect(half(otherT, 0, drawn.bypass)).toEqual(half(maps, 0, drawn.bypass));
        expect(half(otherBypass, drawn.bypass)).toEqual(half(maps, drawn.bypass));
      }),
      { numRuns: 40 },
    );
  });
});

describe("the gradient set of a dense layer", () => {
  it("is made of the maps it reads: w_i's gradient has a block for each, and none for later maps", () => {
    fc.assert(
      fc.property(sizes, fc.nat(5), (drawn, j) => {
        const numbers = source(drawn.seed);
        const weights = denseWeights(drawn, numbers);
        const x = denseForward(numbers([drawn.images, drawn.channels, drawn.height, drawn.width]), weights);
        const outer = x.map(({ shape }) => numbers(shape));
        const changed = Math.min(j, weights.length);
        const others = x.map((map, i) => (i === changed ? numbers(map.shape) : map));
        const before = denseBackward(x, weights, outer);
        const after = denseBackward(others, weights, outer);
        weights.forEach((_, layer) => {
          const same = bits([before.weights[layer]])[0].every(
            (v, i) => v === bits([after.weights[layer]])[0][i],
          );
          // Layer i (counted from 1) reads x_0 … x_{i-1}.
          expect(same, `w_${layer + 1} when x_${changed} changes`).toBe(changed > layer);
        });
        expect(bits(after.maps)).toEqual(bits(before.maps));
      }),
      { numRuns: 40 },
    );
  });

  it("receives the gradient from behind x_j only in layers up to j", () => {
    const drawn = fc.sample(sizes, { seed: 1, numRuns: 1 })[0];
    const five = { ...drawn, layers: 5 };
    const numbers = source(7);
    const weights = denseWeights(five, numbers);
    const x = denseForward(numbers([2, five.channels, 4, 3]), weights);
    const outer = x.map(({ shape }) => numbers(shape));
    const before = denseBackward(x, weights, outer);
    for (let j = 0; j <= 5; j++) {
      const other = outer.map((g, i) => (i === j ? numbers(g.shape) : g));
      const after = denseBackward(x, weights, other);
      const differs = weights.map((_, i) => relativeError(after.weights[i], before.weights[i]) > 0);
      expect(differs, `outer gradient of x_${j}`).toEqual([1, 2, 3, 4, 5].map((layer) => layer <= j));
    }
  });
});
