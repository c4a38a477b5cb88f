/** Several backward passes over one tape: nothing of one pass may leak into the next. */
import { expect, it } from "vitest";
import { batchNorm, grad, onesLike, randn, sum, tensor } from "../src/index.ts";

it("a pass with createGraph does not reuse what a plain pass shared between inputs", () => {
  const x = randn([2, 2, 2, 3], { dtype: "f64", requiresGrad: true });
  const weight = tensor([1, 2], { dtype: "f64", requiresGrad: true });
  const bias = tensor([0, 1], { dtype: "f64", requiresGrad: true });
  const y = batchNorm(x, weight, bias);
  const gradients = [onesLike(y).mul(x.detach())];
  const [plain] = grad(y, [x], { gradients, retainGraph: true });
  const [again] = grad(y, [x], { gradients, createGraph: true });
  expect(plain.requiresGrad).toBe(false);
  expect(again.requiresGrad).toBe(true);
  expect(again.dataSync()).toEqual(plain.dataSync());
  expect(() => grad(sum(again.mul(again)), [x])).not.toThrow();
});
