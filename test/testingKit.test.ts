/** The testing kit itself: does it catch the bugs that it exists for, and let right code pass? */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { customGradient } from "../src/autograd/customGradient.ts";
import {
  allocate,
  type RegisteredOp,
  type RegisteredSample,
  registeredOps,
} from "../src/autograd/defineOp.ts";
import { add, clone, conv2d, copyInto, dropout, mean, mul, relu, slice, sum } from "../src/autograd/index.ts";
import { addInPlace } from "../src/autograd/ops/inPlace.ts";
import { BatchNorm2d, Module, Parameter } from "../src/nn/index.ts";
import { full, ones, rand, randn, scalarLike, tensor, zeros } from "../src/tensor/create.ts";
import { defaultGenerator, Generator } from "../src/tensor/generator.ts";
import { sizeOf } from "../src/tensor/layout.ts";
import { outsideScopes } from "../src/tensor/scope.ts";
import { Tensor } from "../src/tensor/tensor.ts";
import {
  checkLayer,
  checkOp,
  choices,
  conv2dParameters,
  layouts,
  PropertyError,
  sampleSource,
  seeds,
  shapes,
  tensors,
} from "../src/testing/index.ts";

function failureOf(body: () => void): PropertyError {
  try {
    body();
  } catch (error) {
    if (error instanceof PropertyError) return error;
    throw error;
  }
  throw new Error("the check passed");
}

describe("arbitraries", () => {
  it("draws shapes within their limits and shrinks to the smallest", () => {
    fc.assert(
      fc.property(shapes({ minRank: 1, maxRank: 3, minExtent: 0, maxExtent: 4 }), (shape) => {
        expect(shape.length).toBeGreaterThanOrEqual(1);
        expect(shape.length).toBeLessThanOrEqual(3);
        for (const extent of shape) expect(extent).toBeLessThanOrEqual(4);
      }),
    );
    const result = fc.check(fc.property(shapes(), (shape) => sizeOf(shape) < 10));
    expect(sizeOf(result.counterexample?.[0] ?? [])).toBeLessThan(20);
  });

  const valuesIn = (...[shape, options]: Parameters<typeof tensors>) =>
    tensors(shape, options).map((x) => Array.from(x.dataSync()));

  it("draws values in their domain", () => {
    const kinks = { kind: "away", from: [0, 1] } as const;
    fc.assert(
      fc.property(
        valuesIn([7], { domain: { kind: "positive" } }),
        valuesIn([7], { domain: kinks, dtype: "f64" }),
        valuesIn([7], { domain: { kind: "distinct" } }),
        valuesIn([7], { domain: { kind: "index", below: 3 }, dtype: "i32" }),
        (positive, away, distinct, index) => {
          for (const value of positive) expect(value).toBeGreaterThan(0.09);
          for (const value of away)
            expect(Math.min(Math.abs(value), Math.abs(value - 1))).toBeGreaterThan(0.099);
          const sorted = [...distinct].sort((a, b) => a - b);
          sorted.slice(1).forEach((value, i) => {
            expect(value - sorted[i]).toBeGreaterThan(0.05);
          });
          for (const value of index) expect([0, 1, 2]).toContain(value);
        },
      ),
    );
  });

  it("shrinks values to the simplest that fail", () => {
    const property = fc.property(valuesIn([5], { dtype: "f64" }), (values) =>
      values.every((value) => value < 0.5),
    );
    const [values] = fc.check(property, { seed: 1 }).counterexample ?? [[]];
    expect([...values].sort()).toEqual([0, 0, 0, 0, 0.5]);
  });

  it("keeps values through every layout and repeats slices only when asked", () => {
    const x = tensor(
      Float64Array.from({ length: 12 }, (_, i) => i),
      { shape: [2, 3, 2], dtype: "f64" },
    );
    let strided = 0;
    let repeated = 0;
    fc.assert(
      fc.property(layouts(x), layouts(x, { repeat: true }), (y, z) => {
        expect(y.dataSync()).toEqual(x.dataSync());
        expect(y.strides).not.toContain(0);
        expect(z.shape).toEqual(x.shape);
        strided += Number(!y.isContiguous && y.offset > 0);
        repeated += Number(z.strides.includes(0));
      }),
    );
    expect(strided).toBeGreaterThan(20);
    expect(repeated).toBeGreaterThan(20);
  });

  it("draws convolution parameters that conv2d accepts", () => {
    fc.assert(
      fc.property(conv2dParameters(), seeds(), ({ input, weight, ...options }, seed) => {
        const generator = new Generator(seed);
        const y = conv2d(randn(input, { generator }), randn(weight, { generator }), options);
        expect(y.shape.slice(0, 2)).toEqual([input[0], weight[0]]);
        expect(y.size).toBeGreaterThan(0);
      }),
    );
  });

  it("answers a sample source within its limits, the same for the same choices, smallest for zeros", () => {
    const ask = (list: readonly number[]) => {
      const source = sampleSource(list);
      return [source.integer(-2, 5), source.pick([7, 8, 9]), source.boolean(), source.shape(1, 3)] as const;
    };
    fc.assert(
      fc.property(choices(), (list) => {
        const [integer, picked, , shape] = ask(list);
        expect(integer).toBeGreaterThanOrEqual(-2);
        expect(integer).toBeLessThanOrEqual(5);
        expect([7, 8, 9]).toContain(picked);
        expect(shape.length).toBeLessThanOrEqual(3);
        expect(ask(list)).toEqual(ask(list));
      }),
    );
    expect(ask([0, 0, 0, 0])).toEqual([-2, 7, false, [1]]);
    expect(sampleSource([0xffff]).integer(0, 3)).toBe(3);
  });
});

describe("checkOp", () => {
  const find = (name: string): RegisteredOp => {
    const op = registeredOps().get(name);
    if (!op) throw new Error(`no op ${name}`);
    return op;
  };
  /** The op with `change` applied to each of its samples. */
  const spoiled = (
    name: string,
    change: (sample: RegisteredSample) => Partial<RegisteredSample>,
  ): RegisteredOp => {
    const op = find(name);
    const spoil = (sample: RegisteredSample) => ({ ...sample, ...change(sample) });
    return { ...op, samples: () => op.samples().map(spoil), draw: (source) => spoil(op.draw(source)) };
  };
  const options = { seed: 7, runs: 10 };

  it("passes an op that is right", () => checkOp(find("mul"), options));

  it.each<[string, string, (sample: RegisteredSample) => Partial<RegisteredSample>, RegExp]>([
    [
      "a wrong value",
      "f64 agrees",
      ({ run }) => ({ run: (xs) => mul(run(xs), 1 + 1e-12) }),
      /element \d+ of the output/,
    ],
    [
      "a wrong value for strided inputs only",
      "f64 agrees",
      ({ run }) => ({ run: (xs) => (xs[0].isContiguous ? run(xs) : mul(run(xs), 2)) }),
      /gaps/,
    ],
    [
      "an output of another shape",
      "f64 agrees",
      ({ run }) => ({
        run: (xs) =>
          xs[0].size > 1 ? new Tensor(full([9], 1, { dtype: xs[0].dtype }).storage, [9]) : run(xs),
      }),
      /shape rule/,
    ],
    [
      "an input that is changed",
      "f64 agrees",
      ({ run }) => ({
        run(xs) {
          const y = run(xs);
          addInPlace(xs[0], scalarLike(1, xs[0]));
          return y;
        },
      }),
      /input 0 was changed/,
    ],
    [
      "a value that is less accurate than f32",
      "f32 agrees",
      ({ run }) => ({ run: (xs) => (xs[0].dtype === "f32" ? mul(run(xs), 1.0001) : run(xs)) }),
      /the reference loop gives/,
    ],
    [
      "memory that is left behind",
      "nothing is left behind",
      ({ run }) => ({
        run(xs) {
          outsideScopes(() => clone(xs[0]));
          return run(xs);
        },
      }),
      /left \d+ buffers/,
    ],
    [
      "an error that names nothing",
      "wrong dtypes",
      ({ run }) => ({
        run(xs) {
          if (xs.some(({ dtype }) => dtype !== xs[0].dtype)) throw new Error("bad dtype");
          return run(xs);
        },
      }),
      /which does not begin with the name of an op/,
    ],
    [
      "mixed dtypes accepted",
      "wrong dtypes",
      ({ run }) => ({ run: (xs) => (xs[0].dtype === xs[1].dtype ? run(xs) : xs[0]) }),
      /it accepts inputs of dtypes/,
    ],
  ])("catches %s", (_, property, change, message) => {
    const failure = failureOf(() => checkOp(spoiled("mul", change), options));
    expect(failure.property).toContain(property);
    expect(failure.message).toMatch(message);
    expect(failure.message).toContain("checkOp: mul");
  });

  it("catches an output whose last element is not written", () => {
    const lazy = spoiled("copy", () => ({
      run([x]) {
        const y = allocate(x.backend, x.dtype, x.shape);
        if (x.rank === 0) copyInto(y, x);
        else
          copyInto(slice(y, 0, 0, Math.max(0, x.shape[0] - 1)), slice(x, 0, 0, Math.max(0, x.shape[0] - 1)));
        return y;
      },
    }));
    expect(failureOf(() => checkOp(lazy, options)).message).toMatch(/NaN/);
  });

  it("catches a wrong gradient, and one that cannot be differentiated again", () => {
    const product = (gradient: (right: Tensor, other: Tensor) => Tensor) =>
      customGradient("mul", mul, ({ gradient: upstream, input }) => [
        gradient(mul(upstream, input(1)), input(1)),
        mul(upstream, input(0)),
      ]);
    const same = (name: string, op: (a: Tensor, b: Tensor) => Tensor) =>
      spoiled(name, (sample) => ({
        run: ([a, b]) => (a.shape.join() === b.shape.join() ? op(a, b) : sample.run([a, b])),
      }));
    checkOp(
      same(
        "mul",
        product((right) => right),
      ),
      options,
    );
    const wrong = failureOf(() =>
      checkOp(
        same(
          "mul",
          product((right) => mul(right, 1.5)),
        ),
        options,
      ),
    );
    expect(wrong.property).toContain("gradients");
    expect(wrong.message).toContain("1.5 times the right one");
    const once = failureOf(() =>
      checkOp(
        same(
          "mul",
          product((right) => tensor(right.dataSync(), { shape: right.shape, dtype: right.dtype })),
        ),
        options,
      ),
    );
    expect(once.message).toContain("gradgradcheck");
  });

  it("shrinks a random sample to a small one", () => {
    const op = find("mul");
    const late: RegisteredOp = {
      ...op,
      draw(source) {
        const sample = op.draw(source);
        return { ...sample, run: (xs) => (xs[0].size > 3 ? mul(sample.run(xs), 2) : sample.run(xs)) };
      },
    };
    const { message } = failureOf(() => checkOp(late, options));
    expect(message).toMatch(/again +\{ seed: 7 \}/);
    expect(message).toMatch(/input 0 +\[(4|5|2, 2|4, 1|1, 4)\] real/);
  });
});

/** x · scale + shift per feature: the layer that the planted bugs are planted in. */
class ScaleShift extends Module {
  scale = new Parameter(ones([3]));
  shift = new Parameter(zeros([3]));

  override forward(x: Tensor): Tensor {
    return add(mul(x, this.scale), this.shift);
  }
}

describe("checkLayer", () => {
  const options = { inputShape: [3], seed: 11, runs: 5 } as const;

  it("passes layers that are right", () => {
    checkLayer(() => new ScaleShift(), { ...options, outputShape: (shape) => shape });
    checkLayer(() => new BatchNorm2d(2), { inputShape: [2, [1, 4], [1, 4]], seed: 1, runs: 5 });
  });

  it("passes a stochastic layer that says so", () => {
    class Noisy extends ScaleShift {
      override forward(x: Tensor): Tensor {
        return dropout(super.forward(x), 0.5, { training: this.training });
      }
    }
    checkLayer(() => new Noisy(), { ...options, stochastic: true });
    expect(failureOf(() => checkLayer(() => new Noisy(), options)).message).toContain("stochastic: true");
  });

  it("takes integer inputs", () => {
    class Table extends Module {
      weight = new Parameter(randn([5]));
      override forward(x: Tensor): Tensor {
        return mul(x.to("f64"), this.weight);
      }
    }
    checkLayer(() => new Table(), { ...options, inputShape: [5], domain: { kind: "index", below: 5 } });
  });

  const wrongScale = customGradient(
    "wrongScale",
    (x: Tensor, scale: Tensor, shift: Tensor) => add(mul(x, scale), shift),
    ({ gradient, input }) => [
      mul(gradient, input(1)),
      mul(sum(mul(gradient, input(0)), 0), 2),
      sum(gradient, 0),
    ],
  );

  class WrongGradient extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return wrongScale(x, this.scale, this.shift);
    }
  }

  class BatchMean extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return add(super.forward(x), mul(mean(x, 0, { keepDims: true }), -1));
    }
  }

  class ByPosition extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return mul(
        super.forward(x),
        tensor(
          Float64Array.from({ length: x.shape[0] }, (_, i) => i + 1),
          { shape: [x.shape[0], 1], dtype: "f64" },
        ),
      );
    }
  }

  class ForgottenBuffer extends ScaleShift {
    running = zeros([3], { dtype: "f64" }).keep();
    override forward(x: Tensor): Tensor {
      if (this.training) copyInto(this.running, mean(x, 0));
      return this.training ? super.forward(x) : add(super.forward(x), this.running);
    }
  }

  class ForgottenParameter extends ScaleShift {
    offset = randn([3], { dtype: "f64" }).keep();
    override forward(x: Tensor): Tensor {
      return add(super.forward(x), this.offset);
    }
  }

  class RandomInEvaluation extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return add(super.forward(x), rand([3], { dtype: "f64" }));
    }
  }

  class TracksInEvaluation extends ScaleShift {
    constructor() {
      super();
      this.registerBuffer("count", zeros([]));
    }
    override forward(x: Tensor): Tensor {
      addInPlace(this.buffer("count"), ones([], { dtype: this.buffer("count").dtype }));
      return super.forward(x);
    }
  }

  class OwnRandomness extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return this.training ? mul(super.forward(x), 1 + Math.random()) : super.forward(x);
    }
  }

  class Leaking extends ScaleShift {
    readonly history: Tensor[] = [];
    override forward(x: Tensor): Tensor {
      const y = super.forward(x);
      this.history.push(outsideScopes(() => clone(y)));
      return y;
    }
  }

  class ChangesInput extends ScaleShift {
    override forward(x: Tensor): Tensor {
      copyInto(x, relu(x));
      return super.forward(x);
    }
  }

  class NotFinite extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return mul(super.forward(x), Number.POSITIVE_INFINITY);
    }
  }

  class SinglePrecision extends ScaleShift {
    override forward(x: Tensor): Tensor {
      return super.forward(x).to("f32");
    }
  }

  class Growing extends ScaleShift {
    calls = 0;
    override forward(x: Tensor): Tensor {
      this.calls += 1;
      return this.calls % 2 === 0 ? super.forward(x) : sum(super.forward(x), 1);
    }
  }

  it.each<[string, new () => Module, string, object, RegExp]>([
    [
      "a wrong gradient",
      WrongGradient,
      "gradients in training",
      {},
      /gradient of scale \[3\][\s\S]*2 times the right one/,
    ],
    ["samples that depend on their batch", BatchMean, "samples do not depend", {}, /batchEquivariant: false/],
    ["an order of the batch that matters", ByPosition, "order of a batch", {}, /sample 0 of \d/],
    [
      "a buffer that is not in the state",
      ForgottenBuffer,
      "the state is complete",
      {},
      /scale, shift[\s\S]*registerBuffer/,
    ],
    ["a parameter that is not in the state", ForgottenParameter, "the state is complete", {}, /Parameter/],
    ["randomness in evaluation", RandomInEvaluation, "evaluation is repeatable", {}, /this\.training/],
    [
      "statistics updated in evaluation",
      TracksInEvaluation,
      "evaluation is repeatable",
      {},
      /the buffer count/,
    ],
    [
      "randomness that no seed controls",
      OwnRandomness,
      "training is repeatable",
      { stochastic: true },
      /Math\.random/,
    ],
    ["a leak", Leaking, "nothing leaks", {}, /each training step leaves \d+ bytes/],
    ["an input that is changed", ChangesInput, "the input is left alone", {}, /changed its input at/],
    ["an output that is not finite", NotFinite, "finite", {}, /Infinity|NaN/],
    ["an output of another dtype", SinglePrecision, "finite", {}, /output is f32/],
    ["an output shape that varies", Growing, "one shape", {}, /changed from/],
    [
      "an output shape that is not what was promised",
      ScaleShift,
      "one shape",
      { outputShape: () => [1] },
      /expected \[1\]/,
    ],
  ])("catches %s", (_, Layer, property, more, message) => {
    const failure = failureOf(() => checkLayer(() => new Layer(), { ...options, ...more }));
    expect(failure.property).toContain(property);
    expect(failure.message).toMatch(message);
    expect(failure.message).toContain(`checkLayer: ${Layer.name}`);
    expect(failure.message.split("\n").length).toBeLessThanOrEqual(14);
  });

  it("accepts a layer that mixes its batch when told so", () => {
    checkLayer(() => new BatchMean(), { ...options, batchEquivariant: false });
  });

  it("shrinks to the smallest input and repeats a failure from its seed", () => {
    class FailsWhenWide extends Module {
      override forward(x: Tensor): Tensor {
        return x.shape[2] >= 3 ? mul(x, Number.NaN) : x;
      }
    }
    const check = (seed: number) => () =>
      checkLayer(() => new FailsWhenWide(), {
        inputShape: [
          [1, 4],
          [1, 9],
        ],
        seed,
      });
    const { message } = failureOf(check(3));
    expect(message).toMatch(/input +\[1, 1, 3\] of/);
    expect(failureOf(check(3)).message).toBe(message);
  });

  it("passes on what the layer throws, with the input that made it throw", () => {
    class Throws extends Module {
      override forward(x: Tensor): Tensor {
        if (x.shape[0] >= 3) throw new Error("three is too many");
        return x;
      }
    }
    const { message } = failureOf(() => checkLayer(() => new Throws(), { inputShape: [2], seed: 1 }));
    expect(message).toContain("three is too many");
    expect(message).toMatch(/input +\[3, 2\]/);
  });

  it("draws input shapes from a function, and puts the default generator back", () => {
    const before = defaultGenerator().state();
    const seen: number[][] = [];
    class Square extends Module {
      override forward(x: Tensor): Tensor {
        seen.push([...x.shape]);
        return x;
      }
    }
    checkLayer(() => new Square(), {
      inputShape: (source) => {
        const side = source.integer(1, 6);
        return [side, side];
      },
      batchSize: [2, 3],
    });
    expect(defaultGenerator().state()).toEqual(before);
    expect(seen.length).toBeGreaterThan(10);
    for (const [, height, width] of seen) expect(height).toBe(width);
  });
});
