import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { largestBelow, smallestAtLeast } from "../src/tensor/floats.ts";
import { defaultGenerator, Generator, manualSeed } from "../src/tensor/generator.ts";
import { multiplyHigh, philox4x32, philoxBlocks } from "../src/tensor/philox.ts";

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const seed = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

describe("philox4x32", () => {
  // Random123 1.14.0, tests/kat_vectors, lines "philox4x32 10": counter, key, expected words.
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])("gives the known answer for counter %j", (counter, key, expected) => {
    const out = new Uint32Array(6);
    philox4x32(counter, key, out, 1);
    expect([...out]).toEqual([0, ...expected, 0]);
  });

  it("agrees with the paper's definition in big integers", () => {
    fc.assert(
      fc.property(fc.tuple(word, word, word, word), fc.tuple(word, word), (counter, key) => {
        const out = new Uint32Array(4);
        philox4x32(counter, key, out);
        expect([...out]).toEqual(philoxInBigIntegers(counter, key));
      }),
    );
  });

  it("fills consecutive blocks with consecutive counters, wrapping at 2^32", () => {
    const out = new Uint32Array(12);
    philoxBlocks(out, 3, 2 ** 32 - 2, 7, 8, 9, 10, 11);
    const single = new Uint32Array(4);
    for (const [block, first] of [2 ** 32 - 2, 2 ** 32 - 1, 0].entries()) {
      philox4x32([first, 7, 8, 9], [10, 11], single);
      expect(out.subarray(4 * block, 4 * block + 4)).toEqual(single);
    }
  });

  it("gives the same words for many blocks at once, with a key and a counter that run over", () => {
    const count = 4099;
    const [c1, c2, c3, k0, k1] = [0xfffffff0, 3, 0x80000000, 0xffffffff, 0x9e3779b9];
    const first = 2 ** 32 - 2050;
    const many = new Uint32Array(4 * count);
    philoxBlocks(many, count, first, c1, c2, c3, k0, k1);
    const single = new Uint32Array(4 * count);
    for (let block = 0; block < count; block++)
      philox4x32([(first + block) >>> 0, c1, c2, c3], [k0, k1], single, 4 * block);
    expect(many).toEqual(single);
  });

  it("refuses counters, keys and outputs of the wrong length", () => {
    const out = new Uint32Array(4);
    expect(() => philox4x32([1, 2, 3], [1, 2], out)).toThrow(
      "counter of 4 words and a key of 2, got 3 and 2",
    );
    expect(() => philox4x32([1, 2, 3, 4], [1], out)).toThrow("got 4 and 1");
    expect(() => philox4x32([1, 2, 3, 4], [1, 2], out, 1)).toThrow("offset 1 do not fit into an array of 4");
    expect(() => philox4x32([1, 2, 3, 4], [1, 2], out, -1)).toThrow("do not fit");
  });

  it("multiplies 32-bit words exactly", () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(multiplyHigh(a, b) >>> 0).toBe(Number((BigInt(a) * BigInt(b)) >> 32n));
      }),
    );
    expect(multiplyHigh(0xffffffff, 0xffffffff) >>> 0).toBe(0xfffffffe);
  });
});

describe("Generator: determinism", () => {
  /** One draw of every kind, as plain numbers. */
  const everything = (generator: Generator): number[][] => {
    const single = new Float32Array(7);
    const double = new Float64Array(7);
    const integers = new Int32Array(7);
    const bytes = new Uint8Array(7);
    const taken: number[][] = [];
    generator.uniform(single);
    taken.push([...single]);
    generator.normal(single);
    taken.push([...single]);
    generator.uniform(double);
    taken.push([...double]);
    generator.normal(double);
    taken.push([...double]);
    generator.integers(integers, -5, 1000);
    taken.push([...integers], [...generator.permutation(7)]);
    generator.bernoulli(bytes, 0.5);
    taken.push([...bytes]);
    return taken;
  };

  it("gives the same numbers for the same seed, and others for another", () => {
    fc.assert(
      fc.property(seed, seed, (a, b) => {
        const first = everything(new Generator(a));
        expect(everything(new Generator(a))).toEqual(first);
        if (a !== b) expect(everything(new Generator(b))).not.toEqual(first);
      }),
    );
  });

  it("never repeats a draw", () => {
    const generator = new Generator(3);
    const [first, second] = [new Float32Array(100), new Float32Array(100)];
    generator.uniform(first);
    generator.uniform(second);
    expect(first).not.toEqual(second);
  });

  it("resumes from a state that went through JSON", () => {
    fc.assert(
      fc.property(seed, fc.nat(5), (value, draws) => {
        const generator = new Generator(value).fork(2);
        for (let i = 0; i < draws; i++) generator.uniform(new Float32Array(3));
        const state = JSON.parse(JSON.stringify(generator.state()));
        const resumed = new Generator(99);
        resumed.restore(state);
        expect(resumed.seed).toBe(generator.seed);
        expect(resumed.state()).toEqual(generator.state());
        expect(everything(resumed)).toEqual(everything(generator));
      }),
    );
  });

  it("keeps draws apart where the draw number outgrows 32 bits", () => {
    const at = (draw: number) => {
      const generator = new Generator(1);
      generator.restore({ ...generator.state(), draw });
      return everything(generator);
    };
    expect(at(2 ** 32)).not.toEqual(at(0));
    expect(at(2 ** 32 + 1)).not.toEqual(at(1));
    expect(at(2 ** 46)).not.toEqual(at(2 ** 45));
    expect(() => at(2 ** 47)).toThrow("all 2^47 draws are used");
  });

  it("makes element i of a draw independent of how many elements are drawn", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 5000 }), (a, b) => {
        const [short, long] = [Math.min(a, b), Math.max(a, b)];
        for (const kind of [Float32Array, Float64Array]) {
          for (const draw of ["uniform", "normal"] as const) {
            const [few, many] = [new kind(short), new kind(long)];
            new Generator(5)[draw](few);
            new Generator(5)[draw](many);
            expect(many.slice(0, short)).toEqual(few);
          }
        }
        const [few, many] = [new Int32Array(short), new Int32Array(long)];
        // Nearly half of all words are rejected at this range.
        new Generator(5).integers(few, -(2 ** 30), 2 ** 30 + 1);
        new Generator(5).integers(many, -(2 ** 30), 2 ** 30 + 1);
        expect(many.slice(0, short)).toEqual(few);
      }),
      { numRuns: 30 },
    );
  });

  it("draws exactly these numbers from seed 42, on every machine and in every version", () => {
    const generator = new Generator(42);
    const words = philoxInBigIntegers([0, 0, 0, 0], [42, 0]);
    const uniform = new Float32Array(4);
    generator.uniform(uniform);
    expect([...uniform]).toEqual(words.map((value) => Math.floor(value / 256) / 2 ** 24));
    const second = philoxInBigIntegers([0, 0, 1, 0], [42, 0]);
    const events = new Float32Array(4);
    generator.bernoulli(events, 0.5);
    expect([...events]).toEqual(second.map((value) => (value < 2 ** 31 ? 1 : 0)));
    const third = [0, 1, 2].flatMap((block) => philoxInBigIntegers([block, 0, 2, 0], [42, 0]));
    const order = [...Array(10).keys()];
    for (let i = 0; i < 10; i++) {
      const j = Math.floor((third[i] * (i + 1)) / 2 ** 32);
      [order[i], order[j]] = [order[j], order[i]];
    }
    expect([...generator.permutation(10)]).toEqual(order);
  });

  it("draws integers and normals by their written definition", () => {
    fc.assert(
      fc.property(
        seed,
        fc.integer({ min: 1, max: 2 ** 32 }),
        fc.integer({ min: 1, max: 9 }),
        (value, range, n) => {
          const key = [Number(value & 0xffffffffn), Number(value >> 32n)];
          const word = (i: number, draw: number, attempt = 0) =>
            philoxInBigIntegers([i >> 2, attempt, draw, 0], key)[i % 4];
          const generator = new Generator(value);
          const integers = new Int32Array(n);
          generator.integers(integers, -(2 ** 31), range - 2 ** 31);
          expect([...integers]).toEqual(
            Array.from(integers, (_, i) => {
              for (let attempt = 0; ; attempt++) {
                const product = BigInt(word(i, 0, attempt)) * BigInt(range);
                if (product % 2n ** 32n >= 2n ** 32n % BigInt(range)) return Number(product >> 32n) - 2 ** 31;
              }
            }),
          );
          const single = new Float32Array(n);
          generator.normal(single);
          // Its own cosine and sine may round the other way, once in millions.
          single.forEach((value, i) => {
            const angle = 2 * Math.PI * (word(i | 1, 1) / 2 ** 32);
            const radius = Math.sqrt(-2 * Math.log((word(i & ~1, 1) + 1) / 2 ** 32));
            const exact = radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
            expect(Math.abs(value - exact)).toBeLessThanOrEqual(2 ** -23 * Math.abs(exact) + 1e-15);
          });
          const double = new Float64Array(n);
          generator.normal(double);
          const unit = (i: number) =>
            Number((BigInt(word(i, 2) >>> 5) << 26n) | BigInt(word(i + 1, 2) >>> 6)) / 2 ** 53;
          expect([...double]).toEqual(
            Array.from(double, (_, i) => {
              const first = 4 * (i >> 1);
              const angle = 2 * Math.PI * unit(first + 2);
              const radius = Math.sqrt(-2 * Math.log(1 - unit(first)));
              return radius * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
            }),
          );
        },
      ),
    );
  });

  it("manualSeed restarts the default generator that others already hold", () => {
    const held = defaultGenerator();
    expect(manualSeed(11)).toBe(held);
    const first = everything(held);
    expect(everything(held)).not.toEqual(first);
    manualSeed(11);
    expect(everything(defaultGenerator())).toEqual(first);
    expect(first).toEqual(everything(new Generator(11)));
    manualSeed(0);
  });
});

describe("Generator: forks", () => {
  it("depend on the path of streams alone, not on what was drawn", () => {
    const parent = new Generator(8);
    const before = parent.fork(3).fork(4).state();
    parent.uniform(new Float32Array(10));
    expect(parent.fork(3).fork(4).state()).toEqual(before);
    expect(parent.state().draw).toBe(1);
    expect(parent.fork(4).fork(3).state()).not.toEqual(before);
    expect(before.seed).toBe("8");
  });

  it("differ for every stream, also beyond 2^32, and from their parent", () => {
    const parent = new Generator(0);
    const streams = [...Array(500).keys(), 2 ** 32, 2 ** 32 + 1, 2 ** 33, Number.MAX_SAFE_INTEGER];
    const firsts = streams.map((stream) => {
      const out = new Float64Array(1);
      parent.fork(stream).uniform(out);
      return out[0];
    });
    const own = new Float64Array(1);
    parent.uniform(own);
    expect(new Set([...firsts, ...own]).size).toBe(streams.length + 1);
  });

  it("are uncorrelated with each other and with their parent", () => {
    const parent = new Generator(21);
    const length = 20_000;
    const series = [parent, ...[0, 1, 2, 3].map((stream) => parent.fork(stream))].map((generator) => {
      const out = new Float64Array(length);
      generator.normal(out);
      return out;
    });
    for (const [i, a] of series.entries()) {
      for (const b of series.slice(i + 1)) {
        const correlation = a.reduce((sum, value, at) => sum + value * b[at], 0) / length;
        expect(Math.abs(correlation)).toBeLessThan(4.5 / Math.sqrt(length));
      }
    }
  });

  it("take their key from counters that no draw can have", () => {
    const [key0, key1, stream] = philoxInBigIntegers([5, 0x80000003, 0, 0], [77, 0]);
    const expected = { algorithm: "philox4x32-10", seed: "77", key: [key0, key1], stream, draw: 0 };
    expect(new Generator(77).fork(3 * 2 ** 32 + 5).state()).toEqual(expected);
  });

  it("refuses streams that are no index", () => {
    for (const stream of [-1, 1.5, Number.NaN, 2 ** 53]) {
      expect(() => new Generator(1).fork(stream)).toThrow("stream must be an integer");
    }
  });
});

describe("Generator: distributions (fixed seeds)", () => {
  const length = 100_000;

  it.each([Float32Array, Float64Array])("uniform passes Kolmogorov and Smirnov in %o", (kind) => {
    const out = new kind(length);
    new Generator(2024).uniform(out, -3, 5);
    expect(kolmogorovSmirnov(out, (x) => (x + 3) / 8)).toBeLessThan(1.95 / Math.sqrt(length)); // p = 0.001
  });

  it.each([Float32Array, Float64Array])("normal passes Kolmogorov and Smirnov in %o", (kind) => {
    const drawn = new kind(length);
    new Generator(7).normal(drawn, 2, 3);
    const out = Float64Array.from(drawn);
    const mean = out.reduce((sum, x) => sum + x, 0) / length;
    const moment = (power: number) => out.reduce((sum, x) => sum + ((x - mean) / 3) ** power, 0) / length;
    expect(Math.abs(mean - 2)).toBeLessThan((4 * 3) / Math.sqrt(length));
    expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / length));
    expect(Math.abs(moment(3))).toBeLessThan(4 * Math.sqrt(15 / length));
    expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / length));
    expect(kolmogorovSmirnov(out, (x) => normalDistribution((x - 2) / 3))).toBeLessThan(
      1.95 / Math.sqrt(length),
    );
  });

  it("normal values of a pair are uncorrelated, and std 0 gives the mean", () => {
    const out = new Float32Array(length);
    new Generator(9).normal(out);
    let products = 0;
    for (let i = 0; i < length; i += 2) products += out[i] * out[i + 1];
    expect(Math.abs(products / (length / 2))).toBeLessThan(4 / Math.sqrt(length / 2));
    new Generator(9).normal(out, 1.5, 0);
    expect(out.every((x) => x === 1.5)).toBe(true);
  });

  it.each([2, 3, 10, 97, 1000])("integers below %i are equally frequent (chi-square)", (range) => {
    const out = new Int32Array(length);
    new Generator(31).integers(out, -7, range - 7);
    expect(chiSquare(out, -7, range)).toBeLessThan(chiSquareLimit(range - 1));
  });

  it("integers are unbiased where a remainder would not be", () => {
    // Without rejection every third of these numbers would come from two words, the others from one.
    const out = new Int32Array(length);
    new Generator(1).integers(out, -(2 ** 31), 2 ** 30);
    const remainders = Int32Array.from(out, (x) => (x + 2 ** 31) % 3);
    expect(chiSquare(remainders, 0, 3)).toBeLessThan(chiSquareLimit(2));
  });

  it("permutations of 4 are equally frequent", () => {
    const generator = new Generator(55);
    const codes = Int32Array.from({ length: 48_000 }, () => {
      const [a, b, c] = generator.permutation(4);
      return a * 16 + b * 4 + c;
    });
    const used = [...new Set(codes)].sort((x, y) => x - y);
    expect(used).toHaveLength(24);
    const ranks = codes.map((code) => used.indexOf(code));
    expect(chiSquare(ranks, 0, 24)).toBeLessThan(chiSquareLimit(23));
  });

  it.each([Uint8Array, Float32Array, Float64Array])("bernoulli has its probability in %o", (kind) => {
    for (const probability of [0.01, 0.3, 0.5, 0.9]) {
      const out = new kind(length);
      new Generator(4).bernoulli(out, probability);
      expect(out.every((x: number) => x === 0 || x === 1)).toBe(true);
      const events = [...out].reduce((sum, x) => sum + x, 0);
      const deviation = Math.sqrt(length * probability * (1 - probability));
      expect(Math.abs(events - length * probability)).toBeLessThan(4 * deviation);
    }
    const out = new kind(1000).fill(9);
    new Generator(4).bernoulli(out, 0);
    expect(out.every((x: number) => x === 0)).toBe(true);
    new Generator(4).bernoulli(out, 1);
    expect(out.every((x: number) => x === 1)).toBe(true);
  });
});

describe("Generator: ranges", () => {
  it("uniform stays in [low, high), whatever the rounding", () => {
    const bound = fc.oneof(
      fc.double({ min: -1e30, max: 1e30, noNaN: true }),
      fc.float({ min: -2, max: 2, noNaN: true }),
    );
    fc.assert(
      fc.property(bound, bound, fc.boolean(), seed, (a, b, single, value) => {
        fc.pre(a !== b);
        const [low, high] = [Math.min(a, b), Math.max(a, b)];
        fc.pre(!single || smallestAtLeast(low, true) <= largestBelow(high, true));
        const out = single ? new Float32Array(50) : new Float64Array(50);
        new Generator(value).uniform(out, low, high);
        expect(Array.from(out).every((x) => x >= low && x < high)).toBe(true);
      }),
    );
  });

  it("uniform reaches both ends of a range of two numbers, and never the open end", () => {
    const out = new Float32Array(1000);
    // The f32 numbers in [1, 1 + 2^-22) are 1 and 1 + 2^-23; the sum 1 + u * 2^-22 often rounds to 1 + 2^-22.
    new Generator(6).uniform(out, 1, 1 + 2 ** -22);
    expect(new Set(out)).toEqual(new Set([1, 1 + 2 ** -23]));
    const double = new Float64Array(1000);
    new Generator(6).uniform(double, 1, 1 + 2 ** -51);
    expect(new Set(double)).toEqual(new Set([1, 1 + 2 ** -52]));
  });

  it("uniform refuses a range without an f32 number in it", () => {
    expect(() => new Generator(1).uniform(new Float32Array(1), 1 + 1e-12, 1 + 2e-12)).toThrow(
      "f32 has no number in [1.000000000001, 1.000000000002)",
    );
    new Generator(1).uniform(new Float64Array(1), 1 + 1e-12, 1 + 2e-12);
  });

  it("integers reach both ends, up to the whole range of 32 bits", () => {
    const out = new Int32Array(500);
    new Generator(2).integers(out, -3, 4);
    expect([...new Set(out)].sort((a, b) => a - b)).toEqual([-3, -2, -1, 0, 1, 2, 3]);
    new Generator(2).integers(out, 5, 6);
    expect(out.every((x) => x === 5)).toBe(true);
    new Generator(2).integers(out, -(2 ** 31), 2 ** 31);
    expect(Math.min(...out)).toBeLessThan(-(2 ** 30));
    expect(Math.max(...out)).toBeGreaterThan(2 ** 30);
  });

  it("permutation is a permutation", () => {
    fc.assert(
      fc.property(seed, fc.integer({ min: 0, max: 6000 }), (value, length) => {
        const order = new Generator(value).permutation(length);
        expect([...order].sort((a, b) => a - b)).toEqual([...Array(length).keys()]);
      }),
      { numRuns: 50 },
    );
  });

  it("neighbours of floats are the nearest ones", () => {
    expect(largestBelow(1, true)).toBe(1 - 2 ** -24);
    expect(largestBelow(1, false)).toBe(1 - 2 ** -53);
    expect(largestBelow(-1, true)).toBe(-1 - 2 ** -23);
    expect(largestBelow(-1, false)).toBe(-1 - 2 ** -52);
    expect(largestBelow(0, true)).toBe(-(2 ** -149));
    expect(largestBelow(0, false)).toBe(-Number.MIN_VALUE);
    expect(largestBelow(0.1, true)).toBe(0.09999999403953552);
    expect(smallestAtLeast(0.7, true)).toBe(0.7000000476837158);
    expect(smallestAtLeast(1e-60, true)).toBe(2 ** -149);
    expect(smallestAtLeast(0.7, false)).toBe(0.7);
  });
});

describe("Generator: errors", () => {
  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -1n, 2n ** 64n])(
    "refuses seed %s",
    (bad) => {
      expect(() => new Generator(bad)).toThrow(`seed must be an integer from 0 to 2^64 - 1`);
      expect(() => manualSeed(bad)).toThrow(RangeError);
    },
  );

  it("tells a seed as the number it is", () => {
    expect(new Generator(5n).seed).toBe(5);
    expect(new Generator(2n ** 60n).seed).toBe(2n ** 60n);
  });

  it("names the values that clash", () => {
    const generator = new Generator(1);
    const floats = new Float32Array(1);
    const integers = new Int32Array(1);
    expect(() => generator.uniform(floats, 2, 2)).toThrow("got low 2 and high 2");
    expect(() => generator.uniform(floats, Number.NaN, 2)).toThrow("low NaN");
    expect(() => generator.uniform(floats, -Infinity, 2)).toThrow("low -Infinity");
    expect(() => generator.uniform(new Float64Array(1), -1.7e308, 1.7e308)).toThrow("finite");
    expect(() => generator.normal(floats, 0, -1)).toThrow("std -1");
    expect(() => generator.normal(floats, Number.NaN)).toThrow("mean NaN");
    expect(() => generator.integers(integers, 3, 3)).toThrow("got 3 and 3");
    expect(() => generator.integers(integers, 0.5, 3)).toThrow("got 0.5 and 3");
    expect(() => generator.integers(integers, 0, 2 ** 31 + 1)).toThrow("got 0 and 2147483649");
    expect(() => generator.permutation(-1)).toThrow("got -1");
    expect(() => generator.permutation(2.5)).toThrow("got 2.5");
    expect(() => generator.bernoulli(floats, 1.01)).toThrow("got 1.01");
    expect(generator.state().draw).toBe(0);
  });

  it("refuses what is not a state, and stays as it was", () => {
    const generator = new Generator(1);
    const state = generator.state();
    const bad = [
      { ...state, seed: "-1" },
      { ...state, seed: "99999999999999999999" },
      { ...state, key: [1, 2 ** 32] as const },
      { ...state, key: [-1, 2] as const },
      { ...state, stream: 0.5 },
      { ...state, draw: -1 },
      JSON.parse("{}"),
      JSON.parse(JSON.stringify({ ...state, algorithm: "mt19937" })),
    ];
    for (const value of bad) expect(() => generator.restore(value)).toThrow("Generator.restore");
    expect(generator.state()).toEqual(state);
  });
});

/** Philox as the paper defines it, one step a line, with 64-bit products as big integers. */
function philoxInBigIntegers(counter: readonly number[], key: readonly number[]): number[] {
  const mask = 0xffffffffn;
  let [l0 = 0n, r0 = 0n, l1 = 0n, r1 = 0n] = counter.map(BigInt);
  let [k0 = 0n, k1 = 0n] = key.map(BigInt);
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd2511f53n * l0;
    const product1 = 0xcd9e8d57n * l1;
    [l0, r0, l1, r1] = [
      (product1 >> 32n) ^ r0 ^ k0,
      product1 & mask,
      (product0 >> 32n) ^ r1 ^ k1,
      product0 & mask,
    ];
    k0 = (k0 + 0x9e3779b9n) & mask;
    k1 = (k1 + 0xbb67ae85n) & mask;
  }
  return [l0, r0, l1, r1].map(Number);
}

/** The largest distance between the sample's distribution and `distribution`. */
function kolmogorovSmirnov(sample: Float32Array | Float64Array, distribution: (x: number) => number): number {
  const sorted = Float64Array.from(sample).sort();
  return sorted.reduce((worst, x, i) => {
    const expected = distribution(x);
    return Math.max(worst, expected - i / sorted.length, (i + 1) / sorted.length - expected);
  }, 0);
}

/** Abramowitz and Stegun 26.2.17, error below 7.5e-8. */
function normalDistribution(x: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(x));
  const polynomial =
    t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  const upper = (Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)) * polynomial;
  return x >= 0 ? 1 - upper : upper;
}

function chiSquare(values: Int32Array, low: number, range: number): number {
  const counts = new Float64Array(range);
  for (const value of values) counts[value - low] += 1;
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
  const expected = values.length / range;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/** The 99.9 % point of chi-square, by Wilson and Hilferty. */
function chiSquareLimit(degrees: number): number {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.09 * Math.sqrt(spread)) ** 3;
}
