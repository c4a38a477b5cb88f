/**
 * The gradients of relu(batchNorm(x)) without the gradient of the ReLU as a tensor: like batchNorm.ts's, with the
 * gradient masked where the norm, computed again from x, is not positive. The same bits as the ReLU's gradient and
 * the norm's, one after the other, in two passes over x and the gradient where they take three.
 */
import type { HostBackendKernel } from "../../../backend.ts";
import type { BatchNormAttributes } from "../../loops/batchNorm.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { grainOf, multiplyAdd, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { fewestValues } from "./batchNorm.ts";
import type { ChannelKernels, Coefficients } from "./channels.ts";
import {
  floatBytes,
  forEachPlane,
  gPlace,
  type Place,
  placeOf,
  rangeParameters,
  rewriteRow,
  rowsIn,
  xPlace,
  yPlace,
  zeros,
} from "./rows.ts";
import { addPlanes, sumCounts, sumOptions } from "./sums.ts";

export interface NormReluKernels {
  readonly normReluSums: HostBackendKernel<BatchNormAttributes>;
  readonly normReluInputGradient: HostBackendKernel<BatchNormAttributes>;
}

/** A channel's coefficients: mean, the norm's slope and constant; the gradient's slope, constant and scale. */
const coefficientFloats = 8;

interface Ranges {
  /** Σ δ and Σ δ · (x − mean) of every plane over all images, as `sums.ts` keeps them. */
  readonly maskedProducts: RangeFunction;
  /** y = (x − mean) · slope + constant + δ · scale. */
  readonly maskedCombine: RangeFunction;
}

function compile(runtime: WasmRuntime): Ranges {
  const module = new ModuleBuilder("normRelu");
  runtime.importMemory(module);
  const { fused } = runtime;
  const load = (f: FunctionBuilder, address: Local<"i32">, plane: Local<"i32">, count: number) => {
    const at = f.let(f.i32.add(address, f.i32.mul(plane, floatBytes * coefficientFloats)));
    return Array.from({ length: count }, (_, i) => f.let(f.v128.load32_splat(at, floatBytes * i)));
  };
  /** The gradient where difference · slope + constant > 0. */
  const passed = (
    f: FunctionBuilder,
    gradient: Local<"v128">,
    difference: Local<"v128">,
    slope: Local<"v128">,
    constant: Local<"v128">,
  ) => {
    const normed = f.let(multiplyAdd(f, fused, difference, slope, constant));
    return f.let(f.v128.andnot(gradient, f.f32x4.le(normed, zeros(f))));
  };

  module.func(
    "maskedProducts",
    { params: { ...rangeParameters, ...xPlace, ...sumCounts, coefficients: "i32", ...gPlace } },
    (f, { x, xImage, xPlane, xRow, coefficients, g, gImage, gPlane, gRow, ...given }) => {
      const operands: Place[] = [
        [x, xImage, xPlane, xRow],
        [g, gImage, gPlane, gRow],
      ];
      addPlanes(f, runtime, operands, given, 2, (channel) => {
        const [mean, slope, constant] = load(f, coefficients, channel, 3);
        return ([value, gradient], [first, second], keep) => {
          const difference = f.let(f.f32x4.sub(value, mean));
          const delta = keep(passed(f, gradient, difference, slope, constant));
          first.set(f.f32x4.add(first, delta));
          second.set(multiplyAdd(f, fused, delta, keep(difference), second));
        };
      });
    },
  );

  module.func(
    "maskedCombine",
    {
      params: {
        ...rangeParameters,
        ...xPlace,
        ...yPlace,
        ...gPlace,
        ...({ planes: "i32", rows: "i32", columns: "i32", coefficients: "i32" } as const),
      },
    },
    (f, p) => {
      const operands: Place[] = [
        [p.x, p.xImage, p.xPlane, p.xRow],
        [p.g, p.gImage, p.gPlane, p.gRow],
        [p.y, p.yImage, p.yPlane, p.yRow],
      ];
      forEachPlane(f, operands, p, (plane) => {
        const [mean, normSlope, normConstant, slope, constant, scale] = load(f, p.coefficients, plane, 6);
        return {
          onRow: ([x, g, y]) =>
            rewriteRow(f, [x, g], y, p.columns, ([xAt, gAt], offset) => {
              const difference = f.let(f.f32x4.sub(f.v128.load(xAt, offset), mean));
              const gradient = f.let(f.v128.load(gAt, offset));
              const delta = passed(f, gradient, difference, normSlope, normConstant);
              const line = f.let(multiplyAdd(f, fused, difference, slope, constant));
              return multiplyAdd(f, fused, delta, scale, line);
            }),
        };
      });
    },
  );
  const { maskedProducts, maskedCombine } = runtime.instantiate(module);
  return { maskedProducts, maskedCombine };
}

/** The fast kernels; what they do not take (f64, images whose pixels are not in rows) goes to the reference loops. */
export function normReluKernels(runtime: WasmRuntime, channels: ChannelKernels): NormReluKernels {
  let compiled: Ranges | undefined;
  const ranges = (): Ranges => {
    compiled ??= compile(runtime);
    return compiled;
  };

  const coefficientsFor = (C: number): Coefficients => ({
    address: runtime.scratch("normRelu coefficients", floatBytes * coefficientFloats * C),
    bytes: floatBytes * coefficientFloats,
  });

  const normReluSums: NormReluKernels["normReluSums"] = (inputs, output, attributes, reference) => {
    const [x, weight, bias, gradient, statistics] = inputs;
    const layout = rowsIn(runtime, [x, gradient], [weight, bias, statistics, output]);
    if (!layout) return reference(inputs, output, attributes);
    const [N, C] = x.shape;
    const { rows, columns } = layout;
    const totalsAt = runtime.scratch("normRelu totals", 32 * C);
    const coefficients = coefficientsFor(C);
    channels.lines(statistics, weight, bias, attributes.epsilon, coefficients);
    const args = [...placeOf(x), N, rows, columns, totalsAt, coefficients.address, ...placeOf(gradient)];
    runtime.forRange(ranges().maskedProducts, C, args, sumOptions(N * rows * columns));
    channels.finishSums(totalsAt, statistics, attributes.epsilon, output);
  };

  const normReluInputGradient: NormReluKernels["normReluInputGradient"] = (
    inputs,
    output,
    attributes,
    reference,
  ) => {
    const [x, weight, bias, gradient, statistics, totals] = inputs;
    const layout = rowsIn(runtime, [x, gradient, output], [weight, bias, statistics, totals]);
    const [N, C] = x.shape;
    const count = layout ? N * layout.rows * layout.columns : 0;
    if (!layout || count < fewestValues) return reference(inputs, output, attributes);
    const { epsilon } = attributes;
    const coefficients = coefficientsFor(C);
    const { address, bytes } = coefficients;
    channels.lines(statistics, weight, bias, epsilon, coefficients);
    const afterLine = { address: address + 3 * floatBytes, bytes };
    channels.gradientLines(statistics, weight, totals, { epsilon, count }, afterLine);
    const { rows, columns } = layout;
    const places = [...placeOf(x), ...placeOf(output), ...placeOf(gradient)];
    const grain = grainOf(10 + 0.15 * rows * columns);
    runtime.forRange(ranges().maskedCombine, N * C, [...places, C, rows, columns, address], { grain });
  };

  return { normReluSums, normReluInputGradient };
}
