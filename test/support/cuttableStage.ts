/** A DenseNet or CSPDenseNet stage in which single edges can be cut, to obtain gradient pieces one at a time. */
import { concat, detach, split } from "../../src/autograd/index.ts";
import { DenseLayer, type Fusion, Transition } from "../../src/models/index.ts";
import { Conv2d, Module } from "../../src/nn/index.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

/** Reads one feature map by one consumer alone; the map's other consumers see a copy without history. */
export interface Live {
  readonly map: number;
  readonly consumer: number;
}

/** A stage in which single edges can be cut. Consumers 0 … k-1 are the dense layers, k the layer that reads them all. */
export class CuttableStage extends Module {
  readonly dense: DenseLayer[];
  readonly transition: Transition;
  readonly fuse: Transition | null;
  readonly #bypass: number;
  readonly #fusion: Fusion;
  live: Live | null = null;
  /** x_0 or x_0'', x_1 … of the last call, and x_0' last where there is one. */
  maps: Tensor[] = [];

  constructor(bypass: number, fusion: Fusion = "both") {
    super();
    this.#bypass = bypass;
    this.#fusion = fusion;
    const width = 6 - bypass;
    this.dense = [0, 1, 2].map((i) => new DenseLayer(width + 2 * i, { growthRate: 2 }));
    this.transition = new Transition(width + 6 + (fusion === "first" ? bypass : 0), 4);
    this.fuse = bypass > 0 && fusion === "both" ? new Transition(bypass + 4, 5) : null;
  }

  override forward(x: Tensor): Tensor {
    const [around, first] = this.#bypass > 0 ? split(x, [this.#bypass, 6 - this.#bypass], 1) : [null, x];
    const maps = [first];
    const readBy = (consumer: number) =>
      maps.map((map, i) => (this.live?.map === i && this.live.consumer !== consumer ? detach(map) : map));
    this.dense.forEach((layer, i) => void maps.push(layer.forward(concat(readBy(i), 1))));
    this.maps = around ? [...maps, around] : maps;
    for (const map of this.maps) map.retainGrad();
    const all = readBy(3);
    if (!around) return this.transition.forward(concat(all, 1));
    if (this.#fusion === "first") return this.transition.forward(concat([around, ...all], 1));
    const transferred = this.transition.forward(concat(all, 1));
    const merged = concat([around, transferred], 1);
    return this.fuse ? this.fuse.forward(merged) : merged;
  }
}

/** A convolution and the stage behind it: the stage's input has a gradient. */
export class CuttableNetwork extends Module {
  readonly stem = new Conv2d(1, 6, 3, { padding: 1 });
  readonly stage: CuttableStage;

  constructor(bypass: number, fusion: Fusion) {
    super();
    this.stage = new CuttableStage(bypass, fusion);
  }

  override forward(x: Tensor): Tensor {
    return this.stage.forward(this.stem.forward(x));
  }
}
