/** An optimizer's state taken to another one: the training goes on with the same numbers. */
import { describe, expect, it } from "vitest";
import { manualSeed, nn, optim, randn, scope, tensor } from "../src/index.ts";

const build = () => {
  manualSeed(4);
  return new nn.Linear(3, 2);
};

const kinds: Record<string, (parameters: nn.Parameter[]) => optim.Optimizer> = {
  "SGD with dampening": (parameters) =>
    new optim.SGD(parameters, { lr: 0.1, momentum: 0.9, dampening: 0.5, weightDecay: 0.01 }),
  "SGD without momentum": (parameters) => new optim.SGD(parameters, { lr: 0.1 }),
  Adam: (parameters) => new optim.Adam(parameters, { lr: 0.1 }),
  AdamW: (parameters) => new optim.AdamW(parameters, { lr: 0.1 }),
};

function train(model: nn.Module, optimizer: optim.Optimizer, steps: readonly number[]): void {
  for (const step of steps)
    scope(() => {
      manualSeed(step);
      optimizer.zeroGrad();
      const y = model.forward(randn([5, 3]));
      y.mul(y).sum().backward();
      optimizer.step();
    });
}

const weights = (model: nn.Module) => model.parameters().map((parameter) => parameter.toArraySync());

describe.each(Object.entries(kinds))("%s", (_, make) => {
  it("goes on in another optimizer as if nothing had happened", () => {
    const whole = build();
    train(whole, make(whole.parameters()), [1, 2, 3, 4, 5]);

    const first = build();
    const optimizer = make(first.parameters());
    train(first, optimizer, [1, 2, 3]);
    const second = build();
    second.loadStateDict(first.stateDict());
    const continued = make(second.parameters());
    continued.loadStateDict(optimizer.stateDict());
    train(second, continued, [4, 5]);
    expect(weights(second)).toEqual(weights(whole));
    expect(continued.stateDict().steps).toEqual([5, 5]);
  });
});

describe("a state that does not fit", () => {
  const model = build();
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9 });

  it.each<[string, optim.OptimizerState, string]>([
    ["other parameters", { tensors: new Map(), steps: [1] }, "steps of 1 parameters; there are 2"],
    ["half a step", { tensors: new Map(), steps: [1, 0.5] }, "one of them 0.5"],
    [
      "another shape",
      { tensors: new Map([["velocity.0", tensor([1])]]), steps: [1, 1] },
      "velocity.0 is [1]",
    ],
    ["no such parameter", { tensors: new Map([["velocity.7", tensor([1])]]), steps: [1, 1] }, "velocity.7"],
    ["no number", { tensors: new Map([["velocity", tensor([1])]]), steps: [1, 1] }, "a tensor velocity"],
  ])("%s is refused and changes nothing", (_, state, message) => {
    expect(() => optimizer.loadStateDict(state)).toThrow(message);
    expect(optimizer.stateDict().tensors.size).toBe(0);
  });
});
