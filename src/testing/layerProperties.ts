/** What must hold for a layer; `checkLayer` runs these on sizes and seeds that fast-check draws. */
import type { Domain } from "../autograd/defineOp.ts";
import { backward } from "../autograd/engine.ts";
import { gradcheck } from "../autograd/gradcheck.ts";
import { gradcheckDirections } from "../autograd/gradcheckDirections.ts";
import { noGrad } from "../autograd/mode.ts";
import { copyInto } from "../autograd/ops/inPlace.ts";
import { isFloat, type TypedArray } from "../backends/dtype.ts";
import type { Module } from "../nn/index.ts";
import { randn, tensor } from "../tensor/create.ts";
import { Generator, manualSeed } from "../tensor/generator.ts";
import { contiguousStrides, formatShape, type Shape, sameShape } from "../tensor/layout.ts";
import { memoryReport } from "../tensor/runtime.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Violation } from "./property.ts";
import { drawValues } from "./values.ts";

/** The layer under test and what is known of it. */
export interface LayerSpec {
  readonly makeLayer: () => Module;
  /** The output's shape for an input shape, both with the batch; null when not stated. */
  readonly outputShape: ((input: Shape) => Shape) | null;
  readonly stochastic: boolean;
  readonly domain: Domain | null;
}

/** What the layer is tried on. */
export interface LayerCase {
  /** Shape of the input, batch first. */
  readonly shape: readonly number[];
  /** Of the parameters and the input. */
  readonly seed: number;
}

/** More elements than this are checked along random directions, not one by one. */
const elementwiseLimit = 400;

/** Rounding in f64 may differ between a batch and its samples alone. */
const tolerance = 1e-9;

/** The input, f64; integers (i32) for a domain of indices. */
export function inputOf({ domain }: LayerSpec, { shape, seed }: LayerCase): Tensor {
  const generator = new Generator(seed).fork(1);
  if (!domain) return randn(shape, { dtype: "f64", generator });
  const dtype = domain.kind === "index" ? "i32" : "f64";
  const [values] = drawValues([{ shape, domain, dtype }], "f64", seed);
  return tensor(values, { shape, dtype });
}

/** The same case with a batch of two or more: statistics over a batch need that. */
const forTraining = (example: LayerCase): LayerCase => ({
  ...example,
  shape: [Math.max(2, example.shape[0]), ...example.shape.slice(1)],
});

/**
 * A layer in f64 that has seen one batch. Its parameters are moved a little: a bias or scale that starts at 0 or 1
 * hides what is done with it.
 */
function build(spec: LayerSpec, example: LayerCase): Module {
  manualSeed(example.seed);
  const layer = spec.makeLayer().to("f64");
  const generator = new Generator(example.seed).fork(2);
  scope(() => {
    for (const parameter of layer.parameters()) {
      const noise = randn(parameter.shape, { dtype: "f64", generator }).dataSync();
      const moved = parameter.dataSync().map((value, i) => value + 0.1 * noise[i] * (Math.abs(value) || 1));
      copyInto(parameter, tensor(moved, { shape: parameter.shape, dtype: "f64" }));
    }
    layer.train().forward(inputOf(spec, forTraining(example)));
  });
  return layer;
}

/** The output's values, nothing recorded or kept. */
function valuesOf(layer: Module, x: Tensor): TypedArray {
  return noGrad(() => scope(() => layer.forward(x).dataSync()));
}

/** Output shape and dtype are what they should be, and every value is a number. */
export function outputIsSound(spec: LayerSpec, example: LayerCase): void {
  for (const training of [true, false]) {
    const tried = training ? forTraining(example) : example;
    const layer = build(spec, example).train(training);
    const mode = training ? "training" : "evaluation";
    scope(() => {
      const x = inputOf(spec, tried);
      const y = layer.forward(x);
      const expected = spec.outputShape?.(x.shape) ?? null;
      if (expected && !sameShape(y.shape, expected))
        throw new Violation(
          `in ${mode} the output for input ${formatShape(x.shape)} is ${formatShape(y.shape)}, expected ${formatShape(expected)}`,
          "outputShape gets and gives shapes with the batch",
        );
      const again = layer.forward(x);
      if (!sameShape(y.shape, again.shape))
        throw new Violation(
          `in ${mode} the output's shape changed from ${formatShape(y.shape)} to ${formatShape(again.shape)} with the second call`,
        );
      if (isFloat(y.dtype) && y.dtype !== "f64")
        throw new Violation(
          `in ${mode} the output is ${y.dtype} although parameters and input are f64`,
          "make tensors inside forward with the input's dtype: { dtype: x.dtype }",
        );
      const values = y.dataSync();
      const wrong = values.findIndex((value) => !Number.isFinite(value));
      if (wrong >= 0)
        throw new Violation(`in ${mode} the output is ${values[wrong]} at ${formatIndex(wrong, y.shape)}`);
    });
  }
}

/** In evaluation the same input gives the same output, whatever was drawn before, and changes no buffer. */
export function evaluationRepeats(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).eval();
  const x = inputOf(spec, example);
  const buffers = new Map([...layer.namedBuffers()].map(([name, buffer]) => [name, buffer.dataSync()]));
  manualSeed(example.seed);
  const first = valuesOf(layer, x);
  manualSeed(example.seed + 1);
  const second = valuesOf(layer, x);
  const at = firstDifference(first, second, 0);
  if (at >= 0)
    throw new Violation(
      `two calls in evaluation gave ${first[at]} and ${second[at]} for the same input`,
      "draw random numbers only while this.training is true",
    );
  for (const [name, buffer] of layer.namedBuffers()) {
    if (firstDifference(buffers.get(name) ?? [], buffer.dataSync(), 0) >= 0)
      throw new Violation(
        `a call in evaluation changed the buffer ${name}`,
        "update statistics only while this.training is true",
      );
  }
}

/** In training the same input gives the same output, for stochastic layers after the same seed. */
export function trainingRepeats(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).train();
  const x = inputOf(spec, forTraining(example));
  manualSeed(example.seed);
  const first = valuesOf(layer, x);
  manualSeed(spec.stochastic ? example.seed : example.seed + 1);
  const second = valuesOf(layer, x);
  const at = firstDifference(first, second, 0);
  if (at < 0) return;
  throw new Violation(
    `two calls in training gave ${first[at]} and ${second[at]} for the same input${spec.stochastic ? " and seed" : ""}`,
    spec.stochastic
      ? "draw from defaultGenerator(), which manualSeed() restarts, and not from Math.random()"
      : "pass { stochastic: true } if the layer is meant to draw random numbers in training",
  );
}

/** Neither forward nor backward writes into the input. */
export function inputIsLeftAlone(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).train();
  const x = inputOf(spec, forTraining(example));
  const before = x.dataSync();
  scope(() => {
    const y = layer.forward(x);
    if (y.requiresGrad) backward(y, randn(y.shape, { dtype: "f64" }));
  });
  const after = x.dataSync();
  const at = firstDifference(before, after, 0);
  if (at >= 0)
    throw new Violation(
      `the layer changed its input at ${formatIndex(at, x.shape)} from ${before[at]} to ${after[at]}`,
      "operate in place on a clone() only",
    );
}

/** In evaluation, f(x reordered) = f(x) reordered. */
export function batchOrderCarriesOver(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).eval();
  const x = inputOf(spec, forTraining(example));
  const reversed = rowsOf(x).reverse();
  compareRows(
    layer,
    x,
    valuesOf(layer, tensor(concatenated(reversed), { shape: x.shape, dtype: x.dtype })),
    (row, count) => count - 1 - row,
    "in a batch in reverse order",
  );
}

/** In evaluation, a sample gets the same output alone as in a batch. */
export function samplesStandAlone(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).eval();
  const x = inputOf(spec, forTraining(example));
  const alone = rowsOf(x).map((row) =>
    valuesOf(layer, tensor(row, { shape: [1, ...x.shape.slice(1)], dtype: x.dtype })),
  );
  compareRows(layer, x, concatenated(alone), (row) => row, "alone");
}

/** Compares row i of f(x) with row `rowOf(i)` of `other`. */
function compareRows(
  layer: Module,
  x: Tensor,
  other: TypedArray,
  rowOf: (row: number, count: number) => number,
  where: string,
): void {
  const count = x.shape[0];
  const batch = valuesOf(layer, x);
  const hint =
    "nothing may be shared between the samples of a batch in evaluation; if the layer is meant to, pass { batchEquivariant: false }";
  if (batch.length % count !== 0 || batch.length !== other.length)
    throw new Violation(
      `the output has ${batch.length} values for a batch of ${count}, ${where} ${other.length}`,
      hint,
    );
  const size = batch.length / count;
  for (let row = 0; row < count; row++) {
    const expected = batch.subarray(row * size, (row + 1) * size);
    const start = rowOf(row, count) * size;
    const found = other.subarray(start, start + size);
    const at = firstDifference(expected, found, tolerance);
    if (at >= 0)
      throw new Violation(
        `sample ${row} of ${count} gets ${expected[at]} in a batch and ${found[at]} ${where} (value ${at} of its output)`,
        hint,
      );
  }
}

/** A fresh layer that loads the state of a used one computes the same. */
export function stateIsComplete(spec: LayerSpec, example: LayerCase): void {
  const used = build(spec, example).eval();
  manualSeed(example.seed + 1);
  const fresh = spec.makeLayer().to("f64").eval();
  fresh.loadStateDict(used.stateDict());
  const x = inputOf(spec, example);
  const [expected, found] = [valuesOf(used, x), valuesOf(fresh, x)];
  const at = firstDifference(expected, found, 0);
  if (at >= 0)
    throw new Violation(
      `after one training batch the layer gives ${expected[at]}, a fresh one that loaded its stateDict ${found[at]}; ` +
        `the state has ${[...used.stateDict().keys()].join(", ") || "no entries"}`,
      "hold trained tensors as Parameter and all others that change with registerBuffer()",
    );
}

/** The gradients of input and parameters agree with finite differences. */
export function gradientsAreRight(spec: LayerSpec, example: LayerCase, training: boolean): void {
  const layer = build(spec, example).train(training);
  const x = inputOf(spec, training ? forTraining(example) : example);
  const parameters = [...layer.namedParameters()];
  const inputs = [x, ...parameters.map(([, parameter]) => parameter)];
  const checked = inputs.filter(({ dtype }) => isFloat(dtype));
  if (checked.length === 0) return;
  const forward = (given: Tensor): Tensor => {
    manualSeed(example.seed);
    return layer.forward(given);
  };
  const options = { names: ["the input", ...parameters.map(([name]) => name)], seed: example.seed };
  if (checked.reduce((count, { size }) => count + size, 0) <= elementwiseLimit)
    gradcheck(forward, inputs, { ...options, acceptSubgradients: true });
  else gradcheckDirections(forward, inputs, options);
}

/** Training steps in scopes leave the bytes in use as they are. */
export function nothingLeaks(spec: LayerSpec, example: LayerCase): void {
  const layer = build(spec, example).train();
  const x = inputOf(spec, forTraining(example));
  const step = () =>
    scope(() => {
      const y = layer.forward(x);
      if (y.requiresGrad) backward(y, randn(y.shape, { dtype: "f64" }));
    });
  // The first steps allocate gradients and whatever the layer keeps once.
  for (let i = 0; i < 2; i++) step();
  const { liveBytes } = memoryReport();
  const steps = 4;
  for (let i = 0; i < steps; i++) step();
  const grown = memoryReport().liveBytes - liveBytes;
  if (grown > 0)
    throw new Violation(
      `each training step leaves ${Math.ceil(grown / steps)} bytes behind`,
      "tensors that outlive a step (keep(), outsideScopes(), registerBuffer()) must replace earlier ones, and those be disposed",
    );
}

/** First position where the values differ by more than `allowed` (relative above 1), or in length; -1 when none. */
function firstDifference(a: ArrayLike<number>, b: ArrayLike<number>, allowed: number): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const near = Math.abs(a[i] - b[i]) <= allowed * Math.max(1, Math.abs(a[i]));
    if (!near && !Object.is(a[i], b[i])) return i;
  }
  return -1;
}

/** The values of each sample of a batch. */
function rowsOf(x: Tensor): TypedArray[] {
  const values = x.dataSync();
  const size = values.length / x.shape[0];
  return Array.from({ length: x.shape[0] }, (_, row) => values.slice(row * size, (row + 1) * size));
}

function concatenated(rows: readonly TypedArray[]): Float64Array {
  return Float64Array.from(rows.flatMap((row) => Array.from(row)));
}

function formatIndex(position: number, shape: Shape): string {
  const strides = contiguousStrides(shape);
  return formatShape(shape.map((extent, axis) => Math.floor(position / strides[axis]) % extent));
}
