/**
 * Images normalised and rectified in front of a product that reads them where they lie (see quadProduct.ts): a copy
 * without margins, row after row. A thread makes a stretch of one channel, so that the channel's coefficients are
 * computed once for many elements.
 */
import type { GpuMemory } from "../../memory.ts";
import { float } from "../../parameters.ts";
import type { GpuRuntime, GpuView } from "../../runtime.ts";
import { flattenRows } from "./geometry.ts";
import type { Normalization } from "./prepare.ts";
import { range } from "./quadProduct.ts";

/** Elements of a thread at most. */
const mostElements = 16;

/**
 * Writes max(weight · (x − mean) / √(variance + ε) + bias, 0) into `target`, `[N, C, H, W]` in row-major order; false,
 * with nothing done, where the rows of `x` do not lie one after the other.
 */
export function launchNormalizedImages(
  runtime: GpuRuntime,
  x: GpuView,
  target: GpuMemory,
  { weight, bias, statistics, epsilon }: Normalization,
): boolean {
  const rows = flattenRows(x);
  if (!rows) return false;
  const [N, C, , length] = rows.shape;
  const pieces = Math.ceil(length / mostElements);
  const elements = Math.ceil(length / pieces);
  const isWhole = length % elements === 0;
  runtime.launch({
    label: "normalizeImages",
    variant: `${elements},${isWhole}`,
    operands: [
      { name: "x", buffer: x.buffer, access: "read" },
      { name: "weight", buffer: weight.buffer, access: "read" },
      { name: "bias", buffer: bias.buffer, access: "read" },
      { name: "statistics", buffer: statistics.buffer, access: "read" },
      { name: "y", buffer: target, access: "write" },
    ],
    numbers: {
      x_o: rows.offset,
      x_0: rows.strides[0],
      x_1: rows.strides[1],
      x_3: rows.strides[3],
      weight_o: weight.offset,
      weight_0: weight.strides[0],
      bias_o: bias.offset,
      bias_0: bias.strides[0],
      statistics_o: statistics.offset,
      statistics_0: statistics.strides[0],
      statistics_1: statistics.strides[1],
      epsilon: float(epsilon),
      C,
      length,
      pieces,
    },
    threads: N * C * pieces,
    shader: () => ({
      body: `
  let first = (id % p.pieces) * ${elements};
  let plane = id / p.pieces;
  let c = plane % p.C;
  let mean = statistics_get(p.statistics_o + c * p.statistics_1);
  let variance = statistics_get(p.statistics_o + p.statistics_0 + c * p.statistics_1);
  let scale = weight_get(p.weight_o + c * p.weight_0) / sqrt(variance + p.epsilon);
  let shift = bias_get(p.bias_o + c * p.bias_0);
  let x_at = p.x_o + (plane / p.C) * p.x_0 + c * p.x_1 + first * p.x_3;
  let x_column = p.x_3;
  let y_at = plane * p.length + first;
${range(elements)
  .map((i) => {
    // A NaN is not less than 0, and stays.
    const element = `let v = (x_get(x_at + ${i} * x_column) - mean) * scale + shift; y_set(y_at + ${i}, select(v, 0.0, v < 0.0));`;
    return isWhole || i === 0 ? `  { ${element} }` : `  if (first + ${i} < p.length) { ${element} }`;
  })
  .join("\n")}`,
    }),
  });
  return true;
}
