/** The commonest shape of a network: modules one after the other, global average pool, a linear classifier. */
import { Dropout, Linear, type Module, Sequential } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { initialise, Network, type NetworkDescription, pooledFeatures } from "./network.ts";

export interface FeatureNetworkOptions {
  readonly classes: number;
  /** Probability of dropping a pooled feature in training. Default 0. */
  readonly dropout?: number;
}

/** `features`, whose last map has `channels` channels, then global average pool and the linear `classifier`. */
export class FeatureNetwork extends Network {
  readonly features: Sequential;
  readonly dropout: Dropout | null;
  readonly classifier: Linear;

  constructor(
    features: Readonly<Record<string, Module>>,
    channels: number,
    { classes, dropout = 0 }: FeatureNetworkOptions,
    description: NetworkDescription,
  ) {
    super(description);
    this.features = new Sequential(features);
    this.dropout = dropout > 0 ? new Dropout(dropout) : null;
    this.classifier = new Linear(channels, classes);
    initialise(this);
  }

  override forwardBody(x: Tensor): Tensor {
    return this.features.forward(x);
  }

  override forwardHead(map: Tensor): Tensor {
    const pooled = pooledFeatures(map);
    return this.classifier.forward(this.dropout ? this.dropout.forward(pooled) : pooled);
  }
}
