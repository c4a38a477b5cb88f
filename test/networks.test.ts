/**
 * Small DenseNets and CSPDenseNets against PyTorch: from the same initial values, the same logits, gradients, running
 * statistics and, after five steps of SGD, the same parameters.
 */
import { describe, expect, it } from "vitest";
import { crossEntropy } from "../src/autograd/ops/crossEntropy.ts";
import { cspDenseNet } from "../src/models/cspDenseNet.ts";
import type { DenseNet } from "../src/models/denseNetParts.ts";
import { densenet } from "../src/models/densenet.ts";
import { SGD } from "../src/nn/optim/sgd.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  expectClose,
  readFixture,
  restore,
  type StoredTensor,
  type StoredTensors,
} from "./support/pytorchFixtures.ts";

interface Sizes {
  readonly blocks: readonly number[];
  readonly growthRate: number;
  readonly bottleneckWidth: number;
  readonly stemChannels: number;
  readonly inChannels: number;
  readonly classes: number;
  readonly compression: number;
}

type Model =
  | (Sizes & { readonly kind: "densenet" })
  | (Sizes & {
      readonly kind: "cspdensenet";
      readonly partialRatio: number;
      readonly fusion: "both" | "first" | "last";
    });

interface FirstStep {
  readonly logits: StoredTensor;
  readonly loss: StoredTensor;
  readonly gradients: StoredTensors;
  readonly losses: StoredTensor;
}

interface Case {
  readonly name: string;
  readonly model: Model;
  readonly parameterCount: number;
  readonly stateNames: readonly string[];
  readonly parameterNames: readonly string[];
  readonly initialState: StoredTensors;
  readonly f64: FirstStep;
  readonly f32: FirstStep & {
    readonly buffersAfterForward: StoredTensors;
    readonly stateAfterSteps: StoredTensors;
    readonly evalLogitsAfterSteps: StoredTensor;
  };
}

interface Fixture {
  readonly images: StoredTensor;
  readonly labels: StoredTensor;
  readonly sgd: { readonly lr: number; readonly momentum: number; readonly weightDecay: number };
  readonly steps: number;
  readonly cases: readonly Case[];
}

const fixture: Fixture = readFixture("networks");

function build(model: Model): DenseNet {
  const { kind, ...options } = model;
  return kind === "densenet"
    ? densenet({ ...options, stem: "small" })
    : cspDenseNet({ partialRatio: 0.5, ...options, stem: "small" });
}

function start({ model, initialState }: Case, float: "f32" | "f64"): DenseNet {
  const network = build(model);
  if (float === "f64") network.to("f64");
  network.loadStateDict(
    new Map(Object.entries(initialState).map(([name, stored]) => [name, restore(stored, float)])),
  );
  return network;
}

function expectAllClose(
  actual: ReadonlyMap<string, Tensor>,
  expected: StoredTensors,
  relative: number,
): void {
  expect([...actual.keys()]).toEqual(Object.keys(expected));
  for (const [name, tensor] of actual) expectClose(name, tensor, expected[name], relative);
}

function gradientsOf(network: DenseNet): Map<string, Tensor> {
  return new Map(
    [...network.namedParameters()].flatMap(([name, { grad }]) => (grad ? [[name, grad] as const] : [])),
  );
}

/** The largest relative differences that PyTorch itself shows between f32 and f64 are 1.5e-6. */
const tolerances = { f32: 1e-5, f64: 1e-11 } as const;

describe.each(fixture.cases)("$name", (test) => {
  it("has PyTorch's parameters and buffers, by name and in order", () => {
    const network = build(test.model);
    expect([...network.stateDict().keys()]).toEqual(test.stateNames);
    expect([...network.namedParameters().keys()]).toEqual(test.parameterNames);
    expect(network.parameterCount()).toBe(test.parameterCount);
  });

  it.each(["f32", "f64"] as const)("computes the same first step in %s", (float) => {
    const network = start(test, float);
    const logits = network.forward(restore(fixture.images, float));
    const loss = crossEntropy(logits, restore(fixture.labels, float));
    loss.backward();
    const expected = test[float];
    expectClose("logits", logits, expected.logits, tolerances[float]);
    expectClose("loss", loss, expected.loss, tolerances[float]);
    expectAllClose(gradientsOf(network), expected.gradients, tolerances[float]);
    // What PyTorch tracked in f32 holds for f64 up to f32's rounding.
    expectAllClose(network.namedBuffers(), test.f32.buffersAfterForward, tolerances.f32);
  });

  it.each(["f32", "f64"] as const)("takes the same five steps of SGD in %s", (float) => {
    const network = start(test, float);
    const { lr, momentum, weightDecay } = fixture.sgd;
    const optimizer = new SGD(network.parameters(), { lr, momentum, weightDecay });
    const images = restore(fixture.images, float);
    const losses = Array.from({ length: fixture.steps }, () => {
      optimizer.zeroGrad();
      const loss = crossEntropy(network.forward(images), restore(fixture.labels, float));
      loss.backward();
      optimizer.step();
      return loss.itemSync();
    });
    test[float].losses.data.forEach((expected, i) => {
      expect(Math.abs(losses[i] - expected) / expected, `loss ${i}`).toBeLessThan(tolerances[float]);
    });
    expectAllClose(network.stateDict(), test.f32.stateAfterSteps, tolerances.f32);
    expectClose(
      "logits in evaluation",
      network.eval().forward(images),
      test.f32.evalLogitsAfterSteps,
      tolerances.f32,
    );
  });
});
