/** A network reduced to its figures: what tables and plots of costs are made from. */
import {
  type CountingRule,
  cost,
  inputOutput,
  layerFlops,
  movesMemory,
  totalFlops,
  trace,
  withoutValues,
} from "../graph/index.ts";
import type { Network } from "../models/index.ts";

/** One layer that is drawn. */
export interface CountedLayer {
  readonly name: string;
  /** "convolution", "maxPool" and so on. */
  readonly kind: string;
  /** Channels, height and width of its output. */
  readonly outputShape: readonly number[];
  /** By the network's rule, for one image. */
  readonly flops: number;
  /** Elements read and written, for one image; 0 where the layer does not count towards the CIO. */
  readonly inputOutput: number;
}

/** A network's figures for one image. */
export interface CountedNetwork {
  readonly name: string;
  /** Channels, height and width of the image. */
  readonly inputShape: readonly number[];
  readonly rule: CountingRule;
  /** Weights of convolutions and linear layers. */
  readonly weights: number;
  /** All trained numbers. */
  readonly parameters: number;
  readonly flops: number;
  /** CIO of convolutions. */
  readonly convInputOutput: number;
  /** CIO of convolutions and pools, as in the paper's figure 8. */
  readonly inputOutput: number;
  /** Those with operations or memory traffic, in the order of execution. */
  readonly layers: readonly CountedLayer[];
}

export interface CountOptions {
  /** Default "darknet", the paper's. */
  readonly rule?: CountingRule;
  /** Height and width of the image; default the network's own. */
  readonly size?: number;
}

/**
 * Counts the network that `build` makes, which is built without values. Throws what building and tracing throw, for a
 * size at which a map shrinks to nothing among others.
 */
export function countNetwork(
  name: string,
  build: () => Network,
  { rule = "darknet", size }: CountOptions = {},
): CountedNetwork {
  const network = withoutValues(build);
  const [channels, height, width] = network.defaultInput;
  const inputShape = [channels, size ?? height, size ?? width];
  const { layers, weights, parameters } = cost(trace(network, [1, ...inputShape]));
  return {
    ...{ name, inputShape, rule, weights, parameters },
    flops: totalFlops(layers, rule),
    convInputOutput: inputOutput(layers),
    inputOutput: inputOutput(layers, { pools: true }),
    layers: layers
      .map((layer) => ({
        name: layer.modulePath || layer.op,
        kind: layer.kind,
        outputShape: layer.outputShape,
        flops: layerFlops(layer, rule),
        inputOutput: movesMemory(layer, { pools: true }) ? layer.inputOutput : 0,
      }))
      .filter((layer) => layer.flops > 0 || layer.inputOutput > 0),
  };
}
