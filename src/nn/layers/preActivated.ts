/** Norm, ReLU and convolution in the order of pre-activation networks (He et al. 2016), as one op where that is safe. */
import {
  hasEdgeListeners,
  hasOpListeners,
  isGradEnabled,
  noGrad,
  normReluConv2d,
  stack,
} from "../../autograd/index.ts";
import type { Storage } from "../../tensor/storage.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { ReLU } from "./activations.ts";
import { BatchNorm2d } from "./batchNorm2d.ts";
import { Conv2d } from "./conv2d.ts";

/** The three layers of a pre-activated convolution. */
export interface PreActivatedLayers {
  readonly norm: BatchNorm2d;
  readonly activation: ReLU;
  readonly conv: Conv2d;
}

/**
 * Whether one op may stand for the three: nobody watches ops, edges or these modules, so nobody can tell, and each is
 * the layer it seems to be. f64, where the fast kernels do not reach, keeps its three ops.
 */
function mayFuse(x: Tensor, { norm, activation, conv }: PreActivatedLayers): boolean {
  const watched = hasOpListeners() || hasEdgeListeners();
  const plain =
    norm.constructor === BatchNorm2d && activation.constructor === ReLU && conv.constructor === Conv2d;
  const hooked = norm.hasHooks() || activation.hasHooks() || conv.hasHooks();
  // Shapes that do not fit go to the layers, whose errors name them.
  const fits = x.rank === 4 && x.dtype === "f32" && x.shape[1] === norm.channels;
  return !watched && plain && !hooked && fits && conv.bias === null && x.size > norm.channels;
}

/** Running statistics as the op takes them, and of which state of the buffers. */
interface Stacked {
  readonly statistics: Tensor;
  readonly storages: readonly Storage[];
  readonly versions: readonly number[];
}

const stackedByNorm = new WeakMap<BatchNorm2d, Stacked>();

/** `[running mean, running variance]`, `[2, C]`: stacked anew only when one of them was written. */
function runningStatistics(norm: BatchNorm2d): Tensor {
  const buffers = [norm.buffer("running_mean"), norm.buffer("running_var")];
  const known = stackedByNorm.get(norm);
  const isSame = buffers.every(
    ({ storage }, i) => storage === known?.storages[i] && storage.version === known.versions[i],
  );
  if (known && isSame && !known.statistics.storage.freed) return known.statistics;
  const statistics = noGrad(() => stack(buffers)).keep();
  const storages = buffers.map(({ storage }) => storage);
  stackedByNorm.set(norm, { statistics, storages, versions: storages.map(({ version }) => version) });
  return statistics;
}

/**
 * conv(relu(norm(x))) with the same numbers as the layers one after the other. While training, and for inference
 * without gradients, neither the norm nor the ReLU is kept: the convolution applies them while it reads `x`
 * `[N, C, H, W]`. A listener on ops or edges, or a hook on one of the layers, sees the three layers as ever.
 */
export function preActivated(x: Tensor, layers: PreActivatedLayers): Tensor {
  const { norm, activation, conv } = layers;
  if (!mayFuse(x, layers) || (!norm.training && isGradEnabled()))
    return conv.forward(activation.forward(norm.forward(x)));
  const statistics = norm.training ? norm.batchStatistics(x) : runningStatistics(norm);
  const { weight, bias, eps: epsilon } = norm;
  const { stride, padding, dilation, groups } = conv.options;
  const window = { stride, padding, dilation, groups };
  const y = normReluConv2d(x, conv.weight, { weight, bias, epsilon, statistics, ...window });
  if (norm.training) norm.track(x, statistics);
  return y;
}
