/**
 * Batch normalisation and its gradients, also those through a ReLU behind it. Sums over a channel are reductions; the
 * rest is one pass over the elements, whose numbers per channel every thread works out once for four neighbours.
 */
import type { KernelAttributes } from "../../backend.ts";
import { float } from "../parameters.ts";
import type { GpuKernel, GpuRuntime, GpuView } from "../runtime.ts";
import { expressionFunctions } from "../wgsl.ts";
import { axesOf, LoopAxes } from "./loopAxes.ts";
import { launchReduction } from "./reduction.ts";
import type { OutputOperand } from "./reductionSpec.ts";

/** What kernels here read per channel, by name: vectors `[C]`, or rows of `[2, C]`. */
type Channels = readonly (readonly [name: string, view: GpuView, row?: number])[];

const channelOperands = (channels: Channels): OutputOperand[] =>
  channels.map(([name, { buffer, shape, strides, offset }, row = 0]) => ({
    name,
    buffer,
    access: "read",
    layout: {
      shape: [shape[shape.length - 1]],
      strides: [strides[strides.length - 1]],
      offset: offset + row * (strides.length === 2 ? strides[0] : 0),
    },
  }));

const statisticsOf = (view: GpuView): Channels => [
  ["mean", view],
  ["variance", view, 1],
];

const sumsOf = (view: GpuView): Channels => [
  ["plain", view],
  ["weighted", view, 1],
];

/** Where a ReLU let its input through; a NaN goes through, as comparisons on the CPU have it. */
const passes = `fn passes(x: T) -> B {
  return (x > T(0.0)) | ((bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u));
}
`;

/** One pass over `images`, which are `a0`, `a1`, … in `value`; each operand of `channels` is a number by its name. */
function launchPerChannel(
  runtime: GpuRuntime,
  label: string,
  images: readonly GpuView[],
  channels: Channels,
  output: GpuView,
  {
    epsilon,
    prologue,
    value,
  }: { readonly epsilon: number; readonly prologue: string; readonly value: string },
): void {
  const views = [output, ...images];
  const [N, C, H, W] = output.shape;
  const spatial = views.map((view) => axesOf(view, [2, 3]));
  const merged = new LoopAxes("s", spatial);
  const isVector =
    merged.rank > 0 &&
    merged.shape[merged.rank - 1] % 4 === 0 &&
    views.every(
      ({ offset, strides }, i) =>
        offset % 4 === 0 &&
        strides[0] % 4 === 0 &&
        strides[1] % 4 === 0 &&
        LoopAxes.isAligned({ shape: merged.shape, strides: merged.strides[i] }),
    );
  const pixels = isVector ? new LoopAxes("s", spatial, { width: 4 }) : merged;
  const operands = channelOperands(channels);
  const numbers: Record<string, number> = { pixels: pixels.size, channels: C };
  views.forEach(({ offset, strides }, i) => {
    numbers[`v${i}_o`] = offset;
    numbers[`v${i}_n`] = strides[0];
    numbers[`v${i}_c`] = strides[1];
  });
  for (const { name, layout } of operands) {
    numbers[`${name}_o`] = layout.offset;
    numbers[`${name}_c`] = layout.strides[0];
  }
  runtime.launch({
    label,
    variant: `${pixels.rank}${isVector ? "v" : ""}`,
    operands: [
      ...views.map(
        ({ buffer }, i) =>
          ({ name: `v${i}`, buffer, access: i === 0 ? "write" : "read", vector: isVector }) as const,
      ),
      ...operands,
    ],
    numbers: { ...numbers, ...pixels.numbers(), count: float(N * H * W), epsilon: float(epsilon) },
    threads: N * C * pixels.size,
    shader: () => {
      const at = (i: number) => `p.v${i}_o + n * p.v${i}_n + c * p.v${i}_c + ${pixels.at(i)}`;
      const four = isVector ? "4" : "";
      return {
        declarations: `${expressionFunctions}${
          isVector
            ? "alias T = vec4<f32>;\nalias U = vec4<u32>;\nalias B = vec4<bool>;\n"
            : "alias T = f32;\nalias U = u32;\nalias B = bool;\n"
        }${passes}`,
        body: [
          "  let s = id % p.pixels;\n  let plane = id / p.pixels;\n  let n = plane / p.channels;\n  let c = plane % p.channels;",
          pixels.split("s"),
          ...operands.map(({ name }) => `  let ${name} = ${name}_get(p.${name}_o + c * p.${name}_c);`),
          prologue,
          ...images.map((_, i) => `  let a${i} = v${i + 1}_get${four}(${at(i + 1)});`),
          `  v0_set${four}(${at(0)}, ${value});`,
        ].join("\n"),
      };
    },
  });
}

const inverseStd = "  let inverse_std = 1.0 / f_sqrt(variance + p.epsilon);";

export const batchNorm: GpuKernel<KernelAttributes["batchNorm"]> = (
  runtime,
  [x, weight, bias, statistics],
  output,
  { epsilon },
) =>
  launchPerChannel(
    runtime,
    "batchNorm",
    [x],
    [["weight", weight], ["bias", bias], ...statisticsOf(statistics)],
    output,
    { epsilon, prologue: inverseStd, value: "weight * ((a0 - mean) * inverse_std) + bias" },
  );

export const batchNormInputGradient: GpuKernel<KernelAttributes["batchNormInputGradient"]> = (
  runtime,
  [x, weight, gradient, statistics, sums],
  output,
  { epsilon },
) =>
  launchPerChannel(
    runtime,
    "batchNormInputGradient",
    [x, gradient],
    [["weight", weight], ...statisticsOf(statistics), ...sumsOf(sums)],
    output,
    {
      epsilon,
      prologue: `${inverseStd}
  let slope = weight * inverse_std;
  let share = inverse_std * weighted / p.count;
  let average = plain / p.count;`,
      value: "slope * (a1 - average - (a0 - mean) * share)",
    },
  );

export const normReluInputGradient: GpuKernel<KernelAttributes["normReluInputGradient"]> = (
  runtime,
  [x, weight, bias, gradient, statistics, sums],
  output,
  { epsilon },
) =>
  launchPerChannel(
    runtime,
    "normReluInputGradient",
    [x, gradient],
    [["weight", weight], ["bias", bias], ...statisticsOf(statistics), ...sumsOf(sums)],
    output,
    {
      epsilon,
      prologue: `${inverseStd}
  let slope = weight * inverse_std;
  let average = plain / p.count;
  let share = weighted / p.count;`,
      value: `slope * (select(T(0.0), a1, passes(weight * ((a0 - mean) * inverse_std) + bias)) - average
    - (a0 - mean) * inverse_std * share)`,
    },
  );

/** [Σ δ, Σ δ · x̂] of every channel, from x and the gradient; `delta` is δ in terms of `a1` and `x_hat`. */
function launchSums(
  runtime: GpuRuntime,
  label: string,
  images: readonly GpuView[],
  channels: Channels,
  output: GpuView,
  epsilon: number,
  delta: string,
): void {
  const results = ["first", "second"].map(
    (name, row): OutputOperand => ({
      name,
      buffer: output.buffer,
      access: "write",
      layout: {
        shape: [output.shape[1]],
        strides: [output.strides[1]],
        offset: output.offset + row * output.strides[0],
      },
    }),
  );
  const operands = channelOperands(channels);
  launchReduction(runtime, {
    label,
    inputs: images,
    axes: [0, 2, 3],
    operands: [...operands, ...results],
    numbers: { epsilon: float(epsilon) },
    declarations: passes,
    slots: ["plain", "weighted"].map((name) => ({ name, type: "f32", start: "0.0" })),
    prologue: [...operands.map(({ name }) => `  let ${name} = ${name}_get(${name}_at);`), inverseStd].join(
      "\n",
    ),
    fold: `    let x_hat = (a0 - mean) * inverse_std;
    let delta = ${delta};
    plain += delta;
    weighted += delta * x_hat;`,
    merge: "    plain += other_plain;\n    weighted += other_weighted;",
    finish: "  first_set(first_at, plain);\n  second_set(second_at, weighted);",
    mayVectorise: true,
  });
}

export const batchNormSums: GpuKernel<KernelAttributes["batchNormSums"]> = (
  runtime,
  [x, gradient, statistics],
  output,
  { epsilon },
) => launchSums(runtime, "batchNormSums", [x, gradient], statisticsOf(statistics), output, epsilon, "a1");

export const normReluSums: GpuKernel<KernelAttributes["normReluSums"]> = (
  runtime,
  [x, weight, bias, gradient, statistics],
  output,
  { epsilon },
) =>
  launchSums(
    runtime,
    "normReluSums",
    [x, gradient],
    [["weight", weight], ["bias", bias], ...statisticsOf(statistics)],
    output,
    epsilon,
    "select(T(0.0), a1, passes(weight * x_hat + bias))",
  );
