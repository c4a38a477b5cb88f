/** ONNX's Resize and its forerunner Upsample, in the modes "nearest" and "linear", axis by axis. */
import { add, mul, upsample } from "../../../autograd/index.ts";
import { tensor as makeTensor } from "../../../tensor/create.ts";
import { formatShape } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import type { NodeInputs, NodeReader, Operator, OperatorTable } from "./node.ts";
import { take } from "./take.ts";

type Mode = "nearest" | "linear";

/** One axis that is resized. */
interface Axis {
  readonly from: number;
  readonly to: number;
  readonly scale: number;
}

/** Where entry i of the result lies in the input, by ONNX's coordinate_transformation_mode. */
const coordinates: Readonly<Record<string, (i: number, axis: Axis) => number>> = {
  asymmetric: (i, { scale }) => i / scale,
  half_pixel: (i, { scale }) => (i + 0.5) / scale - 0.5,
  pytorch_half_pixel: (i, { to, scale }) => (to > 1 ? (i + 0.5) / scale - 0.5 : 0),
  align_corners: (i, { from, to }) => (to > 1 ? (i * (from - 1)) / (to - 1) : 0),
  tf_half_pixel_for_nn: (i, { scale }) => (i + 0.5) / scale,
  half_pixel_symmetric: (i, { from, to, scale }) => {
    // The scale that was asked for may make a fraction of an entry more than there is.
    const adjustment = to / (scale * from);
    return (from / 2) * (1 - adjustment) + (i + 0.5) / scale - 0.5;
  },
};

const roundings: Readonly<Record<string, (x: number) => number>> = {
  round_prefer_floor: (x) => Math.ceil(x - 0.5),
  round_prefer_ceil: (x) => Math.floor(x + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

interface Rules {
  readonly mode: Mode;
  readonly transformation: string;
  readonly rounding: string;
}

function resizeAxis(x: Tensor, at: number, axis: Axis, { mode, transformation, rounding }: Rules): Tensor {
  const within = (place: number): number => Math.min(axis.from - 1, Math.max(0, place));
  const places = Array.from({ length: axis.to }, (_, i) => coordinates[transformation](i, axis));
  if (mode === "nearest")
    return take(
      x,
      at,
      places.map((place) => within(roundings[rounding](place))),
    );
  const lower = places.map(Math.floor);
  const share = makeTensor(
    places.map((place, i) => place - lower[i]),
    { shape: x.shape.map((_, i) => (i === at ? axis.to : 1)), dtype: x.dtype },
  );
  const first = take(x, at, lower.map(within));
  const second = take(
    x,
    at,
    lower.map((place) => within(place + 1)),
  );
  return add(mul(first, add(mul(share, -1), 1)), mul(second, share));
}

/** The kernels of `upsample` know the modes that networks use most; null for the others. */
function upsampled(
  x: Tensor,
  axes: readonly Axis[],
  { mode, transformation, rounding }: Rules,
): Tensor | null {
  const unchanged = ({ from, to, scale }: Axis): boolean => from === to && scale === 1;
  if (x.rank !== 4 || !axes.slice(0, 2).every(unchanged) || (x.dtype !== "f32" && x.dtype !== "f64"))
    return null;
  const [, , height, width] = axes;
  const exact = (axis: Axis): boolean => Math.floor(axis.from * axis.scale) === axis.to;
  const scaleFactor = [height.scale, width.scale] as const;
  if (mode === "nearest" && transformation === "asymmetric" && rounding === "floor")
    return exact(height) && exact(width) ? upsample(x, { scaleFactor }) : null;
  if (mode !== "linear") return null;
  if (transformation === "align_corners")
    return upsample(x, { size: [height.to, width.to], mode: "bilinear", alignCorners: true });
  if (transformation !== "half_pixel" || !exact(height) || !exact(width)) return null;
  return upsample(x, { scaleFactor, mode: "bilinear" });
}

function resize(node: NodeReader, x: Tensor, axes: readonly Axis[], rules: Rules): Tensor {
  node.checkSize(axes.map(({ to }) => to));
  for (const { to } of axes) node.checkListed(to);
  if (axes.some(({ from, to, scale }) => !(scale > 0) || to < 1 || from < 1))
    throw node.error(`resizes ${formatShape(x.shape)} to ${formatShape(axes.map(({ to }) => to))}`);
  const fast = upsampled(x, axes, rules);
  if (fast) return fast;
  return axes.reduce(
    (result, axis, at) =>
      axis.from === axis.to && axis.scale === 1 ? result : resizeAxis(result, at, axis, rules),
    x,
  );
}

function byScales(node: NodeReader, x: Tensor, scales: readonly number[]): Axis[] {
  if (scales.length !== x.rank)
    throw node.error(`has ${scales.length} scales for an input ${formatShape(x.shape)}`);
  // In single precision, as exporters expect: 5 times the f32 nearest to 1.8 is 9 there, and less in double.
  const scaled = (from: number, scale: number): number => Math.floor(Math.fround(from * scale));
  return x.shape.map((from, i) => ({ from, to: scaled(from, scales[i]), scale: scales[i] }));
}

function bySizes(node: NodeReader, x: Tensor, sizes: readonly number[]): Axis[] {
  if (sizes.length !== x.rank)
    throw node.error(`has ${sizes.length} sizes for an input ${formatShape(x.shape)}`);
  return x.shape.map((from, i) => ({ from, to: sizes[i], scale: sizes[i] / from }));
}

function modeOf(node: NodeReader): Mode {
  const mode = node.text("mode", "nearest");
  if (mode !== "nearest" && mode !== "linear" && mode !== "bilinear")
    throw node.error(`has mode ${JSON.stringify(mode)}; nearest and linear are supported`);
  return mode === "nearest" ? mode : "linear";
}

/** Scales for all axes: 1 for those that `axes` leaves out. */
function spread(values: readonly number[], axes: readonly number[] | null, all: readonly number[]): number[] {
  if (!axes) return [...values];
  const result = [...all];
  axes.forEach((axis, i) => {
    result[axis < 0 ? axis + all.length : axis] = values[i];
  });
  return result;
}

const resizeOperator: Operator = (node) => {
  const mode = modeOf(node);
  const old = node.opset < 11;
  const transformation = old ? "asymmetric" : node.text("coordinate_transformation_mode", "half_pixel");
  const rounding = old ? "floor" : node.text("nearest_mode", "round_prefer_floor");
  if (!Object.hasOwn(coordinates, transformation) || !Object.hasOwn(roundings, rounding))
    throw node.error(
      `has coordinate_transformation_mode ${JSON.stringify(transformation)} and nearest_mode ${JSON.stringify(rounding)}; ` +
        `supported are ${Object.keys(coordinates).join(", ")}; ${Object.keys(roundings).join(", ")}`,
    );
  for (const name of ["cubic_coeff_a", "exclude_outside", "extrapolation_value"]) node.ignore(name);
  node.only("antialias", 0);
  node.only("keep_aspect_ratio_policy", "stretch");
  const axes = node.integers("axes");
  const rules = { mode, transformation, rounding };
  return (inputs: NodeInputs) => {
    const x = inputs.tensor(0);
    const scales = inputs.optionalNumbers(old ? 1 : 2) ?? [];
    const sizes = (old ? null : inputs.optionalNumbers(3)) ?? [];
    const ones = x.shape.map(() => 1);
    const resized =
      sizes.length > 0
        ? bySizes(node, x, spread(sizes, axes, x.shape))
        : byScales(node, x, spread(scales, axes, ones));
    return [resize(node, x, resized, rules)];
  };
};

const upsampleOperator: Operator = (node) => {
  const rules = { mode: modeOf(node), transformation: "asymmetric", rounding: "floor" };
  const fixed = node.opset < 9 ? node.floats("scales") : null;
  return (inputs) => {
    const x = inputs.tensor(0);
    return [resize(node, x, byScales(node, x, fixed ?? inputs.numbers(1)), rules)];
  };
};

export const resizeOperators: OperatorTable = { Resize: resizeOperator, Upsample: upsampleOperator };
