/** The bottleneck finder on lists whose answer is known, and on the detectors of figure 7. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bottlenecks, compareBottlenecks, type NamedCost } from "../src/graph/bottlenecks.ts";

interface Detector {
  readonly bars: Readonly<Record<string, number>>;
  readonly layers: readonly (readonly [name: string, flops: number])[];
}

const figure7: Record<string, Detector> = JSON.parse(
  readFileSync(new URL("fixtures/figure7/figure7.json", import.meta.url), "utf8"),
);
const costsOf = (name: string): NamedCost[] =>
  figure7[name].layers.map(([layer, cost]) => ({ name: layer, cost }));

describe("bottlenecks", () => {
  it("finds what sticks out, the largest first, and says by how much", () => {
    const layers = [1, 1, 30, 1, 0, 1, 26, 1, 1, 2].map((cost, i) => ({ name: `layer ${i}`, cost }));
    const profile = bottlenecks(layers, { timesMean: 2 });
    expect(profile).toMatchObject({ layers: 9, total: 64, mean: 64 / 9, balance: 64 / 9 / 30 });
    expect(profile.bottlenecks).toEqual([
      { name: "layer 2", cost: 30, position: 2, share: 30 / 64, timesMean: 270 / 64 },
      { name: "layer 6", cost: 26, position: 6, share: 26 / 64, timesMean: 234 / 64 },
    ]);
    expect(profile.largest).toEqual(profile.bottlenecks[0]);
  });

  it("finds nothing where all cost the same, or nothing at all", () => {
    expect(bottlenecks([1, 2, 3].map((i) => ({ name: `${i}`, cost: 7 })))).toMatchObject({
      ...{ balance: 1, bottlenecks: [], largest: { name: "1", position: 0 } },
    });
    expect(bottlenecks([])).toMatchObject({ layers: 0, total: 0, largest: null, bottlenecks: [] });
    expect(bottlenecks([{ name: "a", cost: 0 }])).toMatchObject({ layers: 0, largest: null });
  });

  it("refuses what is no cost, and no factor", () => {
    for (const cost of [-1, Number.NaN, Infinity])
      expect(() => bottlenecks([{ name: "conv", cost }])).toThrow(`layer conv costs ${cost}`);
    expect(() => bottlenecks([], { timesMean: 0 })).toThrow("timesMean 0");
    expect(() => compareBottlenecks([], [{ name: "a", cost: 1 }])).toThrow("the first network");
  });

  it("agrees with the definition on any list, in any unit", () => {
    const list = fc.array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(
        list,
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 1e6 }),
        (costs, factor, unit) => {
          const layers = costs.map((cost, i) => ({ name: `${i}`, cost: cost * unit }));
          const found = bottlenecks(layers, { timesMean: factor }).bottlenecks.map(
            ({ position }) => position,
          );
          const spent = costs.filter((cost) => cost > 0);
          const total = spent.reduce((sum, cost) => sum + cost, 0);
          const expected = costs.flatMap((cost, i) => (cost * spent.length > factor * total ? [i] : []));
          // A layer that costs exactly `factor` times the mean may fall to either side by rounding.
          const onTheLine = costs.flatMap((cost, i) => (cost * spent.length === factor * total ? [i] : []));
          const clear = (positions: number[]) =>
            positions.filter((i) => !onTheLine.includes(i)).sort((a, b) => a - b);
          expect(clear(found)).toEqual(clear(expected));
        },
      ),
    );
  });
});

describe("figure 7", () => {
  it("has the largest layers of section 4.5", () => {
    const largest = (name: string) => bottlenecks(costsOf(name)).largest;
    // numbers in BFLOPs; positions are those of the figure's axis
    expect((largest("PeleeNet-YOLO")?.cost ?? 0) / 1e9).toBeCloseTo(0.997, 3);
    expect(largest("PeleeNet-YOLO")?.position).toBe(123);
    expect((largest("PeleeNet-PRN")?.cost ?? 0) / 1e9).toBeCloseTo(0.354, 3);
    expect(largest("PeleeNet-PRN")?.position).toBe(20);
    expect((largest("CSPPeleeNet-EFM")?.cost ?? 0) / 1e9).toBeCloseTo(0.199, 3);
    expect(bottlenecks(costsOf("PeleeNet-PRN")).bottlenecks.map(({ position }) => position)).toEqual([
      ...[20, 42, 84, 118, 123, 116],
    ]);
  });

  it("shows CSPPeleeNet-EFM 44 % below PeleeNet-PRN and 80 % below PeleeNet-YOLO, and better balanced", () => {
    const efm = costsOf("CSPPeleeNet-EFM");
    const fromPrn = compareBottlenecks(costsOf("PeleeNet-PRN"), efm);
    expect(Math.round(100 * fromPrn.largestChange)).toBe(-44);
    const fromYolo = compareBottlenecks(costsOf("PeleeNet-YOLO"), efm);
    expect(Math.round(100 * fromYolo.largestChange)).toBe(-80);
    expect(fromYolo.totalChange).toBeCloseTo(4.8685 / 5.0564 - 1, 3);
    expect(fromYolo.after.balance).toBeGreaterThan(4 * fromYolo.before.balance);
  });
});
