/** upsample as ONNX nodes. */
import type { GraphNode } from "../../../graph/index.ts";
import { flagOf, numbersOf } from "./attributes.ts";
import type { Emitter } from "./emitter.ts";

/** The scales of height and width: as they were given, else by the sizes. */
function scalesOf(node: GraphNode, [H, W]: readonly number[], [P, Q]: readonly number[]): readonly number[] {
  return Reflect.get(node.attributes, "scale") === null ? [P / H, Q / W] : numbersOf(node, "scale");
}

/** The rows or columns that nearest upsampling reads, as `upsample` finds them. */
function nearest(node: GraphNode, axis: 0 | 1, extent: number, outputs: number): number[] {
  const scale = Reflect.get(node.attributes, "scale") === null ? null : numbersOf(node, "scale")[axis];
  return Array.from({ length: outputs }, (_, i) =>
    Math.min(Math.floor(scale === null ? (i * extent) / outputs : i / scale), extent - 1),
  );
}

/** Emits upsampling by Resize; by reading rows and columns where a fraction as a scale could round to another pixel. */
export function emitUpsample(emitter: Emitter, node: GraphNode, mode: string): string {
  const x = emitter.operand(node.inputs[0]);
  const [, , ...from] = emitter.recording.graph.values[node.inputs[0]].shape;
  const to = numbersOf(node, "size");
  const scales = scalesOf(node, from, to);
  if (mode === "nearest" && !scales.every(Number.isInteger))
    return ([0, 1] as const).reduce(
      (name, axis) =>
        emitter.node("Gather", [name, emitter.integers(nearest(node, axis, from[axis], to[axis]))], {
          axis: axis + 2,
        }),
      x,
    );
  const transformation =
    mode === "nearest" ? "asymmetric" : flagOf(node, "alignCorners") ? "align_corners" : "half_pixel";
  const attributes = {
    mode: mode === "nearest" ? "nearest" : "linear",
    coordinate_transformation_mode: transformation,
    nearest_mode: "floor",
  };
  const rounded = scales.map(Math.fround);
  // Scales leave the batch open. Where they do not lead to the sizes, those are written instead.
  if (rounded.every((scale, axis) => Math.floor(Math.fround(from[axis] * scale)) === to[axis]))
    return emitter.node("Resize", [x, "", emitter.numbers([1, 1, ...rounded], "f32")], attributes);
  const [N, C] = emitter.recording.graph.values[node.inputs[0]].shape;
  return emitter.node("Resize", [x, "", "", emitter.integers([N, C, ...to])], attributes);
}
