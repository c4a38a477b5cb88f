/** The layers that read one feature map and have no weights: pools, upsampling, reorg and softmax. */
import {
  avgPool2d,
  channelMaxout,
  globalAvgPool2d,
  maxPool2d,
  mul,
  permute,
  reshape,
  softmax,
  upsample,
} from "../../autograd/index.ts";
import { Module } from "../../nn/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { SectionOf } from "./schema.ts";
import { poolingWindow, type Window } from "./windows.ts";

/** The largest of each window, or with maxpool_depth of the channels that lie `out_channels` apart (maxout). */
export class MaxPoolLayer extends Module {
  readonly window: Window;
  /** 0 without maxpool_depth. */
  readonly outChannels: number;

  constructor(section: SectionOf<"maxpool">) {
    super();
    this.window = poolingWindow(section);
    this.outChannels = section.maxpool_depth === 0 ? 0 : section.out_channels;
  }

  override forward(x: Tensor): Tensor {
    if (this.outChannels > 0) return channelMaxout(x, this.outChannels);
    const { size, stride, padding } = this.window;
    return maxPool2d(x, { kernelSize: size, stride, padding });
  }

  override describe(): string {
    const { size, stride, padding } = this.window;
    if (this.outChannels > 0) return `maxout, outChannels=${this.outChannels}`;
    return `kernelSize=${size}, stride=[${stride.join(", ")}], padding=[${padding.join(", ")}]`;
  }
}

/** The mean of each window, over the elements that lie inside the image. */
export class LocalAvgPoolLayer extends Module {
  readonly window: Window;

  constructor(section: SectionOf<"local_avgpool">) {
    super();
    this.window = poolingWindow(section);
  }

  override forward(x: Tensor): Tensor {
    const { size, stride, padding } = this.window;
    return avgPool2d(x, { kernelSize: size, stride, padding, countIncludePad: false });
  }
}

/** The mean of each channel, `[N, C, 1, 1]`. */
export class AvgPoolLayer extends Module {
  override forward(x: Tensor): Tensor {
    return globalAvgPool2d(x);
  }
}

/** Every pixel `stride` x `stride` times, times `scale`. */
export class UpsampleLayer extends Module {
  readonly stride: number;
  readonly scale: number;

  constructor({ stride, scale }: SectionOf<"upsample">) {
    super();
    this.stride = stride;
    this.scale = scale;
  }

  override forward(x: Tensor): Tensor {
    const larger = this.stride === 1 ? x : upsample(x, { scaleFactor: this.stride });
    return this.scale === 1 ? larger : mul(larger, this.scale);
  }

  override describe(): string {
    return `stride=${this.stride}${this.scale === 1 ? "" : `, scale=${this.scale}`}`;
  }
}

/**
 * Pixels to channels, or back with `reverse`, by Darknet's reorg_cpu. Seen as an image of `[C / s², H·s, W·s]`, the
 * blocks of s x s pixels become `[s·s·C / s², H, W]`. [reorg3d] takes for that image what it is, its input. [reorg],
 * the one of YOLOv2, takes the input's memory for an image of a fourth of the channels and twice the size, a slip that
 * its trained weights have learned to live with; so does OpenCV.
 */
export class ReorgLayer extends Module {
  readonly stride: number;
  readonly reverse: boolean;
  /** Whether [reorg3d]. */
  readonly spatial: boolean;

  constructor({ kind, stride, reverse }: SectionOf<"reorg" | "reorg3d">) {
    super();
    this.stride = stride;
    this.reverse = reverse !== 0;
    this.spatial = kind === "reorg3d";
  }

  override forward(x: Tensor): Tensor {
    const { stride: s, reverse } = this;
    const [N, C, H, W] = x.shape;
    const output = reverse ? [C / (s * s), H * s, W * s] : [C * s * s, H / s, W / s];
    const [channels, height, width] = this.spatial ? output : [C, H, W];
    const inner = channels / (s * s);
    const moved = reverse
      ? permute(reshape(x, [N, s, s, inner, height, width]), [0, 3, 4, 1, 5, 2])
      : permute(reshape(x, [N, inner, height, s, width, s]), [0, 3, 5, 1, 2, 4]);
    return reshape(moved, [N, ...output]);
  }

  override describe(): string {
    return `stride=${this.stride}${this.reverse ? ", reverse" : ""}`;
  }
}

/** exp(x / temperature), normalised over each of `groups` parts of all inputs, or over the channels of each pixel. */
export class SoftmaxLayer extends Module {
  readonly groups: number;
  readonly temperature: number;
  readonly spatial: boolean;

  constructor({ groups, temperature, spatial }: SectionOf<"softmax">) {
    super();
    this.groups = groups;
    this.temperature = temperature;
    this.spatial = spatial !== 0;
  }

  override forward(x: Tensor): Tensor {
    const scaled = this.temperature === 1 ? x : mul(x, 1 / this.temperature);
    if (this.spatial) return softmax(scaled, 1);
    const [N, ...map] = x.shape;
    const perGroup = map.reduce((product, extent) => product * extent, 1) / this.groups;
    return reshape(softmax(reshape(scaled, [N, this.groups, perGroup]), 2), x.shape);
  }
}
