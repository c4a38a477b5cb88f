/** A Darknet network as a module: its layers by index, run in order, with feature maps kept only as long as needed. */
import { isGradEnabled } from "../../autograd/index.ts";
import { Dropout, Identity, Module } from "../../nn/index.ts";
import { formatShape } from "../../tensor/layout.ts";
import { currentScope, type Scope, scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { DarknetCfg } from "./cfg.ts";
import { ProductLayer, RouteLayer, ShortcutLayer } from "./combiningLayers.ts";
import {
  AvgPoolLayer,
  LocalAvgPoolLayer,
  MaxPoolLayer,
  ReorgLayer,
  SoftmaxLayer,
  UpsampleLayer,
} from "./mapLayers.ts";
import { type LayerPlan, type NetworkPlan, type PlanLimits, planNetwork } from "./plan.ts";
import { ConnectedLayer, ConvolutionalLayer, type NormOptions } from "./weightedLayers.ts";

function layerModule(plan: LayerPlan, norm: NormOptions): Module {
  const { section } = plan;
  switch (section.kind) {
    case "convolutional":
      return new ConvolutionalLayer({ ...plan, section }, norm);
    case "connected":
      return new ConnectedLayer({ ...plan, section }, norm);
    case "maxpool":
      return new MaxPoolLayer(section);
    case "local_avgpool":
      return new LocalAvgPoolLayer(section);
    case "avgpool":
      return new AvgPoolLayer();
    case "route":
      return new RouteLayer(section.groups, section.group_id);
    case "shortcut":
      return new ShortcutLayer(section.activation);
    case "sam":
    case "scale_channels":
      return new ProductLayer(section.activation);
    case "upsample":
      return new UpsampleLayer(section);
    case "reorg":
    case "reorg3d":
      return new ReorgLayer(section);
    case "softmax":
      return new SoftmaxLayer(section);
    case "dropout":
      return new Dropout(section.probability);
    case "yolo":
    case "region":
    case "cost":
      return new Identity();
    default:
      return section satisfies never;
  }
}

/**
 * The feature maps of one pass, by layer; -1 is the input. Without gradients each is freed when the last layer that
 * reads it has run, unless somebody else holds its memory: a view of it, a hook that kept it, or the caller.
 */
class FeatureMaps {
  readonly #maps = new Map<number, Tensor>();
  readonly #own: Scope | null;

  /** Only what `own` holds may be freed. */
  constructor(input: Tensor, own: Scope | null) {
    this.#maps.set(-1, input);
    this.#own = own;
  }

  at(layer: number): Tensor {
    const map = this.#maps.get(layer);
    if (!map) throw new Error(`DarknetNetwork: the output of layer ${layer} was not computed`);
    return map;
  }

  set(layer: number, map: Tensor): void {
    this.#maps.set(layer, map);
  }

  release(layer: number): void {
    const { storage } = this.at(layer);
    this.#maps.delete(layer);
    const shared = [...this.#maps.values()].some((other) => other.storage === storage);
    if (this.#own && storage.scope === this.#own && !shared) storage.free();
  }
}

/**
 * The network of a cfg. Parameters are named by layer index as Darknet counts: `layers.12.conv.weight`,
 * `layers.12.norm.running_mean`. `darknetModel` makes it.
 */
export class DarknetNetwork extends Module {
  readonly cfg: DarknetCfg;
  readonly plan: NetworkPlan;
  readonly layers: readonly Module[];

  constructor(cfg: DarknetCfg, plan: NetworkPlan, norm: NormOptions) {
    super();
    this.cfg = cfg;
    this.plan = plan;
    this.layers = plan.layers.map((layer) => layerModule(layer, norm));
  }

  /**
   * Images `[N, C, H, W]` to the output of the last layer: a softmax's probabilities, or the raw map of a [yolo] or
   * [region], whose boxes are decoded elsewhere. Every such layer is computed, for hooks and for what is traced; ask
   * `detectionMaps` for their outputs. [cost] passes its input on. H and W may differ from those of [net]
   * where no [connected] and no shape in between forbids it. Throws when the channels are not those of [net].
   */
  override forward(x: Tensor): Tensor {
    const last = () => this.featureMaps(x, [this.layers.length - 1, ...this.detectionLayers()])[0];
    return isGradEnabled() ? last() : scope(last);
  }

  /**
   * The outputs `[N, C, H, W]` of the layers of the given indices, in their order; -1 is `x`, and what none of them
   * depends on is not computed. Throws when there is no such layer.
   */
  featureMaps(x: Tensor, layers: readonly number[]): Tensor[] {
    const [channels] = this.plan.inputShape;
    if (x.rank !== 4 || x.shape[1] !== channels)
      throw new Error(`DarknetNetwork: input ${formatShape(x.shape)} must be [N, ${channels}, H, W]`);
    for (const layer of layers)
      if (!Number.isInteger(layer) || layer < -1 || layer >= this.layers.length)
        throw new Error(`DarknetNetwork: there is no layer ${layer}; it has 0 to ${this.layers.length - 1}`);
    if (isGradEnabled()) return this.run(x, layers, null);
    return scope(() => this.run(x, layers, currentScope()));
  }

  /** The indices of the [yolo] and [region] layers. */
  detectionLayers(): number[] {
    return this.plan.layers
      .filter(({ section }) => section.kind === "yolo" || section.kind === "region")
      .map(({ index }) => index);
  }

  /** The raw maps `[N, boxes · (classes + 5), H, W]` of all [yolo] and [region] layers, in their order. */
  detectionMaps(x: Tensor): Tensor[] {
    return this.featureMaps(x, this.detectionLayers());
  }

  private run(x: Tensor, wanted: readonly number[], own: Scope | null): Tensor[] {
    const maps = new FeatureMaps(x, own);
    const { needed, lastReader } = this.schedule(wanted);
    for (const { index, inputs } of needed) {
      const given = inputs.map((layer) => maps.at(layer));
      const forward = () => this.layers[index].forward(...given);
      maps.set(index, own ? scope(forward) : forward());
      for (const layer of new Set(inputs)) if (lastReader.get(layer) === index) maps.release(layer);
    }
    return wanted.map((layer) => maps.at(layer));
  }

  /** The layers that the wanted ones depend on, and after which layer each of their outputs is needed no more. */
  private schedule(wanted: readonly number[]): {
    needed: readonly LayerPlan[];
    lastReader: ReadonlyMap<number, number>;
  } {
    const lastReader = new Map<number, number>(wanted.map((layer) => [layer, Number.POSITIVE_INFINITY]));
    const needed: LayerPlan[] = [];
    for (const plan of [...this.plan.layers].reverse()) {
      if (!lastReader.has(plan.index)) continue;
      needed.unshift(plan);
      for (const layer of plan.inputs) if (!lastReader.has(layer)) lastReader.set(layer, plan.index);
    }
    return { needed, lastReader };
  }
}

export interface DarknetModelOptions {
  /**
   * Added to the variance under the root of every batch norm. Default 1e-5, as in Darknet since 2020 and in its cuDNN
   * training before; its older CPU code has (x - mean) / (√variance + 1e-6), OpenCV 1e-6 under the root.
   */
  readonly eps?: number;
  /** Weight of the newest batch in the running statistics. Default 0.01, that of Darknet on a GPU (0.1 on the CPU). */
  readonly momentum?: number;
  /** Networks beyond these are refused before anything is allocated. */
  readonly limits?: PlanLimits;
}

/**
 * The network that a cfg describes, with random weights; `loadDarknetWeights` reads trained ones.
 *
 *     const model = darknetModel(readCfg(text)).eval();
 *     await loadDarknetWeights(model, "yolov3.weights");
 *     const [large, medium, small] = noGrad(() => model.detectionMaps(images));
 *
 * In training, batch norms normalise with the batch's biased variance as cuDNN does; Darknet's CPU code takes the
 * unbiased one. [net]'s batch, learning rate and the like are in `model.cfg.net` and change nothing here.
 *
 * OpenCV's DNN module reads the same files and gives the same numbers but for these, where Darknet is followed: it takes
 * `dilation` for 1 and `maxpool_depth` for a pool, without a word; it refuses shortcuts between maps of different
 * sizes (resnet50.cfg); of repeated keys it takes the last, Darknet the first; and it decodes the boxes of [yolo]. Throws
 * a `DarknetError` as `planNetwork` does.
 */
export function darknetModel(
  cfg: DarknetCfg,
  { eps = 1e-5, momentum = 0.01, limits = {} }: DarknetModelOptions = {},
): DarknetNetwork {
  return new DarknetNetwork(cfg, planNetwork(cfg, limits), { eps, momentum });
}
