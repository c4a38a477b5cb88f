/** The layers that read several feature maps: [route], [shortcut], [sam] and [scale_channels]. */
import { add, concat, mul, pad, reshape, select, slice, unsqueeze } from "../../autograd/index.ts";
import { Module } from "../../nn/index.ts";
import { formatShape } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { ActivationName } from "./activationNames.ts";
import { activationModule } from "./activations.ts";

/** The maps side by side along the channels; of each only the `groupId`-th of `groups` equal parts. */
export class RouteLayer extends Module {
  readonly groups: number;
  readonly groupId: number;

  constructor(groups: number, groupId: number) {
    super();
    this.groups = groups;
    this.groupId = groupId;
  }

  override forward(...maps: Tensor[]): Tensor {
    const parts = this.groups === 1 ? maps : maps.map((map) => this.part(map));
    return parts.length === 1 ? parts[0] : concat(parts, 1);
  }

  private part(map: Tensor): Tensor {
    const width = map.shape[1] / this.groups;
    return slice(map, 1, this.groupId * width, (this.groupId + 1) * width);
  }

  override describe(): string {
    return this.groups === 1 ? "" : `groups=${this.groups}, groupId=${this.groupId}`;
  }
}

/** Every `step`-th row and column, `rows` and `columns` of them, as views. */
function subsample(x: Tensor, step: number, rows: number, columns: number): Tensor {
  if (step === 1) return x;
  const [N, C] = x.shape;
  const cut = slice(slice(x, 2, 0, rows * step), 3, 0, columns * step);
  return select(select(reshape(cut, [N, C, rows, step, columns, step]), 5, 0), 3, 0);
}

/** Rows and columns `step` apart, with zeros between. */
function spread(x: Tensor, step: number): Tensor {
  if (step === 1) return x;
  const [N, C, H, W] = x.shape;
  const between: [number, number] = [0, step - 1];
  const none: [number, number] = [0, 0];
  const apart = pad(unsqueeze(unsqueeze(x, 4), 3), [none, none, none, between, none, between]);
  return reshape(apart, [N, C, H * step, W * step]);
}

/**
 * `added` in the shape of `output`, `[N, C, H, W]`, as Darknet's shortcut_cpu adds it: the channels that both have; a
 * larger map is subsampled by the ratio of the sizes rounded down, a smaller one lands on every ratio-th pixel. Darknet
 * has been so until 2019, and resnet*.cfg need it; today's refuses different sizes, and OpenCV does too. Throws when
 * height and width have different ratios.
 */
function fitted(added: Tensor, output: Tensor): Tensor {
  const [, C, H, W] = output.shape;
  const [, c, h, w] = added.shape;
  const [step, sample] = [Math.max(1, Math.floor(h / H)), Math.max(1, Math.floor(H / h))];
  if (step !== Math.max(1, Math.floor(w / W)) || sample !== Math.max(1, Math.floor(W / w)))
    throw new Error(
      `shortcut: ${formatShape(added.shape)} cannot be added to ${formatShape(output.shape)}: ` +
        "height and width differ by different factors; use another input size",
    );
  const [rows, columns] = [Math.min(h, H), Math.min(w, W)];
  const sampled = subsample(c > C ? slice(added, 1, 0, C) : added, step, rows, columns);
  const cut =
    sampled.shape[2] > rows || sampled.shape[3] > columns
      ? slice(slice(sampled, 2, 0, rows), 3, 0, columns)
      : sampled;
  const wide = spread(cut, sample);
  return pad(wide, [
    [0, 0],
    [0, C - wide.shape[1]],
    [0, H - wide.shape[2]],
    [0, W - wide.shape[3]],
  ]);
}

/** The layer before plus the others, in the shape of the layer before; then the activation. */
export class ShortcutLayer extends Module {
  readonly activation: Module | null;

  constructor(activation: ActivationName) {
    super();
    this.activation = activationModule(activation);
  }

  override forward(before: Tensor, ...added: Tensor[]): Tensor {
    let sum = before;
    for (const map of added) sum = add(sum, fitted(map, before));
    return this.activation?.forward(sum) ?? sum;
  }
}

/**
 * The layer before times another: of the same shape for [sam] (spatial attention); for [scale_channels] one number a
 * channel (squeeze and excitation), or with scale_wh one a pixel. Then the activation.
 */
export class ProductLayer extends Module {
  readonly activation: Module | null;

  constructor(activation: ActivationName) {
    super();
    this.activation = activationModule(activation);
  }

  override forward(before: Tensor, map: Tensor): Tensor {
    const product = mul(map, before);
    return this.activation?.forward(product) ?? product;
  }
}
