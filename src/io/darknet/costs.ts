/**
 * What a Darknet network costs, from the shapes alone: BFLOPs as Darknet prints them (and the CSPNet paper with it),
 * parameters, and CIO.
 */
import type { DarknetCfg } from "./cfg.ts";
import { type LayerPlan, type NetworkPlan, planNetwork, weightCount } from "./plan.ts";
import type { LayerType } from "./schema.ts";
import type { MapShape } from "./shapes.ts";
import { poolingWindow } from "./windows.ts";

/** One layer's cost for one image. */
export interface DarknetLayerCost {
  readonly index: number;
  readonly kind: LayerType;
  /** Billions of floating-point operations: 2 per weight and output pixel of a convolution; comparisons of a maxpool. */
  readonly bflops: number;
  readonly weights: number;
  /** Of convolutions without norm, or the norm's β. */
  readonly biases: number;
  /** The norm's γ. */
  readonly scales: number;
  /** The norm's running mean and variance. */
  readonly statistics: number;
  /** Elements of input and output. */
  readonly inputOutput: number;
}

/** Sums over all layers. */
export interface DarknetCosts {
  readonly layers: readonly DarknetLayerCost[];
  /**
   * "Total BFLOPS" of the Darknet of November 2019: convolutions 2·n·size²·(c/groups)·outH·outW, and maxpools
   * size²·c·outH·outW (1 x 1 as maxout too). No other layer counts: shortcuts do since 2020, average pooling never did.
   */
  readonly bflops: number;
  /** Without the maxpools. */
  readonly convBflops: number;
  /** Weights only: "#Parameter" of the CSPNet paper. */
  readonly weights: number;
  /** Weights, biases and γ: what training changes. */
  readonly trained: number;
  /** All numbers of a weights file. */
  readonly floats: number;
  /** HarDNet's convolutional input/output: elements read and written by convolutions. */
  readonly convInputOutput: number;
  /** Convolutions, maxpools and average pools: the CIO that the CSPNet paper prints (34.4 M for ResNeXt-50). */
  readonly inputOutput: number;
}

const sizeOf = ([channels, height, width]: MapShape) => channels * height * width;

function operations(plan: LayerPlan): number {
  const { section, inputShapes, outputShape } = plan;
  const pixels = outputShape[1] * outputShape[2];
  if (section.kind === "convolutional") return 2 * weightCount(plan) * pixels;
  if (section.kind === "maxpool") return poolingWindow(section).size ** 2 * inputShapes[0][0] * pixels;
  return 0;
}

function layerCost(plan: LayerPlan): DarknetLayerCost {
  const { index, section, inputShapes, outputShape } = plan;
  const weighted = section.kind === "convolutional" || section.kind === "connected";
  const normed = weighted && section.batch_normalize === 1;
  const [channels] = outputShape;
  return {
    index,
    kind: section.kind,
    bflops: operations(plan) / 1e9,
    weights: weightCount(plan),
    biases: weighted ? channels : 0,
    scales: normed ? channels : 0,
    statistics: normed ? 2 * channels : 0,
    inputOutput: inputShapes.reduce((sum, shape) => sum + sizeOf(shape), sizeOf(outputShape)),
  };
}

const pools: ReadonlySet<LayerType> = new Set(["convolutional", "maxpool", "avgpool"] as const);

/** Counts a network's cost per image, layer by layer, without building it. Throws as `planNetwork` does. */
export function darknetCosts(network: DarknetCfg | NetworkPlan): DarknetCosts {
  const plan = "net" in network ? planNetwork(network) : network;
  const layers = plan.layers.map(layerCost);
  const total = (of: (layer: DarknetLayerCost) => number, list = layers) =>
    list.reduce((sum, layer) => sum + of(layer), 0);
  const convolutions = layers.filter(({ kind }) => kind === "convolutional");
  const bflops = (list: readonly LayerPlan[]) =>
    list.reduce((sum, layer) => sum + operations(layer), 0) / 1e9;
  return {
    layers,
    bflops: bflops(plan.layers),
    convBflops: bflops(plan.layers.filter(({ section }) => section.kind === "convolutional")),
    weights: total(({ weights }) => weights),
    trained: total(({ weights, biases, scales }) => weights + biases + scales),
    floats: total(({ weights, biases, scales, statistics }) => weights + biases + scales + statistics),
    convInputOutput: total(({ inputOutput }) => inputOutput, convolutions),
    inputOutput: total(
      ({ inputOutput }) => inputOutput,
      layers.filter(({ kind }) => pools.has(kind)),
    ),
  };
}
