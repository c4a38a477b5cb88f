/**
 * Equations (1) to (4) of the CSPNet paper, written out by hand: the feed-forward pass of one stage of DenseNet and
 * of CSPDenseNet, and how every weight's gradient comes from the gradients of the feature maps. No autograd is
 * involved; the tests hold autograd to this code.
 *
 * `*` is a same-size convolution without norm or activation, as in the equations. Feature maps are `[N, C, H, W]`,
 * weights `[K, C, R, R]` with odd R.
 */
import {
  add,
  concat,
  conv2d,
  conv2dInputGradient,
  conv2dWeightGradient,
  noGrad,
  slice,
} from "../autograd/index.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** w * x */
function convolve(weight: Tensor, x: Tensor): Tensor {
  return conv2d(x, weight, { padding: sameSize(weight) });
}

const sameSize = (weight: Tensor): number => (weight.shape[2] - 1) / 2;

/** One layer's part in the backward pass: the gradient of its weight, and of what it read. */
function layerBackward(
  weight: Tensor,
  read: Tensor,
  gradient: Tensor,
): { weightGradient: Tensor; readGradient: Tensor } {
  const options = { padding: sameSize(weight) };
  return {
    weightGradient: conv2dWeightGradient(read, gradient, weight.shape, options),
    readGradient: conv2dInputGradient(gradient, weight, read.shape, options),
  };
}

/** Cuts the gradient of a concatenation into the pieces for its parts: concatenation splits, it does not copy. */
function piecesOf(gradient: Tensor, parts: readonly Tensor[]): Tensor[] {
  let start = 0;
  return parts.map(({ shape }) => {
    start += shape[1];
    return slice(gradient, 1, start - shape[1], start);
  });
}

/** Equation (1): x_i = w_i * [x_0, x_1, …, x_{i-1}]. Returns x_0 … x_k. */
export function denseForward(x0: Tensor, weights: readonly Tensor[]): Tensor[] {
  return noGrad(() => {
    const x = [x0];
    for (const weight of weights) x.push(convolve(weight, concat(x, 1)));
    return x;
  });
}

export interface DenseBackward {
  /** Gradient of the loss by w_1 … w_k. */
  readonly weights: readonly Tensor[];
  /** g_0 … g_k: the complete gradient of every feature map. */
  readonly maps: readonly Tensor[];
}

/**
 * Equation (2): w_i is updated with a function of g_0 … g_{i-1}, the gradients of the maps that layer i reads.
 *
 * Written out with the chain rule: layer i sends to every map x_j that it read (j < i) the piece
 * γ(j←i), a block of columns of its input gradient; g_j is the sum of its pieces over all i > j; and the gradient of
 * w_i pairs g_i with [x_0, …, x_{i-1}]. `outer` is what reaches x_0 … x_k from behind the stage.
 */
export function denseBackward(
  x: readonly Tensor[],
  weights: readonly Tensor[],
  outer: readonly Tensor[],
): DenseBackward {
  return noGrad(() => {
    const g = [...outer];
    const gradients: Tensor[] = [];
    for (let i = weights.length; i >= 1; i--) {
      const read = x.slice(0, i);
      const { weightGradient, readGradient } = layerBackward(weights[i - 1], concat(read, 1), g[i]);
      piecesOf(readGradient, read).forEach((piece, j) => {
        g[j] = add(g[j], piece);
      });
      gradients.unshift(weightGradient);
    }
    return { weights: gradients, maps: g };
  });
}

/** The weights of one CSPDenseNet stage. */
export interface CspWeights {
  /** w_1 … w_k */
  readonly dense: readonly Tensor[];
  readonly T: Tensor;
  readonly U: Tensor;
}

/** The feature maps of one CSPDenseNet stage. */
export interface CspMaps {
  /** x_0′, which goes around the dense block. */
  readonly bypass: Tensor;
  /** x_0″, x_1 … x_k */
  readonly dense: readonly Tensor[];
  readonly T: Tensor;
  readonly U: Tensor;
}

/**
 * Equation (3): x_0 = [x_0′, x_0″], x_k = w_k * [x_0″, x_1, …, x_{k-1}], x_T = w_T * [x_0″, x_1, …, x_k],
 * x_U = w_U * [x_0′, x_T]. `bypassChannels` is the width of x_0′.
 */
export function cspForward(x0: Tensor, bypassChannels: number, weights: CspWeights): CspMaps {
  return noGrad(() => {
    const bypass = slice(x0, 1, 0, bypassChannels);
    const dense = denseForward(slice(x0, 1, bypassChannels), weights.dense);
    const T = convolve(weights.T, concat(dense, 1));
    return { bypass, dense, T, U: convolve(weights.U, concat([bypass, T], 1)) };
  });
}

export interface CspBackward {
  readonly weights: CspWeights;
  /** The complete gradients g of every feature map. */
  readonly maps: CspMaps;
  /** g_0, put together from g_0′ and g_0″. */
  readonly input: Tensor;
}

/**
 * Equation (4): w_U is updated with g_0′ and g_T; w_T and the dense layers with g_0″, g_1, … alone. The input
 * gradient of U falls apart into disjoint channels for x_0′ and x_T, so neither side sees the other's gradient.
 */
export function cspBackward(maps: CspMaps, weights: CspWeights, gradientOfU: Tensor): CspBackward {
  return noGrad(() => {
    const read = [maps.bypass, maps.T];
    const u = layerBackward(weights.U, concat(read, 1), gradientOfU);
    const [gBypass, gT] = piecesOf(u.readGradient, read);
    const t = layerBackward(weights.T, concat(maps.dense, 1), gT);
    const dense = denseBackward(maps.dense, weights.dense, piecesOf(t.readGradient, maps.dense));
    return {
      weights: { dense: dense.weights, T: t.weightGradient, U: u.weightGradient },
      maps: { bypass: gBypass, dense: dense.maps, T: gT, U: gradientOfU },
      input: concat([gBypass, dense.maps[0]], 1),
    };
  });
}
