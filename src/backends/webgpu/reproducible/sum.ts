/**
 * Exact sums of products without f64: a product is split into two f32 that hold all of it, and a sum is three f32, each
 * what rounding took from the one before: some 70 digits. Four outputs that share a factor are one thread's, and a sum of
 * many terms is shared among threads, whose partial sums are added up in the same way.
 */

import { sizeOf } from "../../reproducible/machine.ts";
import { planSum, type SumPlan } from "../../reproducible/sumPlan.ts";
import type { GpuRuntime, GpuView } from "../runtime.ts";
import { reproduciblePrinter } from "./printer.ts";

/** Terms that are at least worth a thread. */
const leastTerms = 64;
/** Terms that are written out instead of looped over: a window's taps, not its channels. */
const mostUnrolled = 9;

/** Whole vectors of four outputs or single ones, as the type T. */
const typesOf = (lanes: 1 | 4): string =>
  lanes === 4 ? "alias T = vec4<f32>;\nalias U = vec4<u32>;" : "alias T = f32;\nalias U = u32;";

/**
 * `zero` is 0, which no compiler knows: what it is mixed into cannot be fused, reordered or simplified. Splitting cuts the
 * 24 digits of a number in two times twelve, so that products of halves are exact.
 */
const arithmetic = `
struct Parts { high: T, low: T }
struct Sum { first: T, second: T, third: T }
fn opaque(x: T, zero: u32) -> T { return bitcast<T>(bitcast<U>(x) ^ U(zero)); }
fn two_sum(a: T, b: T, zero: u32) -> Parts {
  let sum = opaque(a + b, zero);
  let part = opaque(sum - a, zero);
  return Parts(sum, opaque(a - opaque(sum - part, zero), zero) + opaque(b - part, zero));
}
fn add_term(sum: Sum, term: T, zero: u32) -> Sum {
  let one = two_sum(sum.first, term, zero);
  let two = two_sum(sum.second, one.low, zero);
  return Sum(one.high, two.high, sum.third + two.low);
}
fn add_small(sum: Sum, term: T, zero: u32) -> Sum {
  let two = two_sum(sum.second, term, zero);
  return Sum(sum.first, two.high, sum.third + two.low);
}
fn add_product(sum: Sum, a: T, b: f32, zero: u32) -> Sum {
  let product = opaque(a * b, zero);
  let a_high = bitcast<T>(bitcast<U>(a) & U(0xfffff000u));
  let a_low = a - a_high;
  let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let b_low = b - b_high;
  let first = opaque(a_high * b_high - product, zero);
  let second = opaque(first + a_high * b_low, zero);
  let rest = opaque(second + a_low * b_high, zero) + a_low * b_low;
  return add_small(add_term(sum, product, zero), rest, zero);
}
`;

/** The three parts rounded once: the lower two to the odd neighbour first, which no tie can be mistaken for. */
const rounding = `
struct Two { high: f32, low: f32 }
fn two_of(a: f32, b: f32) -> Two {
  let sum = r_hidden(a + b);
  let part = r_hidden(sum - a);
  return Two(sum, r_hidden(a - r_hidden(sum - part)) + r_hidden(b - part));
}
fn round_once(first: f32, second: f32, third: f32) -> f32 {
  if ((bitcast<u32>(first) & 0x7f800000u) == 0x7f800000u) { return first; }
  let a = two_of(second, third);
  let b = two_of(first, a.high);
  let c = two_of(b.low, a.low);
  let d = two_of(b.high, c.high);
  let e = two_of(d.low, c.low);
  var low = bitcast<u32>(e.high);
  if (e.low != 0.0 && (low & 1u) == 0u) {
    if ((e.low > 0.0) == (e.high > 0.0)) { low += 1u; } else { low -= 1u; }
  }
  return r_rounded(d.high + bitcast<f32>(low));
}
`;

type Numbers = Record<string, number>;

/** The numbers of the axes that are kept, and WGSL for the positions of `names` from the running index `index`. */
function keptAxes(
  { kept }: SumPlan,
  names: readonly string[],
): { readonly numbers: Numbers; readonly text: (index: string) => string } {
  const numbers: Numbers = {};
  kept.shape.forEach((extent, axis) => {
    numbers[`k${axis}`] = extent;
    names.forEach((name, operand) => {
      numbers[`${name}_k${axis}`] = kept.strides[operand][axis];
    });
  });
  const text = (index: string): string => {
    const lines = [`  var rest = ${index};`];
    for (let axis = kept.shape.length - 1; axis >= 0; axis--)
      lines.push(`  let i${axis} = rest % p.k${axis};`, `  rest = rest / p.k${axis};`);
    for (const name of names)
      lines.push(
        `  let ${name}_at = ${[`p.${name}_o`, ...kept.shape.map((_, axis) => `i${axis} * p.${name}_k${axis}`)].join(" + ")};`,
      );
    return lines.join("\n");
  };
  return { numbers, text };
}

/** Loops over the axes that are summed over; `term` is the WGSL of one, from the positions `x_term` and `w_term`. */
function summedLoops(
  { summed }: SumPlan,
  term: string,
): { readonly numbers: Numbers; readonly text: string; readonly variant: string } {
  const { shape, strides } = summed;
  const numbers: Numbers = {};
  shape.forEach((extent, axis) => {
    numbers[`j${axis}`] = extent;
    numbers[`x_j${axis}`] = strides[0][axis];
    numbers[`w_j${axis}`] = strides[1][axis];
  });
  // The first axis is cut among threads and stays a loop.
  let unrolledFrom = shape.length;
  let unrolled = 1;
  while (unrolledFrom > 1 && unrolled * shape[unrolledFrom - 1] <= mostUnrolled) {
    unrolledFrom -= 1;
    unrolled *= shape[unrolledFrom];
  }
  const position = (name: string): string =>
    [`${name}_at`, ...shape.slice(0, unrolledFrom).map((_, axis) => `j${axis} * p.${name}_j${axis}`)].join(
      " + ",
    );
  const steps = Array.from({ length: unrolled }, (_, index) => {
    let rest = index;
    const digits: string[][] = [[], []];
    for (let axis = shape.length - 1; axis >= unrolledFrom; axis--) {
      const digit = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
      if (digit === 0) continue;
      digits[0].push(`${digit} * p.x_j${axis}`);
      digits[1].push(`${digit} * p.w_j${axis}`);
    }
    const [x, w] = digits.map((own, i) => [`${"xw"[i]}_from`, ...own].join(" + "));
    return `{ let x_term = ${x}; let w_term = ${w}; ${term} }`;
  });
  let text = `let x_from = ${position("x")};\nlet w_from = ${position("w")};\n${steps.join("\n")}`;
  for (let axis = unrolledFrom - 1; axis >= 0; axis--) {
    const [start, end] = axis === 0 ? ["first_row", "end_row"] : ["0", `p.j${axis}`];
    text = `for (var j${axis} = ${start}; j${axis} < ${end}; j${axis}++) {\n${text}\n}`;
  }
  return { numbers, text, variant: `${unrolledFrom}u${shape.slice(unrolledFrom).join("x")}` };
}

const laneNames = ["x", "y", "z", "w"];

/** Writes the lanes of `sum` that are outputs. */
function storeText(lanes: 1 | 4, value: (lane: string) => string): string {
  if (lanes === 1) return `  y_set(y_at, ${value("")});`;
  return laneNames
    .map(
      (lane, i) =>
        `  if (first_lane + ${i} < p.extent) { y_set(y_at + (first_lane + ${i}) * p.y_lane, ${value(`.${lane}`)}); }`,
    )
    .join("\n");
}

/** `output[i…] = Σ a[i…, j…] · b[i…, j…]`, over at least one term; see Machine. */
export function sumOfProducts(runtime: GpuRuntime, a: GpuView, b: GpuView | null, output: GpuView): void {
  if (sizeOf(output.shape) === 0) return;
  const plan = planSum(a, b, output);
  const { kept, summed, shared, isSwapped } = plan;
  const lanes = shared ? 4 : 1;
  const tiles = shared ? Math.ceil(shared.extent / lanes) : 1;
  const units = sizeOf(kept.shape) * tiles;
  const [rows = 1] = summed.shape;
  const terms = sizeOf(summed.shape);
  const wanted = Math.min(
    Math.ceil(runtime.traits.usefulThreads / units),
    Math.floor(terms / leastTerms),
    rows,
  );
  const rowsEach = Math.ceil(rows / Math.max(1, wanted));
  const chunks = Math.ceil(rows / rowsEach);
  const [x, w] = isSwapped && b ? [b, a] : [a, b];
  const keptText = keptAxes(plan, ["y", "x", "w"]);
  const factor = shared
    ? `T(${laneNames.map((_, i) => `x_get(x_term + lane_at${i})`).join(", ")})`
    : "x_get(x_term)";
  const term = w
    ? `sum = add_product(sum, ${factor}, w_get(w_term), zero);`
    : `sum = add_term(sum, ${factor}, zero);`;
  const loops = summedLoops(plan, term);
  const numbers: Numbers = {
    x_o: x.offset,
    w_o: w?.offset ?? 0,
    y_o: output.offset,
    ...keptText.numbers,
    ...loops.numbers,
    units,
    tiles,
    rows: rowsEach,
    chunks,
    ...(shared && { extent: shared.extent, x_lane: shared.changing, y_lane: shared.output }),
  };
  const variant = `${kept.shape.length}/${summed.shape.length}/${loops.variant}/${lanes}${w ? "w" : ""}`;
  const factors = [
    { name: "x", buffer: x.buffer, access: "read" } as const,
    ...(w ? [{ name: "w", buffer: w.buffer, access: "read" } as const] : []),
  ];
  const target = { name: "y", buffer: output.buffer, access: "write" } as const;
  const declarations = reproduciblePrinter.declarations + typesOf(lanes) + arithmetic + rounding;
  const indices = `  let unit = id % p.units;
  let chunk = id / p.units;
  let first_lane = (unit % p.tiles) * ${lanes};
${keptText.text("unit / p.tiles")}
${shared ? laneNames.map((_, i) => `  let lane_at${i} = min(first_lane + ${i}, p.extent - 1) * p.x_lane;`).join("\n") : ""}`;
  const summing = `  let zero = r_zero();
  let first_row = chunk * p.rows;
  let end_row = min(first_row + p.rows, ${rows === 1 && summed.shape.length === 0 ? "1" : "p.j0"});
  var sum = Sum(T(0.0), T(0.0), T(0.0));
${loops.text}`;
  const rounded = (lane: string): string =>
    `round_once(sum.first${lane}, sum.second${lane}, sum.third${lane})`;
  if (chunks === 1) {
    runtime.launch({
      label: "exactSum",
      variant,
      operands: [...factors, target],
      numbers,
      threads: units,
      shader: () => ({ declarations, body: `${indices}\n${summing}\n${storeText(lanes, rounded)}` }),
    });
    return;
  }
  const parts = ["first", "second", "third"];
  const place = (part: number, lane: number): string =>
    `((chunk * 3 + ${part}) * p.units + unit) * ${lanes} + ${lane}`;
  runtime.scratch(chunks * 3 * units * lanes, (partial) => {
    const stores = parts.flatMap((part, i) =>
      lanes === 1
        ? [`  s_set(${place(i, 0)}, sum.${part});`]
        : laneNames.map((lane, l) => `  s_set(${place(i, l)}, sum.${part}.${lane});`),
    );
    runtime.launch({
      label: "exactSum in parts",
      variant,
      operands: [...factors, { name: "s", buffer: partial, access: "write" }],
      numbers,
      threads: units * chunks,
      shader: () => ({ declarations, body: `${indices}\n${summing}\n${stores.join("\n")}` }),
    });
    const loads = parts.map((_, i) =>
      lanes === 1
        ? `s_get(${place(i, 0)})`
        : `T(${laneNames.map((_, l) => `s_get(${place(i, l)})`).join(", ")})`,
    );
    runtime.launch({
      label: "exactSum of parts",
      variant,
      operands: [{ name: "s", buffer: partial, access: "read" }, target],
      numbers,
      threads: units,
      shader: () => ({
        declarations,
        body: `  let unit = id;
  let first_lane = (unit % p.tiles) * ${lanes};
${keptText.text("unit / p.tiles")}
  let zero = r_zero();
  var sum = Sum(T(0.0), T(0.0), T(0.0));
  for (var chunk = 0; chunk < p.chunks; chunk++) {
    sum = add_term(sum, ${loads[0]}, zero);
    sum = add_term(sum, ${loads[1]}, zero);
    sum = add_small(sum, ${loads[2]}, zero);
  }
${storeText(lanes, rounded)}`,
      }),
    });
  });
}

/** `output[i…]` = the largest of `a[i…, j…]`, over at least one; NaN if one is. */
export function largest(runtime: GpuRuntime, a: GpuView, output: GpuView): void {
  if (sizeOf(output.shape) === 0) return;
  const plan = planSum({ ...a, offset: 0 }, a, output);
  const keptText = keptAxes(plan, ["y", "x", "w"]);
  const loops = summedLoops(plan, "most = r_max(most, x_get(x_term));");
  runtime.launch({
    label: "largest",
    variant: `${plan.kept.shape.length}/${plan.summed.shape.length}/${loops.variant}`,
    operands: [
      { name: "x", buffer: a.buffer, access: "read" },
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: {
      x_o: a.offset,
      w_o: a.offset,
      y_o: output.offset,
      ...keptText.numbers,
      ...loops.numbers,
    },
    threads: sizeOf(plan.kept.shape),
    shader: () => ({
      declarations: reproduciblePrinter.declarations,
      body: `${keptText.text("id")}
  let first_row = 0;
  let end_row = ${plan.summed.shape.length === 0 ? "1" : "p.j0"};
  var most = -f_infinity();
${loops.text}
  y_set(y_at, most);`,
    }),
  });
}
