/** Every fluent method is the function of its name. */
import { describe, expect, it } from "vitest";
import * as functions from "../src/autograd/index.ts";
import { randn, Tensor, tensor } from "../src/index.ts";
import { Generator } from "../src/tensor/generator.ts";

/** Arguments after the tensor itself, where a method needs any. */
function argumentsOf(name: string, other: Tensor): readonly unknown[] {
  const twoTensors = ["add", "sub", "mul", "div", "pow", "minimum", "maximum"];
  const comparisons = ["less", "lessEqual", "greater", "greaterEqual", "equal", "notEqual"];
  if (twoTensors.includes(name) || comparisons.includes(name)) return [other];
  const others: Readonly<Record<string, readonly unknown[]>> = {
    leakyRelu: [0.3],
    clamp: [0.8, 1.1],
    sum: [1],
    mean: [0, { keepDims: true }],
    variance: [1, { correction: 0 }],
    max: [1],
    min: [1],
    argmax: [0],
    logSumExp: [1],
    softmax: [0],
    logSoftmax: [0],
    matmul: [other.transpose()],
    gather: [tensor([[3, 0]], { dtype: "i32" }), 1],
    reshape: [[4, 3]],
    flatten: [0],
    permute: [[1, 0]],
    expand: [[2, 3, 4]],
    slice: [1, 1, 3],
    select: [1, 2],
    split: [[1, 3], 1],
    squeeze: [0],
    unsqueeze: [1],
    pad: [
      [
        [1, 0],
        [0, 2],
      ],
      9,
    ],
    to: ["f64"],
  };
  return others[name] ?? [];
}

const exported: Readonly<Record<string, unknown>> = { ...functions };

const names = Object.getOwnPropertyNames(Tensor.prototype).filter(
  (name) => name !== "backward" && Object.hasOwn(exported, name),
);

describe("methods", () => {
  it("cover the ops that take a tensor first", () => {
    expect(names.length).toBeGreaterThan(45);
  });

  it.each(names)("%s", (name) => {
    const shape = name === "squeeze" ? [1, 12] : [3, 4];
    const x = randn(shape, { generator: new Generator(1) })
      .abs()
      .add(0.5);
    const other = randn(shape, { generator: new Generator(2) })
      .abs()
      .add(0.5);
    const given = argumentsOf(
      name,
      name === "equal" || name === "notEqual" ? x.mul(x.greater(1).to("f32")) : other,
    );
    const method: unknown = Reflect.get(x, name);
    const op = exported[name];
    if (typeof method !== "function" || typeof op !== "function") throw new Error(`${name} is no function`);
    const values = (result: unknown): unknown =>
      Array.isArray(result) ? result.map(values) : result instanceof Tensor ? result.toArraySync() : result;
    const byFunction = values(op(x, ...given));
    expect(values(method.call(x, ...given))).toEqual(byFunction);
  });

  it("do different things under different names", () => {
    const x = tensor([
      [-1.5, 0.25],
      [0.5, 2],
    ]);
    const pointwise = [
      "neg",
      "exp",
      "square",
      "abs",
      "sign",
      "floor",
      "relu",
      "sigmoid",
      "tanh",
      "silu",
      "mish",
    ];
    const results = pointwise.map((name) => {
      const method: unknown = Reflect.get(x, name);
      if (typeof method !== "function") throw new Error(`${name} is no function`);
      return String(method.call(x));
    });
    expect(new Set(results).size).toBe(pointwise.length);
  });

  it("include backward", () => {
    const x = tensor([2, 3], { requiresGrad: true });
    x.square().backward(tensor([1, 10]));
    expect(x.grad?.toArraySync()).toEqual([4, 60]);
  });
});
