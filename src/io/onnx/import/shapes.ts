/** ONNX operators that move, cut and join elements, and those that compute with shapes. */
import {
  add,
  concat,
  expand,
  gather,
  less,
  pad,
  permute,
  reshape,
  slice,
  split,
  squeeze,
  to,
  unsqueeze,
  where,
} from "../../../autograd/index.ts";
import { broadcastShapes, formatShape, sizeOf } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import type { HostTensor } from "../model.ts";
import type { NodeInputs, NodeReader, Operator, OperatorTable } from "./node.ts";
import { take } from "./take.ts";
import { integersValue, Value } from "./value.ts";

/** Axes counted from the front. */
const axesOf = (node: NodeReader, axes: readonly number[], rank: number): number[] =>
  axes.map((axis) => node.axis(axis, rank));

/** Axes, or other integers, that old operators have as an attribute and new ones as an input. */
function listOf(
  node: NodeReader,
  name: string,
  since: number,
  input: number,
): (inputs: NodeInputs) => readonly number[] | null {
  if (node.opset >= since) return (inputs) => inputs.optionalNumbers(input);
  const fixed = node.integers(name);
  return () => fixed;
}

const reshapeOperator: Operator = (node) => {
  const target = listOf(node, "shape", 5, 1);
  const allowZero = node.flag("allowzero", false);
  return (inputs) => {
    const x = inputs.tensor(0);
    const shape = target(inputs) ?? [];
    node.checkSize(shape.map(Math.abs));
    const extents = shape.map((extent, axis) => {
      if (extent !== 0 || allowZero) return extent;
      if (axis >= x.rank)
        throw node.error(`copies dimension ${axis} of ${formatShape(x.shape)}, which has none`);
      return x.shape[axis];
    });
    return [reshape(x, extents)];
  };
};

const flattenOperator: Operator = (node) => {
  const axis = node.integer("axis", 1);
  return (inputs) => {
    const x = inputs.tensor(0);
    const at = axis === x.rank ? axis : node.axis(axis, x.rank);
    return [reshape(x, [sizeOf(x.shape.slice(0, at)), sizeOf(x.shape.slice(at))])];
  };
};

const squeezeOperator: Operator = (node) => {
  const axes = listOf(node, "axes", 13, 1);
  return (inputs) => {
    const x = inputs.tensor(0);
    const given = axes(inputs);
    const dropped = given
      ? axesOf(node, given, x.rank)
      : x.shape.flatMap((extent, axis) => (extent === 1 ? [axis] : []));
    return [dropped.sort((a, b) => b - a).reduce((result, axis) => squeeze(result, axis), x)];
  };
};

const unsqueezeOperator: Operator = (node) => {
  const axes = listOf(node, "axes", 13, 1);
  return (inputs) => {
    const x = inputs.tensor(0);
    const given = axes(inputs) ?? [];
    const added = axesOf(node, given, x.rank + given.length).sort((a, b) => a - b);
    return [added.reduce((result, axis) => unsqueeze(result, axis), x)];
  };
};

const transposeOperator: Operator = (node) => {
  const order = node.integers("perm");
  return (inputs) => {
    const x = inputs.tensor(0);
    return [permute(x, order ?? x.shape.map((_, axis) => x.rank - 1 - axis))];
  };
};

const concatOperator: Operator = (node) => {
  const axis = node.integer("axis", node.opset < 4 ? 1 : undefined);
  return (inputs) => {
    const tensors = inputs.tensors();
    return [concat(tensors, node.axis(axis, tensors[0].rank))];
  };
};

const splitOperator: Operator = (node) => {
  const axis = node.integer("axis", 0);
  const extents = listOf(node, "split", 13, 1);
  const parts = node.integer("num_outputs", node.outputCount);
  if (parts !== node.outputCount)
    throw node.error(`has ${node.outputCount} outputs and num_outputs ${parts}`);
  return (inputs) => {
    const x = inputs.tensor(0);
    const at = node.axis(axis, x.rank);
    const extent = x.shape[at];
    // The last of equal parts is smaller where they do not divide.
    const equal = Math.ceil(extent / parts);
    const given =
      extents(inputs) ??
      Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(equal, extent - i * equal)));
    if (given.reduce((sum, n) => sum + n, 0) !== extent || given.some((n) => n < 0))
      throw node.error(`splits ${extent} entries into ${formatShape(given)}`);
    return split(x, given, at);
  };
};

/** One axis of ONNX's Slice, which counts from the end, clips, and steps as Python does. */
function sliceAxis(
  node: NodeReader,
  x: Tensor,
  axis: number,
  start: number,
  end: number,
  step: number,
): Tensor {
  const extent = x.shape[axis];
  const clip = (value: number, low: number, high: number) =>
    Math.min(high, Math.max(low, value < 0 ? value + extent : value));
  const [first, last] =
    step > 0
      ? [clip(start, 0, extent), clip(end, 0, extent)]
      : [clip(start, 0, extent - 1), clip(end, -1, extent - 1)];
  if (step === 1) return slice(x, axis, first, Math.max(first, last));
  const count = Math.max(0, Math.ceil((last - first) / step));
  node.checkListed(count);
  return take(
    x,
    axis,
    Array.from({ length: count }, (_, i) => first + i * step),
  );
}

const sliceOperator: Operator = (node) => {
  const lists = ["starts", "ends", "axes"].map((name, i) => listOf(node, name, 10, i + 1));
  return (inputs) => {
    const x = inputs.tensor(0);
    const [starts, ends] = [lists[0](inputs) ?? [], lists[1](inputs) ?? []];
    const axes = axesOf(node, lists[2](inputs) ?? starts.map((_, i) => i), x.rank);
    const steps = (node.opset >= 10 ? inputs.optionalNumbers(4) : null) ?? starts.map(() => 1);
    if ([ends, axes, steps].some(({ length }) => length !== starts.length) || steps.includes(0))
      throw node.error("has starts, ends, axes and steps that do not belong together");
    return [axes.reduce((result, axis, i) => sliceAxis(node, result, axis, starts[i], ends[i], steps[i]), x)];
  };
};

const expandOperator: Operator = (node) => (inputs) => {
  const x = inputs.tensor(0);
  const shape = broadcastShapes("ONNX Expand", x.shape, inputs.numbers(1));
  node.checkSize(shape);
  return [expand(x, shape)];
};

const tileOperator: Operator = (node) => (inputs) => {
  const x = inputs.tensor(0);
  const repeats = inputs.numbers(1);
  if (repeats.length !== x.rank || repeats.some((n) => !Number.isSafeInteger(n) || n < 0))
    throw node.error(`repeats ${formatShape(x.shape)} by ${formatShape(repeats)}`);
  node.checkSize(x.shape.map((extent, axis) => extent * repeats[axis]));
  node.checkSize(repeats);
  // Each axis after a new one, along which it is read so many times.
  const paired = x.shape.flatMap((extent) => [1, extent]);
  const stretched = x.shape.flatMap((extent, axis) => [repeats[axis], extent]);
  const tiled = expand(reshape(x, paired), stretched);
  return [
    reshape(
      tiled,
      x.shape.map((extent, axis) => extent * repeats[axis]),
    ),
  ];
};

/** The place of the image that lies at `at` of a margin, by ONNX's modes other than "constant". */
function mirrored(mode: string, at: number, extent: number): number {
  if (mode === "edge") return Math.min(extent - 1, Math.max(0, at));
  if (mode === "wrap") return ((at % extent) + extent) % extent;
  const period = Math.max(1, 2 * (extent - 1));
  const within = ((at % period) + period) % period;
  return Math.min(within, period - within);
}

const padOperator: Operator = (node) => {
  const margins = listOf(node, "pads", 11, 1);
  const mode = node.text("mode", "constant");
  const fixedValue = node.opset < 11 ? node.float("value", 0) : 0;
  if (!["constant", "edge", "reflect", "wrap"].includes(mode))
    throw node.error(`has mode ${JSON.stringify(mode)}; constant, edge, reflect and wrap are supported`);
  return (inputs) => {
    const x = inputs.tensor(0);
    const given = margins(inputs) ?? [];
    const axes = axesOf(
      node,
      (node.opset >= 18 ? inputs.optionalNumbers(3) : null) ?? x.shape.map((_, axis) => axis),
      x.rank,
    );
    if (given.length !== 2 * axes.length)
      throw node.error(`has ${given.length} margins for ${axes.length} axes`);
    const sides = x.shape.map((_, axis): [number, number] => {
      const at = axes.indexOf(axis);
      return at < 0 ? [0, 0] : [given[at], given[at + axes.length]];
    });
    node.checkSize(x.shape.map((extent, axis) => Math.max(0, extent + sides[axis][0] + sides[axis][1])));
    if (mode === "constant") {
      const cut = sides.reduce(
        (result, [before, after], axis) =>
          before < 0 || after < 0
            ? slice(result, axis, Math.max(0, -before), x.shape[axis] - Math.max(0, -after))
            : result,
        x,
      );
      const value = (node.opset >= 11 ? inputs.optionalNumbers(2)?.[0] : undefined) ?? fixedValue;
      return [
        pad(
          cut,
          sides.map(([before, after]): [number, number] => [Math.max(0, before), Math.max(0, after)]),
          value,
        ),
      ];
    }
    const padded = sides.reduce((result, [before, after], axis) => {
      const extent = x.shape[axis];
      if (before === 0 && after === 0) return result;
      node.checkListed(extent + before + after);
      const places = Array.from({ length: Math.max(0, extent + before + after) }, (_, i) =>
        mirrored(mode, i - before, extent),
      );
      return take(result, axis, places);
    }, x);
    return [padded];
  };
};

const gatherOperator: Operator = (node) => {
  const axis = node.integer("axis", 0);
  return (inputs) => {
    const x = inputs.tensor(0);
    const at = node.axis(axis, x.rank);
    const index = inputs.value(1);
    const places = index.numbers().map((place) => {
      const from = place < 0 ? place + x.shape[at] : place;
      if (!(from >= 0 && from < x.shape[at]))
        throw node.error(`reads entry ${place} of axis ${axis} of ${formatShape(x.shape)}`);
      return from;
    });
    return [
      reshape(take(x, at, places), [...x.shape.slice(0, at), ...index.shape, ...x.shape.slice(at + 1)]),
    ];
  };
};

const gatherElements: Operator = (node) => {
  const axis = node.integer("axis", 0);
  return (inputs) => {
    const [x, index] = [inputs.tensor(0), to(inputs.tensor(1), "i32")];
    const at = node.axis(axis, x.rank);
    return [gather(x, where(less(index, 0), add(index, x.shape[at]), index), at)];
  };
};

/** Blocks of pixels to channels, or back, by splitting axes and exchanging them. */
const depthToSpace: Operator = (node) => {
  const block = node.integer("blocksize");
  const mode = node.text("mode", "DCR");
  if (block < 1 || (mode !== "DCR" && mode !== "CRD"))
    throw node.error(
      `has blocksize ${block} and mode ${JSON.stringify(mode)}; 1 or more, DCR or CRD are supported`,
    );
  return (inputs) => {
    const x = inputs.tensor(0);
    const [N, C, H, W] = x.shape;
    const channels = C / (block * block);
    const [blocks, order] =
      mode === "DCR"
        ? [
            [N, block, block, channels, H, W],
            [0, 3, 4, 1, 5, 2],
          ]
        : [
            [N, channels, block, block, H, W],
            [0, 1, 4, 2, 5, 3],
          ];
    return [reshape(permute(reshape(x, blocks), order), [N, channels, H * block, W * block])];
  };
};

const spaceToDepth: Operator = (node) => {
  const block = node.integer("blocksize");
  if (block < 1) throw node.error(`has blocksize ${block}; 1 or more is supported`);
  return (inputs) => {
    const x = inputs.tensor(0);
    const [N, C, H, W] = x.shape;
    const [rows, columns] = [H / block, W / block];
    const blocks = reshape(x, [N, C, rows, block, columns, block]);
    return [reshape(permute(blocks, [0, 3, 5, 1, 2, 4]), [N, C * block * block, rows, columns])];
  };
};

const shapeOperator: Operator = (node) => {
  const start = node.integer("start", 0);
  const end = node.has("end") ? node.integer("end") : undefined;
  return (inputs) => [integersValue(inputs.value(0).shape.slice(start, end))];
};

const constantOperator: Operator = (node) => {
  const scalar = (format: HostTensor["format"], value: number): HostTensor => ({
    format,
    shape: [],
    values: [value],
  });
  const list = (format: HostTensor["format"], values: readonly number[]): HostTensor => ({
    format,
    shape: [values.length],
    values,
  });
  const choose = (): HostTensor => {
    const tensor = node.tensor("value");
    if (tensor) return tensor;
    if (node.has("value_float")) return scalar("f32", node.float("value_float"));
    if (node.has("value_int")) return scalar("i64", node.integer("value_int"));
    const [floats, integers] = [node.floats("value_floats"), node.integers("value_ints")];
    if (floats) return list("f32", floats);
    if (integers) return list("i64", integers);
    throw node.error("has no value that is a tensor or numbers");
  };
  const value = new Value(choose());
  return () => [value];
};

const constantOfShape: Operator = (node) => {
  const value = node.tensor("value") ?? { format: "f32", shape: [1], values: [0] };
  if (value.values.length !== 1) throw node.error("has a value that is not one element");
  return (inputs) => {
    const shape = inputs.numbers(0);
    node.checkSize(shape);
    if (shape.some((extent) => extent < 0)) throw node.error(`asks for the shape ${formatShape(shape)}`);
    return [expand(new Value({ ...value, shape: [] }).tensor(), shape)];
  };
};

const sizeOperator: Operator = () => (inputs) => [integersValue([sizeOf(inputs.value(0).shape)], [])];

export const shapeOperators: OperatorTable = {
  Concat: concatOperator,
  Constant: constantOperator,
  ConstantOfShape: constantOfShape,
  DepthToSpace: depthToSpace,
  Expand: expandOperator,
  Flatten: flattenOperator,
  Gather: gatherOperator,
  GatherElements: gatherElements,
  Pad: padOperator,
  Reshape: reshapeOperator,
  Shape: shapeOperator,
  Size: sizeOperator,
  Slice: sliceOperator,
  SpaceToDepth: spaceToDepth,
  Split: splitOperator,
  Squeeze: squeezeOperator,
  Tile: tileOperator,
  Transpose: transposeOperator,
  Unsqueeze: unsqueezeOperator,
};
