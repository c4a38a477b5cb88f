/** Measures on gradient pieces: known answers, the invariances that each claims, and what has no answer. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cosineSimilarity,
  effectiveRank,
  firstDirectionShare,
  gramMatrix,
  gramRows,
  norms,
  pearsonCorrelation,
  sharedEnergy,
  symmetricEigenvalues,
} from "../src/gradflow/index.ts";
import { randn, tensor } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";

type Vectors = readonly (readonly number[])[];

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, value, i) => sum + value * b[i], 0);
const gram = (vectors: Vectors) => vectors.map((a) => vectors.map((b) => dot(a, b)));
const scaled = (vector: readonly number[], factor: number) => vector.map((value) => value * factor);
const unit = (length: number, at: number) => Array.from({ length }, (_, i) => (i === at ? 1 : 0));

/** A reflection: v − 2 (v·n) n / |n|². */
const reflected = (v: readonly number[], n: readonly number[]) => {
  const factor = (2 * dot(v, n)) / dot(n, n);
  return v.map((value, i) => value - factor * n[i]);
};

const number = fc.double({ min: -10, max: 10, noNaN: true }).map((value) => Math.round(value * 1e6) / 1e6);
const vectorsOf = (n: number, length: number): fc.Arbitrary<number[][]> =>
  fc.array(fc.array(number, { minLength: length, maxLength: length }), { minLength: n, maxLength: n });
/** One to six pieces, none of them tiny, and a normal of a mirror. */
const pieces = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 8 }))
  .chain(([n, length]) =>
    fc.record({ v: vectorsOf(n, length), mirror: vectorsOf(1, length).map(([row]) => row) }),
  )
  .filter(({ v, mirror }) => [...v, mirror].every((row) => dot(row, row) > 0.01));
const factor = fc.double({ min: 0.01, max: 100, noNaN: true });

const near = (actual: number | null, expected: number | null, tolerance = 1e-9) =>
  actual === expected ||
  (actual !== null &&
    expected !== null &&
    Math.abs(actual - expected) <= tolerance * Math.max(1, Math.abs(expected)));

const scalarMeasures = { sharedEnergy, firstDirectionShare, effectiveRank };

describe("known answers", () => {
  it("for identical pieces", () => {
    for (const n of [1, 2, 5]) {
      const same = gram(Array.from({ length: n }, () => [3, 0, -4]));
      expect(norms(same)).toEqual(Array(n).fill(5));
      expect(cosineSimilarity(same)).toEqual(Array(n).fill(Array(n).fill(1)));
      expect(sharedEnergy(same)).toBeCloseTo(1, 12);
      expect(firstDirectionShare(same)).toBeCloseTo(1, 12);
      expect(effectiveRank(same)).toBeCloseTo(1, 9);
    }
  });

  it("for orthogonal pieces", () => {
    const length = 4;
    const equal = gram([0, 1, 2, 3].map((at) => scaled(unit(length, at), 2)));
    expect(cosineSimilarity(equal)).toEqual([0, 1, 2, 3].map((at) => unit(length, at)));
    expect(sharedEnergy(equal)).toBeCloseTo(1 / 4, 12);
    expect(firstDirectionShare(equal)).toBeCloseTo(1 / 4, 12);
    expect(effectiveRank(equal)).toBeCloseTo(4, 12);
    // Of unequal energies 99 and 1.
    const unequal = gram([scaled(unit(2, 0), Math.sqrt(99)), unit(2, 1)]);
    expect(sharedEnergy(unequal)).toBeCloseTo(1 / 2, 12);
    expect(firstDirectionShare(unequal)).toBeCloseTo(0.99, 12);
    expect(effectiveRank(unequal)).toBeCloseTo(0.99 ** -0.99 * 0.01 ** -0.01, 12);
  });

  it("for pieces that cancel", () => {
    const opposed = gram([
      [3, 4],
      [-3, -4],
    ]);
    expect(sharedEnergy(opposed)).toBe(0);
    expect(cosineSimilarity(opposed)).toEqual([
      [1, -1],
      [-1, 1],
    ]);
    expect(effectiveRank(opposed)).toBeCloseTo(1, 9);
  });

  it.each([1, 2, 3, 4])("for six pieces along %i planted directions", (rank) => {
    // Pieces 0 … 5 take the directions in turn; an equal share of energy goes along each.
    const energy = (at: number) => Math.sqrt(1 / Math.ceil((6 - (at % rank)) / rank));
    const planted = gram(Array.from({ length: 6 }, (_, i) => scaled(unit(7, i % rank), energy(i))));
    expect(effectiveRank(planted)).toBeCloseTo(rank, 9);
    expect(firstDirectionShare(planted)).toBeCloseTo(1 / rank, 9);
  });
});

describe("claimed ranges and invariances", () => {
  it("hold for norms and cosines", () => {
    fc.assert(
      fc.property(pieces, factor, ({ v, mirror }, scale) => {
        const cosines = cosineSimilarity(gram(v));
        const others = cosineSimilarity(
          gram(v.map((row, i) => reflected(i === 0 ? scaled(row, scale) : row, mirror))),
        );
        cosines.forEach((row, a) => {
          row.forEach((value, b) => {
            expect(value).toBeGreaterThanOrEqual(-1);
            expect(value).toBeLessThanOrEqual(1);
            expect(value).toBe(cosines[b][a]);
            expect(near(value, others[a][b], 1e-6), `${value} and ${others[a][b]}`).toBe(true);
            expect(near(value, dot(v[a], v[b]) / Math.hypot(...v[a]) / Math.hypot(...v[b]))).toBe(true);
          });
        });
        norms(gram(v)).forEach((norm, i) => void expect(near(norm, Math.hypot(...v[i]))).toBe(true));
      }),
    );
  });

  it.each(Object.entries(scalarMeasures))("hold for %s", (name, measure) => {
    fc.assert(
      fc.property(pieces, factor, ({ v, mirror }, scale) => {
        const value = measure(gram(v)) ?? NaN;
        const n = v.length;
        const [low, high] =
          { sharedEnergy: [0, 1], firstDirectionShare: [1 / n, 1], effectiveRank: [1, n] }[name] ?? [];
        expect(value).toBeGreaterThanOrEqual(low - 1e-9);
        expect(value).toBeLessThanOrEqual(high + 1e-9);
        const changed = v.map((row) => scaled(reflected(row, mirror), scale));
        expect(near(measure(gram(changed)), value, 1e-6)).toBe(true);
        // The order of the consumers says nothing.
        expect(near(measure(gram([...v].reverse())), value, 1e-6)).toBe(true);
      }),
    );
  });

  it("shared energy is the energy of the sum over n times the sum of energies", () => {
    fc.assert(
      fc.property(pieces, ({ v }) => {
        const sum = v[0].map((_, i) => v.reduce((total, row) => total + row[i], 0));
        const energies = v.reduce((total, row) => total + dot(row, row), 0);
        expect(near(sharedEnergy(gram(v)), dot(sum, sum) / (v.length * energies))).toBe(true);
      }),
    );
  });

  it("shared energy never falls below 0 by rounding", () => {
    fc.assert(
      fc.property(pieces, ({ v }) => {
        const opposite = v[0].map((_, i) => -v.reduce((total, row) => total + row[i], 0));
        const value = sharedEnergy(gram([...v, opposite])) ?? NaN;
        expect(value).toBeGreaterThanOrEqual(0);
        expect(value).toBeLessThan(1e-12);
      }),
    );
  });

  it("no direction holds more energy than the first", () => {
    fc.assert(
      fc.property(pieces, ({ v, mirror }) => {
        const total = v.reduce((sum, row) => sum + dot(row, row), 0);
        const along = v.reduce((sum, row) => sum + dot(row, mirror) ** 2, 0) / dot(mirror, mirror);
        expect(firstDirectionShare(gram(v)) ?? NaN).toBeGreaterThanOrEqual(along / total - 1e-9);
      }),
    );
  });
});

it("says null where there is no answer", () => {
  const zero = gram([
    [0, 0],
    [0, 0],
  ]);
  for (const measure of Object.values(scalarMeasures)) {
    expect(measure(zero)).toBeNull();
    expect(measure([])).toBeNull();
  }
  const one = gram([
    [0, 0],
    [1, 2],
  ]);
  expect(cosineSimilarity(one)).toEqual([
    [null, null],
    [null, 1],
  ]);
  expect(sharedEnergy(one)).toBe(0.5);
  expect(effectiveRank(one)).toBe(1);
});

describe("symmetricEigenvalues", () => {
  it("finds the trace, the sum of squares, and planted eigenvalues behind a random rotation", () => {
    const diagonals = fc.array(fc.oneof(number, fc.constantFrom(0, 1, 1e-9, 1e6)), {
      minLength: 1,
      maxLength: 7,
    });
    fc.assert(
      fc.property(diagonals, fc.nat(9999), (diagonal, seed) => {
        const n = diagonal.length;
        let matrix = diagonal.map((value, i) => scaled(unit(n, i), value));
        const generator = new Generator(seed);
        for (let k = 0; k < n; k++) {
          const mirror = Array.from(randn([n], { dtype: "f64", generator }).dataSync());
          const once = matrix.map((row) => reflected(row, mirror));
          const columns = once[0].map((_, i) => once.map((row) => row[i]));
          matrix = columns.map((column) => reflected(column, mirror));
        }
        // Exactly symmetric, as a Gram matrix is.
        matrix = matrix.map((row, a) => row.map((value, b) => (a < b ? value : matrix[b][a])));
        const found = [...symmetricEigenvalues(matrix)].sort((a, b) => a - b);
        const size = Math.max(1, ...diagonal.map(Math.abs));
        [...diagonal]
          .sort((a, b) => a - b)
          .forEach((value, i) => {
            expect(Math.abs(found[i] - value)).toBeLessThan(1e-12 * size);
          });
        const trace = matrix.reduce((sum, row, i) => sum + row[i], 0);
        expect(Math.abs(found.reduce((sum, value) => sum + value, 0) - trace)).toBeLessThan(1e-12 * size);
        const squares = dot(matrix.flat(), matrix.flat());
        expect(Math.abs(dot(found, found) - squares)).toBeLessThan(1e-12 * size ** 2);
      }),
    );
  });

  it("solves what can be solved by hand", () => {
    expect(symmetricEigenvalues([])).toEqual([]);
    expect(symmetricEigenvalues([[-7]])).toEqual([-7]);
    const roots = symmetricEigenvalues([
      [2, 1],
      [1, 2],
    ]);
    expect(Math.min(...roots)).toBeCloseTo(1, 14);
    expect(Math.max(...roots)).toBeCloseTo(3, 14);
  });
});

describe("pearsonCorrelation", () => {
  it("gives known answers, whatever the scale and shift", () => {
    const correlation = Math.sqrt(27 / 28);
    expect(pearsonCorrelation([1, 2, 3], [1, 2, 2.5])).toBeCloseTo(correlation, 12);
    expect(pearsonCorrelation([1, 2, 3], [5, 3, 2])).toBeCloseTo(-correlation, 12);
    expect(pearsonCorrelation([1, -1, 1, -1], [1, 1, -1, -1])).toBe(0);
    const lists = fc.array(fc.tuple(number, number), { minLength: 2, maxLength: 12 });
    fc.assert(
      fc.property(lists, factor, number, (list, scale, shift) => {
        const [x, y] = [list.map(([a]) => a), list.map(([, b]) => b)];
        fc.pre(Math.max(...x) - Math.min(...x) > 0.01 && Math.max(...y) - Math.min(...y) > 0.01);
        const value = pearsonCorrelation(x, y) ?? NaN;
        expect(Math.abs(value)).toBeLessThanOrEqual(1);
        expect(near(pearsonCorrelation(y, x), value)).toBe(true);
        const moved = x.map((v) => v * scale + shift);
        expect(near(pearsonCorrelation(moved, y), value, 1e-6)).toBe(true);
        expect(near(pearsonCorrelation(scaled(x, -1), y), -value)).toBe(true);
      }),
    );
  });

  it("has no answer where one list is constant, and refuses lists that do not pair", () => {
    expect(pearsonCorrelation([0.1, 0.1, 0.1], [1, 2, 4])).toBeNull();
    expect(pearsonCorrelation([1, 2, 4], [0.7, 0.7, 0.7])).toBeNull();
    expect(pearsonCorrelation([], [])).toBeNull();
    expect(() => pearsonCorrelation([1], [1, 2])).toThrow("lists of 1 and 2 values cannot be paired");
  });
});

describe("gramMatrix", () => {
  it("holds all dot products, symmetric to the last bit, in f32 and f64 and for any layout", () => {
    for (const dtype of ["f32", "f64"] as const)
      for (const [n, shape] of [
        [1, [1]],
        [3, [2, 3, 5, 7]],
        [5, [8, 12, 28, 28]],
      ] as const) {
        const generator = new Generator(4);
        const tensors = Array.from({ length: n }, () => randn(shape, { dtype, generator }));
        const found = gramRows(gramMatrix(tensors).dataSync(), n);
        const expected = gram(tensors.map((piece) => Array.from(piece.dataSync())));
        found.forEach((row, a) => {
          row.forEach((value, b) => {
            expect(value).toBe(found[b][a]);
            const scale = Math.sqrt(expected[a][a] * expected[b][b]);
            expect(Math.abs(value - expected[a][b])).toBeLessThan((dtype === "f32" ? 1e-5 : 1e-13) * scale);
          });
        });
      }
    const x = tensor([
      [1, 2],
      [3, 4],
    ]);
    expect(gramMatrix([x, x.transpose()]).toArraySync()).toEqual([
      [30, 29],
      [29, 30],
    ]);
  });
});
