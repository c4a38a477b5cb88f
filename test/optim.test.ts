/** Optimizers and schedules against PyTorch, step for step, and what they say about settings out of range. */
import { describe, expect, it } from "vitest";
import { Linear } from "../src/nn/layers/linear.ts";
import { Adam, AdamW } from "../src/nn/optim/adam.ts";
import type { Optimizer } from "../src/nn/optim/optimizer.ts";
import {
  cosine,
  LearningRateScheduler,
  linearWarmup,
  polynomial,
  type Schedule,
  stepDecay,
} from "../src/nn/optim/schedules.ts";
import { SGD } from "../src/nn/optim/sgd.ts";
import { Parameter } from "../src/nn/parameter.ts";
import { ones, tensor } from "../src/tensor/create.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import { expectClose, readFixture, restore, type StoredTensor } from "./support/pytorchFixtures.ts";

interface OptimizerCase {
  readonly name: string;
  readonly optimizer: "SGD" | "Adam" | "AdamW";
  readonly options: { readonly lr: number };
  readonly parametersAfter: readonly (readonly StoredTensor[])[];
}

interface ScheduleOptions {
  readonly stepSize: number;
  readonly gamma: number;
  readonly tMax: number;
  readonly etaMin: number;
  readonly startFactor: number;
  readonly totalIters: number;
  readonly power: number;
  readonly maxSteps: number;
  readonly burnIn: number;
  readonly burnInPower: number;
}

interface ScheduleCase {
  readonly name: string;
  readonly schedule: string;
  readonly options: ScheduleOptions;
  readonly baseLr: number;
  readonly lr: readonly number[];
}

interface Fixture {
  readonly initial: readonly StoredTensor[];
  readonly gradients: readonly (readonly StoredTensor[])[];
  readonly cases: readonly OptimizerCase[];
  readonly schedules: readonly ScheduleCase[];
}

const fixture: Fixture = readFixture("optim");

const optimizers = { SGD, Adam, AdamW };

const parameter = (values: readonly number[] = [1, 2]) => new Parameter(tensor(values));

describe("optimizers against PyTorch", () => {
  describe.each(fixture.cases)("$name", ({ optimizer: kind, options, parametersAfter }) => {
    it.each([
      ["f64", 1e-12],
      ["f32", 1e-6],
    ] as const)("takes the same steps in %s", (float, relative) => {
      const parameters = fixture.initial.map((stored) => new Parameter(restore(stored, float)));
      const optimizer: Optimizer = new optimizers[kind](parameters, options);
      fixture.gradients.forEach((gradients, step) => {
        parameters.forEach((each, i) => {
          each.grad = restore(gradients[i], float);
        });
        optimizer.step();
        parameters.forEach((each, i) => {
          expectClose(`parameter ${i} after step ${step}`, each, parametersAfter[step][i], relative);
        });
      });
    });
  });

  it("has PyTorch's defaults", () => {
    expect(new SGD([parameter()], { lr: 1 }).options).toEqual({
      lr: 1,
      momentum: 0,
      dampening: 0,
      weightDecay: 0,
      nesterov: false,
    });
    const adam = { lr: 0.001, betas: [0.9, 0.999], eps: 1e-8 };
    expect(new Adam([parameter()]).options).toEqual({ ...adam, weightDecay: 0 });
    expect(new AdamW([parameter()]).options).toEqual({ ...adam, weightDecay: 0.01 });
  });
});

describe("an optimizer", () => {
  it("leaves parameters without a gradient alone, and counts Adam's steps for each parameter", () => {
    const [used, late] = [parameter([1]), parameter([1])];
    const optimizer = new Adam([used, late], { lr: 0.1 });
    used.grad = ones([1]);
    optimizer.step();
    expect(late.itemSync()).toBe(1);
    late.grad = ones([1]);
    optimizer.step();
    // Adam's first step has the size lr whatever the gradient.
    expect(late.itemSync()).toBeCloseTo(0.9, 6);
  });

  it("does not pretend to train when no parameter has a gradient", () => {
    const layer = new Linear(1, 1);
    const optimizer = new SGD(layer.parameters(), { lr: 1 });
    layer.to("f64");
    layer.forward(ones([1, 1], { dtype: "f64" })).backward();
    expect(() => optimizer.step()).toThrow(
      "SGD: none of the 2 parameters has a gradient; call backward() before step(), and make the optimizer after",
    );
  });

  it("follows a learning rate that is set between steps", () => {
    const each = parameter([1]);
    const optimizer = new SGD([each], { lr: 0.5 });
    each.grad = ones([1]);
    optimizer.step();
    optimizer.lr = 0.25;
    optimizer.step();
    expect(each.itemSync()).toBe(0.25);
  });

  it("forgets gradients and frees their memory", () => {
    const each = parameter([3]);
    const optimizer = new SGD([each], { lr: 0.5 });
    each.mul(each).sum().backward();
    expect(each.grad?.toArraySync()).toEqual([6]);
    const before = memoryReport().byCategory.gradients.live;
    optimizer.zeroGrad();
    expect(each.grad).toBeNull();
    expect(memoryReport().byCategory.gradients.live).toBe(before - 4);
  });

  it("keeps its state when a step runs inside a scope, and counts it as optimizer memory", () => {
    const run = (step: (body: () => void) => void): unknown => {
      const each = parameter([1, -2]);
      const optimizer = new SGD([each], { lr: 0.1, momentum: 0.9 });
      for (let i = 0; i < 3; i++)
        step(() => {
          each.grad = tensor([1, 0.5]);
          optimizer.step();
        });
      return each.toArraySync();
    };
    const before = memoryReport().byCategory.optimizer.live;
    const scoped = run(scope);
    expect(memoryReport().byCategory.optimizer.live).toBe(before + 8);
    expect(scoped).toEqual(run((body) => body()));
  });

  it("refuses settings out of range, naming them", () => {
    const make = (options: object) => () => new SGD([parameter()], { lr: 0.1, ...options });
    expect(() => new SGD([], { lr: 0.1 })).toThrow("SGD: got no parameters; pass model.parameters()");
    expect(make({ lr: -1 })).toThrow("SGD: lr -1 must be a finite number >= 0");
    expect(make({ lr: Number.NaN })).toThrow("SGD: lr NaN must be a finite number >= 0");
    expect(make({ momentum: -0.5 })).toThrow("SGD: momentum -0.5 must be");
    expect(make({ dampening: Number.NaN })).toThrow("SGD: dampening NaN must be");
    expect(make({ weightDecay: Number.POSITIVE_INFINITY })).toThrow("SGD: weightDecay Infinity must be");
    expect(make({ nesterov: true })).toThrow("SGD: nesterov needs momentum > 0 and dampening 0");
    expect(make({ nesterov: true, momentum: 0.9, dampening: 0.1 })).toThrow("SGD: nesterov needs");
    const adam = (options: object) => () => new AdamW([parameter()], options);
    expect(adam({ betas: [1, 0.9] })).toThrow("AdamW: betas[0] 1 must be a number in [0, 1)");
    expect(adam({ betas: [0.9, -0.1] })).toThrow("AdamW: betas[1] -0.1 must be a number in [0, 1)");
    expect(adam({ eps: -1 })).toThrow("AdamW: eps -1 must be");
    expect(adam({ weightDecay: -1 })).toThrow("AdamW: weightDecay -1 must be");
  });
});

function scheduleOf({ schedule, options, baseLr }: ScheduleCase): Schedule {
  switch (schedule) {
    case "StepLR":
      return stepDecay(options);
    case "CosineAnnealingLR":
      return cosine({ maxSteps: options.tMax, floor: options.etaMin / baseLr });
    case "LinearLR":
      return linearWarmup({ steps: options.totalIters, start: options.startFactor });
    case "PolynomialLR":
      return polynomial({ maxSteps: options.totalIters, power: options.power });
    case "DarknetPoly":
      return polynomial(options);
    default:
      throw new Error(`the fixture has schedule ${schedule}, which no function here stands for`);
  }
}

describe("schedules", () => {
  it.each(fixture.schedules)("$name as in PyTorch or Darknet", (test) => {
    const optimizer = new SGD([parameter()], { lr: test.baseLr });
    const scheduler = new LearningRateScheduler(optimizer, scheduleOf(test));
    // Beyond its end PyTorch's cosine rises again; ours stays at its floor, which the next test holds.
    const end = test.schedule === "CosineAnnealingLR" ? test.options.tMax + 1 : test.lr.length;
    for (const expected of test.lr.slice(0, end)) {
      expect(Math.abs(optimizer.lr - expected)).toBeLessThanOrEqual(1e-14);
      scheduler.step();
    }
    expect(scheduler.count).toBe(end);
  });

  it("stay level after their end", () => {
    expect(cosine({ maxSteps: 5, floor: 0.25 })(13)).toBe(0.25);
    expect(polynomial({ maxSteps: 5 })(13)).toBe(0);
    expect(linearWarmup({ steps: 5 })(13)).toBe(1);
  });

  it("follow one another after a warm-up, counted anew", () => {
    const schedule = linearWarmup({ steps: 4, next: stepDecay({ stepSize: 2, gamma: 0.5 }) });
    expect([0, 1, 2, 3, 4, 5, 6, 8].map(schedule)).toEqual([0, 0.25, 0.5, 0.75, 1, 1, 0.5, 0.25]);
  });

  it("refuse lengths and factors that are not positive", () => {
    expect(() => polynomial({ maxSteps: 0 })).toThrow("polynomial: maxSteps 0 must be a positive number");
    expect(() => stepDecay({ stepSize: -1 })).toThrow("stepDecay: stepSize -1 must be a positive number");
    expect(() => stepDecay({ stepSize: 1, gamma: -2 })).toThrow(
      "stepDecay: gamma -2 must be a positive number",
    );
    expect(() => cosine({ maxSteps: Number.NaN })).toThrow("cosine: maxSteps NaN must be a positive number");
    expect(() => linearWarmup({ steps: 0 })).toThrow("linearWarmup: steps 0 must be a positive number");
  });
});
