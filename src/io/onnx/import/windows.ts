/** ONNX operators that slide windows over images, and batch normalisation. */
import {
  avgPool2d,
  batchNormWith,
  conv2d,
  max,
  maxPool2d,
  mean,
  pad,
  reshape,
  slice,
  to,
} from "../../../autograd/index.ts";
import { isFloat } from "../../../backends/dtype.ts";
import { formatShape, type Shape } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import type { NodeReader, Operator, OperatorTable } from "./node.ts";

type Two = readonly [vertical: number, horizontal: number];
type Four = readonly [top: number, bottom: number, left: number, right: number];

/** Attributes that all windows have. */
interface Windows {
  readonly stride: Two;
  readonly dilation: Two;
  /** The margins around an image of this height and width. */
  padding(image: Two, kernel: Two): Four;
}

/** Wider margins than any image needs: a few bytes of a file would ask for hours of work. */
const maxMargin = 4096;

function two(node: NodeReader, name: string): Two | null {
  const values = node.integers(name);
  if (!values) return null;
  if (values.length !== 2 || values.some((value) => value < 1))
    throw node.error(
      `has ${name} ${formatShape(values)}; two integers >= 1 are supported, for height and width of images`,
    );
  return [values[0], values[1]];
}

/** The margins that make as many windows as the stride fits into the image; an odd one goes to the given side. */
function samePadding(image: Two, kernel: Two, stride: Two, dilation: Two, extraAtEnd: boolean): Four {
  const [vertical, horizontal] = ([0, 1] as const).map((axis) => {
    const windows = Math.ceil(image[axis] / stride[axis]);
    const reach = dilation[axis] * (kernel[axis] - 1) + 1;
    const total = Math.max(0, (windows - 1) * stride[axis] + reach - image[axis]);
    const [less, more] = [Math.floor(total / 2), Math.ceil(total / 2)];
    return extraAtEnd ? ([less, more] as const) : ([more, less] as const);
  });
  return [...vertical, ...horizontal];
}

function windows(node: NodeReader): Windows {
  const stride = two(node, "strides") ?? [1, 1];
  const dilation = two(node, "dilations") ?? [1, 1];
  const auto = node.text("auto_pad", "NOTSET");
  const pads = node.integers("pads") ?? [0, 0, 0, 0];
  if (pads.length !== 4 || pads.some((margin) => margin < 0 || margin > maxMargin))
    throw node.error(`has pads ${formatShape(pads)}; four integers from 0 to ${maxMargin} are supported`);
  const [top, left, bottom, right] = pads;
  switch (auto) {
    case "NOTSET":
      return { stride, dilation, padding: () => [top, bottom, left, right] };
    case "VALID":
      return { stride, dilation, padding: () => [0, 0, 0, 0] };
    case "SAME_UPPER":
    case "SAME_LOWER":
      return {
        stride,
        dilation,
        padding: (image, kernel) => samePadding(image, kernel, stride, dilation, auto === "SAME_UPPER"),
      };
    default:
      throw node.error(`has auto_pad ${JSON.stringify(auto)}, which ONNX does not know`);
  }
}

/** Height and width of images. Throws for anything else. */
function imageOf(node: NodeReader, x: Tensor): Two {
  if (x.rank !== 4) throw node.error(`reads ${formatShape(x.shape)}; only images [N, C, H, W] are supported`);
  return [x.shape[2], x.shape[3]];
}

/** Windows as the ops take them: strides and dilations that lead out of the image lead just out of it. */
interface FittedWindows {
  readonly stride: Two;
  readonly dilation: Two;
  readonly padding: Four;
}

/**
 * The windows on an image of this shape. Kernels make tables as long as a stride, so a stride that no second window
 * follows becomes the shortest such, which changes nothing; likewise for the dilation of a single tap. Throws when the
 * image with its margins is larger than any, or too small for a window.
 */
function fitted(node: NodeReader, windows: Windows, shape: Shape, kernel: Two): FittedWindows {
  const image = [shape[2], shape[3]] as const;
  const padding = windows.padding(image, kernel);
  const [top, bottom, left, right] = padding;
  const room = [image[0] + top + bottom, image[1] + left + right] as const;
  node.checkSize([shape[0], shape[1], ...room]);
  const reach = ([0, 1] as const).map((axis) => windows.dilation[axis] * (kernel[axis] - 1) + 1);
  if (reach[0] > room[0] || reach[1] > room[1])
    throw node.error(
      `has windows of ${formatShape(reach)}, and its image is ${formatShape(room)} with its margins; use a larger image`,
    );
  const both = (limit: (axis: 0 | 1) => number): Two => [limit(0), limit(1)];
  return {
    padding,
    stride: both((axis) => Math.min(windows.stride[axis], room[axis] + 1)),
    dilation: both((axis) => (kernel[axis] === 1 ? 1 : windows.dilation[axis])),
  };
}

const conv: Operator = (node) => {
  const given = windows(node);
  const groups = node.integer("group", 1);
  const declared = two(node, "kernel_shape");
  return (inputs) => {
    const [x, weight, bias] = [inputs.tensor(0), inputs.tensor(1), inputs.optionalTensor(2)];
    imageOf(node, x);
    const kernel = imageOf(node, weight);
    if (declared && (declared[0] !== kernel[0] || declared[1] !== kernel[1]))
      throw node.error(`has kernel_shape ${formatShape(declared)}, and weights ${formatShape(weight.shape)}`);
    const fit = fitted(node, given, x.shape, kernel);
    const [top, bottom, left, right] = fit.padding;
    const rows = Math.ceil((x.shape[2] + top + bottom) / fit.stride[0]);
    const columns = Math.ceil((x.shape[3] + left + right) / fit.stride[1]);
    node.checkSize([x.shape[0], weight.shape[0], rows, columns]);
    const options = { ...fit, groups };
    return [conv2d(x, weight, bias ? { ...options, bias } : options)];
  };
};

function kernelOf(node: NodeReader): Two {
  const kernel = two(node, "kernel_shape");
  if (!kernel) throw node.error("lacks the attribute kernel_shape");
  return kernel;
}

const maxPool: Operator = (node) => {
  node.limitOutputs(1);
  node.ignore("storage_order");
  const given = windows(node);
  const kernelSize = kernelOf(node);
  const ceilMode = node.flag("ceil_mode", false);
  return (inputs) => {
    const x = inputs.tensor(0);
    imageOf(node, x);
    const fit = fitted(node, given, x.shape, kernelSize);
    const pooled = maxPool2d(isFloat(x.dtype) ? x : to(x, "f32"), { ...fit, kernelSize, ceilMode });
    return [to(pooled, x.dtype)];
  };
};

const averagePool: Operator = (node) => {
  const given = windows(node);
  const kernelSize = kernelOf(node);
  const ceilMode = node.flag("ceil_mode", false);
  const countIncludePad = node.flag("count_include_pad", false);
  return (inputs) => {
    const x = inputs.tensor(0);
    imageOf(node, x);
    const { padding, stride, dilation } = fitted(node, given, x.shape, kernelSize);
    const [top, bottom, left, right] = padding;
    const options = { kernelSize, stride, dilation };
    if (!ceilMode || !countIncludePad || top + bottom + left + right === 0)
      return [avgPool2d(x, { ...options, ceilMode, countIncludePad, padding: [top, bottom, left, right] })];
    // The margin counts, what hangs over it does not; and no window may start beyond the image and its first margin.
    const padded = pad(x, [
      [0, 0],
      [0, 0],
      [top, bottom],
      [left, right],
    ]);
    const pooled = avgPool2d(padded, { ...options, ceilMode });
    const counts = [x.shape[2] + top, x.shape[3] + left].map((room, axis) =>
      Math.min(pooled.shape[axis + 2], Math.ceil(room / stride[axis])),
    );
    return [slice(slice(pooled, 2, 0, counts[0]), 3, 0, counts[1])];
  };
};

/** Every axis after N and C reduced to one. */
const overPixels =
  (
    reduce: (x: Tensor, axes: readonly number[], options: { readonly keepDims: boolean }) => Tensor,
  ): Operator =>
  (node) =>
  (inputs) => {
    const x = inputs.tensor(0);
    if (x.rank < 3) throw node.error(`reads ${formatShape(x.shape)}, which has no pixels`);
    return [reduce(x, pixelAxes(x.shape), { keepDims: true })];
  };

const pixelAxes = (shape: Shape): number[] => shape.flatMap((_, axis) => (axis < 2 ? [] : [axis]));

const batchNormalization: Operator = (node) => {
  node.limitOutputs(1);
  node.ignore("momentum");
  node.only("spatial", 1);
  node.only("training_mode", 0);
  node.checkInference();
  const epsilon = node.float("epsilon", 1e-5);
  return (inputs) => {
    const x = inputs.tensor(0);
    const [weight, bias, average, variance] = [1, 2, 3, 4].map((index) => inputs.tensor(index));
    if (x.rank < 2) throw node.error(`reads ${formatShape(x.shape)}, which has no channels`);
    const images =
      x.rank === 4
        ? x
        : reshape(x, [x.shape[0], x.shape[1], x.size / Math.max(1, x.shape[0] * x.shape[1]), 1]);
    const y = batchNormWith(images, { weight, bias, mean: average, variance, epsilon });
    return [reshape(y, x.shape)];
  };
};

export const windowOperators: OperatorTable = {
  AveragePool: averagePool,
  BatchNormalization: batchNormalization,
  Conv: conv,
  GlobalAveragePool: overPixels(mean),
  GlobalMaxPool: overPixels(max),
  MaxPool: maxPool,
};
