/** How the WebGPU backend runs ops in reproducible mode. */
import type { KernelAttributes, KernelName, Shape } from "../../backend.ts";
import type { Expression } from "../../expression.ts";
import { constant } from "../../reproducible/expressions.ts";
import type { Machine } from "../../reproducible/machine.ts";
import { sizeOf } from "../../reproducible/machine.ts";
import { recipes } from "../../reproducible/recipes.ts";
import { launchPointwise } from "../kernels/pointwise.ts";
import type { GpuMemory } from "../memory.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { largest, sumOfProducts } from "./sum.ts";

/** Runs `body` with a machine whose memory is free again once the commands are queued. */
function withMachine(runtime: GpuRuntime, body: (machine: Machine<GpuView>) => void): void {
  const taken: GpuMemory[] = [];
  const pointwise = (
    inputs: readonly GpuView[],
    output: GpuView,
    expression: Expression,
    parameters: readonly number[] = [],
  ): void => launchPointwise(runtime, "pointwise", inputs, output, { expression, parameters });
  const machine: Machine<GpuView> = {
    temporary(shape: Shape): GpuView {
      const buffer = runtime.memory.allocate("f32", sizeOf(shape), "workspace");
      taken.push(buffer);
      return { buffer, shape, strides: shape.map((_, axis) => sizeOf(shape.slice(axis + 1))), offset: 0 };
    },
    pointwise,
    sum(a, b, output) {
      if (sizeOf(a.shape) === 0) pointwise([], output, constant(0));
      else sumOfProducts(runtime, a, b, output);
    },
    largest(a, output) {
      if (sizeOf(a.shape) === 0) pointwise([], output, constant(Number.NEGATIVE_INFINITY));
      else largest(runtime, a, output);
    },
  };
  try {
    body(machine);
  } finally {
    for (const buffer of taken) runtime.memory.release(buffer);
  }
}

/** Runs an op by its recipe, or by its ordinary kernel where that rounds nothing. */
export function runReproducibly<K extends KernelName>(
  runtime: GpuRuntime,
  kernel: K,
  ordinary: GpuKernel<KernelAttributes[K]>,
  inputs: readonly GpuView[],
  output: GpuView,
  attributes: KernelAttributes[K],
): void {
  const recipe = recipes[kernel];
  const isAboutF32 = [output, ...inputs].some(({ buffer }) => buffer.dtype === "f32");
  if (recipe === "plain" || !isAboutF32) ordinary(runtime, inputs, output, attributes);
  else
    withMachine(runtime, (machine) =>
      recipe({
        machine,
        inputs,
        output,
        attributes,
        plain: (from, to, own) => ordinary(runtime, from, to, own),
      }),
    );
}
