/** A folded model computes what the model does in evaluation, with fewer ops, and leaves the model alone. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Generator, manualSeed, nn, noGrad, onOp, randn, scope, type Tensor } from "../src/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";

const { BatchNorm2d, Conv2d, foldForInference, Module, ReLU, Sequential } = nn;

/** Moves every parameter and buffer, so that no norm is the identity, and puts the model into evaluation. */
function trained<Model extends nn.Module>(model: Model, seed = 1): Model {
  const generator = new Generator(seed);
  for (const [name, tensor] of model.stateDict()) {
    if (tensor.dtype === "i32") continue;
    const values = randn(tensor.shape, { generator }).mul(name.endsWith("weight") ? 0.4 : 0.2);
    const positive = name.endsWith("running_var") ? values.square().add(0.3) : values;
    tensor.backend.write(tensor.storage.buffer, positive.dataSync());
  }
  return model.eval();
}

/** Outputs, and the largest difference relative to the largest output. */
function compare(model: nn.Module, folded: nn.Module, x: Tensor): number {
  const [expected, found] = [model, folded].map((one) => noGrad(() => one.forward(x)).dataSync());
  const largest = Math.max(...expected.map(Math.abs));
  expect(largest).toBeGreaterThan(0);
  return Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / largest;
}

function opsOf(body: () => unknown): string[] {
  const ops: string[] = [];
  const stop = onOp(({ op }) => void ops.push(op));
  noGrad(body);
  stop();
  return ops;
}

const chain = () => ({
  conv: new Conv2d(3, 4, 3, { padding: 1, bias: false }),
  norm: new BatchNorm2d(4),
  relu: new ReLU(),
});

describe("foldForInference", () => {
  const sizes = { blocks: [2, 2], growthRate: 4, inChannels: 3, classes: 5 } as const;
  it.each([
    ["DenseNet", densenet, "imagenet"],
    ["CSPDenseNet", cspDenseNet, "imagenet"],
    ["a DenseNet without a norm in the stem", densenet, "small"],
  ] as const)("gives the logits of %s", (_, make, stem) => {
    const model = trained(make({ ...sizes, stem }));
    const folded = foldForInference(model);
    expect(compare(model, folded, randn([2, 3, 40, 40], { generator: new Generator(2) }))).toBeLessThan(1e-5);
    expect(String(folded).includes("FoldedConv2d")).toBe(stem === "imagenet");
  });

  it("makes every chain of a Sequential one op, whatever it is made of", () => {
    const drawn = fc.record({
      units: fc.array(
        fc.record({
          channels: fc.integer({ min: 1, max: 5 }),
          window: fc.constantFrom(1, 3),
          stride: fc.constantFrom(1, 2),
          bias: fc.boolean(),
          norm: fc.boolean(),
          activation: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      dtype: fc.constantFrom<"f32" | "f64">("f32", "f64"),
      seed: fc.nat(1e6),
    });
    const check = ({
      units,
      dtype,
      seed,
    }: typeof drawn extends fc.Arbitrary<infer Value> ? Value : never) => {
      let width = 3;
      const layers = units.flatMap(({ channels, window, stride, bias, norm, activation }) => {
        const conv = new Conv2d(width, channels, window, { stride, bias, padding: 1 });
        width = channels;
        return [conv, ...(norm ? [new BatchNorm2d(width)] : []), ...(activation ? [new ReLU()] : [])];
      });
      const model = trained(new Sequential(...layers).to(dtype), seed);
      const folded = foldForInference(model);
      const x = randn([2, 3, 7, 9], { generator: new Generator(seed) }).to(dtype);
      expect(opsOf(() => folded.forward(x))).toEqual(
        units.map(({ activation }) => (activation ? "conv2dRelu" : "conv2d")),
      );
      const [expected, found] = [model, folded].map((one) => noGrad(() => one.forward(x)).dataSync());
      const largest = Math.max(...expected.map(Math.abs), 1e-3);
      const unit = dtype === "f32" ? 1e-5 : 1e-13;
      expected.forEach((value, i) => {
        expect(Math.abs(found[i] - value)).toBeLessThanOrEqual(unit * largest);
      });
    };
    fc.assert(fc.property(drawn, check), { numRuns: 60, seed: 4 });
  });

  it("folds what a module says are its chains, under whatever names it keeps them", () => {
    class Unit extends Module {
      readonly parts = [new Conv2d(3, 4, 1), new BatchNorm2d(4)];
      readonly conv: nn.Module = new Conv2d(4, 2, 3);
      readonly activation: nn.Module = new ReLU();
      override forward(x: Tensor): Tensor {
        const normed = this.parts.reduce((y: Tensor, part) => part.forward(y), x);
        return this.activation.forward(this.conv.forward(normed));
      }
      override convolutionChains(): readonly nn.ConvolutionChain[] {
        return [
          { convolution: "parts.0", norm: "parts.1" },
          { convolution: "conv", activation: "activation" },
        ];
      }
    }
    const model = trained(new Unit());
    const folded = foldForInference(model);
    const x = randn([2, 3, 5, 5]);
    expect(compare(model, folded, x)).toBeLessThan(1e-5);
    expect(opsOf(() => folded.forward(x))).toEqual(["conv2d", "conv2dRelu"]);

    class Wrong extends Unit {
      override convolutionChains() {
        return [{ convolution: "conv", norm: "norm9" }];
      }
    }
    expect(() => foldForInference(new Wrong().eval())).toThrow(
      "foldForInference: Wrong.convolutionChains() names norm9, which is no child of it; its children are parts.0, parts.1, conv, activation",
    );
  });

  it("leaves the model as it was, and does not follow it", () => {
    const model = trained(new Sequential({ ...chain(), head: new Conv2d(4, 2, 1) }));
    const x = randn([2, 3, 6, 6]);
    const stateOf = () =>
      [...model.stateDict()].map(([name, tensor]) => [name, Array.from(tensor.dataSync())]);
    const [state, text, parameters] = [stateOf(), String(model), model.parameters()];
    const folded = scope(() => {
      const made = foldForInference(model);
      made.forward(x);
      return made;
    });
    expect([stateOf(), String(model), model.parameters()]).toEqual([state, text, parameters]);

    const before = noGrad(() => folded.forward(x)).dataSync();
    trained(model, 7);
    expect(noGrad(() => folded.forward(x)).dataSync()).toEqual(before);
    expect(folded.parameters().filter((parameter) => parameters.includes(parameter))).toEqual([]);
  });

  it("refuses training mode, before folding and after", () => {
    const model = new Sequential({ stem: new Sequential(chain()) });
    expect(() => foldForInference(model)).toThrow("foldForInference: Sequential is in training mode");
    model.eval();
    for (const module of model.namedChildren().values()) module.train();
    expect(() => foldForInference(model)).toThrow("foldForInference: stem is in training mode");
    const folded = foldForInference(model.eval()).train();
    expect(() => folded.forward(randn([1, 3, 4, 4]))).toThrow(
      "FoldedConv2d: is for evaluation only, its batch norm's statistics are constants in its weight; " +
        "call eval(), or train the model that was folded and fold it anew (in stem.conv)",
    );
  });

  it("keeps layers that are not what they seem, that stand in two places, or that a subclass calls otherwise", () => {
    class Halved extends BatchNorm2d {
      override forward(x: Tensor): Tensor {
        return super.forward(x).mul(0.5);
      }
    }
    class Backwards extends Sequential {
      override forward(x: Tensor): Tensor {
        return [...this.namedChildren().values()].reverse().reduce((y, child) => child.forward(y), x);
      }
    }
    const shared = new Conv2d(3, 3, 1);
    const models: readonly nn.Module[] = [
      new Sequential({ ...chain(), norm: new Halved(4) }),
      new Sequential({ a: shared, norm: new BatchNorm2d(3), b: shared, relu: new ReLU() }),
      new Backwards({ conv: new Conv2d(3, 3, 1), norm: new BatchNorm2d(3), relu: new ReLU() }),
    ];
    for (const model of models) {
      const folded = foldForInference(trained(model));
      expect(String(folded)).not.toContain("FoldedConv2d");
      expect(compare(model, folded, randn([2, 3, 5, 5]))).toBeLessThan(1e-6);
    }
  });
});

describe("copies of modules", () => {
  class Tied extends Module {
    readonly first = new nn.Linear(3, 3);
    readonly second = new nn.Linear(3, 3);
    readonly list = [this.first, new BatchNorm2d(2)];
    constructor() {
      super();
      this.second.weight = this.first.weight;
      this.addModule("extra", new nn.Linear(3, 1));
      this.first.weight.requiresGrad = false;
    }
    override forward(x: Tensor): Tensor {
      return this.second.forward(this.first.forward(x));
    }
  }

  it("have the state, the structure and what was shared, and draw no random numbers", () => {
    const model = new Tied().eval();
    manualSeed(5);
    const copy = model.copy();
    const next = randn([1]).itemSync();
    manualSeed(5);
    expect(randn([1]).itemSync()).toBe(next);
    expect(copy).toBeInstanceOf(Tied);
    expect(String(copy)).toBe(String(model));
    expect([...copy.stateDict()].map(([name, tensor]) => [name, tensor.dataSync()])).toEqual(
      [...model.stateDict()].map(([name, tensor]) => [name, tensor.dataSync()]),
    );
    expect(copy.second.weight).toBe(copy.first.weight);
    expect(copy.list[0]).toBe(copy.first);
    expect(copy.first.weight.requiresGrad).toBe(false);
    expect([...copy.namedModules().values()].every(({ training }) => !training)).toBe(true);
    const originals = new Set([...model.stateDict().values()].map(({ storage }) => storage));
    for (const { storage } of copy.stateDict().values()) expect(originals.has(storage)).toBe(false);
    const x = randn([2, 3]);
    expect(copy.forward(x).dataSync()).toEqual(model.forward(x).dataSync());
  });

  it("outlive the scope they are made in, and leave hooks behind", () => {
    const model = new Sequential({ ...chain() });
    let calls = 0;
    model.registerForwardHook(() => void calls++);
    const copies: nn.Sequential[] = [];
    scope(() => void copies.push(model.copy()));
    copies[0].forward(randn([2, 3, 4, 4]));
    expect(calls).toBe(0);
  });

  it("get another child by any name, and only by one that is there", () => {
    const model = new Tied();
    for (const name of ["extra", "first", "list.1"]) {
      const identity = new nn.Identity();
      model.replaceModule(name, identity);
      expect(model.namedChildren().get(name)).toBe(identity);
    }
    expect(() => model.replaceModule("third", new nn.Identity())).toThrow(
      "Tied: has no child third; it has first, second, list.0, list.1, extra",
    );
  });
});
