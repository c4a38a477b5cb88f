/** ONNX operators that choose elements: slices, parts, margins, and entries at given places. */
import { add, gather, less, pad, reshape, slice, split, to, where } from "../../../autograd/index.ts";
import { formatShape } from "../../../tensor/layout.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { axesOf, listOf } from "./axes.ts";
import type { NodeReader, Operator, OperatorTable } from "./node.ts";
import { take } from "./take.ts";

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

export const selectionOperators: OperatorTable = {
  Gather: gatherOperator,
  GatherElements: gatherElements,
  Pad: padOperator,
  Slice: sliceOperator,
  Split: splitOperator,
};
