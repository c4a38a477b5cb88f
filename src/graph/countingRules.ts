/**
 * How floating-point operations are counted, by name. Papers and tools mean different things by "FLOPs"; a figure
 * says little without its rule. Every rule counts two per multiply-add and is per image, so that figures of
 * different rules can be compared.
 */
import type { LayerCost } from "./cost.ts";

/** Counts one layer's operations. */
type Rule = (layer: LayerCost) => number;

const isWeighted = ({ kind }: LayerCost): boolean => kind === "convolution" || kind === "linear";

const elements = (shape: readonly number[]): number => shape.reduce((product, extent) => product * extent, 1);

/**
 * The rules.
 *
 * - `darknet`: what Darknet of November 2019 prints as "Total BFLOPS", and so the CSPNet paper's BFLOPs: twice weights
 *   times output positions of every convolution (a linear layer is a 1x1 convolution), and k · k · c · h · w of every
 *   max pool of k x k to c maps of h x w; a maxout is a pool of k = 1 over its input channels. Nothing for the rest.
 * - `elastic`: twice what the counter of github.com/allenai/elastic (utils.py) prints, which the paper's
 *   DenseNet-201-Elastic rows are: multiply-adds of convolutions and linear layers, 2 for every element of a batch
 *   norm, 1 for every element of an activation and 1 for every input element of a windowed pool.
 * - `macs`: twice the multiply-adds of convolutions and matrix products and nothing else, as torchvision, timm and
 *   fvcore list them (they print the multiply-adds, the half of it).
 */
const rules = {
  darknet: (layer) => {
    if (isWeighted(layer)) return 2 * layer.multiplyAdds;
    if (layer.kind === "maxPool") return elements(layer.outputShape) * layer.windowElements;
    return layer.kind === "maxout" ? elements(layer.inputShape) : 0;
  },
  elastic: (layer) => {
    const { kind, inputShape } = layer;
    if (isWeighted(layer)) return 2 * layer.multiplyAdds;
    if (kind === "norm") return 2 * 2 * elements(inputShape);
    return kind === "activation" || kind === "maxPool" || kind === "avgPool" ? 2 * elements(inputShape) : 0;
  },
  macs: (layer) => (isWeighted(layer) ? 2 * layer.multiplyAdds : 0),
} satisfies Record<string, Rule>;

export type CountingRule = keyof typeof rules;

/** Every rule's name, the paper's first. */
export const countingRules: readonly CountingRule[] = ["darknet", "elastic", "macs"];

/** Floating-point operations of one layer for one image. */
export function layerFlops(layer: LayerCost, rule: CountingRule = "darknet"): number {
  return rules[rule](layer);
}

/** Floating-point operations of a network for one image; divide by 1e9 for the paper's BFLOPs. */
export function totalFlops(layers: readonly LayerCost[], rule: CountingRule = "darknet"): number {
  return layers.reduce((sum, layer) => sum + layerFlops(layer, rule), 0);
}

/** What counts as a layer for `inputOutput`. */
export interface InputOutputOptions {
  /**
   * Pools too, max (a maxout is one in Darknet), average and global: what the paper's figure 8 sums. Default false:
   * HarDNet's convolutions only.
   */
  readonly pools?: boolean;
}

const pools = new Set(["maxPool", "maxout", "avgPool", "globalPool"]);

/** Whether a layer is part of the sum. */
export function movesMemory({ kind, weights }: LayerCost, options: InputOutputOptions = {}): boolean {
  // A linear layer is a 1x1 convolution of one pixel, and that is how Darknet writes a classifier.
  if (kind === "convolution" || (kind === "linear" && weights > 0)) return true;
  return options.pools === true && pools.has(kind);
}

/**
 * CIO, convolutional input/output (Chao et al. 2019, HarDNet, section 3.1): elements read and written by every
 * convolution, per image, an approximation of the traffic to DRAM.
 */
export function inputOutput(layers: readonly LayerCost[], options: InputOutputOptions = {}): number {
  return layers.reduce((sum, layer) => sum + (movesMemory(layer, options) ? layer.inputOutput : 0), 0);
}
