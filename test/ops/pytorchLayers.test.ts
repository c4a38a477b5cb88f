/** Replays what PyTorch computed for convolution and batch normalisation: outputs and every gradient. */
import { describe, expect, it } from "vitest";
import { grad } from "../../src/autograd/engine.ts";
import { batchNorm, batchNormWith } from "../../src/autograd/ops/batchNorm.ts";
import { conv2d } from "../../src/autograd/ops/conv2d.ts";
import { ones, zeros } from "../../src/tensor/create.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";
import {
  expectClose,
  readFixture,
  restore,
  type StoredTensor,
  type StoredTensors,
} from "../support/pytorchFixtures.ts";

interface ConvolutionAttributes {
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

interface NormAttributes {
  readonly training: boolean;
  readonly eps: number;
}

interface Case<Attributes> {
  readonly op: string;
  readonly name: string;
  readonly attributes: Attributes;
  readonly inputs: StoredTensors;
  readonly output: StoredTensor;
  readonly upstream: StoredTensor;
  readonly gradients: StoredTensors;
}

type Inputs = Readonly<Record<string, Tensor>>;

const { cases } = readFixture("ops");

function casesOf<Attributes>(op: string): Case<Attributes>[] {
  return cases.filter((test: Case<Attributes>) => test.op === op);
}

function replay<Attributes>(
  test: Case<Attributes>,
  compute: (inputs: Inputs, attributes: Attributes) => Tensor,
  [float, relative]: readonly ["f32" | "f64", number],
): void {
  const inputs = Object.fromEntries(
    Object.entries(test.inputs).map(([name, stored]) => [
      name,
      restore(stored, float, name in test.gradients),
    ]),
  );
  const output = compute(inputs, test.attributes);
  expectClose("output", output, test.output, relative);
  const names = Object.keys(test.gradients);
  const gradients = grad(
    output,
    names.map((name) => inputs[name]),
    { gradients: [restore(test.upstream, float)] },
  );
  names.forEach((name, i) => {
    expectClose(`gradient of ${name}`, gradients[i], test.gradients[name], relative);
  });
}

function convolve({ x, weight, bias }: Inputs, attributes: ConvolutionAttributes): Tensor {
  return conv2d(x, weight, bias ? { ...attributes, bias } : attributes);
}

function normalise(
  { x, runningMean, runningVar, ...rest }: Inputs,
  { training, eps }: NormAttributes,
): Tensor {
  const like = { dtype: x.dtype };
  const { weight = ones([x.shape[1]], like), bias = zeros([x.shape[1]], like) } = rest;
  if (training) return batchNorm(x, weight, bias, { epsilon: eps });
  return batchNormWith(x, { mean: runningMean, variance: runningVar, weight, bias, epsilon: eps });
}

describe("conv2d against PyTorch", () => {
  const convolutions = casesOf<ConvolutionAttributes>("conv2d");

  it.each(convolutions)("$name", (test) => {
    replay(test, convolve, ["f64", 1e-12]);
    replay(test, convolve, ["f32", 4e-6]);
  });

  it("has cases", () => {
    expect(convolutions.length).toBeGreaterThanOrEqual(10);
  });
});

describe("batchNorm against PyTorch", () => {
  const norms = casesOf<NormAttributes>("batchNorm");

  it.each(norms)("$name", (test) => {
    replay(test, normalise, ["f64", 1e-10]);
    // Two values are normalised to -1 and 1 whatever they are: their gradient, 1e-6 of the terms it is the difference
    // of, has few digits left in f32.
    replay(test, normalise, ["f32", test.name.startsWith("two values") ? 5e-3 : 1e-5]);
  });

  it("has cases", () => {
    expect(norms.length).toBeGreaterThanOrEqual(12);
  });
});
