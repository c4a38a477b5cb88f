/** Scopes: what they free, what survives them, and how memory is counted. */
import { setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, it } from "vitest";
import { clearGrad, crossEntropy } from "../src/autograd/index.ts";
import { CpuBackend, createCpuBackend } from "../src/backends/cpu/index.ts";
import {
  defaultBackend,
  memoryReport,
  nn,
  optim,
  randn,
  resetPeakMemory,
  Scope,
  scope,
  setDefaultBackend,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { Generator, manualSeed } from "../src/tensor/generator.ts";
import { currentScope } from "../src/tensor/scope.ts";

const bytes = () => memoryReport().liveBytes;

/** Collects garbage until `done`, at most 50 times; without `done`, often enough for nets to act. */
async function collectGarbage(done?: () => boolean): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  for (let i = 0; i < (done ? 50 : 3) && !done?.(); i++) {
    collect();
    await setTimeout(10);
  }
}

const firstNumber = (x: Tensor | null) => x?.dataSync()[0];

const freed =
  "tensor: its memory was freed when its scope ended or by dispose(); return it from the scope or call keep() on it";

/** What the scope leaves behind, in bytes. */
function remaining(body: () => unknown): number {
  const before = bytes();
  scope(() => void body());
  return bytes() - before;
}

describe("scope", () => {
  it("frees what is made inside, and using it afterwards is a named error", () => {
    let escaped: Tensor | undefined;
    const left = remaining(() => {
      escaped = zeros([10]).add(1).mul(2);
    });
    expect(left).toBe(0);
    expect(() => escaped?.dataSync()).toThrow(freed);
    expect(() => escaped?.add(1)).toThrow(freed);
    expect(String(escaped)).toBe("tensor(freed, shape [10], f32)");
  });

  it("hands on what it returns: a tensor, or arrays and plain objects of them", () => {
    const before = bytes();
    const single = scope(() => zeros([10]).add(1));
    const nested = scope(() => ({ pair: [zeros([1]), zeros([2]).add(3)], count: 4, nothing: null }));
    expect(bytes() - before).toBe((10 + 1 + 2) * 4);
    expect(single.dataSync()[9]).toBe(1);
    expect(nested.pair.map((each) => each.toArraySync())).toEqual([[0], [3, 3]]);
    expect(nested.count).toBe(4);
  });

  it("hands on the memory behind a view", () => {
    const view = scope(() => zeros([4]).add(2).slice(0, 1, 3));
    expect(view.toArraySync()).toEqual([2, 2]);
  });

  it("gives what an inner scope returns to the outer one", () => {
    let inner: Tensor | undefined;
    const left = remaining(() => {
      inner = scope(() => zeros([5]));
      expect(inner.toArraySync()).toEqual([0, 0, 0, 0, 0]);
    });
    expect(left).toBe(0);
    expect(() => inner?.dataSync()).toThrow(freed);
  });

  it("does not capture tensors that belong elsewhere when it returns them", () => {
    const outside = zeros([3]);
    expect(scope(() => outside)).toBe(outside);
    scope(() => void scope(() => outside));
    expect(outside.toArraySync()).toEqual([0, 0, 0]);
    scope(() => {
      const middle = zeros([2]);
      scope(() => [outside, middle]);
      expect(middle.toArraySync()).toEqual([0, 0]);
    });
  });

  it("lets keep() take a tensor out for good", () => {
    let kept: Tensor | undefined;
    const left = remaining(() => {
      scope(() => {
        kept = zeros([6]).keep();
      });
    });
    expect(left).toBe(24);
    expect(kept?.toArraySync()).toEqual([0, 0, 0, 0, 0, 0]);
    const before = bytes();
    kept?.dispose();
    expect(bytes()).toBe(before - 24);
    expect(() => kept?.dataSync()).toThrow(freed);
  });

  it("frees when the body throws, and passes the error on", () => {
    const failing = () => {
      zeros([100]);
      throw new Error("out of luck");
    };
    const before = bytes();
    expect(() => scope(() => scope(failing))).toThrow("out of luck");
    expect(bytes()).toBe(before);
    expect(currentScope()).toBeNull();
  });

  it("refuses a body that returns a promise", () => {
    expect(() => scope(async () => 1)).toThrow(
      "scope: the body returned a promise, its tensors would be freed before it settles",
    );
    expect(currentScope()).toBeNull();
  });

  it("can be opened for code that is not one function", async () => {
    const open = new Scope();
    const x = zeros([3]);
    expect(await x.toArray()).toEqual([0, 0, 0]);
    open.close();
    open.close();
    expect(() => x.dataSync()).toThrow(freed);
    let inBlock: Tensor;
    {
      using _ = new Scope();
      inBlock = zeros([3]);
    }
    expect(() => inBlock.dataSync()).toThrow(freed);
    expect(currentScope()).toBeNull();
  });

  it("is not needed: what nobody can reach any more is collected", async () => {
    const before = bytes();
    for (let i = 0; i < 100; i++) zeros([1000]).add(1);
    expect(bytes() - before).toBeGreaterThanOrEqual(100 * 2 * 4000);
    await collectGarbage(() => bytes() <= before);
    expect(bytes()).toBeLessThanOrEqual(before);
  });

  describe("catches the gradient of a leaf with the leaf", () => {
    /** A leaf of 1000 numbers with a gradient of as many, made by a step in a scope. */
    function trainedLeaf(): Tensor {
      const leaf = zeros([1000], { requiresGrad: true });
      scope(() => leaf.mul(3).sum().backward());
      return leaf;
    }

    it("when neither can be reached", async () => {
      await collectGarbage();
      const before = bytes();
      for (let i = 0; i < 10; i++) trainedLeaf();
      expect(bytes() - before).toBe(10 * 8000);
      await collectGarbage(() => bytes() <= before);
      expect(bytes()).toBe(before);
    });

    it("not as long as the gradient alone is in use", async () => {
      await collectGarbage();
      const before = bytes();
      const { grad } = trainedLeaf();
      await collectGarbage();
      expect(bytes() - before).toBe(8000);
      expect(grad?.dataSync()[999]).toBe(3);
      grad?.dispose();
      expect(bytes() - before).toBe(4000);
      await collectGarbage(() => bytes() <= before);
      expect(bytes()).toBe(before);
    });

    it("also when the leaf's own memory was freed before, or moved into a scope", async () => {
      await collectGarbage();
      const before = bytes();
      trainedLeaf().dispose();
      (() => {
        const { storage } = trainedLeaf();
        using open = new Scope();
        storage.moveTo(open);
        expect(bytes() - before).toBe(3 * 4000);
      })();
      expect(bytes() - before).toBe(2 * 4000);
      await collectGarbage(() => bytes() <= before);
      expect(bytes()).toBe(before);
    });

    it("and forgotten gradients before it, all but one that waits for the leaf", async () => {
      await collectGarbage();
      const before = bytes();
      await (async () => {
        const leaf = trainedLeaf();
        for (let i = 0; i < 5; i++) {
          leaf.grad = null;
          scope(() => leaf.mul(i).sum().backward());
        }
        expect(bytes() - before).toBe(7 * 4000);
        await collectGarbage(() => bytes() - before <= 3 * 4000);
        expect(bytes() - before).toBe(3 * 4000);
        expect(firstNumber(leaf.grad)).toBe(4);
        clearGrad(leaf);
        leaf.dispose();
      })();
      await collectGarbage(() => bytes() <= before);
      expect(bytes()).toBe(before);
    });
  });

  it("wants scopes closed in reverse order", () => {
    const outer = new Scope();
    const inner = new Scope();
    expect(() => outer.close()).toThrow("scope: closed while an inner scope is still open");
    inner.close();
    outer.close();
    expect(currentScope()).toBeNull();
  });

  it("reports the body's error even when the body left a scope open, and closes that too", () => {
    const before = bytes();
    const careless = () => {
      new Scope();
      zeros([8]);
      throw new Error("the first error");
    };
    expect(() => scope(careless)).toThrow("the first error");
    expect(currentScope()).toBeNull();
    expect(bytes()).toBe(before);
  });

  it("leaves gradients of tensors outside alive, and frees those of tensors inside", () => {
    const weight = new nn.Parameter(tensor([2, 3]));
    const outside = tensor([1, 1], { requiresGrad: true });
    const left = remaining(() => {
      const inside = tensor([5, 7], { requiresGrad: true });
      weight.mul(outside).mul(inside).sum().backward();
      expect(inside.grad?.toArraySync()).toEqual([2, 3]);
    });
    expect(weight.grad?.toArraySync()).toEqual([5, 7]);
    expect(outside.grad?.toArraySync()).toEqual([10, 21]);
    expect(left).toBe(16);
  });

  it("keeps parameters and buffers that are made inside", () => {
    const layer = scope(() => ({ made: new nn.BatchNorm2d(2) })).made;
    expect(layer.weight.toArraySync()).toEqual([1, 1]);
    expect(layer.buffer("running_var").toArraySync()).toEqual([1, 1]);
  });
});

describe("memoryReport", () => {
  it("counts bytes by what they are for", () => {
    const live = () => {
      const { byCategory } = memoryReport();
      return Object.fromEntries(Object.entries(byCategory).map(([name, { live }]) => [name, live]));
    };
    const start = live();
    const gained = () =>
      Object.fromEntries(
        Object.entries(live()).flatMap(([name, n]) => (n === start[name] ? [] : [[name, n - start[name]]])),
      );
    scope(() => {
      const layer = new nn.Linear(3, 2);
      expect(gained()).toMatchObject({ weights: 8 * 4 });
      const x = zeros([5, 3]);
      const y = layer.forward(x);
      expect(gained().activations).toBeGreaterThanOrEqual(5 * 2 * 4);
      y.sum().backward();
      expect(gained().gradients).toBeGreaterThanOrEqual(8 * 4);
      const optimizer = new optim.SGD(layer.parameters(), { lr: 1, momentum: 0.5 });
      optimizer.step();
      expect(gained().optimizer).toBe(8 * 4);
    });
    expect(gained()).toEqual({ weights: 32, gradients: 32, optimizer: 32 });
  });

  it("measures the peak since the last reset", () => {
    const before = bytes();
    resetPeakMemory();
    scope(() => void zeros([1000]));
    expect(memoryReport().peakBytes - before).toBe(4000);
    expect(bytes()).toBe(before);
    resetPeakMemory();
    expect(memoryReport().peakBytes).toBe(before);
  });
});

describe("poisoned memory", () => {
  const usual = defaultBackend();
  afterEach(() => setDefaultBackend(usual));

  /** Three training steps on a backend of their own; the state as bytes at the end. */
  function train(poison: boolean, model: () => nn.Module): number[][] {
    const backend = createCpuBackend();
    if (!(backend instanceof CpuBackend)) throw new Error("the CPU backend has no poison switch");
    backend.poison = poison;
    setDefaultBackend(backend);
    manualSeed(5);
    const network = model();
    const optimizer = new optim.SGD(network.parameters(), { lr: 0.1, momentum: 0.9, nesterov: true });
    const images = randn([4, 1, 12, 12], { generator: new Generator(1) });
    for (let step = 0; step < 3; step++)
      scope(() => {
        optimizer.zeroGrad();
        crossEntropy(network.forward(images), tensor([0, 1, 2, 1], { dtype: "i32" })).backward();
        optimizer.step();
      });
    return [...network.stateDict().values()].map((value) => [...value.dataSync()]);
  }

  const sizes = { blocks: [2, 2], growthRate: 4, inChannels: 1, classes: 3, dropout: 0.2 };

  it.each([
    ["DenseNet", () => densenet(sizes)],
    ["CSPDenseNet", () => cspDenseNet({ ...sizes, stem: "small", fusion: "both" })],
  ])("changes nothing in the training of a %s: nobody reads freed or unwritten memory", (_, model) => {
    const plain = train(false, model);
    expect(train(true, model)).toEqual(plain);
    expect(plain.flat().every(Number.isFinite)).toBe(true);
  });

  it("is seen by whoever reads unwritten memory", () => {
    const backend = new CpuBackend({ kernels: {}, poison: true });
    setDefaultBackend(backend);
    scope(() => void zeros([4]));
    const recycled = backend.allocate("f32", 4, "data");
    expect([...backend.readSync(recycled, 0, 4)]).toEqual([Number.NaN, Number.NaN, Number.NaN, Number.NaN]);
  });
});
