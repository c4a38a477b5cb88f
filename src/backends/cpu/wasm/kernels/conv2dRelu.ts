/**
 * A convolution with bias and ReLU: the product of the plain convolution, then one pass over its output that adds the
 * bias and cuts off what is negative, by all threads.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { Conv2dAttributes } from "../../loops/conv2d.ts";
import { conv2dRelu as loop } from "../../loops/conv2dRelu.ts";
import { ModuleBuilder } from "../encoder/index.ts";
import { grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import {
  floatBytes,
  forEachPlane,
  inPairs,
  type Place,
  placeOf,
  rangeParameters,
  rowsOf,
  storeFirstLanes,
  yPlace,
} from "./rows.ts";

export interface Conv2dReluKernels {
  readonly conv2dRelu: HostKernel<Conv2dAttributes>;
}

/** (y, yImage, yPlane, yRow, planes, rows, columns, biases): y = max(y + bias, 0) in place; NaN stays. */
function compile(runtime: WasmRuntime): RangeFunction {
  const module = new ModuleBuilder("conv2dRelu");
  runtime.importMemory(module);
  const counts = { planes: "i32", rows: "i32", columns: "i32", biases: "i32" } as const;
  module.func("addAndCut", { params: { ...rangeParameters, ...yPlace, ...counts } }, (f, p) => {
    const { i32, f32x4, v128 } = f;
    const operands: Place[] = [[p.y, p.yImage, p.yPlane, p.yRow]];
    forEachPlane(f, operands, p, (plane) => {
      const bias = f.let(v128.load32_splat(i32.add(p.biases, i32.shl(plane, 2))), "bias");
      return {
        // Not writeRow: its last group overlaps the one before, which would add the bias twice.
        onRow: ([row]) => {
          const at = f.let(row, "at");
          const left = f.let(p.columns, "left");
          const value = (offset: number) => f32x4.max(f32x4.add(v128.load(at, offset), bias), f32x4.splat(0));
          const groups = (count: number) => () => {
            inPairs(
              count,
              (u) => f.let(value(16 * u)),
              (result, u) => v128.store(at, result, 16 * u),
            );
            at.set(i32.add(at, 16 * count));
            left.set(i32.sub(left, 4 * count));
          };
          f.while(() => i32.ge_s(left, 16), groups(4));
          f.while(() => i32.ge_s(left, 4), groups(1));
          f.if(left, () => storeFirstLanes(f, at, f.let(value(0)), left));
        },
      };
    });
  });
  return runtime.instantiate(module).addAndCut;
}

/** The fast kernel; what it does not take (f64, an output whose pixels are not in rows) goes to the loop. */
export function conv2dReluKernels(
  runtime: WasmRuntime,
  conv2d: HostKernel<Conv2dAttributes>,
): Conv2dReluKernels {
  let compiled: RangeFunction | undefined;

  function biasesOf(bias: HostView | undefined, K: number): number {
    const address = runtime.scratch("conv2dRelu biases", floatBytes * K);
    const values = runtime.floatsAt(address, K);
    for (let k = 0; k < K; k++) values[k] = bias ? bias.data[bias.offset + k * bias.strides[0]] : 0;
    return address;
  }

  const conv2dRelu: HostKernel<Conv2dAttributes> = (inputs, y, attributes) => {
    const [x, weight, bias] = inputs;
    const layout = runtime.accepts([...inputs, y]) && !y.shape.includes(0) ? rowsOf([y]) : null;
    if (!layout) return loop(inputs, y, attributes);
    compiled ??= compile(runtime);
    const [N, K] = y.shape;
    const { rows, columns } = layout;
    const args = [...placeOf(y), K, rows, columns, biasesOf(bias, K)];
    conv2d([x, weight], y, attributes);
    runtime.forRange(compiled, N * K, args, { grain: grainOf(10 + 0.1 * rows * columns) });
  };

  return { conv2dRelu };
}
