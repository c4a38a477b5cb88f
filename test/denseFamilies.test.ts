/**
 * The dense families at little width against PyTorch: the same names, logits, loss, gradients and, from the running
 * statistics of that step, logits in evaluation. Weights and images are waves by the formula in generate_dense.py.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { copyInto, crossEntropy } from "../src/autograd/index.ts";
import {
  type CspPeleeNetOptions,
  createModel,
  cspElasticDenseNet,
  cspPeleeNet,
  type DenseNetOptions,
  densenet,
  type ElasticDenseNetOptions,
  elasticDenseNet,
  type ModelOptions,
  type Network,
  type PeleeNetOptions,
  peleeNet,
} from "../src/models/index.ts";
import { BatchNorm2d, foldForInference } from "../src/nn/index.ts";
import { tensor } from "../src/tensor/index.ts";
import { expectClose, restore, type StoredTensor } from "./support/pytorchFixtures.ts";

type Model =
  | ({ readonly kind: "densenet" } & DenseNetOptions)
  | ({ readonly kind: "pelee" } & PeleeNetOptions)
  | ({ readonly kind: "csppelee" } & CspPeleeNetOptions)
  | ({ readonly kind: "elastic" | "cspelastic" } & ElasticDenseNetOptions)
  | ({ readonly kind: "densereference" | "peleereference" } & ModelOptions<"csp-densenet-reference">);

interface Case {
  readonly name: string;
  readonly model: Model;
  readonly seed: number;
  readonly imageShape: readonly number[];
  readonly logits: StoredTensor;
  readonly evalLogits: StoredTensor;
  readonly loss: number;
  /** By parameter: sum, norm, and the sum of its products with a wave. */
  readonly gradients: Readonly<Record<string, readonly [sum: number, norm: number, projection: number]>>;
}

interface Fixture {
  readonly labels: StoredTensor;
  readonly cases: readonly Case[];
}

const file = new URL("fixtures/pytorch/denseFamilies.json", import.meta.url);
const fixture: Fixture = JSON.parse(readFileSync(file, "utf8"));

function build(model: Model): Network {
  switch (model.kind) {
    case "densenet": {
      const { kind: _, ...options } = model;
      return densenet(options);
    }
    case "pelee": {
      const { kind: _, ...options } = model;
      return peleeNet(options);
    }
    case "csppelee": {
      const { kind: _, ...options } = model;
      return cspPeleeNet(options);
    }
    case "elastic":
    case "cspelastic": {
      const { kind, ...options } = model;
      return kind === "elastic" ? elasticDenseNet(options) : cspElasticDenseNet(options);
    }
    default: {
      const { kind, ...options } = model;
      return createModel(
        kind === "densereference" ? "csp-densenet-reference" : "csp-peleenet-reference",
        options,
      );
    }
  }
}

const wave = (count: number, place: number, seed: number) =>
  Float64Array.from({ length: count }, (_, i) => Math.sin(0.7 * i + 0.013 * (i * i) + 1.3 * place + seed));

const sorted = <Value>(values: ReadonlyMap<string, Value>) =>
  [...values].sort(([a], [b]) => (a < b ? -1 : 1));

function initialise(network: Network, seed: number): void {
  const norms = new Set(
    [...network.namedModules()].flatMap(([path, module]) =>
      module instanceof BatchNorm2d ? [`${path}.weight`] : [],
    ),
  );
  sorted(network.namedParameters()).forEach(([name, parameter], place) => {
    const fanIn = parameter.size / parameter.shape[0];
    const values = wave(parameter.size, place, seed).map((w) => {
      if (norms.has(name)) return 1 + w / 4;
      return parameter.rank === 1 ? w / 5 : w * Math.sqrt(2 / fanIn);
    });
    copyInto(parameter, tensor(values, { shape: parameter.shape, dtype: parameter.dtype }));
  });
}

/** In f64 what differs is the order of sums. PyTorch itself in f32 is off by 6e-5 in gradients. */
const tolerances = { f64: { values: 1e-10, gradients: 1e-10 }, f32: { values: 1e-4, gradients: 3e-4 } };

describe.each(fixture.cases)("$name", ({ model, seed, imageShape, logits, evalLogits, loss, gradients }) => {
  // In f32 one of the million activations of 121 layers may change its side.
  const floats = model.kind === "densenet" ? (["f64"] as const) : (["f64", "f32"] as const);

  it.each(floats)("computes one step as PyTorch does, in %s", (float) => {
    const tolerance = tolerances[float];
    const network = build(model).to(float);
    initialise(network, seed);
    const count = imageShape.reduce((product, size) => product * size, 1);
    const images = tensor(wave(count, 0, 2), { shape: imageShape, dtype: float });
    const computed = network.forward(images);
    expectClose("logits", computed, logits, tolerance.values);
    const value = crossEntropy(computed, restore(fixture.labels, float));
    expect(Math.abs(value.itemSync() - loss) / loss).toBeLessThan(tolerance.values);
    value.backward();
    const parameters = sorted(network.namedParameters());
    expect(parameters.map(([name]) => name)).toEqual(Object.keys(gradients));
    const largest = Math.max(...Object.values(gradients).map(([, norm]) => norm));
    parameters.forEach(([name, { grad, size }], place) => {
      const values = Float64Array.from(grad?.dataSync() ?? []);
      const projections = [
        values.reduce((sum, v) => sum + v, 0),
        Math.sqrt(values.reduce((sum, v) => sum + v * v, 0)),
        wave(size, place, 1).reduce((sum, w, i) => sum + w * values[i], 0),
      ];
      // A gradient may be the small rest of large terms.
      const scale = Math.max(gradients[name][1], 1e-3 * largest);
      gradients[name].forEach((expected, i) => {
        expect(Math.abs(projections[i] - expected), `${name} ${i}`).toBeLessThan(tolerance.gradients * scale);
      });
    });
    network.eval();
    expectClose("logits in evaluation", network.forward(images), evalLogits, tolerance.values);
    const folded = foldForInference(network);
    expectClose("logits once folded", folded.forward(images), evalLogits, tolerance.values);
    // Post-activated norms all go; what stands before its convolution stays.
    const norms = [...folded.namedModules().values()].filter((module) => module instanceof BatchNorm2d);
    expect(norms.length > 0).toBe(["densenet", "elastic", "cspelastic"].includes(model.kind));
  });
});
