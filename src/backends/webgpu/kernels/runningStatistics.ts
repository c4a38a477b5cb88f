/** runningStatistics: a thread moves one channel's mean and variance, the first one counts the batch as well. */
import type { KernelAttributes } from "../../backend.ts";
import { float } from "../parameters.ts";
import { type GpuKernel, layoutNumbers } from "../runtime.ts";

const names = ["mean", "variance", "batches", "newMean", "newVariance"] as const;

export const runningStatistics: GpuKernel<KernelAttributes["runningStatistics"]> = (
  runtime,
  inputs,
  _output,
  { momentum, correction },
) =>
  runtime.launch({
    label: "runningStatistics",
    operands: names.map((name, i) => ({
      name,
      buffer: inputs[i].buffer,
      access: i < 3 ? "readWrite" : "read",
    })),
    numbers: {
      ...Object.assign({}, ...names.map((name, i) => layoutNumbers(name, inputs[i]))),
      kept: float(1 - momentum),
      momentum: float(momentum),
      correction: float(momentum * correction),
    },
    threads: inputs[0].shape[0],
    shader: () => ({
      body: `
  let mean_at = p.mean_o + id * p.mean_0;
  let variance_at = p.variance_o + id * p.variance_0;
  mean_set(mean_at, p.kept * mean_get(mean_at) + p.momentum * newMean_get(p.newMean_o + id * p.newMean_0));
  variance_set(variance_at,
    p.kept * variance_get(variance_at) + p.correction * newVariance_get(p.newVariance_o + id * p.newVariance_0));
  if (id == 0) { batches_set(p.batches_o, batches_get(p.batches_o) + 1); }`,
    }),
  });
