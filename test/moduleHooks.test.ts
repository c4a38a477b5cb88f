/** Hooks of modules: when they fire, what they see, what they may replace. */
import { describe, expect, it } from "vitest";
import { clearGrad, grad, nn, noGrad, type Tensor, tensor } from "../src/index.ts";

/** A layer of two inputs, the second of which it may ignore. */
class Combine extends nn.Module {
  readonly usesSecond: boolean;

  constructor(usesSecond: boolean) {
    super();
    this.usesSecond = usesSecond;
  }

  override forward(x: Tensor, y: Tensor): Tensor {
    return this.usesSecond ? x.mul(2).add(y.mul(3)) : x.mul(2);
  }
}

describe("forward hooks", () => {
  it("fire however forward is called, and may replace inputs and output", () => {
    const layer = new nn.Identity();
    const calls: string[] = [];
    const removePre = layer.registerForwardPreHook((module, [x]) => {
      calls.push(`pre ${module === layer} ${x.itemSync()}`);
      return [x.add(1)];
    });
    const remove = layer.registerForwardHook((_, [x], y) => {
      calls.push(`after ${x.itemSync()} ${y.itemSync()}`);
      return y.mul(10);
    });
    const detached = layer.forward;
    expect(layer.forward(tensor([1])).itemSync()).toBe(20);
    expect(detached(tensor([2])).itemSync()).toBe(30);
    expect(new nn.Sequential(layer).forward(tensor([3])).itemSync()).toBe(40);
    expect(calls).toEqual(["pre true 1", "after 2 2", "pre true 2", "after 3 3", "pre true 3", "after 4 4"]);
    removePre();
    remove();
    expect(layer.forward(tensor([1])).itemSync()).toBe(1);
  });
});

describe("backward hooks", () => {
  const variable = (values: number[]) => tensor(values, { requiresGrad: true });

  /** What the hook of `module` saw: gradients of inputs and output. */
  function watch(module: nn.Module): unknown[] {
    const seen: unknown[] = [];
    module.registerFullBackwardHook((_, inputs, output) => {
      seen.push([inputs.map((each) => each?.toArraySync() ?? null), output.toArraySync()]);
      return undefined;
    });
    return seen;
  }

  it("see the gradients of this call alone, once in each backward pass", () => {
    const layer = new Combine(true);
    const seen = watch(layer);
    const [x, y] = [variable([1]), variable([1])];
    const loss = layer.forward(x, y).mul(5).add(x.mul(100)).sum();
    loss.backward(undefined, { retainGraph: true });
    loss.backward();
    expect(seen).toEqual([
      [[[10], [15]], [5]],
      [[[10], [15]], [5]],
    ]);
    expect(x.grad?.toArraySync()).toEqual([220]);
  });

  it("see null for inputs that are ignored or need no gradient", () => {
    const ignoring = new Combine(false);
    const seen = watch(ignoring);
    ignoring.forward(variable([1]), variable([1])).backward();
    ignoring.forward(variable([1]), tensor([1])).backward();
    expect(seen).toEqual([
      [[[2], null], [1]],
      [[[2], null], [1]],
    ]);
    const layer = new nn.Linear(1, 1);
    const ofLayer = watch(layer);
    layer.forward(tensor([[1]])).backward();
    expect(ofLayer).toEqual([[[null], [[1]]]]);
  });

  it("start afresh after a pass that reached one input only", () => {
    const layer = new Combine(true);
    const seen = watch(layer);
    const [x, y] = [variable([1]), variable([1])];
    const z = layer.forward(x, y);
    grad(z, [x], { retainGraph: true });
    z.backward();
    expect(seen).toEqual([[[[2], [3]], [1]]]);
  });

  it("may replace the gradient of the only input, until removed", () => {
    const layer = new nn.ReLU();
    const remove = layer.registerFullBackwardHook((_, [gradient]) => gradient?.mul(-1));
    const x = variable([3, -3]);
    layer.forward(x).sum().backward();
    expect(x.grad?.toArraySync()).toEqual([-1, -0]);
    remove();
    clearGrad(x);
    layer.forward(x).sum().backward();
    expect(x.grad?.toArraySync()).toEqual([1, 0]);
  });

  it("do not fire without a tape", () => {
    const layer = new nn.ReLU();
    const seen = watch(layer);
    const y = noGrad(() => layer.forward(variable([1])));
    expect([y.gradFn, y.toArraySync(), seen]).toEqual([null, [1], []]);
  });
});
