/** The fluent names: `x.add(y).relu().sum()`. One line per op that wants a method; installed on Tensor. */
import type { DType } from "../backends/dtype.ts";
import type { Shape } from "../tensor/layout.ts";
import { Tensor } from "../tensor/tensor.ts";
import { type BackwardOptions, backward } from "./engine.ts";
import * as activations from "./ops/activations.ts";
import * as arithmetic from "./ops/arithmetic.ts";
import { to } from "./ops/cast.ts";
import * as comparison from "./ops/comparison.ts";
import { clone, contiguous } from "./ops/copy.ts";
import { gather } from "./ops/gather.ts";
import { logSumExp } from "./ops/logSumExp.ts";
import { matmul } from "./ops/matmul.ts";
import { argmax, max, min } from "./ops/max.ts";
import { mean, type VarianceOptions, variance } from "./ops/mean.ts";
import { permute, transpose } from "./ops/permute.ts";
import type { Operand } from "./ops/pointwise.ts";
import { flatten, reshape } from "./ops/reshape.ts";
import { pad, select, slice, split, squeeze, unsqueeze } from "./ops/slice.ts";
import { logSoftmax, softmax } from "./ops/softmax.ts";
import { expand, type ReduceOptions, sum } from "./ops/sum.ts";

type Axes = number | readonly number[];

const methods = {
  add: (x: Tensor, y: Operand): Tensor => arithmetic.add(x, y),
  sub: (x: Tensor, y: Operand): Tensor => arithmetic.sub(x, y),
  mul: (x: Tensor, y: Operand): Tensor => arithmetic.mul(x, y),
  div: (x: Tensor, y: Operand): Tensor => arithmetic.div(x, y),
  pow: (x: Tensor, y: Operand): Tensor => arithmetic.pow(x, y),
  minimum: (x: Tensor, y: Operand): Tensor => arithmetic.minimum(x, y),
  maximum: (x: Tensor, y: Operand): Tensor => arithmetic.maximum(x, y),
  neg: (x: Tensor): Tensor => arithmetic.neg(x),
  exp: (x: Tensor): Tensor => arithmetic.exp(x),
  log: (x: Tensor): Tensor => arithmetic.log(x),
  sqrt: (x: Tensor): Tensor => arithmetic.sqrt(x),
  square: (x: Tensor): Tensor => arithmetic.square(x),
  abs: (x: Tensor): Tensor => arithmetic.abs(x),
  sign: (x: Tensor): Tensor => arithmetic.sign(x),
  floor: (x: Tensor): Tensor => arithmetic.floor(x),
  less: (x: Tensor, y: Operand): Tensor => comparison.less(x, y),
  lessEqual: (x: Tensor, y: Operand): Tensor => comparison.lessEqual(x, y),
  greater: (x: Tensor, y: Operand): Tensor => comparison.greater(x, y),
  greaterEqual: (x: Tensor, y: Operand): Tensor => comparison.greaterEqual(x, y),
  equal: (x: Tensor, y: Operand): Tensor => comparison.equal(x, y),
  notEqual: (x: Tensor, y: Operand): Tensor => comparison.notEqual(x, y),
  relu: (x: Tensor): Tensor => activations.relu(x),
  leakyRelu: (x: Tensor, negativeSlope?: number): Tensor => activations.leakyRelu(x, negativeSlope),
  sigmoid: (x: Tensor): Tensor => activations.sigmoid(x),
  tanh: (x: Tensor): Tensor => activations.tanh(x),
  silu: (x: Tensor): Tensor => activations.silu(x),
  mish: (x: Tensor): Tensor => activations.mish(x),
  clamp: (x: Tensor, low: number, high: number): Tensor => activations.clamp(x, low, high),
  sum: (x: Tensor, axes?: Axes, options?: ReduceOptions): Tensor => sum(x, axes, options),
  mean: (x: Tensor, axes?: Axes, options?: ReduceOptions): Tensor => mean(x, axes, options),
  variance: (x: Tensor, axes?: Axes, options?: VarianceOptions): Tensor => variance(x, axes, options),
  max: (x: Tensor, axes?: Axes, options?: ReduceOptions): Tensor => max(x, axes, options),
  min: (x: Tensor, axes?: Axes, options?: ReduceOptions): Tensor => min(x, axes, options),
  argmax: (x: Tensor, axis?: number, options?: ReduceOptions): Tensor => argmax(x, axis, options),
  logSumExp: (x: Tensor, axes?: Axes, options?: ReduceOptions): Tensor => logSumExp(x, axes, options),
  softmax: (x: Tensor, axis: number): Tensor => softmax(x, axis),
  logSoftmax: (x: Tensor, axis: number): Tensor => logSoftmax(x, axis),
  matmul: (x: Tensor, y: Tensor): Tensor => matmul(x, y),
  gather: (x: Tensor, index: Tensor, axis: number): Tensor => gather(x, index, axis),
  reshape: (x: Tensor, shape: Shape): Tensor => reshape(x, shape),
  flatten: (x: Tensor, startAxis?: number): Tensor => flatten(x, startAxis),
  permute: (x: Tensor, order: readonly number[]): Tensor => permute(x, order),
  transpose: (x: Tensor, axisA?: number, axisB?: number): Tensor => transpose(x, axisA, axisB),
  expand: (x: Tensor, shape: Shape): Tensor => expand(x, shape),
  slice: (x: Tensor, axis: number, start: number, end?: number): Tensor => slice(x, axis, start, end),
  select: (x: Tensor, axis: number, index: number): Tensor => select(x, axis, index),
  split: (x: Tensor, parts: number | readonly number[], axis?: number): Tensor[] => split(x, parts, axis),
  squeeze: (x: Tensor, axis: number): Tensor => squeeze(x, axis),
  unsqueeze: (x: Tensor, axis: number): Tensor => unsqueeze(x, axis),
  pad: (x: Tensor, padding: Parameters<typeof pad>[1], value?: number): Tensor => pad(x, padding, value),
  to: (x: Tensor, dtype: DType): Tensor => to(x, dtype),
  clone: (x: Tensor): Tensor => clone(x),
  contiguous: (x: Tensor): Tensor => contiguous(x),
  detach: (x: Tensor): Tensor => detach(x),
  backward: (x: Tensor, gradient?: Tensor, options?: BackwardOptions): void => backward(x, gradient, options),
};

/** The same memory as a tensor that the tape knows nothing of: gradients stop here. */
export function detach(x: Tensor): Tensor {
  return new Tensor(x.storage, x.shape, x.strides, x.offset);
}

type Methods = typeof methods;
type Method<F> = F extends (x: Tensor, ...rest: infer Rest) => infer Result
  ? (...rest: Rest) => Result
  : never;

declare module "../tensor/tensor.ts" {
  interface TensorMethods extends InstalledMethods {}
}

/** Every fluent method with its signature; the function of the same name documents it. */
export type InstalledMethods = { [K in keyof Methods]: Method<Methods[K]> };

for (const [name, method] of Object.entries(methods)) {
  const call: (x: Tensor, ...rest: never[]) => unknown = method;
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: never[]) {
      return call(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
}
