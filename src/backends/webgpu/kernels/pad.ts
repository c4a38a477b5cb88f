/** pad: one thread per element of the output, which is either inside and copied, or the margin's value. */
import type { KernelAttributes } from "../../backend.ts";
import { float } from "../parameters.ts";
import { scalarOf } from "../programs.ts";
import type { GpuKernel, GpuView } from "../runtime.ts";
import { LoopAxes, type LoopLayout } from "./loopAxes.ts";

interface Merged {
  readonly output: LoopLayout;
  readonly x: LoopLayout;
  /** Margin before the input, by axis. */
  readonly before: readonly number[];
}

/** Merges every axis without a margin into the one before it, where both operands are dense there. */
function mergeAxes(x: GpuView, output: GpuView, padding: KernelAttributes["pad"]["padding"]): Merged {
  const merged = { output: axisList(), x: axisList(), before: [] as number[] };
  output.shape.forEach((extent, axis) => {
    const [before, after] = padding[axis];
    const last = merged.before.length - 1;
    const isDense =
      last >= 0 &&
      before === 0 &&
      after === 0 &&
      merged.output.strides[last] === output.strides[axis] * extent &&
      merged.x.strides[last] === x.strides[axis] * extent;
    if (isDense) {
      merged.output.shape[last] *= extent;
      merged.x.shape[last] *= extent;
      merged.before[last] *= extent;
      merged.output.strides[last] = output.strides[axis];
      merged.x.strides[last] = x.strides[axis];
      return;
    }
    merged.output.shape.push(extent);
    merged.x.shape.push(x.shape[axis]);
    merged.before.push(before);
    merged.output.strides.push(output.strides[axis]);
    merged.x.strides.push(x.strides[axis]);
  });
  return merged;
}

const axisList = (): { shape: number[]; strides: number[] } => ({ shape: [], strides: [] });

export const pad: GpuKernel<KernelAttributes["pad"]> = (runtime, [x], output, { padding, value }) => {
  const merged = mergeAxes(x, output, padding);
  const axes = new LoopAxes("o", [merged.output], { merge: false });
  const numbers: Record<string, number> = { x_o: x.offset, y_o: output.offset };
  merged.before.forEach((before, axis) => {
    numbers[`before_${axis}`] = before;
    numbers[`extent_${axis}`] = merged.x.shape[axis];
    numbers[`x_${axis}`] = merged.x.strides[axis];
  });
  runtime.launch({
    label: "pad",
    variant: `${axes.rank}`,
    operands: [
      { name: "x", buffer: x.buffer, access: "read" },
      { name: "y", buffer: output.buffer, access: "write" },
    ],
    numbers: { ...axes.numbers(), ...numbers, value: float(value) },
    threads: axes.size,
    shader: () => {
      const all = merged.before.map((_, axis) => axis);
      const inside = all.map((axis) => `i${axis} >= 0 && i${axis} < p.extent_${axis}`);
      const position = ["p.x_o", ...all.map((axis) => `i${axis} * p.x_${axis}`)].join(" + ");
      return {
        body: `${axes.split("id")}
${all.map((axis) => `  let i${axis} = o${axis} - p.before_${axis};`).join("\n")}
  var value = ${scalarOf(output.buffer.dtype)}(p.value);
  if (${inside.length > 0 ? inside.join(" && ") : "true"}) { value = x_get(${position}); }
  y_set(p.y_o + ${axes.at(0)}, value);`,
      };
    },
  });
};
