/** Updates of many tensors at once: what they write, what they refuse, and that a backward pass notices them. */
import { describe, expect, it } from "vitest";
import { assignAll } from "../src/autograd/index.ts";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { add, input, mul, parameter } from "../src/backends/expression.ts";
import { tensor } from "../src/index.ts";
import { Optimizer, SGD } from "../src/nn/optim/index.ts";
import { Parameter } from "../src/nn/parameter.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

const [x, y] = [input(0), input(1)];
/** y += p · x, then x = x · y with the new y. */
const both = [
  { target: 1, expression: add(y, mul(parameter(0), x)) },
  { target: 0, expression: mul(x, y) },
];

describe("assignAll", () => {
  it.each([true, false])("sees in each assignment what those before wrote (WebAssembly: %s)", (wasm) => {
    const backend = createCpuBackend({ wasm });
    const rows = [
      [tensor([1, 2, 3, 4, 5], { backend }), tensor([1, 1, 1, 1, 1], { backend })],
      [tensor([[2], [3]], { backend }), tensor([[0], [1]], { backend })],
      [tensor(7, { backend }), tensor(1, { backend })],
    ];
    assignAll(rows, both, [10]);
    expect(rows.map((row) => row.map((each) => each.toArraySync()))).toEqual([
      [
        [11, 42, 93, 164, 255],
        [11, 21, 31, 41, 51],
      ],
      [
        [[40], [93]],
        [[20], [31]],
      ],
      [497, 71],
    ]);
  });

  it("does nothing to no rows", () => {
    expect(() => assignAll([], both, [1])).not.toThrow();
  });

  it("names what does not fit together", () => {
    const [three, two] = [tensor([1, 2, 3]), tensor([1, 2])];
    const elsewhere = tensor([1, 2], { backend: createCpuBackend({ wasm: false }) });
    expect(() => assignAll([[three, two]], both)).toThrow(
      "assignAll: [2] and [3] in one row; all its tensors need one shape",
    );
    expect(() => assignAll([[three, three], [two]], both)).toThrow(
      "assignAll: rows of 2 and of 1 tensors; give all the same",
    );
    expect(() => assignAll([[two, elsewhere]], both)).toThrow("assignAll: tensors live on two backends");
  });

  it("is noticed by a backward pass that saved the old values", () => {
    const weight = new Parameter(tensor([1, 2]));
    const loss = weight.mul(weight).sum();
    weight.grad = tensor([1, 1]);
    new SGD([weight], { lr: 0.1 }).step();
    expect(() => loss.backward()).toThrow(
      "backward: input 1 of mul was changed in place after the forward pass saved it",
    );
  });
});

describe("an optimizer of one's own", () => {
  class Ascent extends Optimizer {
    static readonly #step = [{ target: 0, expression: add(x, mul(parameter(0), y)) }];
    protected override update(weight: Parameter, gradient: Tensor): void {
      this.assignTogether([weight, gradient], Ascent.#step, [this.lr]);
    }
  }

  it("updates all parameters together, and one that is given twice only once", () => {
    const weights = [[1, 2], [3]].map((values) => new Parameter(tensor(values)));
    const optimizer = new Ascent([...weights, weights[0]], 0.5);
    for (const weight of weights) weight.grad = tensor(weight.shape[0] === 2 ? [2, 4] : [6]);
    optimizer.step();
    expect(weights.map((weight) => weight.toArraySync())).toEqual([[2, 4], [6]]);
    weights[0].grad = null;
    optimizer.step();
    expect(weights.map((weight) => weight.toArraySync())).toEqual([[2, 4], [9]]);
  });
});
