/** checkpoint: the same numbers for less memory; detectAnomaly: the name of where the first bad number arose. */
import { describe, expect, it } from "vitest";
import { AnomalyError, checkpoint, detectAnomaly, dropout, gather, onOp } from "../src/autograd/index.ts";
import {
  backward,
  grad,
  manualSeed,
  memoryReport,
  nn,
  noGrad,
  ones,
  randn,
  resetPeakMemory,
  scope,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { DenseBlock, densenet } from "../src/models/index.ts";
import { Generator } from "../src/tensor/generator.ts";

const images = (shape: readonly number[]) => randn(shape, { generator: new Generator(2) });

function gradients(module: nn.Module): number[][] {
  return module.parameters().map(({ grad }) => [...(grad?.dataSync() ?? [])]);
}

describe("checkpoint", () => {
  function trained(wrap: boolean) {
    manualSeed(11);
    const block = new DenseBlock(3, 4, { growthRate: 2, dropout: 0.3 });
    const x = images([2, 4, 5, 5]);
    x.requiresGrad = true;
    const forward = (input: Tensor) => block.forward(input);
    const y = wrap ? checkpoint(forward, x.mul(1)) : forward(x.mul(1));
    // Draws between the two passes must not shift the mask that is drawn again.
    const noise = randn(y.shape);
    y.mul(noise).sum().backward();
    return {
      output: [...y.dataSync()],
      input: [...(x.grad?.dataSync() ?? [])],
      weights: gradients(block),
      running: [...block.namedBuffers().values()].map((buffer) => [...buffer.dataSync()]),
      next: randn([3]).toArraySync(),
    };
  }

  it("gives the bits of the plain computation: output, gradients, running statistics, masks, later draws", () => {
    expect(trained(true)).toEqual(trained(false));
  });

  it("holds less memory at the peak", () => {
    const chain = new nn.Sequential(
      ...Array.from(
        { length: 12 },
        () => new nn.Sequential(new nn.Conv2d(4, 4, 3, { padding: 1 }), new nn.ReLU()),
      ),
    );
    const peak = (wrap: boolean) => {
      const before = memoryReport().liveBytes;
      resetPeakMemory();
      scope(() => {
        const layers = [...chain.namedChildren().values()];
        const run = (part: readonly nn.Module[]) => (x: Tensor) =>
          part.reduce((y, layer) => layer.forward(y), x);
        let x = images([2, 4, 24, 24]);
        for (const start of [0, 4, 8]) {
          const part = run(layers.slice(start, start + 4));
          x = wrap ? checkpoint(part, x) : part(x);
        }
        x.sum().backward();
      });
      return memoryReport().peakBytes - before;
    };
    const plain = peak(false);
    expect(peak(true)).toBeLessThan(0.7 * plain);
  });

  it("reaches parameters when no input wants a gradient", () => {
    const layer = new nn.Linear(3, 2);
    checkpoint((x) => layer.forward(x), ones([4, 3]))
      .sum()
      .backward();
    expect(layer.weight.grad?.toArraySync()).toEqual([
      [4, 4, 4],
      [4, 4, 4],
    ]);
  });

  it("gives each of several inputs its gradient, and none to constants", () => {
    const [a, b] = [tensor([2], { requiresGrad: true }), tensor([3], { requiresGrad: true })];
    const constant = tensor([7]);
    checkpoint((x, y, z) => x.mul(y).mul(y).mul(z), a, b, constant).backward();
    expect([a.grad?.itemSync(), b.grad?.itemSync(), constant.grad]).toEqual([63, 84, null]);
  });

  it("takes integers among its inputs", () => {
    const x = tensor([1, 2, 3], { requiresGrad: true });
    checkpoint((values, index) => gather(values, index, 0), x, tensor([2, 2], { dtype: "i32" }))
      .sum()
      .backward();
    expect(x.grad?.toArraySync()).toEqual([0, 0, 2]);
  });

  it("nests", () => {
    const x = tensor([0.5], { requiresGrad: true });
    const cube = (y: Tensor) => checkpoint((z) => z.mul(z), y).mul(y);
    checkpoint(cube, x).backward();
    expect(x.grad?.itemSync()).toBe(0.75);
  });

  it("only computes when nothing is recorded", () => {
    const x = tensor([1], { requiresGrad: true });
    expect(noGrad(() => checkpoint((y) => y.mul(2), x)).requiresGrad).toBe(false);
  });

  it("refuses second derivatives, and inputs changed since", () => {
    const x = tensor([1], { requiresGrad: true });
    const y = checkpoint((z) => z.mul(z), x);
    expect(() => grad(y, [x], { createGraph: true })).toThrow(
      "checkpoint: its gradient cannot be differentiated again; call backward without createGraph",
    );
    const middle = x.mul(2);
    const z = checkpoint((w) => w.mul(w), middle);
    nn.init.constant(middle, 9);
    expect(() => z.backward()).toThrow("input 0 of checkpoint was changed in place");
  });

  it("keeps the names of modules when it computes again", () => {
    class Halved extends nn.Module {
      readonly inner = new nn.Sequential({ scale: new nn.Linear(2, 2) });
      override forward(x: Tensor): Tensor {
        return checkpoint((y) => this.inner.forward(y), x);
      }
    }
    const model = new nn.Sequential({ body: new Halved() });
    const paths = new Set<string>();
    const stop = onOp(({ op, modulePath }) => op === "matmul" && void paths.add(modulePath));
    const y = model.forward(ones([1, 2]));
    expect([...paths]).toEqual(["body.inner.scale"]);
    y.sum().backward();
    stop();
    // Without a name of their own are the products of the backward pass alone.
    expect([...paths].filter(Boolean)).toEqual(["body.inner.scale"]);
  });
});

describe("detectAnomaly", () => {
  it("names op, module, place and input range of the first bad value going forward", () => {
    const model = densenet({ blocks: [1, 1], growthRate: 2, inChannels: 1, classes: 2, stem: "small" });
    const weights = model.namedParameters().get("features.denseblock1.denselayer1.conv2.weight");
    if (!weights) throw new Error("the model has no such weight");
    nn.init.constant(weights, Number.NaN);
    const run = () => detectAnomaly(() => model.forward(images([2, 1, 8, 8])));
    expect(run).toThrow(AnomalyError);
    expect(run).toThrow(
      /^conv2d in features\.denseblock1\.denselayer1\.conv2: produced NaN at position 0 of its output \[2, 2, 4, 4\]; inputs: \[2, 8, 4, 4\] in \[0, .+\], \[2, 8, 3, 3\] in \[NaN, NaN\]/,
    );
  });

  it("names the op and module whose gradient is bad going back, not the op that computed it", () => {
    class Root extends nn.Module {
      override forward(x: Tensor): Tensor {
        return x.sqrt().sum();
      }
    }
    const model = new nn.Sequential({ root: new Root() });
    const x = tensor([4, 0], { requiresGrad: true });
    const run = () => detectAnomaly(() => backward(model.forward(x)));
    expect(run).toThrow(AnomalyError);
    expect(run).toThrow(
      "backward of sqrt in root: the gradient for its input 0 is Infinity at position 1 of [2]",
    );
    expect(x.grad).toBeNull();
  });

  it("returns what the body returns and stops watching afterwards", () => {
    expect(detectAnomaly(() => 5)).toBe(5);
    const bad = () => tensor([0]).log();
    expect(() => detectAnomaly(bad)).toThrow("log: produced -Infinity at position 0 of its output [1]");
    expect(bad().itemSync()).toBe(Number.NEGATIVE_INFINITY);
  });

  it("lets integers and finite numbers pass", () => {
    const x = tensor([1, 2], { requiresGrad: true });
    detectAnomaly(() => dropout(x, 0.5).sum().add(x.argmax(0).to("f32")).backward());
    expect(x.grad).not.toBeNull();
    expect(() => detectAnomaly(() => zeros([0]).add(1))).not.toThrow();
  });

  it("refuses a body that goes on after it returned", () => {
    expect(() => detectAnomaly(async () => 1)).toThrow("detectAnomaly: the body returned a promise");
  });
});
