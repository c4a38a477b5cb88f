/** The kernels that are compared: layers of DenseNet-121, CSPDenseNet-121 and CSPResNeXt-50 on 224 x 224 images. */
import { type ConvolutionTask, type KernelTask, outputShape, sizeOf } from "./peers/task.ts";

export interface Layer {
  readonly name: string;
  readonly task: KernelTask;
  /** Floating-point operations of the definition, 2 per multiply-add; 0 where bytes are what counts. */
  readonly operations: number;
  /** The least that must be read and written, operands too large for a cache being read once a pass. */
  readonly bytes: number;
  /** Whether `--quick` measures it. */
  readonly quick: boolean;
}

type Images = readonly [number, number, number, number];

interface ConvolutionSize {
  readonly window: number;
  readonly stride?: number;
  readonly groups?: number;
  readonly quick?: boolean;
}

/** The passes of a convolution, each with what it must at least compute and move. */
export function convolution(
  network: string,
  [N, C, H, W]: Images,
  outputs: number,
  { window, stride = 1, groups = 1, quick = false }: ConvolutionSize,
  parts: readonly ConvolutionTask["part"][] = ["forward", "inputGradient", "weightGradient"],
): Layer[] {
  const padding = (window - 1) / 2;
  return parts.map((part) => {
    const task: KernelTask = {
      ...{ kind: "conv2d", part, stride, padding, groups },
      x: [N, C, H, W],
      weight: [outputs, C / groups, window, window],
    };
    const output = sizeOf(outputShape(task));
    const passes = part === "all" ? 3 : 1;
    const kind = `${window}x${window}${stride > 1 ? ` / ${stride}` : ""}${groups > 1 ? `, ${groups} groups` : ""}`;
    const partName = {
      forward: "forward",
      inputGradient: "input gradient",
      weightGradient: "weight gradient",
      all: "forward and both gradients",
    }[part];
    return {
      name: `${kind}, ${C} to ${outputs}, ${H} x ${W} (${network}), ${partName}`,
      task,
      operations: passes * 2 * output * sizeOf(task.weight.slice(1)),
      bytes: passes * 4 * (sizeOf(task.x) + sizeOf(task.weight) + output),
      quick,
    };
  });
}

/** `passes` counts the reads and writes of a feature map as large as x. */
function elementwise(name: string, task: KernelTask, passes: number, quick = false): Layer {
  const bytes = 4 * passes * sizeOf(task.x);
  return { name: `${name}, [${task.x.join(", ")}], ${task.part}`, task, operations: 0, bytes, quick };
}

const dense = "DenseNet-121";
const csp = "CSPDenseNet-121";
const resNeXt = "CSPResNeXt-50";

/** Issue-sized: the shape that every library can run, forward and whole. */
export const everyLibrary: readonly Layer[] = [
  ...convolution("every library", [8, 64, 56, 56], 64, { window: 3, quick: true }, ["forward"]),
  // One image: tfjs cpu takes minutes for eight.
  ...convolution("every library, one image", [1, 64, 56, 56], 64, { window: 3 }, ["all"]),
];

export const convolutions: readonly Layer[] = [
  ...convolution(dense, [8, 3, 224, 224], 64, { window: 7, stride: 2, quick: true }, [
    "forward",
    "weightGradient",
  ]),
  ...convolution(dense, [8, 128, 56, 56], 128, { window: 1 }),
  ...convolution(dense, [8, 256, 56, 56], 128, { window: 1, quick: true }),
  ...convolution(dense, [8, 320, 28, 28], 128, { window: 1 }),
  ...convolution(dense, [8, 512, 28, 28], 256, { window: 1 }),
  ...convolution(dense, [8, 640, 14, 14], 128, { window: 1 }),
  ...convolution(dense, [8, 768, 7, 7], 128, { window: 1 }),
  ...convolution(csp, [8, 224, 56, 56], 112, { window: 1 }),
  ...convolution(csp, [8, 300, 28, 28], 300, { window: 1 }),
  ...convolution(resNeXt, [8, 256, 28, 28], 256, { window: 1 }),
  ...convolution(resNeXt, [8, 512, 14, 14], 512, { window: 1 }),
  ...convolution(dense, [8, 128, 56, 56], 32, { window: 3, quick: true }),
  ...convolution(dense, [8, 128, 28, 28], 32, { window: 3 }),
  ...convolution(dense, [8, 128, 14, 14], 32, { window: 3 }),
  ...convolution(dense, [8, 128, 7, 7], 32, { window: 3 }),
  ...convolution(resNeXt, [8, 128, 56, 56], 128, { window: 3, groups: 32, quick: true }),
  ...convolution(resNeXt, [8, 256, 28, 28], 256, { window: 3, groups: 32 }),
  ...convolution(resNeXt, [8, 512, 14, 14], 512, { window: 3, groups: 32 }),
  ...convolution(resNeXt, [8, 256, 56, 56], 256, { window: 3, stride: 2, groups: 32 }),
];

const normalised: readonly Images[] = [
  [8, 64, 112, 112],
  [8, 256, 56, 56],
  [8, 512, 28, 28],
  [8, 1024, 14, 14],
];

export const memoryBound: readonly Layer[] = [
  ...normalised.flatMap(([N, C, H, W]): Layer[] => {
    const x: [number, number, number, number] = [N, C, H, W];
    const quick = H === 56;
    return [
      // The statistics read x, the result reads it again; the gradient needs its own sums first.
      elementwise("batch norm", { kind: "batchNorm", x, part: "forward" }, 3, quick),
      elementwise("batch norm", { kind: "batchNorm", x, part: "backward" }, 5, quick),
      elementwise("ReLU", { kind: "relu", x, part: "forward" }, 2, quick),
      elementwise("ReLU", { kind: "relu", x, part: "backward" }, 3, quick),
      elementwise("sum of two", { kind: "add", x, part: "forward" }, 3, quick),
    ];
  }),
  ...(["forward", "backward"] as const).flatMap((part): Layer[] => [
    elementwise(
      "max pool 3x3 / 2",
      { kind: "maxPool2d", x: [8, 64, 112, 112], kernelSize: 3, stride: 2, padding: 1, part },
      part === "forward" ? 1.25 : 2.25,
      true,
    ),
    elementwise(
      "average pool 2x2",
      { kind: "avgPool2d", x: [8, 128, 56, 56], kernelSize: 2, stride: 2, padding: 0, part },
      1.25,
      true,
    ),
    elementwise(
      "global average pool",
      { kind: "avgPool2d", x: [8, 1024, 7, 7], kernelSize: 7, stride: 1, padding: 0, part },
      50 / 49,
    ),
  ]),
];
