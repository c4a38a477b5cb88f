/** A feature map's statistics are computed once, have the bits of computing them anew, and are never out of date. */
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import type { KernelCall, KernelName } from "../src/backends/backend.ts";
import {
  addInPlace,
  batchNorm,
  batchStatistics,
  checkpoint,
  concat,
  crossEntropy,
  defaultBackend,
  Generator,
  GrowingConcat,
  grad,
  noGrad,
  onOp,
  optim,
  randint,
  randn,
  scope,
  sharedStatistics,
  type Tensor,
} from "../src/index.ts";
import { cspDenseNet, DenseBlock, densenet } from "../src/models/index.ts";
import { BatchNorm2d } from "../src/nn/index.ts";

const backend = defaultBackend();
const plainRun = backend.run;
afterEach(() => {
  backend.run = plainRun;
});

/** Channels of each batch that statistics were computed of while `body` ran. */
function channelsRead(body: () => void): number[] {
  const channels: number[] = [];
  const plain = backend.run.bind(backend);
  backend.run = <K extends KernelName>(call: KernelCall<K>): void => {
    if (call.kernel === "batchStatistics") channels.push(call.inputs[0].shape[1]);
    plain(call);
  };
  body();
  backend.run = plainRun;
  return channels;
}

/** A growing concatenation of random parts, and its view after each of them. */
function grow(widths: readonly number[], extent: readonly number[], seed = 1, dtype: "f32" | "f64" = "f32") {
  const generator = new Generator(seed);
  const [images, ...plane] = extent;
  const parts = widths.map((width) => randn([images, width, ...plane], { generator }).to(dtype));
  const growing = new GrowingConcat(
    parts[0],
    widths.reduce((a, b) => a + b, 0),
  );
  const views = [growing.tensor()];
  for (const part of parts.slice(1)) {
    growing.append(part);
    views.push(growing.tensor());
  }
  return { parts, views, last: views[views.length - 1] };
}

const bits = (tensor: Tensor): Uint8Array => new Uint8Array(tensor.dataSync().slice().buffer);

describe("sharedStatistics", () => {
  it("has the bits of batchStatistics for every view of a growing concatenation", () => {
    const size = fc.constantFrom(1, 2, 3, 5, 7, 14, 17);
    const drawn = fc.record({
      widths: fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 5 }),
      extent: fc.tuple(fc.integer({ min: 1, max: 3 }), size, size),
      seed: fc.nat(1e6),
      dtype: fc.constantFrom<"f32" | "f64">("f32", "f32", "f64"),
      planted: fc.constantFrom(null, Number.NaN, Number.POSITIVE_INFINITY, 1e30),
      lastFirst: fc.boolean(),
    });
    const check = (c: typeof drawn extends fc.Arbitrary<infer Value> ? Value : never) => {
      const { views, last } = grow(c.widths, c.extent, c.seed, c.dtype);
      if (c.planted !== null) {
        const first = last.slice(0, 0, 1).slice(1, 0, 1).slice(2, 0, 1).slice(3, 0, 1);
        addInPlace(first, randn(first.shape).to(c.dtype).mul(0).add(c.planted));
      }
      for (const view of c.lastFirst ? [...views].reverse() : views)
        expect(bits(sharedStatistics(view))).toEqual(bits(batchStatistics(view)));
    };
    fc.assert(fc.property(drawn, check), { numRuns: 150, seed: 3 });
  });

  it("reads every channel once", () => {
    const { views } = grow([4, 2, 3], [2, 3, 3]);
    expect(
      channelsRead(() => {
        for (const view of [...views, ...views]) sharedStatistics(view);
      }),
    ).toEqual([4, 2, 3]);
  });

  it("reads every feature map of a dense block once, apart from the bottlenecks", () => {
    const block = new DenseBlock(3, 5, { growthRate: 2, bottleneckWidth: 4 });
    const after = new BatchNorm2d(block.outChannels);
    const read = channelsRead(() => after.forward(block.forward(randn([2, 5, 4, 4]))));
    expect(read).toEqual([5, 8, 2, 8, 2, 8, 2]);
  });

  it("notices that the memory was changed in place", () => {
    const { last } = grow([2, 3], [2, 3, 4]);
    const before = bits(sharedStatistics(last));
    addInPlace(last.slice(1, 1, 2), randn([2, 1, 3, 4]));
    expect(bits(sharedStatistics(last))).not.toEqual(before);
    expect(bits(sharedStatistics(last))).toEqual(bits(batchStatistics(last)));
  });

  it("does not hand out statistics that somebody wrote into", () => {
    const { last } = grow([2, 3], [2, 3, 4]);
    addInPlace(sharedStatistics(last), randn([2, 5]));
    expect(bits(sharedStatistics(last))).toEqual(bits(batchStatistics(last)));
  });

  it("outlives the scope that it was computed in", () => {
    const { views, last } = grow([2, 3, 1], [2, 3, 4]);
    scope(() => void sharedStatistics(views[1]));
    scope(() => void sharedStatistics(last));
    expect(bits(sharedStatistics(last))).toEqual(bits(batchStatistics(last)));
    last.dispose();
    expect(() => sharedStatistics(last)).toThrow("its memory was freed");
  });

  it("is computed of the whole for a listener", () => {
    const { last } = grow([2, 3], [2, 3, 4]);
    sharedStatistics(last);
    const seen: string[] = [];
    const stop = onOp(({ op, inputs }) => void seen.push(`${op} ${inputs[0].shape}`));
    sharedStatistics(last);
    stop();
    expect(seen).toEqual(["batchStatistics 2,5,3,4"]);
  });

  it("leaves gradients of every order as they are", () => {
    const generator = new Generator(4);
    const parts = [2, 3].map((width) => randn([3, width, 2, 3], { generator, dtype: "f64" }));
    for (const part of parts) part.requiresGrad = true;
    const [weight, bias] = [randn([5], { generator, dtype: "f64" }), randn([5], { generator, dtype: "f64" })];
    const direction = randn([3, 5, 2, 3], { generator, dtype: "f64" });
    const derivatives = (x: Tensor) => {
      const y = batchNorm(x, weight, bias).mul(direction);
      const first = grad(y.mul(y).sum(), parts, { createGraph: true });
      const second = grad(
        first.reduce((total, gradient) => total.add(gradient.mul(gradient).sum()), y.sum()),
        parts,
      );
      return [...first, ...second].map((gradient) => Array.from(gradient.dataSync()));
    };
    const growing = new GrowingConcat(parts[0], 5);
    sharedStatistics(growing.tensor());
    growing.append(parts[1]);
    expect(derivatives(growing.tensor())).toEqual(derivatives(concat(parts, 1)));
  });
});

describe("networks whose layers share statistics", () => {
  const sizes = { blocks: [2, 2], growthRate: 6, stem: "small", inChannels: 1, classes: 5 } as const;

  function train(make: typeof densenet, watch: boolean): Float64Array[] {
    const model = make(sizes);
    const generator = new Generator(3);
    for (const parameter of model.parameters()) {
      const values = randn(parameter.shape, { generator });
      parameter.backend.write(parameter.storage.buffer, values.mul(0.2).dataSync());
    }
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.05, momentum: 0.9 });
    const [x, labels] = [randn([4, 1, 28, 28], { generator }), randint(0, 5, [4], { generator })];
    const stop = watch ? onOp(() => undefined) : () => undefined;
    for (let step = 0; step < 3; step++) {
      scope(() => noGrad(() => void model.forward(x)));
      scope(() => {
        optimizer.zeroGrad();
        crossEntropy(model.forward(x), labels).backward();
        optimizer.step();
      });
    }
    stop();
    return [...model.stateDict().values()].map((tensor) => Float64Array.from(tensor.dataSync()));
  }

  it.each([
    ["DenseNet", densenet],
    ["CSPDenseNet", cspDenseNet],
  ] as const)("train %s to the same bits as layers that compute their own", (_, make) => {
    expect(train(make, false)).toEqual(train(make, true));
  });

  it("recompute them in a checkpoint", () => {
    const block = new DenseBlock(3, 2, { growthRate: 2 });
    const x = randn([2, 2, 5, 5]);
    x.requiresGrad = true;
    const gradients = (body: (x: Tensor) => Tensor) =>
      scope(() => {
        block.zeroGrad();
        x.grad = null;
        body(x).square().sum().backward();
        return [x, ...block.parameters()].map((leaf) => Array.from(leaf.grad?.dataSync() ?? []));
      });
    const plain = gradients((input) => block.forward(input));
    expect(gradients((input) => checkpoint((inner) => block.forward(inner), input))).toEqual(plain);
    expect(plain.every((values) => values.length > 0)).toBe(true);
  });
});
