import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { customGradient } from "../src/autograd/customGradient.ts";
import { backward } from "../src/autograd/engine.ts";
import { gradcheck, gradgradcheck } from "../src/autograd/gradcheck.ts";
import { gradcheckDirections } from "../src/autograd/gradcheckDirections.ts";
import { GradcheckError } from "../src/autograd/gradcheckError.ts";
import { relu, silu } from "../src/autograd/ops/activations.ts";
import { add, mul } from "../src/autograd/ops/arithmetic.ts";
import { to } from "../src/autograd/ops/cast.ts";
import { greater } from "../src/autograd/ops/comparison.ts";
import { permute, transpose } from "../src/autograd/ops/permute.ts";
import { slice } from "../src/autograd/ops/slice.ts";
import { expand, sum } from "../src/autograd/ops/sum.ts";
import { rand, randn, tensor } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const normal = (shape: number[], seed = 0) => randn(shape, { dtype: "f64", generator: new Generator(seed) });
const vector = (...values: number[]) => tensor(values, { dtype: "f64" });

/** x² with a gradient that `change` has spoiled. */
const squareWith = (change: (right: Tensor, x: Tensor) => Tensor | null) =>
  customGradient(
    "spoiledSquare",
    (x) => mul(x, x),
    (context) => {
      const x = context.input(0);
      return [change(mul(context.gradient, mul(x, 2)), x)];
    },
  );

function errorOf(body: () => void): GradcheckError {
  try {
    body();
  } catch (error) {
    if (error instanceof GradcheckError) return error;
    throw error;
  }
  throw new Error("no error was thrown");
}

describe("gradcheck", () => {
  it("passes right gradients of one and of several inputs and outputs", () => {
    gradcheck(silu, [normal([2, 3])]);
    gradcheck((a, b) => [mul(a, b), sum(add(a, b), 0)], [normal([2, 3]), normal([3], 1)]);
    gradcheck((x) => sum(x), [normal([])]);
    gradcheck(silu, [normal([0, 3])]);
  });

  it("passes right gradients whatever the layout of the inputs", () => {
    const sliced = slice(normal([3, 5]), 1, 1, 4);
    const permuted = permute(normal([3, 2, 4]), [2, 0, 1]);
    gradcheck(mul, [sliced, expand(normal([3, 1], 1), [3, 3])]);
    gradcheck((x) => mul(x, silu(x)), [permuted]);
  });

  it("names the input, the elements, both gradients and the allowed error", () => {
    const wrong = squareWith((right, x) => mul(right, to(greater(x, 2), "f64")));
    const error = errorOf(() => gradcheck((a, b) => add(a, wrong(b)), [vector(5, 5), vector(1, 3)]));
    expect(error.mismatches).toHaveLength(1);
    expect(error.mismatches[0]).toMatchObject({
      input: 1,
      name: "input 1",
      index: [0],
      analytic: expect.closeTo(0),
      kink: false,
    });
    expect(error.message).toMatch(
      /^gradcheck: the gradient of input 1 \[2\] is wrong at 1 of 2 elements\n {2}at \[0\]: gradient 0, /,
    );
    expect(error.message.split("\n").length).toBeLessThanOrEqual(8);
  });

  it.each([
    ["a factor", (right: Tensor) => mul(right, 0.5), "0.5 times the right one"],
    ["a sign", (right: Tensor) => mul(right, -1), "-1 times the right one"],
    ["an offset", (right: Tensor) => add(right, 0.25), "off by 0.25 everywhere"],
    ["a transposition", (right: Tensor) => transpose(right), "transposed"],
    ["nothing", () => null, "no gradient arrives"],
    ["NaN", (right: Tensor) => mul(right, Number.NaN), "not finite"],
  ])("recognises a gradient that is wrong by %s", (_, change, hint) => {
    const wrong = squareWith(change);
    const error = errorOf(() => gradcheck(wrong, [normal([3, 3])]));
    expect(error.message).toContain(`hint: `);
    expect(error.message).toContain(hint);
  });

  it("catches any planted factor that is not 1, in a random element", () => {
    fc.assert(
      fc.property(fc.nat(5), fc.double({ min: -3, max: 3, noNaN: true }), (at, factor) => {
        fc.pre(Math.abs(factor - 1) > 0.01);
        const scale = tensor(Float64Array.from({ length: 6 }, (_, i) => (i === at ? factor : 1)));
        const wrong = squareWith((right) => mul(right, to(scale, "f64")));
        const x = rand([6], { dtype: "f64", low: 0.5, high: 2, generator: new Generator(at) });
        const { mismatches } = errorOf(() => gradcheck(wrong, [x]));
        expect(mismatches.map(({ index }) => index)).toEqual([[at]]);
      }),
      { numRuns: 30 },
    );
  });

  it("reports a kink as such, and accepts a subgradient there only when asked", () => {
    const error = errorOf(() => gradcheck(relu, [vector(-1, 0, 1)]));
    expect(error.mismatches).toMatchObject([{ index: [1], kink: true }]);
    expect(error.message).toContain("kink");
    gradcheck(relu, [vector(-1, 0, 1)], { acceptSubgradients: true });
    const outside = customGradient("outside", relu, ({ gradient }) => [mul(gradient, 2)]);
    expect(() => gradcheck(outside, [vector(0)], { acceptSubgradients: true })).toThrow("wrong at 1 of 1");
  });

  it("moves a leaf that requires grad in place and puts it back, so that fn may read it elsewhere", () => {
    const weight = normal([3]);
    weight.requiresGrad = true;
    const before = weight.dataSync();
    const earlier = sum(mul(weight, weight));
    gradcheck((x) => mul(silu(weight), x), [normal([2, 3], 1), weight]);
    expect(weight.dataSync()).toEqual(before);
    expect(weight.grad).toBeNull();
    backward(earlier);
    expect(weight.grad).not.toBeNull();
    const wrong = squareWith((right) => mul(right, 3));
    expect(() => gradcheck(() => wrong(weight), [weight], { names: ["weight"] })).toThrow(
      "the gradient of weight [3] is wrong",
    );
    expect(weight.dataSync()).toEqual(before);
  });

  it("refuses f32 inputs, f32 outputs, no floats at all and functions that do not repeat", () => {
    expect(() => gradcheck(silu, [randn([2])])).toThrow(/input 0 \[2\] is f32; .*to\("f64"\)/);
    expect(() => gradcheck((x) => to(x, "f32"), [normal([2])])).toThrow("output 0 [2] is f32");
    expect(() => gradcheck(silu, [tensor([1, 2], { dtype: "i32" })])).toThrow("no input is floating point");
    expect(() => gradcheck((x) => greater(x, 0), [normal([2])])).toThrow("nothing to differentiate");
    expect(() => gradcheck(silu, [normal([2])], { withRespectTo: [1] })).toThrow("no input 1 among 1");
    let calls = 0;
    expect(() => gradcheck((x) => mul(x, ++calls), [normal([2])])).toThrow(
      "different outputs for the same inputs",
    );
  });

  it("checks only the inputs it is told to", () => {
    const stopped = customGradient("stopped", mul, ({ gradient, input }) => [mul(gradient, input(1)), null]);
    gradcheck(stopped, [normal([2]), normal([2], 1)], { withRespectTo: [0] });
    expect(() => gradcheck(stopped, [normal([2]), normal([2], 1)])).toThrow("input 1");
  });

  it("sees that two backward passes differ", () => {
    let passes = 0;
    const drifting = squareWith((right) => mul(right, 1 + 1e-12 * ++passes));
    expect(() => gradcheck(drifting, [normal([2])])).toThrow("two backward passes");
  });

  it("leaves no memory behind, also when it fails", () => {
    const x = normal([3]);
    const wrong = squareWith((right) => mul(right, 2));
    const live = () => memoryReport().liveBytes;
    scope(() => {
      errorOf(() => gradcheck(wrong, [x]));
      gradcheck(silu, [x]);
    });
    const before = live();
    for (let i = 0; i < 3; i++) {
      errorOf(() => gradcheck(wrong, [x]));
      gradcheck(silu, [x]);
      gradcheckDirections(silu, [x]);
    }
    expect(live()).toBe(before);
  });
});

describe("gradgradcheck", () => {
  it("passes right second gradients, of linear functions too", () => {
    gradgradcheck(silu, [normal([2, 3])]);
    gradgradcheck((a, b) => mul(a, mul(a, b)), [normal([2, 3]), normal([3], 1)]);
    gradgradcheck(add, [normal([2]), normal([2], 1)]);
  });

  it("catches a first gradient that is right but cannot be differentiated again", () => {
    const detached = customGradient(
      "detached",
      (x) => mul(x, x),
      ({ gradient, input }) => [
        mul(
          gradient,
          tensor(
            Float64Array.from(input(0).dataSync(), (value) => 2 * value),
            { dtype: "f64" },
          ),
        ),
      ],
    );
    gradcheck(detached, [normal([3])]);
    const { message } = errorOf(() => gradgradcheck(detached, [normal([3])]));
    expect(message).toContain(
      "gradgradcheck: the gradient of the gradient with respect to input 0 [3] is wrong",
    );
  });
});

describe("gradcheckDirections", () => {
  const x = normal([4, 8]);
  const [w1, w2] = [normal([8], 1), normal([8], 2)];
  const network = (activation: (x: Tensor) => Tensor) => (a: Tensor, b: Tensor) =>
    sum(mul(activation(mul(x, a)), b), 1);

  it("passes a right gradient and a right second gradient", () => {
    gradcheckDirections(network(silu), [w1, w2]);
    gradcheckDirections(network(silu), [w1, w2], { order: 2 });
  });

  it("catches a wrong one and names the input that is wrong alone", () => {
    const wrong = customGradient("wrongProduct", mul, ({ gradient, input }) => [
      mul(gradient, input(1)),
      mul(gradient, mul(input(0), 2)),
    ]);
    const { message } = errorOf(() =>
      gradcheckDirections((a, b) => wrong(expand(a, [4, 8]), b), [w1, x], { names: ["a", "b"] }),
    );
    expect(message).toContain("gradcheckDirections: the gradient is wrong along random direction 0");
    expect(message).toContain("b [4, 8] alone");
    expect(message).not.toContain("a [8] alone");
  });

  it("moves the parameters of a network in place", () => {
    const parameters = [1, 2].map((seed) => {
      const leaf = normal([8], seed);
      leaf.requiresGrad = true;
      return leaf;
    });
    const before = parameters.map((parameter) => parameter.dataSync());
    gradcheckDirections(() => network(silu)(parameters[0], parameters[1]), parameters);
    expect(parameters.map((parameter) => parameter.dataSync())).toEqual(before);
  });

  it("is not fooled by a kink within its step, and is not blind at a wrong slope beside one", () => {
    const beside = vector(4e-8, -4e-8, 1, -1);
    gradcheckDirections(relu, [beside], { directions: 10 });
    const doubled = customGradient("doubled", relu, ({ gradient, input }) => [
      mul(gradient, mul(to(greater(input(0), 0), "f64"), 2)),
    ]);
    expect(() => gradcheckDirections(doubled, [beside], { directions: 10 })).toThrow("gradient is wrong");
  });

  it("finds one wrong parameter among many right ones", () => {
    const half = squareWith((right) => mul(right, 0.5));
    const many = Array.from({ length: 20 }, (_, i) => normal([10], i));
    const model = (spoiled: number) => (xs: readonly Tensor[]) =>
      xs.map((value, i) => (i === spoiled ? half(value) : mul(value, value))).reduce((a, b) => add(a, b));
    gradcheckDirections((...xs) => model(-1)(xs), many);
    expect(() => gradcheckDirections((...xs) => model(7)(xs), many)).toThrow("input 7 [10] alone");
  });
});
