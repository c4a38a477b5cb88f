/** Integers and booleans: counted exactly, never rounded on the quiet, never differentiated. */
import { describe, expect, it } from "vitest";
import { equal, greater, randn, sum, tensor, zeros } from "../../src/index.ts";

describe("integers and booleans", () => {
  it("counts more than 255 hits", () => {
    const hits = sum(equal(zeros([300]), 0));
    expect([hits.dtype, hits.itemSync()]).toEqual(["i32", 300]);
    expect(sum(tensor([200, 100], { dtype: "u8" })).itemSync()).toBe(300);
  });

  it("refuses a fraction beside integers", () => {
    const counts = tensor([1, 2], { dtype: "i32" });
    expect(() => counts.add(0.5)).toThrow(
      'add: 0.5 is no integer and the tensor is i32; convert it with to("f32")',
    );
    expect(counts.add(5).toArraySync()).toEqual([6, 7]);
  });

  it("comparisons of tensors that require grad do not", () => {
    const x = randn([3], { requiresGrad: true });
    expect(greater(x, 0).requiresGrad).toBe(false);
    expect(x.argmax(0).requiresGrad).toBe(false);
  });

  it("flatten names an axis that is not there", () => {
    expect(() => tensor([1, 2]).flatten(5)).toThrow(
      "flatten: axis 5 is out of range for 1 dimensions; use -1 to 0",
    );
    expect(zeros([]).flatten().shape).toEqual([1]);
  });
});
