import { describe, expect, it } from "vitest";
import {
  abs,
  adaptiveAvgPool2d,
  add,
  argmax,
  avgPool2d,
  batchNorm,
  channelMaxout,
  clamp,
  clone,
  concat,
  conv2d,
  div,
  equal,
  exp,
  expand,
  floor,
  gather,
  globalAvgPool2d,
  greater,
  hardSigmoid,
  hardSwish,
  leakyRelu,
  less,
  log,
  logSoftmax,
  logSumExp,
  manualSeed,
  matmul,
  max,
  maximum,
  maxPool2d,
  mean,
  min,
  mish,
  mul,
  nn,
  noGrad,
  notEqual,
  ones,
  pad,
  permute,
  pow,
  randint,
  randn,
  relu,
  relu6,
  reshape,
  scope,
  select,
  sigmoid,
  sign,
  silu,
  slice,
  softmax,
  softplus,
  split,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  tanh,
  tensor,
  to,
  upsample,
  variance,
  where,
  zeros,
} from "../src/index.ts";
import { exportOnnx, importOnnx } from "../src/io/index.ts";
import { decodeModel } from "../src/io/onnx/decode.ts";
import { createModel, densenet } from "../src/models/index.ts";
import { loadOnnxRuntime } from "./support/onnxRuntime.ts";

const runtime = loadOnnxRuntime();

/** A function of tensors as a module. */
class Lambda extends nn.Module {
  readonly compute: (...inputs: Tensor[]) => Tensor;

  constructor(compute: (...inputs: Tensor[]) => Tensor) {
    super();
    this.compute = compute;
  }

  override forward(...inputs: Tensor[]): Tensor {
    return this.compute(...inputs);
  }
}

/** The largest difference, relative where values are larger than one; infinite where only one of two is NaN. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i]) || a[i] === b[i]) continue;
    const relative = Math.abs(a[i] - b[i]) / Math.max(1, Math.abs(b[i]));
    largest = Math.max(largest, Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative);
  }
  return largest;
}

/** Holds an exported file to its module: read back by us and, where it is installed, run by onnxruntime. */
async function check(module: nn.Module, inputs: readonly Tensor[], tolerance = 1e-5): Promise<void> {
  const bytes = exportOnnx(module, inputs);
  const expected = noGrad(() => module.eval().forward(...inputs));
  const imported = await importOnnx(bytes);
  const own = noGrad(() => imported.forward(...inputs));
  expect([own.shape, own.dtype]).toEqual([expected.shape, expected.dtype]);
  expect(difference(own.dataSync(), expected.dataSync())).toBeLessThanOrEqual(1e-5);
  if (!runtime) return;
  const theirs = await runtime(bytes, inputs);
  expect(theirs.shape).toEqual(expected.shape);
  expect(difference(theirs.data, expected.dataSync())).toBeLessThanOrEqual(tolerance);
}

const opTypes = (bytes: Uint8Array): string[] => decodeModel(bytes).graph.nodes.map(({ opType }) => opType);

manualSeed(0);
const images = randn([2, 6, 7, 5]);
const positive = add(abs(images), 0.5);
const rows = randn([3, 5]);
const integers = randint(-5, 6, [2, 3, 4]);

/** Every op that networks use in evaluation, in sizes that do not divide. */
const functions: Record<string, readonly [compute: (...x: Tensor[]) => Tensor, ...inputs: Tensor[]]> = {
  relu: [relu, images],
  leakyRelu: [(x) => leakyRelu(x, 0.1), images],
  relu6: [relu6, mul(images, 5)],
  clamp: [(x) => clamp(x, -0.25, 0.5), images],
  sigmoid: [sigmoid, images],
  tanh: [tanh, images],
  softplus: [softplus, images],
  silu: [silu, images],
  mish: [mish, images],
  hardSigmoid: [hardSigmoid, mul(images, 3)],
  hardSwish: [hardSwish, mul(images, 3)],
  "exp, log, sqrt, floor, sign, abs": [
    (x) => add(add(exp(x), log(x)), add(add(sqrt(x), floor(x)), add(sign(x), abs(x)))),
    positive,
  ],
  "arithmetic that broadcasts": [(x, y) => sub(div(mul(x, y), add(square(y), 2)), 0.5), rows, randn([5])],
  pow: [(x) => pow(x, 1.7), positive],
  "minimum and maximum": [(x) => maximum(x.minimum(0.5), -0.5), images],
  "comparisons as booleans": [(x) => greater(x, 0), images],
  "equality and inequality": [(x) => add(to(equal(x, 1), "f32"), to(notEqual(x, 2), "f32")), integers],
  where: [(x) => where(less(x, 0), mul(x, 2), sub(x, 1)), images],
  "where of booleans": [(x) => where(less(x, 0), greater(x, -1), greater(x, 1)), images],
  cast: [(x) => to(to(mul(x, 3), "i32"), "f32"), images],
  copy: [(x) => clone(x), images],
  integers: [(x) => add(mul(x, 3), 1), integers],
  "the input itself": [(x) => x, images],
  "a constant output is a function of x too": [(x) => add(mul(x, 0), ones([1])), images],
  "conv2d with stride, padding, groups and bias": [
    (x) =>
      conv2d(x, weight(9, 2, 3, 2), { bias: randn([9]), stride: [2, 1], padding: [1, 0, 0, 1], groups: 3 }),
    images,
  ],
  "conv2d with dilation": [(x) => conv2d(x, weight(4, 6, 3, 3), { dilation: [2, 1], padding: 2 }), images],
  "max pooling": [(x) => maxPool2d(x, { kernelSize: 3, stride: 2, padding: 1 }), images],
  "max pooling, rounded up": [(x) => maxPool2d(x, { kernelSize: 2, stride: [2, 3], ceilMode: true }), images],
  "max pooling, rounded up with padding": [
    (x) => maxPool2d(x, { kernelSize: 3, stride: 2, padding: [1, 0], ceilMode: true }),
    images,
  ],
  "max pooling with dilation": [(x) => maxPool2d(x, { kernelSize: 2, stride: 1, dilation: [3, 2] }), images],
  "average pooling": [(x) => avgPool2d(x, { kernelSize: 2 }), images],
  "average pooling with counted padding": [
    (x) => avgPool2d(x, { kernelSize: 3, stride: 2, padding: 1 }),
    images,
  ],
  "average pooling without": [
    (x) => avgPool2d(x, { kernelSize: 3, stride: 2, padding: [1, 0, 0, 1], countIncludePad: false }),
    images,
  ],
  "average pooling, rounded up": [(x) => avgPool2d(x, { kernelSize: 2, ceilMode: true }), images],
  "global average": [globalAvgPool2d, images],
  "adaptive average that divides": [(x) => adaptiveAvgPool2d(x, [7, 1]), images],
  "adaptive average to one": [(x) => adaptiveAvgPool2d(x, 1), images],
  "adaptive average of uneven windows": [(x) => adaptiveAvgPool2d(x, [3, 4]), images],
  "adaptive average to more": [(x) => adaptiveAvgPool2d(x, [9, 5]), images],
  concat: [(x) => concat([x, mul(x, 2), x], 1), images],
  "concat and split": [(x) => concat([...split(x, [1, 2, 3], 1)].reverse(), 1), images],
  "slices and one entry": [
    (x) => add(slice(x, 2, 1, -1), select(slice(x, 2, 0, 5), 1, 2).unsqueeze(1)),
    images,
  ],
  "reshape and permute": [(x) => permute(reshape(x, [2, 3, 2, 35]), [0, 2, 1, 3]), images],
  "a reshape that drops the batch": [(x) => reshape(x, [-1]), images],
  "pad with a value": [
    (x) =>
      pad(
        x,
        [
          [0, 0],
          [1, 2],
          [0, 3],
          [0, 0],
        ],
        -1.5,
      ),
    images,
  ],
  expand: [(x) => expand(reshape(x, [3, 1, 5]), [3, 2, 5]), rows],
  sum: [(x) => sum(x, [1, 3]), images],
  "sum of bytes": [(x) => sum(to(greater(x, 0), "u8"), 1), rows],
  mean: [(x) => mean(x, [2, 3]), images],
  "mean of everything": [(x) => mean(x), images],
  variance: [(x) => variance(x, 1, { keepDims: true }), images],
  "max and min over axes": [(x) => concat([max(x, [2, 3]), min(x, [2, 3])], 1), images],
  argmax: [(x) => argmax(x, 1), rows],
  channelMaxout: [(x) => channelMaxout(x, 2), images],
  softmax: [(x) => softmax(x, 1), images],
  logSoftmax: [(x) => logSoftmax(x, -1), rows],
  logSumExp: [(x) => logSumExp(x, 1), rows],
  "matmul of stacks": [(x, y) => matmul(x, y), randn([2, 3, 5]), randn([5, 4])],
  "matmul of broadcast stacks": [(x, y) => matmul(x, y), randn([4, 1, 2, 3]), randn([2, 3, 5])],
  gather: [
    (x) =>
      gather(
        x,
        tensor(
          [
            [0, 4],
            [1, 1],
            [3, 0],
          ],
          { dtype: "i32" },
        ),
        1,
      ),
    rows,
  ],
  "upsample nearest": [(x) => upsample(x, { scaleFactor: 2 }), images],
  "upsample nearest to a size": [(x) => upsample(x, { size: [10, 13] }), images],
  "upsample nearest by fractions": [(x) => upsample(x, { scaleFactor: [1.5, 2.3] }), images],
  "downsample nearest": [(x) => upsample(x, { size: [4, 2] }), images],
  "upsample bilinear": [(x) => upsample(x, { scaleFactor: 2, mode: "bilinear" }), images],
  "upsample bilinear to a size": [(x) => upsample(x, { size: [10, 13], mode: "bilinear" }), images],
  "upsample bilinear with aligned corners": [
    (x) => upsample(x, { size: [10, 13], mode: "bilinear", alignCorners: true }),
    images,
  ],
};

/** The same weights in every call, so that the module is a function. */
function weight(...shape: number[]): Tensor {
  return mul(
    add(
      floor(
        mul(
          reshape(
            tensor(Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i))),
            shape,
          ),
          8,
        ),
      ),
      0.5,
    ),
    0.1,
  );
}

describe("exportOnnx, op by op", () => {
  it.each(Object.entries(functions))("%s", async (name, [compute, ...inputs]) => {
    manualSeed(7);
    // Weights that a function draws are drawn once.
    const seeded = (...x: Tensor[]): Tensor => {
      manualSeed(8);
      return compute(...x);
    };
    await check(new Lambda(seeded), inputs, name.includes("uneven") || name.includes("mish") ? 2e-5 : 1e-5);
  });

  it("networks in f64", async () => {
    await check(new nn.Sequential(new nn.Linear(5, 3), new nn.ReLU()).to("f64"), [rows.to("f64")]);
  });

  it("modules that open scopes of their own, and folded ones", async () => {
    await check(new Lambda((x) => scope(() => globalAvgPool2d(mul(x, exp(tensor([0.5])))))), [images]);
    const model = new nn.Sequential(
      new nn.Conv2d(6, 4, 3, { bias: false }),
      new nn.BatchNorm2d(4),
      new nn.ReLU(),
    ).eval();
    randomStatistics(model);
    const folded = nn.foldForInference(model);
    await check(folded, [images]);
    expect(opTypes(exportOnnx(folded, images))).toEqual(["Conv", "Relu", "Identity"]);
  });

  it("refuses ops of training, and dilated averages, by name and place", () => {
    const trained = new Lambda((x) => batchNorm(x, ones([6]), zeros([6])));
    expect(() => exportOnnx(trained, images)).toThrow("exportOnnx: batchStatistics");
    const dilated = new Lambda((x) => avgPool2d(x, { kernelSize: 2, dilation: 2 }));
    expect(() => exportOnnx(dilated, images)).toThrow("has a dilation");
  });

  it("refuses a module whose ops depend on values", () => {
    const branching = new Lambda((x) => (sum(x).itemSync() > 0 ? relu(x) : x));
    expect(() => exportOnnx(branching, images)).toThrow("depend on data");
  });
});

/** Convolution, norm, squeeze, maxout and head: what the patterns are made for. */
class Small extends nn.Module {
  readonly stem = new nn.Sequential(
    new nn.Conv2d(3, 8, 3, { padding: 1, bias: false }),
    new nn.BatchNorm2d(8, { eps: 1e-3 }),
    new nn.ReLU(),
  );
  readonly head = new nn.Linear(8, 4);

  override forward(x: Tensor): Tensor {
    const pooled = globalAvgPool2d(this.stem.forward(x));
    return this.head.forward(reshape(pooled, [pooled.shape[0], pooled.shape[1]]));
  }
}

function randomStatistics(module: nn.Module): void {
  for (const [name, buffer] of module.namedBuffers()) {
    const values = name.endsWith("running_mean") ? randn(buffer.shape) : add(abs(randn(buffer.shape)), 0.5);
    if (!name.endsWith("num_batches_tracked")) buffer.backend.write(buffer.storage.buffer, values.dataSync());
  }
}

describe("exportOnnx of networks", () => {
  it("writes layers as the nodes that ONNX has for them, under the names of the state", () => {
    const model = new Small();
    randomStatistics(model);
    const bytes = exportOnnx(model, zeros([1, 3, 8, 8]));
    expect(opTypes(bytes)).toEqual([
      "Conv",
      "BatchNormalization",
      "Relu",
      "GlobalAveragePool",
      "Reshape",
      "Gemm",
      "Identity",
    ]);
    const { graph, opsets, irVersion } = decodeModel(bytes);
    expect([opsets, irVersion]).toEqual([[{ domain: "", version: 17 }], 8]);
    const names = graph.initializers.map(({ name }) => name);
    for (const name of model.stateDict().keys())
      expect(names.includes(name)).toBe(!name.endsWith("num_batches_tracked"));
    expect(graph.inputs).toEqual([{ name: "input", dataType: 1, shape: [1, 3, 8, 8] }]);
    expect(graph.outputs).toEqual([{ name: "output", dataType: 1, shape: [1, 4] }]);
  });

  it("leaves the module and its mode as they were", () => {
    const model = new Small();
    const before = [...model.stateDict()].map(([name, value]) => [name, [...value.dataSync()]]);
    exportOnnx(model, randn([2, 3, 8, 8]));
    expect([model.training, model.head.training]).toEqual([true, true]);
    expect([...model.stateDict()].map(([name, value]) => [name, [...value.dataSync()]])).toEqual(before);
  });

  it("leaves the batch open on request: one file for every size", async () => {
    const model = new Small();
    randomStatistics(model);
    const bytes = exportOnnx(model, zeros([1, 3, 8, 8]), {
      dynamicBatch: true,
      inputNames: ["images"],
      outputName: "logits",
    });
    const imported = await importOnnx(bytes);
    expect(imported.graphInputs[0]).toEqual({ name: "images", dataType: 1, shape: ["batch", 3, 8, 8] });
    for (const batch of [1, 2, 5]) {
      const x = randn([batch, 3, 8, 8]);
      const expected = noGrad(() => model.eval().forward(x));
      expect(
        difference(noGrad(() => imported.forward(x)).dataSync(), expected.dataSync()),
      ).toBeLessThanOrEqual(1e-5);
      if (runtime)
        expect(difference((await runtime(bytes, [x])).data, expected.dataSync())).toBeLessThanOrEqual(1e-5);
    }
  });

  it("refuses to leave open a batch that the graph depends on", () => {
    const options = { dynamicBatch: true };
    const fixed = new Lambda((x) => reshape(x, [x.shape[1], x.shape[0]]));
    expect(() => exportOnnx(fixed, rows, options)).toThrow("depends on the size of the batch");
    const scaled = new Lambda((x) => mul(x, 1 / x.shape[0]));
    expect(() => exportOnnx(scaled, rows, options)).toThrow("depends on the size of the batch");
  });

  it("refuses names that are not different", () => {
    expect(() => exportOnnx(new Small(), zeros([1, 3, 8, 8]), { inputNames: ["output"] })).toThrow(
      "different names",
    );
  });

  const networks: Record<string, () => nn.Module> = {
    DenseNet: () => densenet({ blocks: [2, 2], growthRate: 8, stemChannels: 16, classes: 7 }),
    "CSPPeleeNet with swish and SE": () =>
      createModel("se-csp-peleenet-swish", { blocks: [1, 1, 1, 1], classes: 7 }),
    ResNeXt: () =>
      createModel("resnext-50", {
        blocks: [1, 1, 1, 1],
        stemChannels: 16,
        groups: 4,
        widthPerGroup: 16,
        classes: 7,
      }),
  };

  it.each(Object.entries(networks))(
    "%s runs in onnxruntime, and read back is the same function",
    async (_, make) => {
      manualSeed(3);
      const model = make().eval();
      randomStatistics(model);
      const x = randn([2, 3, 64, 64]);
      await check(model, [x], 1e-4);
      const imported = await importOnnx(exportOnnx(model, x));
      const names = [...model.stateDict().keys()].filter((key) => !key.endsWith("num_batches_tracked"));
      expect(new Set(imported.stateDict().keys())).toEqual(new Set(names));
      // The other way round too: the file's weights go into a fresh network.
      const fresh = make().eval();
      fresh.loadStateDict(imported.stateDict(), { strict: false });
      expect(noGrad(() => fresh.forward(x)).dataSync()).toEqual(noGrad(() => model.forward(x)).dataSync());
    },
  );
});
