/** Modules: names, state, modes, how they print, and where errors say they arose. */
import { describe, expect, it } from "vitest";
import { backward, nn, ones, onOp, optim, scope, type Tensor, tensor, zeros } from "../src/index.ts";

class Block extends nn.Module {
  readonly conv = new nn.Conv2d(2, 3, 1, { bias: false });
  readonly norm = new nn.BatchNorm2d(3);
  readonly act = new nn.ReLU();
  scale = new nn.Parameter(ones([1]));

  override forward(x: Tensor): Tensor {
    return this.act.forward(this.norm.forward(this.conv.forward(x))).mul(this.scale);
  }
}

class Network extends nn.Module {
  readonly stages = [new Block(), new nn.Identity()];
  readonly head: nn.Sequential;

  constructor() {
    super();
    this.head = new nn.Sequential(new nn.Flatten(), new nn.Linear(3, 2));
    this.addModule("extra", new nn.Identity());
    this.registerBuffer("steps", zeros([]));
  }

  override forward(x: Tensor): Tensor {
    const features = this.stages.reduce((y: Tensor, stage) => stage.forward(y), x);
    return this.head.forward(features);
  }
}

describe("names", () => {
  it("of the state are PyTorch's, in its order: own parameters, own buffers, then children", () => {
    class Ordered extends nn.Module {
      readonly child = new nn.Linear(1, 1, { bias: false });
      own = new nn.Parameter(ones([1]));
      readonly norm = new nn.BatchNorm2d(1);
      constructor() {
        super();
        this.registerBuffer("count", zeros([]));
      }
      override forward(x: Tensor): Tensor {
        return x;
      }
    }
    expect([...new Ordered().stateDict().keys()]).toEqual([
      "own",
      "count",
      "child.weight",
      "norm.weight",
      "norm.bias",
      "norm.running_mean",
      "norm.running_var",
      "norm.num_batches_tracked",
    ]);
  });

  it("of children come from properties, arrays and addModule; shared ones count once", () => {
    const network = new Network();
    expect([...network.namedModules().keys()]).toEqual([
      "",
      "stages.0",
      "stages.0.conv",
      "stages.0.norm",
      "stages.0.act",
      "stages.1",
      "head",
      "head.0",
      "head.1",
      "extra",
    ]);
    network.addModule("again", network.head);
    expect([...network.namedModules().keys()]).not.toContain("again");
    expect([...network.namedChildren().keys()]).toContain("again");
    expect([...network.namedBuffers().keys()][0]).toBe("steps");
  });

  it("must be free, not empty and without dots", () => {
    const network = new Network();
    expect(() => network.addModule("a.b", new nn.ReLU())).toThrow(
      'Network: "a.b" is no name: it is empty or has a dot',
    );
    expect(() => network.registerBuffer("", zeros([]))).toThrow("is no name");
    for (const name of ["head", "steps", "extra", "training"])
      expect(() => network.addModule(name, new nn.ReLU())).toThrow(`Network: the name ${name} is taken`);
    expect(() => network.buffer("nothing")).toThrow("Network: has no buffer nothing");
  });
});

describe("parameters", () => {
  it("that two modules share are one", () => {
    const [first, second] = [new nn.Linear(2, 2), new nn.Linear(2, 2)];
    second.weight = first.weight;
    const both = new nn.Sequential(first, second);
    expect([...both.namedParameters().keys()]).toEqual(["0.weight", "0.bias", "1.bias"]);
    expect([...both.stateDict().keys()]).toEqual(["0.weight", "0.bias", "1.weight", "1.bias"]);
    expect(both.loadStateDict(both.stateDict())).toEqual({ missing: [], unexpected: [] });
    expect(both.parameterCount()).toBe(8);
    both.to("f64");
    expect(second.weight).toBe(first.weight);
    expect(both.parameters().map(({ dtype }) => dtype)).toEqual(["f64", "f64", "f64"]);
  });

  it("convert with their module: values stay, frozen ones stay frozen, counters stay integers", () => {
    const norm = new nn.BatchNorm2d(2);
    nn.init.constant(norm.weight, 0.1);
    norm.bias.requiresGrad = false;
    scope(() => void norm.to("f64"));
    expect([norm.weight.dtype, norm.buffer("running_var").dtype]).toEqual(["f64", "f64"]);
    expect(norm.buffer("num_batches_tracked").dtype).toBe("i32");
    expect(norm.weight.toArraySync()).toEqual([Math.fround(0.1), Math.fround(0.1)]);
    expect([norm.weight.requiresGrad, norm.bias.requiresGrad]).toEqual([true, false]);
    expect(norm.forward(zeros([2, 2, 1, 1], { dtype: "f64" })).dtype).toBe("f64");
  });

  it("lose their gradients by zeroGrad", () => {
    const layer = new nn.Linear(2, 1);
    layer.forward(ones([1, 2])).backward();
    expect(layer.weight.grad).not.toBeNull();
    layer.zeroGrad();
    expect(layer.parameters().map((each) => each.grad)).toEqual([null, null]);
  });
});

describe("modes", () => {
  it("switch all modules below, and decide what layers do", () => {
    const network = new nn.Sequential(new nn.Dropout(1), new nn.Sequential(new nn.Dropout(1)));
    const modes = () => [...network.namedModules().values()].map(({ training }) => training);
    expect(modes()).toEqual([true, true, true, true]);
    expect(network.forward(ones([2])).toArraySync()).toEqual([0, 0]);
    expect(network.eval()).toBe(network);
    expect(modes()).toEqual([false, false, false, false]);
    expect(network.forward(ones([2])).toArraySync()).toEqual([1, 1]);
    expect(network.train().training).toBe(true);
  });
});

describe("state", () => {
  it("goes from one network to another", () => {
    const [source, target] = [new Network(), new Network()];
    const x = ones([2, 2, 1, 1]);
    source.forward(x.mul(tensor([[[[2]], [[-1]]]])).add(tensor([1, 2]).reshape([2, 1, 1, 1])));
    expect(target.loadStateDict(source.stateDict())).toEqual({ missing: [], unexpected: [] });
    const values = (network: nn.Module) =>
      [...network.stateDict().values()].map((value) => value.toArraySync());
    expect(values(target)).toEqual(values(source));
    expect(target.eval().forward(x).toArraySync()).toEqual(source.eval().forward(x).toArraySync());
    // A copy: training the one leaves the other alone.
    nn.init.constant(source.stages[0].parameters()[0], 7);
    expect(values(target)).not.toEqual(values(source));
  });

  it("is converted to the module's dtype, and writes into the parameters that optimizers hold", () => {
    const layer = new nn.Linear(1, 1);
    const { weight } = layer;
    layer.loadStateDict(
      new Map([
        ["weight", tensor([[2.5]], { dtype: "f64" })],
        ["bias", tensor([1], { dtype: "i32" })],
      ]),
    );
    expect(layer.weight).toBe(weight);
    expect([weight.dtype, weight.toArraySync(), layer.bias?.toArraySync()]).toEqual(["f32", [[2.5]], [1]]);
  });

  it("that does not fit is refused whole, with all that is wrong with it", () => {
    const layer = new nn.Sequential(new nn.Linear(2, 1), new nn.Linear(1, 1));
    const before = layer.parameters().map((each) => each.toArraySync());
    const state = new Map([
      ["0.weight", ones([1, 2])],
      ["0.bias", ones([2])],
      ["1.weight", ones([1, 1])],
      ["2.weight", ones([1])],
    ]);
    expect(() => layer.loadStateDict(state)).toThrow(
      "loadStateDict: the state does not fit Sequential:\n" +
        "  missing 1.bias\n  unexpected 2.weight\n  0.bias is [2], the module has [1]\n" +
        "Pass { strict: false } to accept missing and unexpected names.",
    );
    expect(() => layer.loadStateDict(state, { strict: false })).toThrow("0.bias is [2]");
    expect(layer.parameters().map((each) => each.toArraySync())).toEqual(before);
    state.delete("0.bias");
    expect(layer.loadStateDict(state, { strict: false })).toEqual({
      missing: ["0.bias", "1.bias"],
      unexpected: ["2.weight"],
    });
    expect(layer.parameters()[0].toArraySync()).toEqual([[1, 1]]);
  });
});

describe("printing", () => {
  it("shows the tree", () => {
    expect(String(new Network())).toBe(`Network(
  (stages.0): Block(
    (conv): Conv2d(2, 3, kernelSize=[1, 1], stride=1, padding=0, bias=false)
    (norm): BatchNorm2d(3, eps=0.00001, momentum=0.1)
    (act): ReLU()
  )
  (stages.1): Identity()
  (head): Sequential(
    (0): Flatten(startAxis=1)
    (1): Linear(inFeatures=3, outFeatures=2)
  )
  (extra): Identity()
)`);
  });
});

describe("errors", () => {
  it("say once in which module they arose, by its path from the outermost", () => {
    const network = new Network();
    const error = "conv2d: weight [3, 2, 1, 1] expects 2 input channels per group, input [1, 5, 4, 4] has 5";
    expect(() => network.forward(ones([1, 5, 4, 4]))).toThrow(new Error(`${error} (in stages.0.conv)`));
    expect(() => new nn.Conv2d(2, 3, 1).forward(ones([1, 5, 4, 4]))).toThrow(new Error(error));
    // After an error, the next call starts from the outermost module again.
    expect(() => network.forward(ones([1, 5, 4, 4]))).toThrow(new Error(`${error} (in stages.0.conv)`));
  });

  it("name a module that is not registered by its class", () => {
    const hidden = new nn.Linear(3, 1);
    class Careless extends nn.Module {
      readonly call = (x: Tensor) => hidden.forward(x);
      override forward(x: Tensor): Tensor {
        return this.call(x);
      }
    }
    expect(() => new nn.Sequential(new Careless()).forward(ones([2]))).toThrow("(in 0.Linear)");
  });
});

describe("paths", () => {
  /** The paths of the modules whose ops run in a call. */
  function pathsIn(network: nn.Module, x: Tensor): string[] {
    const paths = new Set<string>();
    const stop = onOp(({ modulePath }) => void paths.add(modulePath));
    network.forward(x);
    stop();
    return [...paths];
  }

  it("follow the modules when they are added, replaced and moved between calls", () => {
    class Chain extends nn.Module {
      readonly parts: nn.Module[] = [new nn.Linear(2, 2, { bias: false })];
      last: nn.Module = new nn.ReLU();
      override forward(x: Tensor): Tensor {
        return this.last.forward(this.parts.reduce((y, part) => part.forward(y), x));
      }
    }
    const chain = new Chain();
    expect(pathsIn(chain, ones([1, 2]))).toEqual(["parts.0", "last"]);
    chain.parts.unshift(new nn.ReLU());
    expect(pathsIn(chain, ones([1, 2]))).toEqual(["parts.0", "parts.1", "last"]);
    chain.last = new nn.Sequential(chain.last);
    expect(pathsIn(chain, ones([1, 2]))).toEqual(["parts.0", "parts.1", "last.0"]);
    const grown = new nn.Sequential(chain.last);
    grown.addModule("1", new nn.ReLU());
    chain.last = grown;
    expect(pathsIn(chain, ones([1, 2]))).toEqual(["parts.0", "parts.1", "last.0.0", "last.1"]);
    expect(pathsIn(grown, ones([1, 2]))).toEqual(["0.0", "1"]);
  });

  it("on the tape are those of the module that made it, also when asked for after other calls", () => {
    const network = new nn.Sequential(new nn.Sequential(new nn.Linear(2, 2)), new nn.ReLU());
    const inner = new nn.Sequential({ named: new nn.ReLU() });
    const x = ones([1, 2], { requiresGrad: true });
    const [first, second, third] = [network.forward(x), inner.forward(x), x.relu()];
    expect([first, second, third].map(({ gradFn }) => gradFn?.modulePath)).toEqual(["1", "named", ""]);
    expect(first.gradFn?.inputs[0].gradFn?.describe()).toBe("add in 0.0");
  });
});

it("a module trains: a line is fitted", () => {
  const layer = new nn.Linear(1, 1).to("f64");
  const x = tensor([[-1], [0], [2]], { dtype: "f64" });
  const optimizer = new optim.SGD(layer.parameters(), { lr: 0.2 });
  for (let step = 0; step < 200; step++)
    scope(() => {
      optimizer.zeroGrad();
      backward(nn.mseLoss(layer.forward(x), x.mul(3).add(-1)));
      optimizer.step();
    });
  expect(layer.weight.itemSync()).toBeCloseTo(3, 6);
  expect(layer.bias?.itemSync()).toBeCloseTo(-1, 6);
});
