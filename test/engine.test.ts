/** The backward pass: what it computes, when it refuses, and what hooks on tensors see and change. */
import { describe, expect, it } from "vitest";
import { addInPlace, alias, batchNorm, copyInto } from "../src/autograd/index.ts";
import {
  backward,
  enableGrad,
  grad,
  isGradEnabled,
  noGrad,
  ones,
  randn,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";

const variable = (values: number | number[]) => tensor(values, { dtype: "f64", requiresGrad: true });
const values = (x: Tensor | null) => x?.toArraySync() ?? null;

describe("backward", () => {
  it("adds up the paths through a diamond", () => {
    const x = variable([2, 3]);
    const [left, right] = [x.mul(3), x.mul(x)];
    left.mul(right).add(left).sum().backward();
    // d(3x · x² + 3x)/dx = 9x² + 3
    expect(values(x.grad)).toEqual([39, 84]);
  });

  it("counts a tensor as often as an op reads it", () => {
    const x = variable([3, -1]);
    x.mul(x).mul(x).sum().backward();
    expect(values(x.grad)).toEqual([27, 3]);
    const y = variable(5);
    y.sub(y).add(y.div(y)).backward();
    expect(values(y.grad)).toBe(0);
  });

  it("gives a leaf that is its own result the gradient that it starts from", () => {
    const x = variable([1, 2]);
    backward(x, tensor([5, 6], { dtype: "f64" }));
    expect(values(x.grad)).toEqual([5, 6]);
    const y = variable(4);
    y.backward();
    expect(values(y.grad)).toBe(1);
  });

  it("adds to the gradient of earlier passes until it is cleared", () => {
    const x = variable([1, 1]);
    const first = tensor([1, 2], { dtype: "f64" });
    x.mul(first).sum().backward();
    const held = x.grad;
    x.mul(first).sum().backward();
    expect(values(x.grad)).toEqual([2, 4]);
    expect(x.grad).toBe(held);
  });

  it("gives nothing to tensors that want no gradient", () => {
    const [x, constant] = [variable([1, 2]), tensor([3, 4], { dtype: "f64" })];
    x.mul(constant).sum().backward();
    expect(constant.grad).toBeNull();
  });

  it("leaves alone the tensor that it started from", () => {
    const x = variable([1, 1]);
    const start = tensor([1, 2], { dtype: "f64" });
    for (let i = 0; i < 3; i++) alias(x).backward(start);
    expect(values(start)).toEqual([1, 2]);
    expect(values(x.grad)).toEqual([3, 6]);
  });

  it("survives chains of 10,000 ops", () => {
    const x = variable(1);
    let y: Tensor = x;
    for (let i = 0; i < 10_000; i++) y = y.add(1e-4);
    y.mul(y).backward();
    expect(x.grad?.itemSync()).toBeCloseTo(4, 10);
  });

  it("flows through views to the memory they look at", () => {
    const x = variable([1, 2, 3, 4]);
    const y = x.reshape([2, 2]).transpose().slice(0, 1).expand([3, 2]);
    y.mul(tensor([10, 100], { dtype: "f64" }))
      .sum()
      .backward();
    expect(values(x.grad)).toEqual([0, 30, 0, 300]);
  });

  it("releases the tape, and says how to keep it", () => {
    const x = variable(3);
    const y = x.mul(x);
    y.backward();
    expect(() => y.backward()).toThrow(
      "backward: the graph through mul was already used and released; " +
        "pass { retainGraph: true } to the first backward to go through it twice",
    );
    const z = x.mul(x);
    z.backward(undefined, { retainGraph: true });
    z.backward();
    expect(values(x.grad)).toBe(18);
  });

  it("refuses to use a saved tensor that was changed since", () => {
    const x = variable([1, 2]);
    const y = x.mul(2);
    const z = x.mul(y);
    addInPlace(y, tensor([1, 1], { dtype: "f64" }));
    expect(() => z.sum().backward()).toThrow(
      "backward: input 1 of mul was changed in place after the forward pass saved it; " +
        "clone() it before changing it, or change it after backward()",
    );
    const output = x.softmax(0);
    copyInto(output.slice(0, 0, 1), tensor(0, { dtype: "f64" }));
    expect(() => output.sum().backward()).toThrow("backward: the output of softmax was changed in place");
  });

  it("does not mind changes of what no gradient needs", () => {
    const x = variable([1, 2]);
    const y = x.mul(2);
    const z = y.add(1);
    addInPlace(y, tensor([5, 5], { dtype: "f64" }));
    z.sum().backward();
    expect(values(x.grad)).toEqual([2, 2]);
  });

  it("refuses what it cannot start from", () => {
    const x = variable([1, 2]);
    expect(() => x.mul(2).backward()).toThrow(
      "backward: tensor [2] is not a scalar; pass the gradient to start from, or take its mean() or sum()",
    );
    expect(() => tensor([1]).backward()).toThrow(
      "backward: tensor [1] does not require grad; nothing it was computed from has requiresGrad",
    );
    expect(() => noGrad(() => x.mul(2)).backward()).toThrow("or it was computed under noGrad()");
    expect(() => x.mul(2).backward(zeros([3], { dtype: "f64" }))).toThrow(
      "backward: gradient [3] f64 does not match tensor [2] f64",
    );
    expect(() => x.mul(2).backward(zeros([2]))).toThrow("gradient [2] f32 does not match tensor [2] f64");
  });

  it("says that a saved tensor died with its scope", () => {
    const x = variable([1, 2]);
    const y = scope(() => x.exp().mul(2));
    expect(() => y.sum().backward()).toThrow("its memory was freed when its scope ended");
  });
});

describe("createGraph and grad", () => {
  it("differentiate again, as often as wanted", () => {
    const x = variable([2, -1]);
    const derivatives: unknown[] = [];
    let y = x.mul(x).mul(x).mul(x);
    for (let order = 0; order < 5; order++) {
      [y] = grad(y.sum(), [x], { createGraph: true, allowUnused: true });
      derivatives.push(values(y));
    }
    expect(derivatives).toEqual([
      [32, -4],
      [48, 12],
      [48, -24],
      [24, 24],
      [0, 0],
    ]);
    expect(x.grad).toBeNull();
  });

  it("let a gradient be part of the loss", () => {
    const x = variable([1, 2]);
    x.mul(x).sum().backward(undefined, { createGraph: true });
    const { grad: first } = x;
    x.grad = null;
    first?.mul(first).sum().backward();
    // L = Σ (2x)², dL/dx = 8x
    expect(values(x.grad)).toEqual([8, 16]);
  });

  it("give gradients of results on the way, of several outputs, and of an output itself", () => {
    const x = variable([1, 2]);
    const middle = x.mul(3).retainGrad();
    const y = middle.mul(middle).retainGrad();
    const [byMiddle, byX, byY] = grad([y.sum(), x.sum()], [middle, x, y]);
    expect([values(byMiddle), values(byX), values(byY)]).toEqual([
      [6, 12],
      [19, 37],
      [1, 1],
    ]);
    expect([x.grad, middle.grad, y.grad]).toEqual([null, null, null]);
  });

  it("go no further than the inputs asked for", () => {
    const x = variable([1, 2]);
    const middle = x.exp();
    const y = middle.mul(2).sum();
    grad(y, [middle]);
    // exp was not part of that pass: its tape is still there.
    middle.sum().backward();
    expect(x.grad).not.toBeNull();
  });

  it("start from the gradients given", () => {
    const x = variable([1, 2]);
    const start = tensor([10, 100], { dtype: "f64" });
    expect(values(grad(x.mul(2), [x], { gradients: [start] })[0])).toEqual([20, 200]);
  });

  it("are each in memory of their own, to be disposed of one by one", () => {
    const x = randn([2, 3, 4, 4], { requiresGrad: true });
    const [weight, bias] = [ones([3], { requiresGrad: true }), zeros([3], { requiresGrad: true })];
    const gradients = grad(batchNorm(x, weight, bias).sum(), [x, weight, bias]);
    expect(new Set(gradients.map(({ storage }) => storage)).size).toBe(3);
    gradients[1].dispose();
    expect(values(gradients[2])).toEqual([32, 32, 32]);
  });

  it("give zeros for unused inputs only when allowed", () => {
    const [x, unused, constant] = [variable([1, 2]), variable([3]), tensor([1])];
    const y = x.sum();
    expect(() => grad(y, [unused], { retainGraph: true })).toThrow(
      "grad: the outputs do not depend on input 0 [1]; pass { allowUnused: true } for zeros",
    );
    expect(() => grad(y, [x, constant], { retainGraph: true })).toThrow(
      "grad: input 1 [1] does not require grad; set requiresGrad before computing with it",
    );
    const gradients = grad(y, [x, unused, constant], { allowUnused: true });
    expect(gradients.map(values)).toEqual([[1, 1], [0], [0]]);
  });
});

describe("modes", () => {
  it("nest, and end when the body throws", () => {
    const x = variable(1);
    noGrad(() => {
      expect(x.mul(2).requiresGrad).toBe(false);
      expect(enableGrad(() => x.mul(2).requiresGrad)).toBe(true);
      expect(isGradEnabled()).toBe(false);
    });
    const fail = () => {
      throw new Error("inside");
    };
    expect(() => noGrad(fail)).toThrow("inside");
    expect(isGradEnabled()).toBe(true);
  });

  it("refuse a body that goes on after it returned", () => {
    expect(() => noGrad(async () => 1)).toThrow(
      "noGrad: the body returned a promise, and noGrad ends before it settles",
    );
    expect(() => enableGrad(async () => 1)).toThrow("enableGrad: the body returned a promise");
    expect(isGradEnabled()).toBe(true);
  });

  it("detach stops the gradient and shares the memory", () => {
    const x = variable([1, 2]);
    x.mul(x.detach()).sum().backward();
    expect(values(x.grad)).toEqual([1, 2]);
    expect(x.detach().storage).toBe(x.storage);
  });
});

describe("hooks on tensors", () => {
  it("see the complete gradient once, on leaves and on results", () => {
    const x = variable([1, 2]);
    const middle = x.mul(3);
    const seen: unknown[] = [];
    middle.registerHook((gradient) => void seen.push(["middle", values(gradient)]));
    x.registerHook((gradient) => void seen.push(["x", values(gradient)]));
    middle.add(middle).add(x).sum().backward();
    expect(seen).toEqual([
      ["middle", [2, 2]],
      ["x", [7, 7]],
    ]);
  });

  it("replace the gradient, one after the other, until removed", () => {
    const x = variable([1, 2]);
    const middle = x.mul(1);
    middle.registerHook((gradient) => gradient.mul(2));
    const remove = x.registerHook((gradient) => gradient.add(1));
    x.registerHook((gradient) => gradient.mul(10));
    middle.sum().backward(undefined, { retainGraph: true });
    expect(values(x.grad)).toEqual([30, 30]);
    remove();
    x.grad = null;
    middle.sum().backward();
    expect(values(x.grad)).toEqual([20, 20]);
  });

  it("act on what grad() returns", () => {
    const x = variable([1, 2]);
    x.registerHook((gradient) => gradient.mul(4));
    expect(values(grad(x.sum(), [x])[0])).toEqual([4, 4]);
  });

  it("keep the gradient of a result when asked to", () => {
    const x = variable([1, 2]);
    const [plain, kept] = [x.mul(2), x.mul(2).retainGrad()];
    plain.mul(kept).sum().backward();
    expect(plain.grad).toBeNull();
    expect(values(kept.grad)).toEqual([2, 4]);
  });

  it("need a tensor that has a gradient", () => {
    expect(() => tensor([1]).registerHook(() => undefined)).toThrow(
      "registerHook: tensor [1] does not require grad",
    );
    expect(() => tensor([1]).retainGrad()).toThrow("retainGrad: tensor [1] does not require grad");
  });
});
