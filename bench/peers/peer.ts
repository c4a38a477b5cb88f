/**
 * What a library must offer to stand beside Gradweave in `npm run bench -- --peers`, and the numbers that all of them
 * compute with, so that equal results show equal work.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { z } from "zod";

/** A convolution of `x` [N, C, H, W] with `weight` [K, C, R, S], zeros around the image. */
export interface ConvCase {
  readonly x: readonly [number, number, number, number];
  readonly weight: readonly [number, number, number, number];
  readonly stride: number;
  readonly padding: number;
}

/** "gradients" is the forward pass and the gradients of both x and weight. */
export type ConvPart = "forward" | "gradients";

/** A DenseNet on square images of one channel, its loss cross entropy, its optimizer SGD with momentum. */
export interface StepConfig {
  readonly blocks: readonly number[];
  readonly growthRate: number;
  readonly bottleneckWidth: number;
  readonly stemChannels: number;
  readonly classes: number;
  readonly batch: number;
  readonly extent: number;
  readonly lr: number;
  readonly momentum: number;
}

export interface Outcome {
  /** By the clock of the library's own process, results computed to the end. */
  readonly milliseconds: number;
  /** Squared norms of y, and with gradients of x's and weight's; of a training step its loss. */
  readonly result: readonly number[];
}

export interface Workload {
  run(): Promise<Outcome>;
  dispose(): void;
}

/** A library on one backend with one number of threads. Its methods reject with what it cannot do. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  readonly threads: number;
  conv2d(shapes: ConvCase, part: ConvPart): Promise<Workload>;
  trainingStep(config: StepConfig): Promise<Workload>;
  close(): void;
}

/** A peer that may not be installed; `open` rejects with the reason. */
export interface PeerSource {
  readonly name: string;
  open(): Promise<Peer>;
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** `[N, K, P, Q]`, the shape of a convolution's output. */
export function outputShape({ x, weight, stride, padding }: ConvCase): [number, number, number, number] {
  const extent = (length: number, window: number) => Math.floor((length + 2 * padding - window) / stride) + 1;
  return [x[0], weight[0], extent(x[2], weight[2]), extent(x[3], weight[3])];
}

/** `scale · sin(0.37 i²)`: looks random, and is the same in every language without sending it. */
export function chirp(length: number, scale = 1): Float32Array {
  return Float32Array.from({ length }, (_, i) => scale * Math.sin(0.37 * i * i));
}

/** Initial values of a weight [outputs, …]: the standard deviation is √(2 / fan in). */
export function chirpWeight(shape: readonly number[]): Float32Array {
  const [outputs = 1] = shape;
  const size = sizeOf(shape);
  return chirp(size, 2 / Math.sqrt(size / outputs));
}

export function squaredNorm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) ** 2;
  return sum;
}

/**
 * An optional package of bench/package.json, typed by the few members that its peer uses. The name is not written in
 * the import, so that the project type-checks without the package.
 */
export async function importPeer<T>(name: string): Promise<T> {
  try {
    const module: { default?: T } & T = await import(name);
    return module.default ?? module;
  } catch (cause) {
    const missing = cause instanceof Error && "code" in cause && cause.code === "ERR_MODULE_NOT_FOUND";
    if (missing) throw new Error("not installed; run `npm ci --prefix bench`", { cause });
    throw cause;
  }
}

/** The version of a package in bench/node_modules. */
export function installedVersion(name: string): string {
  const file = path.resolve(import.meta.dirname, "../node_modules", name, "package.json");
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(file, "utf8"))).version;
}
