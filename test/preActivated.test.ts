/** Norm, ReLU and convolution as one op: the same numbers as the three layers, and only where nobody can tell. */
import { describe, expect, it } from "vitest";
import {
  crossEntropy,
  Generator,
  noGrad,
  onEdge,
  onOp,
  optim,
  randint,
  randn,
  scope,
  type Tensor,
} from "../src/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { BatchNorm2d, Conv2d, type Module, preActivated, ReLU, Sequential } from "../src/nn/index.ts";

const sizes = { blocks: [2, 2], growthRate: 6, stem: "small", inChannels: 1, classes: 5 } as const;

/** Parameters and buffers after some steps of training, and the evaluation of a batch. */
function train(make: typeof densenet, watch: () => () => void): readonly Float64Array[] {
  const model = make(sizes);
  const generator = new Generator(3);
  for (const parameter of model.parameters()) {
    const values = randn(parameter.shape, { generator });
    parameter.backend.write(parameter.storage.buffer, values.mul(0.2).dataSync());
  }
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.05, momentum: 0.9 });
  const [x, labels] = [randn([4, 1, 28, 28], { generator }), randint(0, 5, [4], { generator })];
  const stop = watch();
  for (let step = 0; step < 3; step++)
    scope(() => {
      optimizer.zeroGrad();
      crossEntropy(model.forward(x), labels).backward();
      optimizer.step();
    });
  model.eval();
  const logits = noGrad(() => model.forward(x));
  stop();
  return [...model.stateDict().values(), logits].map((tensor) => Float64Array.from(tensor.dataSync()));
}

const unwatched = (): (() => void) => () => undefined;

/** Ops that `body` runs, by a listener: it sees what runs when somebody watches. */
function opsWatched(body: () => void): string[] {
  const ops: string[] = [];
  const stop = onOp(({ op }) => void ops.push(op));
  body();
  stop();
  return ops;
}

/** Ops on the tape above `output`. */
function opsOnTape(output: Tensor): string[] {
  const ops: string[] = [];
  const seen = new Set<Tensor>();
  const visit = (tensor: Tensor): void => {
    if (seen.has(tensor) || !tensor.gradFn) return;
    seen.add(tensor);
    ops.push(tensor.gradFn.op);
    for (const input of tensor.gradFn.inputs) visit(input);
  };
  visit(output);
  return ops;
}

const layers = () => ({
  norm: new BatchNorm2d(3),
  activation: new ReLU(),
  conv: new Conv2d(3, 4, 3, { padding: 1, bias: false }),
});

describe("preActivated", () => {
  it.each([
    ["DenseNet", densenet],
    ["CSPDenseNet", cspDenseNet],
  ] as const)("trains %s to the same numbers, watched or not", (_, make) => {
    const plain = train(make, unwatched);
    const watched = train(make, () => onEdge(() => undefined));
    // Evaluation folds the running statistics into a line when watched: one rounding apart.
    expect(plain.slice(0, -1)).toEqual(watched.slice(0, -1));
    for (const [i, value] of plain[plain.length - 1].entries())
      expect(value).toBeCloseTo(watched[watched.length - 1][i], 4);
  });

  it("is one op on the tape, and three when somebody listens", () => {
    const three = layers();
    const x = randn([2, 3, 6, 6]);
    expect(opsOnTape(preActivated(x, three))).toEqual(["normReluConv2d"]);
    expect(opsWatched(() => preActivated(x, three))).toEqual(
      expect.arrayContaining(["batchNorm", "relu", "conv2d"]),
    );
  });

  it.each([
    [
      "a hook on the norm",
      ({ norm }: ReturnType<typeof layers>) => void norm.registerForwardHook(() => undefined),
    ],
    ["a hook on the ReLU", ({ activation }) => void activation.registerForwardPreHook(() => undefined)],
    ["a hook on the convolution", ({ conv }) => void conv.registerFullBackwardHook(() => undefined)],
    ["evaluation with gradients", ({ norm }) => void norm.eval()],
  ] as readonly (readonly [string, (three: ReturnType<typeof layers>) => void])[])(
    "keeps three ops for %s",
    (_, change) => {
      const three = layers();
      change(three);
      expect(opsOnTape(preActivated(randn([2, 3, 6, 6]), three))).not.toContain("normReluConv2d");
    },
  );

  it("keeps three ops for f64, and for layers that are not what they seem", () => {
    class Doubled extends ReLU {
      override forward(x: Tensor): Tensor {
        return super.forward(x).mul(2);
      }
    }
    const three = layers();
    const x = randn([2, 3, 6, 6]);
    expect(opsOnTape(preActivated(x, { ...three, activation: new Doubled() }))).toContain("mul");
    const modules: readonly Module[] = [three.norm, three.conv];
    for (const module of modules) module.to("f64");
    expect(opsOnTape(preActivated(x.to("f64"), three))).toContain("batchNorm");
  });

  it("leaves errors to the layer that they are of", () => {
    const three = layers();
    expect(() => preActivated(randn([2, 4, 6, 6]), three)).toThrow(
      "BatchNorm2d: input [2, 4, 6, 6] must be [N, 3, H, W]",
    );
    expect(() => preActivated(randn([1, 3, 1, 1]), three)).toThrow("one value per channel");
  });

  it("evaluates by the running statistics as they are now", () => {
    const three = layers();
    const x = randn([4, 3, 5, 5]);
    const evaluate = () => {
      for (const module of [three.norm, three.activation, three.conv]) module.eval();
      return scope(() => noGrad(() => preActivated(x, three).dataSync()));
    };
    const apart = () =>
      noGrad(() => three.conv.forward(three.activation.forward(three.norm.forward(x))).dataSync());
    for (let step = 0; step < 3; step++) {
      const [got, want] = [evaluate(), apart()];
      expect(evaluate()).toEqual(got);
      for (const [i, value] of got.entries()) expect(value).toBeCloseTo(want[i], 4);
      three.norm.train();
      preActivated(randn([4, 3, 5, 5]), three);
    }
    const other = layers().norm;
    other.buffer("running_mean").backend.write(other.buffer("running_mean").storage.buffer, [3, 2, 1]);
    three.norm.loadStateDict(other.stateDict());
    const [got, want] = [evaluate(), apart()];
    for (const [i, value] of got.entries()) expect(value).toBeCloseTo(want[i], 4);
  });

  it("moves the running statistics as the layer does", () => {
    const [fused, apart] = [layers(), layers()];
    const x = randn([4, 3, 5, 5]);
    preActivated(x, fused);
    new Sequential(apart.norm, apart.activation, apart.conv).forward(x);
    for (const name of ["running_mean", "running_var", "num_batches_tracked"])
      expect(fused.norm.buffer(name).dataSync()).toEqual(apart.norm.buffer(name).dataSync());
  });
});
