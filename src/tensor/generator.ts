/**
 * Seeded random numbers. A call is one *draw*, and element i of draw d depends on (seed, d, i) alone, through
 * one Philox counter each:
 *
 *     counter = [block of i, draw's upper bits and attempt, draw's lower bits, stream]   key = [seed's words]
 *
 * so the order in which elements are computed, the number of threads and a resume cannot change a value.
 * `attempt` counts the rejections of one element, which therefore never shift its neighbours.
 * Uniform, integer, permutation and Bernoulli draws are exact on every machine; normal draws go through
 * Math.log, in f64 through Math.cos and Math.sin as well, whose last bit is the JavaScript engine's choice.
 */
import { largestBelow, smallestAtLeast } from "./floats.ts";
import { multiplyHigh, philox4x32, philoxBlocks, wordsPerBlock } from "./philox.ts";

/** Everything needed to continue a generator elsewhere; plain JSON. */
export interface GeneratorState {
  readonly algorithm: "philox4x32-10";
  /** The seed in decimal digits: JSON numbers cannot hold 64 bits. */
  readonly seed: string;
  readonly key: readonly [number, number];
  readonly stream: number;
  /** Number of the next draw. */
  readonly draw: number;
}

/** A draw whose words are computed elsewhere: word i is the (i mod 4)-th of Philox block ⌊i / 4⌋. */
export interface PhiloxDraw {
  /** The counter's upper three words; the lowest is the number of the block. */
  readonly counter: readonly [number, number, number];
  readonly key: readonly [number, number];
}

const two32 = 2 ** 32;
const twoPi = 2 * Math.PI;
/** Draw numbers stay below 2^47: bit 31 of the second counter word marks forks, 15 bits go to the draw. */
const drawLimit = 2 ** 47;
const forkMark = 0x80000000;

/** Words are produced this many at a time: fits the L1 cache, and needs no memory of the draw's size. */
const chunkWords = 2048;
const scratch = new Uint32Array(chunkWords);
const retry = new Uint32Array(wordsPerBlock);

export class Generator {
  private rootSeed: number | bigint = 0;
  private key0 = 0;
  private key1 = 0;
  private stream = 0;
  private draw = 0;

  /** `seed` is an integer from 0 to 2^64 - 1 (a bigint above 2^53). Throws a RangeError otherwise. */
  constructor(seed: number | bigint) {
    const seed64 = checkSeed(seed, "Generator");
    this.rootSeed = simplest(seed64);
    this.key0 = Number(seed64 & 0xffffffffn);
    this.key1 = Number(seed64 >> 32n);
  }

  /** The seed this generator, or the one it was forked from, was made with. */
  get seed(): number | bigint {
    return this.rootSeed;
  }

  state(): GeneratorState {
    return {
      algorithm: "philox4x32-10",
      seed: String(this.rootSeed),
      key: [this.key0, this.key1],
      stream: this.stream,
      draw: this.draw,
    };
  }

  /** Continues from a `state()`, whatever this generator's seed was. Throws, changing nothing, if it is not one. */
  restore(state: GeneratorState): void {
    const word = (value: unknown): value is number => isInteger(value, 0, two32 - 1);
    const [key0, key1] = Array.isArray(state.key) ? state.key : [];
    if (
      state.algorithm !== "philox4x32-10" ||
      !/^\d{1,20}$/.test(state.seed) ||
      !word(key0) ||
      !word(key1) ||
      !word(state.stream) ||
      !isInteger(state.draw, 0, drawLimit)
    ) {
      throw new RangeError(
        `Generator.restore: not a state of philox4x32-10: ${JSON.stringify(state)}; pass what state() returned`,
      );
    }
    this.rootSeed = simplest(checkSeed(BigInt(state.seed), "Generator.restore"));
    this.key0 = key0;
    this.key1 = key1;
    this.stream = state.stream;
    this.draw = state.draw;
  }

  /**
   * An independent generator that depends on this one's seed and on `stream` only, not on how much was drawn:
   * `generator.fork(epoch).fork(sample)` is the same wherever it is called. `stream` is an integer from 0
   * to 2^53 - 1. Takes no draw. Its key and stream (96 bits) are a Philox block under this generator's key.
   */
  fork(stream: number): Generator {
    if (!isInteger(stream, 0, Number.MAX_SAFE_INTEGER)) {
      throw new RangeError(`Generator.fork: stream must be an integer from 0 to 2^53 - 1, got ${stream}`);
    }
    const words = new Uint32Array(wordsPerBlock);
    const counter = [stream, (forkMark | Math.floor(stream / two32)) >>> 0, 0, this.stream];
    philox4x32(counter, [this.key0, this.key1], words);
    const child = new Generator(this.rootSeed);
    [child.key0 = 0, child.key1 = 0, child.stream = 0] = words;
    return child;
  }

  /**
   * Fills `out` with uniform numbers in [low, high): `high` never occurs, even after rounding to f32.
   * Resolution is 2^-24 of the range in f32 and 2^-53 in f64.
   */
  uniform(out: Float32Array | Float64Array, low = 0, high = 1): void {
    if (!(low < high && Number.isFinite(high - low))) {
      throw new RangeError(`uniform: needs finite low < high, got low ${low} and high ${high}`);
    }
    const single = out instanceof Float32Array;
    const first = smallestAtLeast(low, single);
    const last = largestBelow(high, single);
    if (first > last) {
      throw new RangeError(`uniform: f32 has no number in [${low}, ${high}); widen the range or draw in f64`);
    }
    const range = high - low;
    const place = (unit: number) => Math.min(Math.max(low + unit * range, first), last);
    if (single) {
      this.words(this.nextDraw(), out.length, (words, count, start) => {
        for (let i = 0; i < count; i++) out[start + i] = place((words[i] >>> 8) * 2 ** -24);
      });
    } else {
      this.words(this.nextDraw(), 2 * out.length, (words, count, start) => {
        for (let i = 0; i < count; i += 2) out[(start + i) / 2] = place(unit53(words[i], words[i + 1]));
      });
    }
  }

  /**
   * Fills `out` with normal numbers by Box and Muller: elements 2j and 2j + 1 are sqrt(-2 ln u) times the
   * cosine and sine of 2 pi v. In f32 |z| reaches 6.66 (u has 32 bits), in f64 8.57 (53 bits).
   * `std` may be 0. Takes one draw.
   */
  normal(out: Float32Array | Float64Array, mean = 0, std = 1): void {
    if (!Number.isFinite(mean) || !(std >= 0 && std < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`normal: needs a finite mean and std >= 0, got mean ${mean} and std ${std}`);
    }
    const pairs = Math.ceil(out.length / 2);
    if (out instanceof Float32Array) {
      this.words(this.nextDraw(), 2 * pairs, (words, count, start) =>
        normalsInSingle(out, start, words, count, mean, std),
      );
    } else {
      this.words(this.nextDraw(), 4 * pairs, (words, count, start) =>
        normalsInDouble(out, start / 2, words, count, mean, std),
      );
    }
  }

  /**
   * Fills `out` with integers from `low` to `highExclusive - 1`, each exactly equally likely (Lemire, "Fast
   * random integer generation in an interval", 2019: the upper half of word * range, rejecting the surplus).
   */
  integers(out: Int32Array, low: number, highExclusive: number): void {
    const limit = 2 ** 31;
    if (
      !isInteger(low, -limit, limit - 1) ||
      !isInteger(highExclusive, -limit, limit) ||
      low >= highExclusive
    ) {
      throw new RangeError(
        `integers: needs integers low < highExclusive within -2^31 .. 2^31, got ${low} and ${highExclusive}`,
      );
    }
    const range = highExclusive - low;
    const draw = this.nextDraw();
    this.words(draw, out.length, (words, count, start) => {
      for (let i = 0; i < count; i++) out[start + i] = low + this.bounded(words[i], range, draw, start + i);
    });
  }

  /** The integers 0 .. length - 1 in a random order, all orders equally likely (Fisher and Yates). */
  permutation(length: number): Int32Array {
    if (!isInteger(length, 0, 2 ** 31 - 1)) {
      throw new RangeError(`permutation: length must be an integer from 0 to 2^31 - 1, got ${length}`);
    }
    const order = Int32Array.from({ length }, (_, i) => i);
    const draw = this.nextDraw();
    this.words(draw, length, (words, count, start) => {
      for (let i = start; i < start + count; i++) {
        const j = this.bounded(words[i - start], i + 1, draw, i);
        const moved = order[i];
        order[i] = order[j];
        order[j] = moved;
      }
    });
    return order;
  }

  /** Fills `out` with 1 where an event of the given probability (0 to 1, to 2^-32) happens, else 0. */
  bernoulli(out: Uint8Array | Float32Array | Float64Array, probability: number): void {
    if (!(probability >= 0 && probability <= 1)) {
      throw new RangeError(`bernoulli: probability must be from 0 to 1, got ${probability}`);
    }
    const threshold = probability * two32;
    this.words(this.nextDraw(), out.length, (words, count, start) => {
      for (let i = 0; i < count; i++) out[start + i] = words[i] < threshold ? 1 : 0;
    });
  }

  /** Uses up one draw, whose words a kernel computes. */
  takeDraw(): PhiloxDraw {
    const draw = this.nextDraw();
    return {
      counter: [this.upperWord(draw, 0), draw | 0, this.stream],
      key: [this.key0, this.key1],
    };
  }

  private upperWord(draw: number, attempt: number): number {
    return (Math.floor(draw / two32) << 16) | attempt;
  }

  private nextDraw(): number {
    if (this.draw >= drawLimit) throw new RangeError("Generator: all 2^47 draws are used; fork or reseed");
    return this.draw++;
  }

  /** Words 0 .. total - 1 of a draw, handed to `visit` in chunks that start at word `start`. */
  private words(
    draw: number,
    total: number,
    visit: (words: Uint32Array, count: number, start: number) => void,
  ): void {
    for (let start = 0; start < total; start += chunkWords) {
      const count = Math.min(chunkWords, total - start);
      this.blocks(scratch, Math.ceil(count / wordsPerBlock), start / wordsPerBlock, draw, 0);
      visit(scratch, count, start);
    }
  }

  private blocks(out: Uint32Array, blocks: number, firstBlock: number, draw: number, attempt: number): void {
    const upper = this.upperWord(draw, attempt);
    philoxBlocks(out, blocks, firstBlock, upper, draw | 0, this.stream, this.key0, this.key1);
  }

  /** An unbiased integer in [0, range), range at most 2^32, from word `index` of a draw and its retries. */
  private bounded(word: number, range: number, draw: number, index: number): number {
    if (range === two32) return word;
    let candidate = word;
    // The threshold 2^32 mod range costs a division; a lower half of at least `range` is above it anyway.
    let rejectBelow = range;
    for (let attempt = 1; ; attempt++) {
      const lower = Math.imul(candidate, range) >>> 0;
      if (lower < rejectBelow) rejectBelow = two32 % range;
      if (lower >= rejectBelow) return multiplyHigh(candidate, range) >>> 0;
      this.blocks(retry, 1, Math.floor(index / wordsPerBlock), draw, attempt);
      candidate = retry[index % wordsPerBlock];
    }
  }
}

const defaultInstance = new Generator(0);

/** The generator used wherever none is given. Starts from seed 0, so a program without a seed repeats itself too. */
export function defaultGenerator(): Generator {
  return defaultInstance;
}

/** Restarts the default generator from `seed` and returns it. */
export function manualSeed(seed: number | bigint): Generator {
  defaultInstance.restore(new Generator(seed).state());
  return defaultInstance;
}

/** The cosine and the sine of k quarters of a turn. */
const quarterCosines = Float64Array.of(1, 0, -1, 0, 1);
const quarterSines = Float64Array.of(0, 1, 0, -1, 0);

/** x + c[0] x³ + c[1] x⁵ + …: sin(x) for |x| ≤ π/4, and 1 − x²/2 + d[0] x⁴ + …: cos(x). Coefficients of fdlibm. */
const sineCoefficients = [
  -0.16666666666666632, 0.00833333333332249, -0.0001984126982985795, 0.0000027557313707070068,
  -2.5050760253406863e-8, 1.58969099521155e-10,
] as const;
const cosineCoefficients = [
  0.0416666666666666, -0.001388888888887411, 0.00002480158728947673, -2.7557314351390663e-7,
  2.087572321298175e-9, -1.1359647557788195e-11,
] as const;

const [s0, s1, s2, s3, s4, s5] = sineCoefficients;
const [c0, c1, c2, c3, c4, c5] = cosineCoefficients;

/**
 * Normal numbers from `at` on, two from each two words. Math.cos and Math.sin of an angle at random take half the time
 * of such a loop, because no processor foresees their branches; these polynomials in f64 have none.
 */
function normalsInSingle(
  out: Float32Array,
  at: number,
  words: Uint32Array,
  count: number,
  mean: number,
  std: number,
): void {
  for (let i = 0; i < count; i += 2) {
    // u = 0 would be infinite: u runs over (0, 1], the turn over [0, 1).
    const radius = std * Math.sqrt(-2 * Math.log((words[i] + 1) / two32));
    const turn = words[i + 1] / two32;
    const quarter = Math.floor(4 * turn + 0.5);
    const x = twoPi * (turn - 0.25 * quarter);
    const z = x * x;
    const sine = x + x * z * (s0 + z * (s1 + z * (s2 + z * (s3 + z * (s4 + z * s5)))));
    const cosine = 1 - (0.5 * z - z * z * (c0 + z * (c1 + z * (c2 + z * (c3 + z * (c4 + z * c5))))));
    const alongCosine = quarterCosines[quarter];
    const alongSine = quarterSines[quarter];
    out[at + i] = mean + radius * (cosine * alongCosine - sine * alongSine);
    // Beyond the end of an odd length nothing is written.
    out[at + i + 1] = mean + radius * (sine * alongCosine + cosine * alongSine);
  }
}

/** As `normalsInSingle`, two from each four words. */
function normalsInDouble(
  out: Float64Array,
  at: number,
  words: Uint32Array,
  count: number,
  mean: number,
  std: number,
): void {
  for (let i = 0; i < count; i += 4) {
    const radius = std * Math.sqrt(-2 * Math.log(1 - unit53(words[i], words[i + 1])));
    const angle = twoPi * unit53(words[i + 2], words[i + 3]);
    out[at + i / 2] = mean + radius * Math.cos(angle);
    out[at + i / 2 + 1] = mean + radius * Math.sin(angle);
  }
}

/** 53 random bits from two words, in [0, 1). */
function unit53(upper: number, lower: number): number {
  return ((upper >>> 5) * 2 ** 26 + (lower >>> 6)) * 2 ** -53;
}

function isInteger(value: unknown, low: number, high: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= low && value <= high;
}

function checkSeed(seed: number | bigint, where: string): bigint {
  const exact = typeof seed === "bigint" || Number.isSafeInteger(seed);
  if (!exact || seed < 0 || seed >= 2n ** 64n) {
    throw new RangeError(
      `${where}: seed must be an integer from 0 to 2^64 - 1 (as a bigint above 2^53), got ${String(seed)}`,
    );
  }
  return BigInt(seed);
}

/** Seeds that a number can hold exactly are shown as numbers. */
function simplest(seed: bigint): number | bigint {
  return seed <= Number.MAX_SAFE_INTEGER ? Number(seed) : seed;
}
