/** How tensors print, to the letter. */
import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { arange, tensor, zeros } from "../src/index.ts";

const lines = (...text: readonly string[]) => text.join("\n");

describe("printing", () => {
  it.each([
    ["a scalar", tensor(3), "tensor(3., shape [], f32)"],
    ["a row", tensor([1, -2]), "tensor([ 1., -2.], shape [2], f32)"],
    ["fractions", tensor([0.5, 12.25]), "tensor([ 0.5000, 12.2500], shape [2], f32)"],
    [
      "no finite numbers",
      tensor([Number.NaN, Number.NEGATIVE_INFINITY]),
      "tensor([      NaN, -Infinity], shape [2], f32)",
    ],
    ["NaN among numbers", tensor([Number.NaN, 0.5]), "tensor([   NaN, 0.5000], shape [2], f32)"],
    ["small numbers", tensor([0.00001, 2]), "tensor([1.0000e-5, 2.0000e+0], shape [2], f32)"],
    ["large numbers", tensor([0.5, 1e5], { dtype: "f64" }), "tensor([5.0000e-1, 1.0000e+5], shape [2], f64)"],
    ["integers", tensor([16777216, -3], { dtype: "i32" }), "tensor([16777216,       -3], shape [2], i32)"],
    ["bytes", tensor([7, 255], { dtype: "u8" }), "tensor([  7, 255], shape [2], u8)"],
    ["flags", tensor([1, 0], { dtype: "bool" }), "tensor([ true, false], shape [2], bool)"],
    ["nothing", zeros([2, 0, 3]), "tensor([], shape [2, 0, 3], f32)"],
    ["a leaf", tensor([1], { requiresGrad: true }), "tensor([1.], shape [1], f32, requiresGrad)"],
    ["a result", tensor([1], { requiresGrad: true }).mul(2), "tensor([2.], shape [1], f32, gradFn mul)"],
    ["a long row", arange(9), "tensor([0., 1., 2., …, 6., 7., 8.], shape [9], f32)"],
    ["a row that just fits", arange(8), "tensor([0., 1., 2., 3., 4., 5., 6., 7.], shape [8], f32)"],
    [
      "a matrix",
      arange(4).reshape([2, 2]),
      lines("tensor([[0., 1.],", "        [2., 3.]], shape [2, 2], f32)"),
    ],
    [
      "a view",
      arange(6).reshape([2, 3]).transpose(),
      lines("tensor([[0., 3.],", "        [1., 4.],", "        [2., 5.]], shape [3, 2], f32)"),
    ],
    [
      "blocks, the middle of long axes left out",
      arange(200, { dtype: "i32" }).reshape([2, 10, 10]),
      lines(
        "tensor([[[  0,   1,   2, …,   7,   8,   9],",
        "         [ 10,  11,  12, …,  17,  18,  19],",
        "         [ 20,  21,  22, …,  27,  28,  29],",
        "         …,",
        "         [ 70,  71,  72, …,  77,  78,  79],",
        "         [ 80,  81,  82, …,  87,  88,  89],",
        "         [ 90,  91,  92, …,  97,  98,  99]],",
        "        [[100, 101, 102, …, 107, 108, 109],",
        "         [110, 111, 112, …, 117, 118, 119],",
        "         [120, 121, 122, …, 127, 128, 129],",
        "         …,",
        "         [170, 171, 172, …, 177, 178, 179],",
        "         [180, 181, 182, …, 187, 188, 189],",
        "         [190, 191, 192, …, 197, 198, 199]]], shape [2, 10, 10], i32)",
      ),
    ],
  ])("%s", (_, x, expected) => {
    expect(String(x)).toBe(expected);
    expect(inspect(x)).toBe(expected);
  });

  it("numbers that are left out do not decide the format", () => {
    const x = arange(9, { dtype: "f64" });
    const values = x.dataSync();
    values[4] = 0.123;
    expect(String(tensor(values, { dtype: "f64" }))).toBe(
      "tensor([0., 1., 2., …, 6., 7., 8.], shape [9], f64)",
    );
  });

  it("says that the memory was freed instead of failing", () => {
    const x = zeros([2, 3]);
    x.dispose();
    expect(String(x)).toBe("tensor(freed, shape [2, 3], f32)");
  });
});
