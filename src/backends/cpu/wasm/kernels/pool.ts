/**
 * Pooling in SIMD for the windows that networks have; any other goes to the loops:
 *
 *     avgPool2d    2 x 2 with stride 2 and no margin, and one window as large as the image; gradients of windows that
 *                  divide the image
 *     maxPool2d    2 x 2 with stride 2 and no margin, 3 x 3 with stride 2 and margins up to 2; both gradients
 *
 * Of equal elements the first wins, of NaNs the last, as in the loops.
 *
 * Measured against the loops, ns per input element of [64, 32, 14, 14] and [8, 64, 112, 112]:
 *
 *     avgPool2d 2 x 2       3.1 -> 0.12     2.9 -> 0.19     gradient     4.1 -> 0.13     3.7 -> 0.25
 *     maxPool2d 2 x 2       5.3 -> 0.22     5.1 -> 0.23     gradient     5.6 -> 0.27     5.3 -> 0.47
 *     maxPool2d 3 x 3      13.7 -> 0.37    15   -> 0.23     gradient    13.8 -> 1.5     14.6 -> 0.60
 *     one window            1.3 -> 0.09     1.2 -> 0.10
 *
 * The gradient of one window of 7 x 7 takes 2.4 -> 0.15 ns.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { AvgPool2dAttributes } from "../../loops/avgPool.ts";
import type { Pool2dAttributes } from "../../loops/poolWindows.ts";
import { grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import type { PlaneKernels } from "./planes.ts";
import { overlappingPools } from "./poolOverlapping.ts";
import { windowKernels } from "./poolSideBySide.ts";
import type { ResizeKernels } from "./resize.ts";
import { floatBytes, placeOf } from "./rows.ts";
import { type SumKernels, sumOptions } from "./sums.ts";

export interface PoolKernels {
  readonly avgPool2d: HostKernel<AvgPool2dAttributes>;
  readonly avgPool2dInputGradient: HostKernel<AvgPool2dAttributes>;
  readonly maxPool2d: HostKernel<Pool2dAttributes>;
  readonly maxPool2dInputGradient: HostKernel<Pool2dAttributes>;
}

const both = (pair: readonly number[], value: number): boolean => pair[0] === value && pair[1] === value;
const hasPairs = ({ kernelSize, stride, dilation }: Pool2dAttributes): boolean =>
  both(kernelSize, 2) && both(stride, 2) && both(dilation, 1);
const hasNoMargin = ({ padding }: Pool2dAttributes): boolean => padding.every((margin) => margin === 0);

/** The upper and the lower row of every 2 x 2 window, as operands. */
function windowRows(view: HostView): readonly number[] {
  const [address, image, plane, row] = placeOf(view);
  return [address, image, plane, 2 * row, address + row, image, plane, 2 * row];
}

/** Windows side by side that make up the whole image. */
function divides([, , H, W]: readonly number[], [, , P, Q]: readonly number[], attributes: Pool2dAttributes) {
  const { kernelSize, stride, dilation } = attributes;
  const areSideBySide = kernelSize.every((extent, axis) => extent === stride[axis]) && both(dilation, 1);
  return areSideBySide && hasNoMargin(attributes) && P * kernelSize[0] === H && Q * kernelSize[1] === W;
}

/** The rows of an image's planes, a plane without gaps being one long row. */
function rowsOfPlanes({ shape: [, , H, W], strides }: HostView): readonly [rows: number, columns: number] {
  return H === 1 || strides[2] === W ? [1, H * W] : [H, W];
}

/** Whether there is one window, as large as the image. */
function isWhole([, , H, W]: readonly number[], [, , P, Q]: readonly number[], attributes: Pool2dAttributes) {
  const { kernelSize, dilation } = attributes;
  return (
    P * Q === 1 && kernelSize[0] === H && kernelSize[1] === W && hasNoMargin(attributes) && both(dilation, 1)
  );
}

/** The fast kernels; what they do not take goes to `fallback`. */
export function poolKernels(
  runtime: WasmRuntime,
  { clear }: PlaneKernels,
  { sums }: SumKernels,
  { adaptiveAvgPool2dInputGradient }: Pick<ResizeKernels, "adaptiveAvgPool2dInputGradient">,
  fallback: PoolKernels,
): PoolKernels {
  const { averagePairs, maximumPairs, spreadPairs, spreadWhole, winnerPairs } = windowKernels(runtime);
  const overlapping = overlappingPools(runtime);
  const takes = (views: readonly HostView[]): boolean =>
    runtime.accepts(views) &&
    views.every(({ shape, strides }) => !shape.includes(0) && (shape[3] === 1 || strides[3] === 1));
  /** 2 x 2 windows that all lie inside. */
  const isPaired = (x: readonly number[], y: readonly number[], attributes: Pool2dAttributes): boolean =>
    hasPairs(attributes) && hasNoMargin(attributes) && 2 * y[2] <= x[2] && 2 * y[3] <= x[3];

  /** Runs a kernel on the planes of windows [N, C, P, Q]. */
  function forPlanes(kernel: RangeFunction, [N, C, P, Q]: readonly number[], ...places: readonly number[]) {
    runtime.forRange(kernel, N * C, [...places, C, P, Q], { grain: grainOf(10 + 0.5 * P * Q) });
  }

  /** A last row or column that no window reads has no gradient: zeroed with the rest, a plane or a row at a time. */
  function clearAround(output: HostView, [, , P, Q]: readonly number[]): void {
    const [N, C, H, W] = output.shape;
    if (2 * P === H && 2 * Q === W) return;
    const [address, image, plane, row] = placeOf(output);
    const [rows, columns] = rowsOfPlanes(output);
    runtime.settle();
    for (let n = 0; n < N; n++)
      for (let c = 0; c < C; c++)
        for (let r = 0; r < rows; r++) clear(address + n * image + c * plane + r * row, floatBytes * columns);
  }

  /** The gradient of one window as large as the image. */
  function spreadOverWhole(gradient: HostView, output: HostView): void {
    const [N, C, H, W] = output.shape;
    const [address, image, plane] = placeOf(gradient);
    const args = [address, image, plane, 0, ...placeOf(output), C, ...rowsOfPlanes(output)];
    runtime.forRange(spreadWhole, N * C, args, { grain: grainOf(5 + 0.1 * H * W) });
  }

  /** One window as large as the image. */
  function averageWhole(x: HostView, output: HostView): void {
    const [N, C, H, W] = x.shape;
    const totalsAt = runtime.scratch("pool totals", 16 * C);
    const [address, image, plane, row] = placeOf(x);
    const [rows, columns] = rowsOfPlanes(x);
    for (let n = 0; n < N; n++) {
      const args = [address + n * image, 0, plane, row, 1, rows, columns, totalsAt];
      runtime.forRange(sums, C, args, sumOptions(H * W));
      const totals = runtime.doublesAt(totalsAt, 2 * C);
      const to = output.offset + n * output.strides[0];
      for (let c = 0; c < C; c++)
        output.data[to + c * output.strides[1]] = (totals[2 * c] + totals[2 * c + 1]) / (H * W);
    }
  }

  const avgPool2d: PoolKernels["avgPool2d"] = (inputs, output, attributes) => {
    const [x] = inputs;
    if (!takes([x, output])) fallback.avgPool2d(inputs, output, attributes);
    else if (isPaired(x.shape, output.shape, attributes))
      forPlanes(averagePairs, output.shape, ...windowRows(x), ...placeOf(output));
    else if (isWhole(x.shape, output.shape, attributes)) averageWhole(x, output);
    else fallback.avgPool2d(inputs, output, attributes);
  };

  const avgPool2dInputGradient: PoolKernels["avgPool2dInputGradient"] = (inputs, output, attributes) => {
    const [gradient] = inputs;
    const loops = () => fallback.avgPool2dInputGradient(inputs, output, attributes);
    if (!takes([gradient, output])) loops();
    else if (isPaired(output.shape, gradient.shape, attributes)) {
      clearAround(output, gradient.shape);
      forPlanes(spreadPairs, gradient.shape, ...placeOf(gradient), ...windowRows(output));
    } else if (isWhole(output.shape, gradient.shape, attributes)) spreadOverWhole(gradient, output);
    else if (divides(output.shape, gradient.shape, attributes))
      adaptiveAvgPool2dInputGradient(inputs, output, { inputShape: output.shape }, loops);
    else loops();
  };

  const maxPool2d: PoolKernels["maxPool2d"] = (inputs, output, attributes) => {
    const [x] = inputs;
    if (!takes([x, output])) fallback.maxPool2d(inputs, output, attributes);
    else if (isPaired(x.shape, output.shape, attributes))
      forPlanes(maximumPairs, output.shape, ...windowRows(x), ...placeOf(output));
    else if (overlapping.takes(attributes)) overlapping.maximum(x, output, attributes);
    else fallback.maxPool2d(inputs, output, attributes);
  };

  const maxPool2dInputGradient: PoolKernels["maxPool2dInputGradient"] = (inputs, output, attributes) => {
    const [x, gradient] = inputs;
    const taken = takes([x, gradient, output]);
    if (taken && isPaired(x.shape, gradient.shape, attributes)) {
      clearAround(output, gradient.shape);
      const places = [...windowRows(x), ...placeOf(gradient), ...windowRows(output)];
      forPlanes(winnerPairs, gradient.shape, ...places);
    } else if (
      !taken ||
      !overlapping.takes(attributes) ||
      !overlapping.inputGradient(x, gradient, output, attributes)
    )
      fallback.maxPool2dInputGradient(inputs, output, attributes);
  };

  return { avgPool2d, avgPool2dInputGradient, maxPool2d, maxPool2dInputGradient };
}
