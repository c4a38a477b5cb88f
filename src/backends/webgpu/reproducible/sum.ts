/**
 * Exact sums of products on the device. Four outputs that share a factor are one thread's, and a sum of many terms is
 * shared among threads, whose partial sums are added up in the same way.
 */
import { sizeOf } from "../../reproducible/machine.ts";
import { planSum, type SumPlan } from "../../reproducible/sumPlan.ts";
import type { GpuRuntime, GpuView, LaunchOperand } from "../runtime.ts";
import { sumDeclarations } from "./arithmetic.ts";
import {
  endOfRows,
  type Lanes,
  laneNames,
  loopNumbers,
  loopVariant,
  positionsText,
  storeText,
  termsText,
} from "./loops.ts";
import { reproduciblePrinter } from "./printer.ts";

/** Terms that are at least worth a thread. */
const leastTerms = 64;

/** How the outputs of a plan are shared among threads, and the terms of one. */
interface Shares {
  readonly lanes: Lanes;
  /** Threads that all outputs take. */
  readonly units: number;
  /** Of the axis that is cut into lanes. */
  readonly tiles: number;
  /** Of the first axis that is summed over, by thread. */
  readonly rows: number;
  /** Threads that have a part of the same outputs. */
  readonly chunks: number;
}

function sharesOf({ kept, summed, shared }: SumPlan, usefulThreads: number): Shares {
  const lanes = shared ? 4 : 1;
  const tiles = shared ? Math.ceil(shared.extent / lanes) : 1;
  const units = sizeOf(kept.shape) * tiles;
  const [rows = 1] = summed.shape;
  const worth = Math.floor(sizeOf(summed.shape) / leastTerms);
  const wanted = Math.max(1, Math.min(Math.ceil(usefulThreads / units), worth, rows));
  const rowsEach = Math.ceil(rows / wanted);
  return { lanes, units, tiles, rows: rowsEach, chunks: Math.ceil(rows / rowsEach) };
}

/** WGSL: what a thread has to do with which outputs. */
const outputText = (
  plan: SumPlan,
  { lanes }: Shares,
): string => `  let first_lane = (unit % p.tiles) * ${lanes};
${positionsText(plan, "unit / p.tiles")}
${lanes === 1 ? "" : laneNames.map((_, i) => `  let lane_at${i} = min(first_lane + ${i}, p.extent - 1) * p.x_lane;`).join("\n")}`;

/** WGSL: a thread's part of its sums, in `sum`. */
function summingText(plan: SumPlan, shares: Shares, hasTwo: boolean): string {
  const factor =
    shares.lanes === 1
      ? "x_get(x_term)"
      : `T(${laneNames.map((_, i) => `x_get(x_term + lane_at${i})`).join(", ")})`;
  const term = hasTwo
    ? `sum = add_product(sum, ${factor}, w_get(w_term), zero);`
    : `sum = add_term(sum, ${factor}, zero);`;
  return `  let unit = id % p.units;
  let chunk = id / p.units;
${outputText(plan, shares)}
  let zero = r_zero();
  let first_row = chunk * p.rows;
  let end_row = min(first_row + p.rows, ${endOfRows(plan)});
  var sum = Sum(T(0.0), T(0.0), T(0.0));
${termsText(plan, term)}`;
}

const parts = ["first", "second", "third"] as const;

/** WGSL: where part `part` of the sum of a lane lies among partial sums. */
const place = (lanes: Lanes, part: number, lane: number): string =>
  `((chunk * 3 + ${part}) * p.units + unit) * ${lanes} + ${lane}`;

/** WGSL: stores a partial sum. */
const storePartsText = (lanes: Lanes): string =>
  parts
    .flatMap((part, i) =>
      lanes === 1
        ? [`  s_set(${place(lanes, i, 0)}, sum.${part});`]
        : laneNames.map((lane, l) => `  s_set(${place(lanes, i, l)}, sum.${part}.${lane});`),
    )
    .join("\n");

/** WGSL: adds the partial sums up. */
function addPartsText(plan: SumPlan, shares: Shares): string {
  const { lanes } = shares;
  const [first, second, third] = parts.map((_, i) =>
    lanes === 1
      ? `s_get(${place(lanes, i, 0)})`
      : `T(${laneNames.map((_, l) => `s_get(${place(lanes, i, l)})`).join(", ")})`,
  );
  return `  let unit = id;
${outputText(plan, shares)}
  let zero = r_zero();
  var sum = Sum(T(0.0), T(0.0), T(0.0));
  for (var chunk = 0; chunk < p.chunks; chunk++) {
    sum = add_term(sum, ${first}, zero);
    sum = add_term(sum, ${second}, zero);
    sum = add_small(sum, ${third}, zero);
  }`;
}

const rounded = (lane: string): string => `round_once(sum.first${lane}, sum.second${lane}, sum.third${lane})`;

/** `output[i…] = Σ a[i…, j…] · b[i…, j…]`, over at least one term; see Machine. */
export function sumOfProducts(runtime: GpuRuntime, a: GpuView, b: GpuView | null, output: GpuView): void {
  if (sizeOf(output.shape) === 0) return;
  const plan = planSum(a, b, output);
  const { shared, isSwapped } = plan;
  const shares = sharesOf(plan, runtime.traits.usefulThreads);
  const { lanes, units, chunks } = shares;
  const [x, w] = isSwapped && b ? [b, a] : [a, b];
  const numbers = {
    x_o: x.offset,
    w_o: w?.offset ?? 0,
    y_o: output.offset,
    ...loopNumbers(plan),
    units,
    tiles: shares.tiles,
    rows: shares.rows,
    chunks,
    ...(shared && { extent: shared.extent, x_lane: shared.changing, y_lane: shared.output }),
  };
  const variant = `${loopVariant(plan)}/${lanes}${w ? "w" : ""}`;
  const factors: LaunchOperand[] = [{ name: "x", buffer: x.buffer, access: "read" }];
  if (w) factors.push({ name: "w", buffer: w.buffer, access: "read" });
  const target: LaunchOperand = { name: "y", buffer: output.buffer, access: "write" };
  const launch = (label: string, operands: readonly LaunchOperand[], threads: number, body: () => string) =>
    runtime.launch({
      label,
      variant,
      operands,
      numbers,
      threads,
      shader: () => ({ declarations: sumDeclarations(lanes), body: body() }),
    });
  const summing = () => summingText(plan, shares, w !== null);
  const store = () => storeText(lanes, rounded);
  if (chunks === 1) {
    launch("exactSum", [...factors, target], units, () => `${summing()}\n${store()}`);
    return;
  }
  runtime.scratch(chunks * 3 * units * lanes, (buffer) => {
    const written: LaunchOperand = { name: "s", buffer, access: "write" };
    launch("exactSum, parts", [...factors, written], units * chunks, () =>
      [summing(), storePartsText(lanes)].join("\n"),
    );
    const read: LaunchOperand = { name: "s", buffer, access: "read" };
    launch("exactSum of parts", [read, target], units, () =>
      [addPartsText(plan, shares), store()].join("\n"),
    );
  });
}

/** `output[i…]` = the largest of `a[i…, j…]`, over at least one; NaN if one is. */
export function largest(runtime: GpuRuntime, a: GpuView, output: GpuView): void {
  if (sizeOf(output.shape) === 0) return;
  const plan = planSum({ ...a, offset: 0 }, a, output);
  runtime.launch({
    label: "largest",
    variant: loopVariant(plan),
    operands: [
      { name: "x", buffer: a.buffer, access: "read" },
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: { x_o: a.offset, w_o: a.offset, y_o: output.offset, ...loopNumbers(plan) },
    threads: sizeOf(plan.kept.shape),
    shader: () => ({
      declarations: reproduciblePrinter.declarations,
      body: `${positionsText(plan, "id")}
  let first_row = 0;
  let end_row = ${endOfRows(plan)};
  var most = -f_infinity();
${termsText(plan, "most = r_max(most, x_get(x_term));")}
  y_set(y_at, most);`,
    }),
  });
}
