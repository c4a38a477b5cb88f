/** The loops of exact sums as WGSL, and the numbers that they read. */
import type { SumPlan } from "../../reproducible/sumPlan.ts";

/** How many outputs a thread has. */
export type Lanes = 1 | 4;

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

/** What of a plan the text of its loops depends on. */
export const loopVariant = ({ kept, summed }: SumPlan): string =>
  `${kept.shape.length}/${summed.shape.length}`;

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
  const axes = summed.shape.map((_, axis) => axis);
  const position = (name: string): string =>
    [`${name}_at`, ...axes.map((axis) => `j${axis} * p.${name}_j${axis}`)].join(" + ");
  const inner = `let x_term = ${position("x")};\nlet w_term = ${position("w")};\n${term}`;
  return axes.reduceRight((text, axis) => {
    const [first, end] = axis === 0 ? ["first_row", "end_row"] : ["0", `p.j${axis}`];
    return `for (var j${axis} = ${first}; j${axis} < ${end}; j${axis}++) {\n${text}\n}`;
  }, inner);
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
