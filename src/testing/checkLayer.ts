/** The property test of a layer: what every well-behaved `nn.Module` fulfils, on random sizes and parameters. */
import fc from "fast-check";
import type { Domain, SampleSource } from "../autograd/defineOp.ts";
import { formatNumber } from "../autograd/gradcheckError.ts";
import type { Module } from "../nn/index.ts";
import { defaultGenerator } from "../tensor/generator.ts";
import { formatShape, type Shape } from "../tensor/layout.ts";
import { scope } from "../tensor/scope.ts";
import {
  batchOrderCarriesOver,
  evaluationRepeats,
  gradientsAreRight,
  inputIsLeftAlone,
  inputOf,
  type LayerCase,
  type LayerSpec,
  nothingLeaks,
  outputIsSound,
  samplesStandAlone,
  stateIsComplete,
  trainingRepeats,
} from "./layerProperties.ts";
import { type Facts, type PropertyOptions, runProperty } from "./property.ts";
import { choices, sampleSource } from "./sampleSource.ts";

/** An extent, or the smallest and largest it may have. */
export type Extent = number | readonly [smallest: number, largest: number];

export interface CheckLayerOptions extends PropertyOptions {
  /**
   * Shape of one sample, without the batch, `[C, H, W]` say: fixed extents, ranges, or a function that draws it,
   * for extents that depend on each other.
   */
  readonly inputShape: readonly Extent[] | ((source: SampleSource) => Shape);
  /** Smallest and largest batch; default [1, 4]. Training uses 2 at least. */
  readonly batchSize?: readonly [smallest: number, largest: number];
  /** What the output's shape must be for an input's shape, both with the batch. */
  readonly outputShape?: (input: Shape) => Shape;
  /** The layer draws random numbers in training. Default false. */
  readonly stochastic?: boolean;
  /** In evaluation each sample of a batch is treated alone. Default true. */
  readonly batchEquivariant?: boolean;
  /** Where input values lie; `{ kind: "index", below }` gives integers. Default: normally distributed. */
  readonly domain?: Domain;
}

type LayerProperty = (spec: LayerSpec, example: LayerCase) => void;

const properties: readonly (readonly [name: string, test: LayerProperty])[] = [
  ["the output has one shape and is finite", outputIsSound],
  ["evaluation is repeatable", evaluationRepeats],
  ["training is repeatable", trainingRepeats],
  ["the input is left alone", inputIsLeftAlone],
  ["gradients in training", (spec, example) => gradientsAreRight(spec, example, true)],
  ["gradients in evaluation", (spec, example) => gradientsAreRight(spec, example, false)],
  ["the state is complete", stateIsComplete],
  ["nothing leaks", nothingLeaks],
];

const batchProperties: typeof properties = [
  ["the order of a batch does not matter", batchOrderCarriesOver],
  ["samples do not depend on their batch", samplesStandAlone],
];

/**
 * Checks a layer on `runs` (default 10) random batches, sizes and parameters, in f64: gradients of the input and all
 * parameters against finite differences, in training and evaluation; output shape and finite values; evaluation
 * that repeats itself and changes nothing; independence of the samples of a batch; stateDict round trip; the input
 * unchanged; no memory left behind by training steps.
 *
 *     checkLayer(() => new SqueezeExcite(8), { inputShape: [8, [1, 5], [1, 5]] });
 *
 * `makeLayer` builds a new layer each time. Throws a `PropertyError` that names the property and gives the smallest
 * input shape and seed for which it fails. The state of the default generator is put back.
 */
export function checkLayer(makeLayer: () => Module, options: CheckLayerOptions): void {
  const { batchEquivariant = true, stochastic = false, outputShape = null, domain = null } = options;
  const spec: LayerSpec = { makeLayer, stochastic, outputShape, domain };
  const generator = defaultGenerator();
  const state = generator.state();
  try {
    const subject = `checkLayer: ${makeLayer().constructor.name}`;
    const cases = casesOf(options);
    const { runs = 10, seed } = options;
    for (const [name, test] of [...properties, ...(batchEquivariant ? batchProperties : [])])
      runProperty(
        {
          subject,
          name,
          test: (example: LayerCase) => scope(() => test(spec, example)),
          describe: (example) => factsOf(spec, example),
        },
        cases,
        { runs, ...(seed === undefined ? {} : { seed }) },
      );
  } finally {
    generator.restore(state);
  }
}

function casesOf({
  inputShape,
  batchSize: [smallest, largest] = [1, 4],
}: CheckLayerOptions): fc.Arbitrary<LayerCase> {
  return fc.tuple(choices(), fc.nat(9999)).map(([list, seed]) => {
    const source = sampleSource(list);
    const batch = source.integer(smallest, largest);
    const sample =
      typeof inputShape === "function"
        ? inputShape(source)
        : inputShape.map((extent) => (typeof extent === "number" ? extent : source.integer(...extent)));
    return { shape: [batch, ...sample], seed };
  });
}

/** How many values of the input a counterexample shows. */
const shownValues = 6;

function factsOf(spec: LayerSpec, example: LayerCase): Facts {
  return scope(() => {
    const values = Array.from(inputOf(spec, example).dataSync(), formatNumber);
    const shown = values.slice(0, shownValues).join(", ") + (values.length > shownValues ? ", …" : "");
    return [
      ["input", `${formatShape(example.shape)} of ${shown}`],
      ["seed", `${example.seed} (of parameters and input)`],
    ];
  });
}
