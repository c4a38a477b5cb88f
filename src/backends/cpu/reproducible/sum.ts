/**
 * Exact sums of products on the CPU. A product of two f32 is exact in f64, and so is nearly a sum of them: its error is
 * known to be at most (terms) · 2^-53 · Σ |products|. Where all numbers within that error round to the same f32, that is
 * the answer; elsewhere, about once in ten thousand, the sum is taken again with twice the digits.
 */
import type { HostView } from "../../backend.ts";
import { type Axes, planSum } from "../../reproducible/sumPlan.ts";
import { rounded } from "./functions.ts";

type Numbers = HostView["data"];

/** Where the terms of a sum lie, from its first. */
interface Terms {
  readonly count: number;
  readonly first: Int32Array;
  readonly second: Int32Array;
}

/** Positions along some axes, in row-major order. */
function positions(shape: readonly number[], strides: readonly number[]): Int32Array {
  const count = shape.reduce((product, extent) => product * extent, 1);
  const all = new Int32Array(count);
  let filled = 1;
  // The last axis first: what is there is repeated for each step of the next one.
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    for (let i = 1; i < shape[axis]; i++)
      for (let k = 0; k < filled; k++) all[i * filled + k] = all[k] + i * strides[axis];
    filled *= shape[axis];
  }
  return all;
}

const word = new Float64Array(1);
const halves = new Int32Array(word.buffer);

/** `high + low`, |low| at most half a unit of high's last place, rounded once to f32. */
function roundOnce(high: number, low: number): number {
  if (low === 0) return rounded(high);
  word[0] = high;
  // Rounded to the odd neighbour: no later rounding can then mistake it for a tie, or miss one.
  const lowWord = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 0 : 1;
  if ((halves[lowWord] & 1) === 0) {
    const step = low > 0 === high > 0 ? 1 : -1;
    if (step < 0 && halves[lowWord] === 0) {
      halves[lowWord] = -1;
      halves[1 - lowWord] -= 1;
    } else halves[lowWord] += step;
  }
  return rounded(word[0]);
}

/** The sum in two f64, rounded once. */
function sumAgain(a: Numbers, atA: number, b: Numbers, atB: number, terms: Terms): number {
  const { count, first, second } = terms;
  let high = 0;
  let low = 0;
  for (let k = 0; k < count; k++) {
    const term = a[atA + first[k]] * b[atB + second[k]];
    const sum = high + term;
    const part = sum - high;
    low += high - (sum - part) + (term - part);
    high = sum;
  }
  const total = high + low;
  return Number.isFinite(high) ? roundOnce(total, low - (total - high)) : rounded(high);
}

/** `sum` rounded, if that is certain. */
function settle(
  sum: number,
  sizes: number,
  a: Numbers,
  atA: number,
  b: Numbers,
  atB: number,
  terms: Terms,
): number {
  const error = terms.count * sizes * 2 ** -52;
  if (Math.fround(sum - error) === Math.fround(sum + error)) return rounded(sum);
  return sumAgain(a, atA, b, atB, terms);
}

function sumOne(a: Numbers, atA: number, b: Numbers, atB: number, terms: Terms): number {
  const { count, first, second } = terms;
  let sum = 0;
  let sizes = 0;
  for (let k = 0; k < count; k++) {
    const term = a[atA + first[k]] * b[atB + second[k]];
    sum += term;
    sizes += Math.abs(term);
  }
  return settle(sum, sizes, a, atA, b, atB, terms);
}

/** Four sums whose first factors are `step` apart: the second factor and the positions are read once for all. */
function sumFour(
  a: Numbers,
  atA: number,
  step: number,
  b: Numbers,
  atB: number,
  terms: Terms,
  y: Numbers,
  atY: number,
  stepY: number,
): void {
  const { count, first, second } = terms;
  const [at1, at2, at3] = [atA + step, atA + 2 * step, atA + 3 * step];
  let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0];
  let [sizes0, sizes1, sizes2, sizes3] = [0, 0, 0, 0];
  for (let k = 0; k < count; k++) {
    const from = first[k];
    const factor = b[atB + second[k]];
    const term0 = a[atA + from] * factor;
    const term1 = a[at1 + from] * factor;
    const term2 = a[at2 + from] * factor;
    const term3 = a[at3 + from] * factor;
    sum0 += term0;
    sum1 += term1;
    sum2 += term2;
    sum3 += term3;
    sizes0 += Math.abs(term0);
    sizes1 += Math.abs(term1);
    sizes2 += Math.abs(term2);
    sizes3 += Math.abs(term3);
  }
  y[atY] = settle(sum0, sizes0, a, atA, b, atB, terms);
  y[atY + stepY] = settle(sum1, sizes1, a, at1, b, atB, terms);
  y[atY + 2 * stepY] = settle(sum2, sizes2, a, at2, b, atB, terms);
  y[atY + 3 * stepY] = settle(sum3, sizes3, a, at3, b, atB, terms);
}

/** Calls `visit` with the positions in output, first and second factor for every index of `axes`. */
function walk(
  { shape, strides }: Axes,
  start: readonly [number, number, number],
  visit: (y: number, a: number, b: number) => void,
): void {
  const step = (axis: number, y: number, a: number, b: number): void => {
    if (axis === shape.length) {
      visit(y, a, b);
      return;
    }
    const [ys, as, bs] = strides;
    for (let i = 0; i < shape[axis]; i++)
      step(axis + 1, y + i * ys[axis], a + i * as[axis], b + i * bs[axis]);
  };
  step(0, ...start);
}

const one = { data: Float32Array.of(1), offset: 0 };

/** `output[i…] = Σ a[i…, j…] · b[i…, j…]`, exact but for one rounding; see Machine. */
export function sumOfProducts(a: HostView, b: HostView | null, output: HostView): void {
  if (output.shape.includes(0)) return;
  const { kept, summed, shared, isSwapped } = planSum(a, b, output);
  const other = b ?? one;
  const [first, second] = isSwapped ? [other, a] : [a, other];
  const terms: Terms = {
    count: summed.shape.reduce((product, extent) => product * extent, 1),
    first: positions(summed.shape, summed.strides[0]),
    second: positions(summed.shape, summed.strides[1]),
  };
  const [x, w, y] = [first.data, second.data, output.data];
  walk(kept, [output.offset, first.offset, second.offset], (atY, atX, atW) => {
    if (!shared) {
      y[atY] = sumOne(x, atX, w, atW, terms);
      return;
    }
    const { extent, output: stepY, changing } = shared;
    let i = 0;
    for (; i + 4 <= extent; i += 4)
      sumFour(x, atX + i * changing, changing, w, atW, terms, y, atY + i * stepY, stepY);
    for (; i < extent; i++) y[atY + i * stepY] = sumOne(x, atX + i * changing, w, atW, terms);
  });
}

/** `output[i…]` = the largest of `a[i…, j…]`, NaN if one is, −∞ over nothing. */
export function largest(a: HostView, output: HostView): void {
  if (output.shape.includes(0)) return;
  const { kept, summed } = planSum({ ...a, offset: 0 }, a, output);
  const from = positions(summed.shape, summed.strides[0]);
  walk(kept, [output.offset, a.offset, a.offset], (atY, atA) => {
    let most = Number.NEGATIVE_INFINITY;
    for (const step of from) most = Math.max(most, a.data[atA + step]);
    output.data[atY] = most;
  });
}
