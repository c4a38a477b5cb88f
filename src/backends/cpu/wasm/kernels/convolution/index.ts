/**
 * Convolution and its two gradients as products of packed panels. A 1x1 convolution without margin or stride reads its
 * image in place; every other image is copied once with its margin, item by item, into scratch memory that stays in
 * the cache. A norm and a ReLU before the convolution are applied on the way.
 *
 *     product.ts         slivers of gathered columns by panels: the general case, and 1x1 windows
 *     narrow.ts          columns read where they lie in the padded image: few filters, and small images
 *     phasePairs.ts      input gradients of 3x3 windows of stride 2, two columns at a time
 *     weightGradient.ts  dot products of rows of the output gradient and of the image
 *     squareProduct.ts   3x3 windows with many channels, and their input gradients, by squares of 4 x 4 pixels
 *     squareWeights.ts   the weight gradients of such windows, and of 1x1 windows on small images
 *     weightParts.ts     weight gradients of large images, a part of the images at a time
 *
 * Letters as in the op: N images, C input channels, H x W input, K output channels, R x S window, P x Q output.
 */
import type { HostBackendKernel, HostKernel, HostView, Shape } from "../../../../backend.ts";
import type { Conv2dAttributes } from "../../../loops/conv2d.ts";
import { addressOf, type WasmRuntime } from "../../runtime.ts";
import type { ChannelKernels } from "../channels.ts";
import type { PlaneKernels } from "../planes.ts";
import { Multiplier } from "./multiplier.ts";
import { coefficientBytes } from "./normRelu.ts";
import { floatBytes } from "./record.ts";
import { bytesOf, isDense } from "./sizes.ts";

type ConvKernel = HostKernel<Conv2dAttributes>;

export interface NormReluConv2dAttributes extends Conv2dAttributes {
  readonly epsilon: number;
}

interface NormReluWeightGradientAttributes extends NormReluConv2dAttributes {
  readonly weightShape: Shape;
}

type NormedKernel = HostBackendKernel<NormReluConv2dAttributes>;
type NormedGradientKernel = HostBackendKernel<NormReluWeightGradientAttributes>;

export interface Conv2dKernels {
  readonly conv2d: ConvKernel;
  readonly conv2dInputGradient: ConvKernel;
  readonly conv2dWeightGradient: ConvKernel;
}

export interface NormReluConv2dKernels {
  readonly normReluConv2d: NormedKernel;
  readonly normReluConv2dWeightGradient: NormedGradientKernel;
}

const isPacked = ({ shape, strides }: HostView): boolean =>
  strides.every((stride, axis) => stride === shape.slice(axis + 1).reduce((a, b) => a * b, 1));

/** The fast kernels; what they do not take (f64, images whose pixels are not in rows) goes to the loops. */
export function conv2dKernels(
  runtime: WasmRuntime,
  planes: PlaneKernels,
  channels: ChannelKernels,
  fallback: Conv2dKernels,
): Conv2dKernels & NormReluConv2dKernels {
  const multiplier = new Multiplier(runtime);
  const takes = (views: readonly HostView[], images: readonly HostView[]): boolean =>
    runtime.accepts(views) && images.every(({ shape, strides }) => !shape.includes(0) && strides[3] === 1);

  const conv2d: ConvKernel = (inputs, y, attributes) => {
    const [x, weight, bias] = inputs;
    if (!takes([...inputs, y], [x, y])) return fallback.conv2d(inputs, y, attributes);
    multiplier.forward(x, weight, y, attributes);
    if (bias) addBias(y, bias);
  };

  function addBias(y: HostView, bias: HostView): void {
    const [N, K, P, Q] = y.shape;
    const values = runtime.scratch("conv2d bias", floatBytes * K);
    const copy = runtime.floatsAt(values, K);
    for (let k = 0; k < K; k++) copy[k] = bias.data[bias.offset + k * bias.strides[0]];
    const [rows, columns] = isDense(y) ? [1, P * Q] : [P, Q];
    const [image, plane, row] = bytesOf(y);
    for (let n = 0; n < N; n++)
      for (let p = 0; p < rows; p++)
        planes.addToPlanes(addressOf(y) + n * image + p * row, plane, K, columns, values);
  }

  const conv2dInputGradient: ConvKernel = (inputs, x, attributes) => {
    const [gradient, weight] = inputs;
    if (!takes([...inputs, x], [gradient, x])) return fallback.conv2dInputGradient(inputs, x, attributes);
    multiplier.inputGradient(gradient, weight, x, attributes, () => clearImages(x));
  };

  function clearImages(x: HostView): void {
    const [N, C, H, W] = x.shape;
    const [image, plane, row] = bytesOf(x);
    const [rows, columns] = isDense(x) ? [1, H * W] : [H, W];
    runtime.settle();
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let h = 0; h < rows; h++)
          planes.clear(addressOf(x) + n * image + c * plane + h * row, floatBytes * columns);
  }

  const conv2dWeightGradient: ConvKernel = (inputs, weight, attributes) => {
    const [x, gradient] = inputs;
    if (!isPacked(weight) || weight.shape.includes(0) || !takes([...inputs, weight], [x, gradient]))
      return fallback.conv2dWeightGradient(inputs, weight, attributes);
    multiplier.weightGradient(x, gradient, weight, attributes);
  };

  /** The norm's coefficients by channel, in the order of normRelu.ts, from weight, bias and statistics. */
  function coefficientsOf(weight: HostView, bias: HostView, statistics: HostView, epsilon: number): number {
    const address = runtime.scratch("conv2d norm", coefficientBytes * weight.shape[0]);
    channels.lines(statistics, weight, bias, epsilon, { address, bytes: coefficientBytes });
    return address;
  }

  const normReluConv2d: NormedKernel = (inputs, y, attributes, reference) => {
    const [x, weight, bias, filter, statistics] = inputs;
    if (!takes([...inputs, y], [x, y])) return reference(inputs, y, attributes);
    const coefficients = coefficientsOf(weight, bias, statistics, attributes.epsilon);
    multiplier.forward(x, filter, y, attributes, coefficients);
  };

  const normReluConv2dWeightGradient: NormedGradientKernel = (inputs, filter, attributes, reference) => {
    const [x, weight, bias, gradient, statistics] = inputs;
    if (!isPacked(filter) || filter.shape.includes(0) || !takes([...inputs, filter], [x, gradient]))
      return reference(inputs, filter, attributes);
    const coefficients = coefficientsOf(weight, bias, statistics, attributes.epsilon);
    multiplier.weightGradient(x, gradient, filter, attributes, coefficients);
  };

  return {
    conv2d,
    conv2dInputGradient,
    conv2dWeightGradient,
    normReluConv2d,
    normReluConv2dWeightGradient,
  };
}
