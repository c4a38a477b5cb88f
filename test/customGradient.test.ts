import { describe, expect, it } from "vitest";
import { customGradient } from "../src/autograd/customGradient.ts";
import { backward, grad } from "../src/autograd/engine.ts";
import { gradcheck, gradgradcheck } from "../src/autograd/gradcheck.ts";
import { noGrad } from "../src/autograd/mode.ts";
import { onEdge } from "../src/autograd/observers.ts";
import { sigmoid } from "../src/autograd/ops/activations.ts";
import { mul, sign, sub } from "../src/autograd/ops/arithmetic.ts";
import { sum } from "../src/autograd/ops/sum.ts";
import { randn, tensor } from "../src/tensor/create.ts";

const leaf = (...values: number[]) => tensor(values, { dtype: "f64", requiresGrad: true });

describe("customGradient", () => {
  it("uses the given gradient and not the derivative of forward", () => {
    const straightThrough = customGradient(
      "straightThrough",
      (x) => sign(x),
      ({ gradient }) => [gradient],
    );
    const x = leaf(-2, 3);
    const y = straightThrough(x);
    expect(Array.from(y.dataSync())).toEqual([-1, 1]);
    backward(sum(mul(y, 5)));
    expect(x.grad?.toArraySync()).toEqual([5, 5]);
  });

  it("is differentiable again when its gradient is written with tensor operations", () => {
    const fast = customGradient("fastSigmoid", sigmoid, ({ gradient, output }) => [
      mul(gradient, mul(output(), sub(1, output()))),
    ]);
    const x = randn([2, 3], { dtype: "f64" });
    gradcheck(fast, [x]);
    gradgradcheck(fast, [x]);
  });

  it("computes the pieces of all inputs in one call per backward pass", () => {
    let calls = 0;
    const product = customGradient("product", mul, ({ gradient, input }) => {
      calls += 1;
      return [mul(gradient, input(1)), mul(gradient, input(0))];
    });
    const [a, b] = [leaf(2), leaf(3)];
    const y = product(a, b);
    const pieces = grad(y, [a, b], { retainGraph: true });
    expect(pieces.map((piece) => piece.itemSync())).toEqual([3, 2]);
    expect(calls).toBe(1);
    grad(y, [a, b]);
    expect(calls).toBe(2);
  });

  it("shows its name and its pieces on the edges", () => {
    const seen: string[] = [];
    const stop = onEdge(({ from, slot }) => {
      seen.push(`${from.op} ${slot}`);
      return undefined;
    });
    try {
      const product = customGradient("product", mul, ({ gradient, input }) => [
        mul(gradient, input(1)),
        null,
      ]);
      backward(product(leaf(2), leaf(3)));
    } finally {
      stop();
    }
    expect(seen).toEqual(["product 0"]);
  });

  it("may return an input unchanged, which stays a leaf", () => {
    const reversed = customGradient(
      "reversed",
      (x) => x,
      ({ gradient }) => [mul(gradient, -1)],
    );
    const x = leaf(4);
    const y = reversed(x);
    expect(x.isLeaf).toBe(true);
    backward(y);
    expect(x.grad?.itemSync()).toBe(-1);
  });

  it("records nothing under noGrad", () => {
    const same = customGradient(
      "same",
      (x) => x,
      ({ gradient }) => [gradient],
    );
    expect(noGrad(() => same(leaf(1))).requiresGrad).toBe(false);
  });

  it("says which function returned too few pieces or a piece of the wrong shape", () => {
    const few = customGradient("few", mul, ({ gradient }) => [gradient]);
    expect(() => backward(sum(few(leaf(1, 2), leaf(3, 4))))).toThrow(
      "few: its gradient returned 1 tensors for 2 inputs",
    );
    const wide = customGradient("wide", mul, ({ gradient, input }) => [gradient, mul(gradient, input(0))]);
    expect(() => backward(sum(wide(leaf(1, 2), leaf(3))))).toThrow(
      "wide: its gradient for input 1 has shape [2], the input [1]; sum it over the axes that broadcast",
    );
  });
});
