/**
 * Speed of the CPU kernels on the sizes of a small DenseNet on 28 x 28 images, f32, one thread.
 *
 * Products in GFLOP/s (2 per multiply-add), the rest in ns per input element. Each figure is the best of the repeats
 * that fit the time given, after a warm-up of all kernels, so that V8 has seen every layout before it is timed.
 */
import type { HostView } from "../src/backends/backend.ts";
import {
  type Conv2dAttributes,
  conv2dInputGradient,
  conv2dWeightGradient,
} from "../src/backends/cpu/loops/conv2d.ts";
import { gemm } from "../src/backends/cpu/loops/gemm.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";

interface Case {
  readonly name: string;
  /** Operations of one run: floating-point ones, or elements read. */
  readonly work: number;
  readonly unit: "GFLOP/s" | "ns/element";
  run(): void;
}

const cases: Case[] = [];
const size = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

/** A contiguous f32 view, or the first channels of a buffer of `width` channels, as in a dense block. */
function tensor(shape: readonly number[], width = shape[1]): HostView {
  const strides = shape.map((_, axis) => size(shape.slice(axis + 1)));
  if (shape.length === 4) strides[0] = width * strides[1];
  const length = shape.length === 4 ? shape[0] * strides[0] : size(shape);
  const data = Float32Array.from({ length }, () => Math.random() - 0.5);
  return { dtype: "f32", data, shape, strides, offset: 0 };
}

function addProduct(M: number, N: number, K: number): void {
  const matrix = (rows: number, columns: number) => ({
    data: tensor([rows, columns]).data,
    offset: 0,
    rowStride: columns,
    columnStride: 1,
  });
  const [a, b, c] = [matrix(M, K), matrix(K, N), matrix(M, N)];
  const run = () => gemm(M, N, K, a, b, c, false);
  cases.push({ name: `gemm ${M} x ${N} x ${K}`, work: 2 * M * N * K, unit: "GFLOP/s", run });
}

interface ConvOptions {
  readonly window: number;
  readonly stride?: number;
  readonly groups?: number;
  /** Channels of the buffer that x is a slice of. */
  readonly width?: number;
}

function addConvolution(x: readonly number[], outputs: number, options: ConvOptions): void {
  const { window, stride = 1, groups = 1, width = x[1] } = options;
  const margin = (window - 1) / 2;
  const attributes: Conv2dAttributes = {
    stride: [stride, stride],
    padding: [margin, margin, margin, margin],
    dilation: [1, 1],
    groups,
  };
  const extent = (length: number) => Math.floor((length + 2 * margin - window) / stride) + 1;
  const y = tensor([x[0], outputs, extent(x[2]), extent(x[3])]);
  const input = tensor(x, width);
  const weight = tensor([outputs, x[1] / groups, window, window]);
  const inputGradient = tensor(x);
  const weightGradient = tensor(weight.shape);
  const work = 2 * size(y.shape) * size(weight.shape.slice(1));
  const label = `${window}x${window} [${x.join(", ")}] -> ${outputs}${stride > 1 ? ` / ${stride}` : ""}${groups > 1 ? `, ${groups} groups` : ""}`;
  const add = (kernel: string, run: () => void) =>
    cases.push({ name: `${kernel} ${label}`, work, unit: "GFLOP/s", run });
  add("forward ", () => loops.conv2d([input, weight], y, attributes));
  add("inputGr.", () => conv2dInputGradient([y, weight], inputGradient, attributes));
  add("weightGr", () => conv2dWeightGradient([input, y], weightGradient, attributes));
}

function addElementwise(): void {
  const x = tensor([32, 32, 14, 14], 48);
  const y = tensor([32, 32, 14, 14]);
  const z = tensor([32, 32, 14, 14]);
  const half = tensor([32, 32, 7, 7]);
  const vector = tensor([32]);
  const statistics = tensor([2, 32]);
  statistics.data.fill(1);
  const epsilon = 1e-5;
  const attributes = {
    kernelSize: [2, 2],
    stride: [2, 2],
    padding: [0, 0, 0, 0],
    dilation: [1, 1],
    countIncludePad: true,
  } as const;
  const overlapping = { ...attributes, kernelSize: [3, 3], padding: [1, 0, 1, 0] } as const;
  const global = { ...attributes, kernelSize: [14, 14], stride: [14, 14] } as const;
  const one = tensor([32, 32, 1, 1]);
  const summed = tensor([1, 32, 1, 1]);
  const sums = tensor([2, 32]);
  const image = tensor([1, 32, 14, 14]);
  const both = tensor([32, 64, 14, 14]);
  const matrix = tensor([512, 392]);
  const transposed: HostView = { ...matrix, shape: [392, 512], strides: [1, 392] };
  const add = (name: string, run: () => void, work = size(x.shape)) =>
    cases.push({ name: `${name} [32, 32, 14, 14]`, work, unit: "ns/element", run });
  add("batchStatistics", () => loops.batchStatistics([x], statistics, {}));
  add("batchNorm", () => loops.batchNorm([x, vector, vector, statistics], y, { epsilon }));
  add("batchNormSums", () => loops.batchNormSums([x, y, statistics], sums, { epsilon }));
  add("batchNormInputGradient", () =>
    loops.batchNormInputGradient([x, vector, y, statistics, statistics], z, { epsilon }),
  );
  add("maxPool2d 2x2", () => loops.maxPool2d([x], half, attributes));
  add("maxPool2d 3x3 / 2", () => loops.maxPool2d([x], half, overlapping));
  add("maxPool2dInputGradient 2x2", () => loops.maxPool2dInputGradient([x, half], z, attributes));
  add("maxPool2dPick 2x2", () => loops.maxPool2dPick([x, y], half, attributes));
  add("avgPool2d 2x2", () => loops.avgPool2d([x], half, attributes));
  add("avgPool2d global", () => loops.avgPool2d([x], one, global));
  add("avgPool2dInputGradient 2x2", () => loops.avgPool2dInputGradient([half], z, attributes));
  add("sum over 0, 2, 3", () => loops.sum([x], summed, { axes: [0, 2, 3] }));
  add("sum over 2, 3", () => loops.sum([x], one, { axes: [2, 3] }));
  add("sum over 0", () => loops.sum([x], image, { axes: [0] }));
  add("copy of a channel slice", () => loops.copy([x], z, {}));
  add("copy into a transpose", () =>
    loops.copy([{ ...z, shape: [392, 512], strides: [512, 1] }], transposed, {}),
  );
  add("concat of two", () => loops.concat([x, y], both, { axis: 1 }));
}

addProduct(256, 256, 256);
addProduct(32, 10, 64);
addProduct(512, 512, 512);
for (const channels of [16, 32, 48]) addConvolution([32, channels, 14, 14], 16, { window: 1, width: 48 });
addConvolution([32, 32, 14, 14], 32, { window: 1, width: 48 });
addConvolution([32, 16, 14, 14], 8, { window: 3 });
addConvolution([32, 32, 14, 14], 8, { window: 3 });
addConvolution([32, 1, 28, 28], 16, { window: 3, stride: 2 });
addConvolution([32, 16, 28, 28], 8, { window: 3 });
addConvolution([32, 32, 7, 7], 8, { window: 3 });
addConvolution([32, 64, 7, 7], 32, { window: 1 });
addConvolution([32, 32, 14, 14], 64, { window: 3, stride: 2 });
addConvolution([32, 32, 14, 14], 32, { window: 3, groups: 4 });
addConvolution([32, 32, 14, 14], 32, { window: 3, groups: 32 });
addElementwise();

export interface KernelFigure {
  readonly kernel: string;
  readonly figure: number;
  readonly unit: Case["unit"];
}

/** Times every kernel for `milliseconds` each. */
export function benchKernels(milliseconds: number): KernelFigure[] {
  for (const { run } of cases) for (let i = 0; i < 20; i++) run();
  return cases.map(({ name, work, unit, run }) => {
    let best = Number.POSITIVE_INFINITY;
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      const start = performance.now();
      for (let i = 0; i < 4; i++) run();
      best = Math.min(best, (performance.now() - start) / 4);
    }
    return { kernel: name, figure: unit === "GFLOP/s" ? work / best / 1e6 : (best * 1e6) / work, unit };
  });
}
