/**
 * The work that libraries are compared in, as it is sent to their processes, and the numbers that all of them compute
 * with, so that equal results show equal work.
 */
import { z } from "zod";

const Extent = z.int().positive();
const Images = z.tuple([Extent, Extent, Extent, Extent]);

/** A convolution of `x` [N, C, H, W] with `weight` [K, C / groups, R, S], zeros around the image. */
const Convolution = z.object({
  kind: z.literal("conv2d"),
  x: Images,
  weight: Images,
  stride: Extent,
  padding: z.int().nonnegative(),
  groups: Extent,
  /** "all" is the forward pass and both gradients. */
  part: z.enum(["forward", "inputGradient", "weightGradient", "all"]),
});

/** Batch norm in training. The backward pass gives the gradients of x, weight and bias. */
const Normalisation = z.object({
  kind: z.literal("batchNorm"),
  x: Images,
  part: z.enum(["forward", "backward"]),
});

const Pointwise = z.object({
  kind: z.enum(["relu", "add"]),
  x: Images,
  part: z.enum(["forward", "backward"]),
});

const Pooling = z.object({
  kind: z.enum(["maxPool2d", "avgPool2d"]),
  x: Images,
  kernelSize: Extent,
  stride: Extent,
  padding: z.int().nonnegative(),
  part: z.enum(["forward", "backward"]),
});

/** A DenseNet, or with `fusion` its cross-stage-partial form with γ = 0.5, and a batch of square images for it. */
const Network = z.object({
  blocks: z.array(Extent),
  growthRate: Extent,
  bottleneckWidth: Extent,
  stem: z.enum(["imagenet", "small"]),
  stemChannels: Extent,
  inChannels: Extent,
  classes: Extent,
  fusion: z.enum(["both", "first", "last"]).optional(),
  batch: Extent,
  extent: Extent,
});

/** Forward pass, cross entropy, backward pass, SGD with momentum. */
const Step = Network.extend({ kind: z.literal("step"), lr: z.number(), momentum: z.number() });

/** The network in evaluation. A library that reads files is given the network in one. */
const Inference = Network.extend({ kind: z.literal("inference"), onnx: z.string().optional() });

export const Task = z.discriminatedUnion("kind", [
  Convolution,
  Normalisation,
  Pointwise,
  Pooling,
  Step,
  Inference,
]);

export type Task = z.infer<typeof Task>;
export type ConvolutionTask = z.infer<typeof Convolution>;
export type PoolingTask = z.infer<typeof Pooling>;
export type KernelTask = Exclude<Task, { kind: "step" | "inference" }>;
export type NetworkSize = z.infer<typeof Network>;
export type StepTask = z.infer<typeof Step>;
export type InferenceTask = z.infer<typeof Inference>;

/** One JSON a line. `open` makes a workload of a number that the asker chose. */
export const Request = z.union([
  z.object({ open: z.int(), task: Task }),
  /** Does the work so many times over, for the time of one. */
  z.object({ run: z.int(), times: z.int().positive() }),
  /** Does the work once, for its result. */
  z.object({ check: z.int() }),
  z.object({ close: z.int() }),
]);

export type Request = z.infer<typeof Request>;

/** The answer to each request, and one more, with the version, when the process is ready. */
export const Reply = z.object({
  version: z.string().optional(),
  /** Of a network, how many numbers it learns. */
  parameters: z.number().optional(),
  milliseconds: z.number().optional(),
  /** The most memory that the process has had so far. */
  peakBytes: z.number().optional(),
  /** Squared norms of the results; of a training step its loss. */
  result: z.array(z.number()).optional(),
  error: z.string().optional(),
});

export type Reply = z.infer<typeof Reply>;

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** `[N, C, P, Q]` of a window that moves over images; K in place of C where there are so many output channels. */
export function windowedShape(
  [N, C, H, W]: readonly [number, number, number, number],
  { kernelSize, stride, padding }: { kernelSize: readonly [number, number]; stride: number; padding: number },
  K = C,
): [number, number, number, number] {
  const extent = (length: number, window: number) => Math.floor((length + 2 * padding - window) / stride) + 1;
  return [N, K, extent(H, kernelSize[0]), extent(W, kernelSize[1])];
}

/** The shape of what a kernel's forward pass gives. */
export function outputShape(task: KernelTask): [number, number, number, number] {
  if (task.kind === "conv2d") {
    const [K, , R, S] = task.weight;
    return windowedShape(task.x, { kernelSize: [R, S], stride: task.stride, padding: task.padding }, K);
  }
  if (task.kind === "maxPool2d" || task.kind === "avgPool2d")
    return windowedShape(task.x, { ...task, kernelSize: [task.kernelSize, task.kernelSize] });
  return task.x;
}

/**
 * Numbers in [-scale, scale) by a hash of their position (Chris Wellons's lowbias32): the same in every language without
 * sending them, and another sequence for every seed.
 */
export function noise(length: number, scale = 1, seed = 0): Float32Array {
  return Float32Array.from({ length }, (_, i) => {
    let x = (i + Math.imul(seed, 0x9e3779b9)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return scale * (((x ^ (x >>> 16)) >>> 0) / 2 ** 31 - 1);
  });
}

/** Initial values of a weight [outputs, …]: the standard deviation is √(2 / fan in). */
export function initialWeight(shape: readonly number[], seed = 0): Float32Array {
  const [outputs = 1] = shape;
  const size = sizeOf(shape);
  return noise(size, Math.sqrt((6 * outputs) / size), seed);
}

export function squaredNorm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) ** 2;
  return sum;
}
