/** ONNX operators that give the same elements another shape or order, join them, or repeat them. */
import { concat, expand, permute, reshape, squeeze, unsqueeze } from "../../../autograd/index.ts";
import { broadcastShapes, formatShape, sizeOf } from "../../../tensor/layout.ts";
import { axesOf, listOf } from "./axes.ts";
import type { Operator, OperatorTable } from "./node.ts";

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

export const shapeOperators: OperatorTable = {
  Concat: concatOperator,
  DepthToSpace: depthToSpace,
  Expand: expandOperator,
  Flatten: flattenOperator,
  Reshape: reshapeOperator,
  SpaceToDepth: spaceToDepth,
  Squeeze: squeezeOperator,
  Tile: tileOperator,
  Transpose: transposeOperator,
  Unsqueeze: unsqueezeOperator,
};
