/**
 * batchStatistics: mean and sum of squared deviations of every part by Welford's updates, parts merged by the formula
 * of Chan, Golub and LeVeque (1979), so that a mean far from 0 costs no digits of the variance.
 */
import type { KernelAttributes } from "../../backend.ts";
import type { GpuKernel } from "../runtime.ts";
import { launchReduction } from "./reduction.ts";
import type { OutputOperand } from "./reductionSpec.ts";

export const batchStatistics: GpuKernel<KernelAttributes["batchStatistics"]> = (runtime, [x], output) => {
  const rows = ["mean", "variance"].map(
    (name, row): OutputOperand => ({
      name,
      buffer: output.buffer,
      access: "write",
      layout: {
        shape: [output.shape[1]],
        strides: [output.strides[1]],
        offset: output.offset + row * output.strides[0],
      },
    }),
  );
  launchReduction(runtime, {
    label: "batchStatistics",
    inputs: [x],
    axes: [0, 2, 3],
    operands: rows,
    slots: ["count", "average", "deviations"].map((name) => ({ name, type: "f32", start: "0.0" })),
    prologue: "  var seen = 0.0;",
    // The lanes see equally many: one division does for all.
    fold: `    seen += 1.0;
    count = T(seen);
    let away = a0 - average;
    average += away * (1.0 / seen);
    deviations += away * (a0 - average);`,
    merge: `    let both = count + other_count;
    if (other_count > 0.0) {
      let apart = other_average - average;
      let share = other_count / both;
      average += apart * share;
      deviations += other_deviations + apart * apart * (count * share);
      count = both;
    }`,
    finish: `  mean_set(mean_at, average);\n  variance_set(variance_at, deviations / count);`,
    mayVectorise: true,
  });
};
