/** CKA, running statistics and Student's t: known answers, claimed invariances, and what has no answer. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ckaGram,
  cosineSimilarity,
  debiasedCka,
  effectiveRank,
  firstDirectionShare,
  gramRows,
  linearCka,
  norms,
  pearsonCorrelation,
  pearsonFromGram,
  RunningStatistics,
  sharedEnergy,
  smallestCosine,
  studentT95,
  summarize,
} from "../src/gradflow/index.ts";
import { randn, tensor } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";

type Matrix = number[][];

const normal = (rows: number, columns: number, seed: number): Matrix => {
  const flat = randn([rows, columns], { dtype: "f64", generator: new Generator(seed) }).dataSync();
  return Array.from({ length: rows }, (_, i) => Array.from(flat.subarray(i * columns, (i + 1) * columns)));
};
const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * b[i], 0);
const kernel = (x: Matrix) => x.map((a) => x.map((b) => dot(a, b)));
const times = (x: Matrix, y: Matrix) =>
  x.map((row) =>
    y[0].map((_, j) =>
      dot(
        row,
        y.map((r) => r[j]),
      ),
    ),
  );
const transposed = (x: Matrix) => x[0].map((_, j) => x.map((row) => row[j]));

/** Reflections make an orthogonal matrix. */
function orthogonal(size: number, seed: number): Matrix {
  let result: Matrix = Array.from({ length: size }, (_, i) =>
    Array.from({ length: size }, (_v, j) => (i === j ? 1 : 0)),
  );
  for (const n of normal(3, size, seed))
    result = result.map((v) => v.map((value, i) => value - (2 * dot(v, n) * n[i]) / dot(n, n)));
  return result;
}

/** CKA by the formula of Kornblith et al. on the vectors themselves: |YᵀX|² / (|XᵀX| |YᵀY|), columns centred. */
function plainCka(x: Matrix, y: Matrix): number {
  const centre = (m: Matrix) => {
    const means = transposed(m).map((column) => column.reduce((a, b) => a + b, 0) / m.length);
    return m.map((row) => row.map((value, j) => value - means[j]));
  };
  const frobenius = (m: Matrix) => Math.sqrt(m.flat().reduce((sum, value) => sum + value * value, 0));
  const [a, b] = [centre(x), centre(y)];
  return (
    frobenius(times(transposed(b), a)) ** 2 /
    (frobenius(times(transposed(a), a)) * frobenius(times(transposed(b), b)))
  );
}

/** HSIC_1 of Song et al. 2012, equation (5), term by term. */
function plainHsic(k: Matrix, l: Matrix): number {
  const n = k.length;
  const off = (m: Matrix) => m.map((row, i) => row.map((value, j) => (i === j ? 0 : value)));
  const [a, b] = [off(k), off(l)];
  const all = (m: Matrix) => m.flat().reduce((sum, value) => sum + value, 0);
  const product = times(a, b);
  const trace = product.reduce((sum, row, i) => sum + row[i], 0);
  return (trace + (all(a) * all(b)) / ((n - 1) * (n - 2)) - (2 * all(product)) / (n - 2)) / (n * (n - 3));
}

const sizes = fc.record({
  n: fc.integer({ min: 4, max: 9 }),
  p: fc.integer({ min: 1, max: 6 }),
  q: fc.integer({ min: 1, max: 6 }),
  seed: fc.nat(9999),
});

describe("linear CKA", () => {
  it("is 1 for the same geometry: rotated, scaled, shifted, or written in more dimensions", () => {
    fc.assert(
      fc.property(sizes, ({ n, p, seed }) => {
        const x = normal(n, p, seed);
        const turned = times(x, orthogonal(p, seed + 1)).map((row) => row.map((value) => 3 * value + 7));
        const padded = x.map((row) => [0, ...row, 0]);
        for (const y of [x, turned, padded])
          for (const cka of [linearCka, debiasedCka]) expect(cka(kernel(x), kernel(y))).toBeCloseTo(1, 9);
      }),
      { numRuns: 40 },
    );
  });

  it("is the formula on vectors, symmetric and between 0 and 1", () => {
    fc.assert(
      fc.property(sizes, ({ n, p, q, seed }) => {
        const [x, y] = [normal(n, p, seed), normal(n, q, seed + 1)];
        const value = linearCka(kernel(x), kernel(y)) ?? NaN;
        expect(value).toBeCloseTo(plainCka(x, y), 9);
        expect(linearCka(kernel(y), kernel(x))).toBeCloseTo(value, 12);
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThanOrEqual(1);
      }),
      { numRuns: 40 },
    );
  });

  it("is 0 for examples that vary in orthogonal ways", () => {
    // x separates examples 0, 1 from 2, 3; y separates 0, 2 from 1, 3.
    const [x, y] = [
      [[1], [1], [-1], [-1]],
      [[1], [-1], [1], [-1]],
    ];
    expect(linearCka(kernel(x), kernel(y))).toBeCloseTo(0, 12);
  });
});

describe("debiased CKA", () => {
  it("is the ratio of unbiased HSIC estimates", () => {
    fc.assert(
      fc.property(sizes, ({ n, p, q, seed }) => {
        const [k, l] = [kernel(normal(n, p, seed)), kernel(normal(n, q, seed + 1))];
        const denominator = plainHsic(k, k) * plainHsic(l, l);
        fc.pre(denominator > 1e-6);
        const expected = plainHsic(k, l) / Math.sqrt(denominator);
        expect(debiasedCka(k, l)).toBeCloseTo(Math.max(-1, Math.min(1, expected)), 8);
      }),
      { numRuns: 40 },
    );
  });

  it("is 0 on average for unrelated sides of few examples, where the biased one is near 1", () => {
    const draws = Array.from({ length: 300 }, (_, seed) => [
      kernel(normal(6, 40, 2 * seed)),
      kernel(normal(6, 40, 2 * seed + 1)),
    ]);
    const { mean, interval } = summarize(draws.map(([k, l]) => debiasedCka(k, l)));
    expect(Math.abs(mean ?? NaN)).toBeLessThan(0.05);
    expect(interval?.[0]).toBeLessThan(0.02);
    expect(interval?.[1]).toBeGreaterThan(-0.02);
    expect(summarize(draws.map(([k, l]) => linearCka(k, l))).mean).toBeGreaterThan(0.7);
  });

  it("of many kernels is reduced on their backend", () => {
    for (const [dtype, digits] of [
      ["f64", 10],
      ["f32", 4],
    ] as const)
      for (const [m, n] of [
        [2, 4],
        [3, 5],
        [5, 11],
      ]) {
        const kernels = Array.from({ length: m }, (_, i) => kernel(normal(n, 3, 50 * m + i)));
        const reduced = ckaGram(kernels.map((k) => tensor(k, { dtype })));
        const found = cosineSimilarity(gramRows(reduced.dataSync(), m));
        kernels.forEach((k, a) => {
          kernels.forEach((l, b) => {
            expect(found[a][b]).toBeCloseTo(debiasedCka(k, l) ?? NaN, digits);
          });
        });
      }
    expect(() => ckaGram([tensor(kernel(normal(3, 3, 1)))])).toThrow("3 examples are too few");
  });
});

it("CKA has no answer for sides that do not vary, are no numbers, or do not pair", () => {
  const some = kernel(normal(5, 2, 1));
  const flat = kernel(Array.from({ length: 5 }, () => [0.3, 0.7]));
  const spoilt = some.map((row, i) => row.map((value) => (i === 2 ? NaN : value)));
  for (const cka of [linearCka, debiasedCka]) {
    for (const other of [flat, spoilt, some.map((row) => row.map(() => 0))]) {
      expect(cka(some, other)).toBeNull();
      expect(cka(other, some)).toBeNull();
    }
    expect(() => cka(some, kernel(normal(4, 2, 1)))).toThrow("kernels of 5 and 4 examples");
  }
  expect(debiasedCka(kernel(normal(3, 2, 1)), kernel(normal(3, 2, 2)))).toBeNull();
});

describe("Gram measures", () => {
  it("have no answer where a product is no number, and cosines only where it is none", () => {
    const gram = [
      [1, NaN, 0],
      [NaN, NaN, 0],
      [0, 0, 4],
    ];
    for (const measure of [sharedEnergy, firstDirectionShare, effectiveRank])
      expect(measure(gram)).toBeNull();
    expect(norms(gram)).toEqual([1, null, 2]);
    expect(cosineSimilarity(gram)).toEqual([
      [1, null, 0],
      [null, null, null],
      [0, null, 1],
    ]);
    expect(smallestCosine(gram)).toBe(0);
    expect(smallestCosine([[4]])).toBeNull();
    expect(
      smallestCosine(
        kernel([
          [1, 0],
          [-1, 0],
          [0, 1],
        ]),
      ),
    ).toBe(-1);
  });

  it("Pearson's correlation is that of the lists themselves", () => {
    const moments = (x: number[], y: number[]) => {
      const centred = (list: number[]) => list.map((v) => v - list.reduce((a, b) => a + b, 0) / list.length);
      return kernel([x, y, centred(x), centred(y)]);
    };
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 20 }), fc.nat(9999), (n, seed) => {
        const [x, y] = normal(2, n, seed);
        expect(pearsonFromGram(moments(x, y), 2 ** -53)).toBeCloseTo(pearsonCorrelation(x, y) ?? NaN, 9);
        expect(pearsonFromGram(moments(x, x), 2 ** -53)).toBeCloseTo(1, 9);
        const constant = x.map(() => 0.1);
        expect(pearsonFromGram(moments(x, constant), 2 ** -53)).toBeNull();
        expect(pearsonFromGram(moments(constant, y), 2 ** -53)).toBeNull();
      }),
    );
    const spoilt = moments([1, NaN, 2], [1, 2, 3]);
    expect(pearsonFromGram(spoilt, 2 ** -24)).toBeNull();
  });
});

describe("running statistics", () => {
  const lists = fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 2, maxLength: 30 });

  it("are the mean and unbiased variance, however the values are split into streams", () => {
    fc.assert(
      fc.property(lists, fc.nat(29), (values, at) => {
        const streams = [values.slice(0, at), values.slice(at)].map((part) => {
          const statistics = new RunningStatistics();
          for (const value of part) statistics.add(value);
          return statistics;
        });
        streams[0].merge(streams[1]);
        const mean = values.reduce((a, b) => a + b, 0) / values.length;
        const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
        const found = streams[0].summary();
        expect(found.count).toBe(values.length);
        expect(Math.abs((found.mean ?? NaN) - mean)).toBeLessThan(1e-9);
        expect(Math.abs((found.variance ?? NaN) - variance)).toBeLessThan(1e-9 * Math.max(1, variance));
        const half = studentT95(values.length - 1) * Math.sqrt(variance / values.length);
        expect(Math.abs((found.interval?.[1] ?? NaN) - (mean + half))).toBeLessThan(1e-6 * Math.max(1, half));
      }),
    );
  });

  it("do not lose the variance of values far from zero", () => {
    // The sum of squares would be exact to 2^53 / 1e18 only.
    expect(summarize([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]).variance).toBe(30);
  });

  it("count what is missing, and refuse what is no number", () => {
    expect(summarize([])).toEqual({ count: 0, missing: 0, mean: null, variance: null, interval: null });
    expect(summarize([null, 3])).toEqual({ count: 1, missing: 1, mean: 3, variance: null, interval: null });
    expect(summarize([2, null, 4])).toMatchObject({ count: 2, missing: 1, mean: 3, variance: 2 });
    for (const value of [NaN, Infinity]) expect(() => summarize([value])).toThrow(`${value} has no place`);
  });

  it("use Student's quantiles (scipy.stats.t.ppf(0.975, n))", () => {
    const known = {
      1: 12.706205,
      2: 4.302653,
      10: 2.228139,
      30: 2.042272,
      31: 2.039513,
      40: 2.021075,
      120: 1.97993,
      1000: 1.962339,
    };
    for (const [degrees, quantile] of Object.entries(known))
      expect(studentT95(Number(degrees))).toBeCloseTo(quantile, 5);
    for (const degrees of [0, -1, 1.5, NaN])
      expect(() => studentT95(degrees)).toThrow("must be a positive integer");
  });
});
