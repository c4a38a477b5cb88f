/** How the layers of a dense block read one another's outputs, whatever the layers compute. */
import { concat, GrowingConcat } from "../autograd/index.ts";
import { Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Layers that each add `growthRate` channels: how many, and how one is built for so many input channels. */
export interface GrowthDefinition {
  readonly layers: number;
  readonly inChannels: number;
  readonly growthRate: number;
  layer(inChannels: number): Module;
}

/** Layers `denselayer1` … `denselayerN`, each reading the concatenation [x0, x1, …] of all before it; the output is all of them. */
export class GrowingBlock extends Module {
  readonly outChannels: number;

  constructor({ layers, inChannels, growthRate, layer }: GrowthDefinition) {
    super();
    for (let i = 0; i < layers; i++) this.addModule(`denselayer${i + 1}`, layer(inChannels + i * growthRate));
    this.outChannels = inChannels + layers * growthRate;
  }

  override forward(x: Tensor): Tensor {
    const features = new GrowingConcat(x, this.outChannels);
    for (const layer of this.namedChildren().values()) features.append(layer.forward(features.tensor()));
    return features.tensor();
  }
}

/** Which of `count` maps are 1, 2, 4, 8, … places from the end, in their order. */
function exponentialOffsets(count: number): number[] {
  const offsets: number[] = [];
  for (let distance = 1; distance <= count; distance *= 2) offsets.unshift(count - distance);
  return offsets;
}

/**
 * As `GrowingBlock`, but each layer reads only the maps that lie 1, 2, 4, 8, … places before it (SparseNet, Zhu et al.
 * 2018), x0 counting as one; the output is all of them.
 */
export class SparseGrowingBlock extends Module {
  readonly outChannels: number;

  constructor({ layers, inChannels, growthRate, layer }: GrowthDefinition) {
    super();
    for (let i = 0; i < layers; i++) {
      const widths = exponentialOffsets(i + 1).map((at) => (at === 0 ? inChannels : growthRate));
      this.addModule(`denselayer${i + 1}`, layer(widths.reduce((sum, width) => sum + width, 0)));
    }
    this.outChannels = inChannels + layers * growthRate;
  }

  override forward(x: Tensor): Tensor {
    const maps = [x];
    for (const layer of this.namedChildren().values()) {
      const read = exponentialOffsets(maps.length).map((at) => maps[at]);
      maps.push(layer.forward(concat(read, 1)));
    }
    return concat(maps, 1);
  }
}
