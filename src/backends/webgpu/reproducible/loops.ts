/** The loops of exact sums as WGSL, and the numbers that they read. */
import type { SumPlan } from "../../reproducible/sumPlan.ts";

/** How many outputs a thread has. */
export type Lanes = 1 | 4;

/** Terms that are written out instead of looped over: a window's taps, not its channels. */
const mostUnrolled = 9;

type Numbers = Record<string, number>;

/** Operands by what the WGSL calls them: the output and the two factors. */
const names = ["y", "x", "w"] as const;

/** Extents and strides, by axis and operand. */
export function loopNumbers({ kept, summed }: SumPlan): Numbers {
  const numbers: Numbers = {};
  kept.shape.forEach((extent, axis) => {
    numbers[`k${axis}`] = extent;
    names.forEach((name, operand) => {
      numbers[`${name}_k${axis}`] = kept.strides[operand][axis];
    });
  });
  summed.shape.forEach((extent, axis) => {
    numbers[`j${axis}`] = extent;
    numbers[`x_j${axis}`] = summed.strides[0][axis];
    numbers[`w_j${axis}`] = summed.strides[1][axis];
  });
  return numbers;
}

/** Where the terms begin that are written out. The first axis is cut among threads and stays a loop. */
function unrolledFrom(shape: readonly number[]): number {
  let axis = shape.length;
  for (let terms = 1; axis > 1 && terms * shape[axis - 1] <= mostUnrolled; axis--) terms *= shape[axis - 1];
  return axis;
}

/** What of a plan the text of its loops depends on. */
export function loopVariant({ kept, summed }: SumPlan): string {
  const from = unrolledFrom(summed.shape);
  return `${kept.shape.length}/${summed.shape.length}/${from}u${summed.shape.slice(from).join("x")}`;
}

/** WGSL: `y_at`, `x_at` and `w_at`, the positions of the output with the running index `index` and its first term. */
export function positionsText({ kept }: SumPlan, index: string): string {
  const lines = [`  var rest = ${index};`];
  for (let axis = kept.shape.length - 1; axis >= 0; axis--)
    lines.push(`  let i${axis} = rest % p.k${axis};`, `  rest = rest / p.k${axis};`);
  for (const name of names) {
    const steps = kept.shape.map((_, axis) => `i${axis} * p.${name}_k${axis}`);
    lines.push(`  let ${name}_at = ${[`p.${name}_o`, ...steps].join(" + ")};`);
  }
  return lines.join("\n");
}

/**
 * WGSL: `term`, the text of one from the positions `x_term` and `w_term`, for all terms whose first index is from
 * `first_row` to before `end_row`.
 */
export function termsText({ summed }: SumPlan, term: string): string {
  const { shape } = summed;
  const from = unrolledFrom(shape);
  const unrolled = shape.slice(from).reduce((product, extent) => product * extent, 1);
  const start = (name: string): string => {
    const steps = shape.slice(0, from).map((_, axis) => `j${axis} * p.${name}_j${axis}`);
    return [`${name}_at`, ...steps].join(" + ");
  };
  const lines = [`let x_from = ${start("x")};`, `let w_from = ${start("w")};`];
  for (let index = 0; index < unrolled; index++) {
    const [x, w] = ["x", "w"].map((name) => {
      const steps = [`${name}_from`];
      for (let axis = shape.length - 1, rest = index; axis >= from; axis--) {
        const digit = rest % shape[axis];
        rest = Math.floor(rest / shape[axis]);
        if (digit > 0) steps.push(`${digit} * p.${name}_j${axis}`);
      }
      return steps.join(" + ");
    });
    lines.push(`{ let x_term = ${x}; let w_term = ${w}; ${term} }`);
  }
  let text = lines.join("\n");
  for (let axis = from - 1; axis >= 0; axis--) {
    const [first, end] = axis === 0 ? ["first_row", "end_row"] : ["0", `p.j${axis}`];
    text = `for (var j${axis} = ${first}; j${axis} < ${end}; j${axis}++) {\n${text}\n}`;
  }
  return text;
}

/** WGSL: after the last of the rows that there are. */
export const endOfRows = ({ summed }: SumPlan): string => (summed.shape.length === 0 ? "1" : "p.j0");

/** The parts of a vector of outputs. */
export const laneNames = ["x", "y", "z", "w"];

/** WGSL: stores the lanes that are outputs. */
export function storeText(lanes: Lanes, value: (lane: string) => string): string {
  if (lanes === 1) return `  y_set(y_at, ${value("")});`;
  return laneNames
    .map(
      (lane, i) =>
        `  if (first_lane + ${i} < p.extent) { y_set(y_at + (first_lane + ${i}) * p.y_lane, ${value(`.${lane}`)}); }`,
    )
    .join("\n");
}
