/**
 * gather and scatterAdd. Nothing is scattered: an element of scatterAdd's output looks through the indices along the
 * axis and adds what belongs to it, in their order. The host cannot check indices that are on the device: one that
 * points outside the axis reads as NaN, or 0 for integers, and is left out of a sum.
 */
import type { KernelAttributes } from "../../backend.ts";
import { scalarOf } from "../programs.ts";
import { type GpuKernel, layoutNumbers, positionText } from "../runtime.ts";
import { expressionFunctions } from "../wgsl.ts";
import { LoopAxes } from "./loopAxes.ts";

export const gather: GpuKernel<KernelAttributes["gather"]> = (runtime, [x, index], output, { axis }) => {
  const axes = new LoopAxes("o", [output], { merge: false });
  const places = output.shape.map((_, i) => `o${i}`);
  runtime.launch({
    label: "gather",
    variant: `${axes.rank},${axis}`,
    operands: [
      { name: "x", buffer: x.buffer, access: "read" },
      { name: "index", buffer: index.buffer, access: "read" },
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: {
      ...axes.numbers(),
      ...layoutNumbers("x", x),
      ...layoutNumbers("index", index),
      y_o: output.offset,
      extent: x.shape[axis],
    },
    threads: axes.size,
    shader: () => {
      const scalar = scalarOf(output.buffer.dtype);
      const from = places.map((place, i) => (i === axis ? "at" : place));
      return {
        declarations: expressionFunctions,
        body: `${axes.split("id")}
  let at = index_get(${positionText("index", places)});
  var value = ${scalar === "f32" ? "f_nan()" : "0"};
  if (at >= 0 && at < p.extent) { value = x_get(${positionText("x", from)}); }
  y_set(p.y_o + ${axes.at(0)}, value);`,
      };
    },
  });
};

export const scatterAdd: GpuKernel<KernelAttributes["scatterAdd"]> = (
  runtime,
  [values, index],
  output,
  { axis },
) => {
  const axes = new LoopAxes("o", [output], { merge: false });
  const numbers: Record<string, number> = {};
  index.shape.forEach((extent, i) => {
    numbers[`extent_${i}`] = extent;
  });
  runtime.launch({
    label: "scatterAdd",
    variant: `${axes.rank},${axis}`,
    operands: [
      { name: "x", buffer: values.buffer, access: "read" },
      { name: "index", buffer: index.buffer, access: "read" },
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: {
      ...axes.numbers(),
      ...layoutNumbers("x", values),
      ...layoutNumbers("index", index),
      ...numbers,
      y_o: output.offset,
    },
    threads: axes.size,
    shader: () => {
      const places = output.shape.map((_, i) => (i === axis ? "at" : `o${i}`));
      const inside = places.flatMap((place, i) => (i === axis ? [] : [`${place} < p.extent_${i}`]));
      return {
        body: `${axes.split("id")}
  var total = ${scalarOf(output.buffer.dtype)}(0);
  if (${inside.length > 0 ? inside.join(" && ") : "true"}) {
    for (var at = 0; at < p.extent_${axis}; at += 1) {
      if (index_get(${positionText("index", places)}) == o${axis}) { total += x_get(${positionText("x", places)}); }
    }
  }
  y_set(p.y_o + ${axes.at(0)}, total);`,
      };
    },
  });
};
