/**
 * Convolutions on the device: forward, the gradients in input and weight, with norm and ReLU fused in front or bias
 * and ReLU behind. All are one product (or one sum of dot products) over images that lie right for it: read in place
 * where they do, else copied first.
 */
import type { KernelAttributes } from "../../../backend.ts";
import type { GpuMemory } from "../../memory.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../../runtime.ts";
import { launchJobs } from "../jobs.ts";
import {
  asOneRow,
  type Extents,
  extentsOf,
  flattenRows,
  isPointwise,
  readColumns,
  roundUp,
} from "./geometry.ts";
import { launchNormalizedImages } from "./normalizedImages.ts";
import { packedLength, weightsInPlace, weightsJob } from "./packWeights.ts";
import { type Frame, frameLength, imagesJob, inPlace, type Normalization } from "./prepare.ts";
import { type Epilogue, launchProduct } from "./product.ts";
import { forwardWeights, launchQuadProduct, suitsQuads, turnedWeights } from "./quadProduct.ts";
import { gradientSuitsQuads, launchQuadWeightGradient } from "./quadWeightGradient.ts";
import { gradientTileOf, productTileOf } from "./tiles.ts";
import { launchWeightGradient } from "./weightGradient.ts";

/** Runs `body` with workspace of so many words, or with null where none is needed. */
function withWorkspace(
  runtime: GpuRuntime,
  length: number | null,
  body: (target: GpuMemory | null) => void,
): void {
  if (length === null) body(null);
  else runtime.scratch(length, body);
}

interface ProductCall {
  readonly label: string;
  readonly extents: Extents;
  /** Zeros before the first row and column of x, and the distance at which its elements are laid down. */
  readonly top: number;
  readonly left: number;
  readonly spread: readonly [number, number];
  readonly transposed: boolean;
  readonly epilogue: Epilogue;
}

/** The image that a product reads: `x` itself where nothing is applied to it or laid between its elements. */
function withPlainImages(
  runtime: GpuRuntime,
  x: GpuView,
  normalization: Normalization | null,
  spread: readonly [number, number],
  body: (images: GpuView) => void,
): void {
  const [N, C, H, W] = x.shape;
  const isSpread = spread[0] > 1 || spread[1] > 1;
  if (!normalization && !isSpread) {
    body(x);
    return;
  }
  const [rows, width] = [(H - 1) * spread[0] + 1, (W - 1) * spread[1] + 1];
  const columns = roundUp(width, 4);
  const frame: Frame = { top: 0, left: 0, spread, rows, columns };
  runtime.scratch(frameLength(x, frame), (buffer) => {
    if (normalization && !isSpread && launchNormalizedImages(runtime, x, buffer, normalization)) {
      body({ buffer, shape: x.shape, strides: [C * H * W, H * W, W, 1], offset: 0 });
      return;
    }
    launchJobs(runtime, [imagesJob("i_", x, buffer, frame, normalization).job]);
    const strides = [C * rows * columns, rows * columns, columns, 1];
    body({ buffer, shape: [N, C, rows, width], strides, offset: 0 });
  });
}

function convolve(
  runtime: GpuRuntime,
  x: GpuView,
  weight: GpuView,
  y: GpuView,
  normalization: Normalization | null,
  { label, extents: given, top, left, spread, transposed, epilogue }: ProductCall,
): void {
  let [extents, input, output] = [given, x, y];
  const isWindowless = isPointwise(given) && top === 0 && left === 0 && spread[0] === 1 && spread[1] === 1;
  if (isWindowless) {
    const [rowsOfX, rowsOfY] = [flattenRows(x), flattenRows(y)];
    if (rowsOfX && rowsOfY) [extents, input, output] = [asOneRow(given), rowsOfX, rowsOfY];
  }
  if (suitsQuads(runtime, extents)) {
    const weights = transposed ? turnedWeights(weight, extents.groups) : forwardWeights(weight, extents);
    withPlainImages(runtime, input, normalization, spread, (images) =>
      launchQuadProduct(
        runtime,
        label,
        { ...extents, padding: [top, 0, left, 0] },
        images,
        weights,
        output,
        epilogue,
      ),
    );
    return;
  }
  const tile = productTileOf(extents, runtime.tuning);
  const frame: Frame = {
    top,
    left,
    spread,
    rows: (extents.P - 1) * extents.stride[0] + (extents.R - 1) * extents.dilation[0] + 1,
    columns: readColumns(extents, 4 * tile.vectors),
  };
  const channels = tile.channels;
  const lyingWeights = weightsInPlace(weight, extents.groups, channels, transposed);
  const lyingImages = isWindowless && !normalization ? inPlace(input) : null;
  const weightLength = lyingWeights ? null : packedLength(weight.shape, extents.groups, channels, transposed);
  withWorkspace(runtime, weightLength, (weightTarget) =>
    withWorkspace(runtime, lyingImages ? null : frameLength(input, frame), (imageTarget) => {
      const packing =
        weightTarget && weightsJob("w_", weight, extents.groups, channels, weightTarget, transposed);
      const laying = imageTarget && imagesJob("i_", input, imageTarget, frame, normalization);
      launchJobs(
        runtime,
        [laying?.job, packing?.job].filter((job) => job !== undefined),
      );
      const [weights, images] = [packing?.weights ?? lyingWeights, laying?.images ?? lyingImages];
      if (weights && images) launchProduct(runtime, label, extents, images, weights, output, tile, epilogue);
    }),
  );
}

function forward(
  runtime: GpuRuntime,
  label: string,
  x: GpuView,
  weight: GpuView,
  output: GpuView,
  attributes: KernelAttributes["conv2d"],
  epilogue: Epilogue = {},
  normalization: Normalization | null = null,
): void {
  const extents = extentsOf(weight.shape, output.shape, attributes);
  const [top, , left] = attributes.padding;
  convolve(runtime, x, weight, output, normalization, {
    label,
    extents,
    top,
    left,
    spread: [1, 1],
    transposed: false,
    epilogue,
  });
}

export const conv2d: GpuKernel<KernelAttributes["conv2d"]> = (
  runtime,
  [x, weight, bias],
  output,
  attributes,
) => forward(runtime, "conv2d", x, weight, output, attributes, { bias });

export const conv2dRelu: GpuKernel<KernelAttributes["conv2dRelu"]> = (
  runtime,
  [x, weight, bias],
  output,
  attributes,
) => forward(runtime, "conv2dRelu", x, weight, output, attributes, { bias, relu: true });

export const normReluConv2d: GpuKernel<KernelAttributes["normReluConv2d"]> = (
  runtime,
  [x, weight, bias, filter, statistics],
  output,
  attributes,
) =>
  forward(
    runtime,
    "normReluConv2d",
    x,
    filter,
    output,
    attributes,
    {},
    { weight, bias, statistics, epsilon: attributes.epsilon },
  );

/** A convolution of the output's gradient, its elements laid down at the stride's distance, with the window turned. */
export const conv2dInputGradient: GpuKernel<KernelAttributes["conv2dInputGradient"]> = (
  runtime,
  [gradient, weight],
  output,
  attributes,
) => {
  const forwards = extentsOf(weight.shape, gradient.shape, attributes);
  const { dilation, padding, stride, R, S } = forwards;
  const [, , H, W] = output.shape;
  convolve(runtime, gradient, weight, output, null, {
    label: "conv2dInputGradient",
    extents: { ...forwards, C: forwards.K, K: forwards.C, P: H, Q: W, stride: [1, 1] },
    top: (R - 1) * dilation[0] - padding[0],
    left: (S - 1) * dilation[1] - padding[2],
    spread: stride,
    transposed: true,
    epilogue: {},
  });
};

function weightGradient(
  runtime: GpuRuntime,
  x: GpuView,
  gradient: GpuView,
  output: GpuView,
  attributes: KernelAttributes["conv2d"],
  normalization: Normalization | null,
): void {
  let [extents, input, delta] = [extentsOf(output.shape, gradient.shape, attributes), x, gradient];
  const isWindowless = isPointwise(extents);
  if (isWindowless) {
    const [rowsOfX, rowsOfGradient] = [flattenRows(x), flattenRows(gradient)];
    if (rowsOfX && rowsOfGradient) [extents, input, delta] = [asOneRow(extents), rowsOfX, rowsOfGradient];
  }
  if (gradientSuitsQuads(runtime, extents)) {
    launchQuadWeightGradient(runtime, extents, input, delta, output, normalization);
    return;
  }
  const { P, Q, R, stride, dilation, padding } = extents;
  const imageFrame: Frame = {
    top: padding[0],
    left: padding[2],
    rows: (P - 1) * stride[0] + (R - 1) * dilation[0] + 1,
    columns: readColumns(extents, 4),
  };
  const gradientFrame: Frame = { top: 0, left: 0, rows: P, columns: roundUp(Q, 4) };
  const lyingGradients = inPlace(delta);
  const lyingImages = isWindowless && !normalization ? inPlace(input) : null;
  withWorkspace(runtime, lyingGradients ? null : frameLength(delta, gradientFrame), (gradientTarget) =>
    withWorkspace(runtime, lyingImages ? null : frameLength(input, imageFrame), (imageTarget) => {
      const first = gradientTarget && imagesJob("g_", delta, gradientTarget, gradientFrame);
      const second = imageTarget && imagesJob("i_", input, imageTarget, imageFrame, normalization);
      launchJobs(
        runtime,
        [first?.job, second?.job].filter((job) => job !== undefined),
      );
      const [gradients, images] = [first?.images ?? lyingGradients, second?.images ?? lyingImages];
      const tile = gradientTileOf(extents, runtime.tuning);
      if (gradients && images) launchWeightGradient(runtime, extents, images, gradients, output, tile);
    }),
  );
}

export const conv2dWeightGradient: GpuKernel<KernelAttributes["conv2dWeightGradient"]> = (
  runtime,
  [x, gradient],
  output,
  attributes,
) => weightGradient(runtime, x, gradient, output, attributes, null);

export const normReluConv2dWeightGradient: GpuKernel<KernelAttributes["normReluConv2dWeightGradient"]> = (
  runtime,
  [x, weight, bias, gradient, statistics],
  output,
  attributes,
) =>
  weightGradient(runtime, x, gradient, output, attributes, {
    weight,
    bias,
    statistics,
    epsilon: attributes.epsilon,
  });
