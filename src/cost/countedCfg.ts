/** A Darknet configuration reduced to its figures, without building the network. */
import { darknetCosts, planNetwork, readCfg } from "../io/darknet/index.ts";
import type { CountedNetwork } from "./counted.ts";

/** Layer kinds by section, as the graph's cost model calls them. */
const kinds: Readonly<Record<string, string>> = {
  convolutional: "convolution",
  connected: "linear",
  maxpool: "maxPool",
  avgpool: "globalPool",
};

export interface CfgCountOptions {
  /** Height and width of the image; default those of [net]. */
  readonly size?: number;
}

/**
 * Counts the network of a cfg's text by Darknet's rule. Layers are called by index and section, "28 convolutional".
 * Throws a `DarknetError` with line and section for a text that is no network.
 */
export function countCfg(name: string, text: string, { size }: CfgCountOptions = {}): CountedNetwork {
  const cfg = readCfg(text);
  const net = size === undefined ? cfg.net : { ...cfg.net, width: size, height: size };
  const plan = planNetwork({ ...cfg, net });
  const costs = darknetCosts(plan);
  const layers = costs.layers.map(({ index, kind, bflops, inputOutput }) => ({
    name: `${index} ${kind}`,
    kind: kinds[kind] ?? "other",
    outputShape: plan.layers[index].outputShape,
    flops: bflops * 1e9,
    inputOutput: kind in kinds ? inputOutput : 0,
  }));
  return {
    ...{ name, inputShape: plan.inputShape, rule: "darknet" },
    ...{ weights: costs.weights, parameters: costs.trained, flops: costs.bflops * 1e9 },
    ...{ convInputOutput: costs.convInputOutput, inputOutput: costs.inputOutput },
    layers: layers.filter(({ flops, inputOutput }) => flops > 0 || inputOutput > 0),
  };
}
