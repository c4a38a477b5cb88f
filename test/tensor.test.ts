/** Tensors from outside: creation, views on shared memory, reading, and what errors say. */
import { describe, expect, it } from "vitest";
import { copyInto } from "../src/autograd/index.ts";
import {
  arange,
  eye,
  full,
  linspace,
  onesLike,
  rand,
  randint,
  randn,
  randperm,
  type Tensor,
  tensor,
  zeros,
  zerosLike,
} from "../src/index.ts";
import { Generator } from "../src/tensor/generator.ts";

describe("creation", () => {
  it("takes the shape from the nesting, or flat numbers with a shape", () => {
    const nested = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    expect([nested.shape, nested.rank, nested.size, nested.dtype]).toEqual([[2, 3], 2, 6, "f32"]);
    const flat = tensor([1, 2, 3, 4, 5, 6], { shape: [2, 3] });
    expect(flat.toArraySync()).toEqual(nested.toArraySync());
    expect(tensor(Float64Array.of(1, 2), { dtype: "f64" }).shape).toEqual([2]);
    expect([tensor(7).shape, tensor(7).itemSync()]).toEqual([[], 7]);
    expect([tensor([]).shape, tensor([[], []]).shape]).toEqual([[0], [2, 0]]);
  });

  it("stores each dtype in its own numbers", () => {
    const values = [0, 1, 2, 0.5];
    expect(tensor([0.1]).itemSync()).toBe(Math.fround(0.1));
    expect(tensor([0.1], { dtype: "f64" }).itemSync()).toBe(0.1);
    expect(tensor([-1.75, 2 ** 31 - 1], { dtype: "i32" }).dataSync()).toEqual(Int32Array.of(-1, 2 ** 31 - 1));
    expect(tensor([255], { dtype: "u8" }).dataSync()).toEqual(Uint8Array.of(255));
    expect(tensor(values, { dtype: "bool" }).dataSync()).toEqual(Uint8Array.of(0, 1, 1, 1));
    expect(full([2], 5, { dtype: "bool" }).dataSync()).toEqual(Uint8Array.of(1, 1));
  });

  it("copies what it is given", () => {
    const source = Float32Array.of(1, 2);
    const copy = tensor(source);
    source[0] = 9;
    expect(copy.toArraySync()).toEqual([1, 2]);
  });

  it("counts and fills", () => {
    expect(arange(4).toArraySync()).toEqual([0, 1, 2, 3]);
    expect(arange(2, { start: -1, step: 0.75, dtype: "f64" }).toArraySync()).toEqual([-1, -0.25, 0.5, 1.25]);
    expect(arange(0, { start: 3, step: -2, dtype: "i32" }).toArraySync()).toEqual([3, 1]);
    expect(arange(5, { start: 5 }).shape).toEqual([0]);
    expect(linspace(-1, 1, 5).toArraySync()).toEqual([-1, -0.5, 0, 0.5, 1]);
    expect(linspace(3, 4, 1).toArraySync()).toEqual([3]);
    expect(eye(2).toArraySync()).toEqual([
      [1, 0],
      [0, 1],
    ]);
    const like = zeros([2, 1], { dtype: "f64" });
    expect([onesLike(like).dtype, onesLike(like).toArraySync()]).toEqual(["f64", [[1], [1]]]);
    expect([zerosLike(like).dtype, zerosLike(like).shape]).toEqual(["f64", [2, 1]]);
  });

  it("linspace ends exactly where it should", () => {
    // 49 · (1/49) is not 1 in f64.
    for (const count of [2, 50, 99, 104])
      expect(linspace(0, 1, count, { dtype: "f64" }).dataSync().at(-1)).toBe(1);
  });

  it("draws random numbers from the given generator, in the given type", () => {
    const draw = (make: (generator: Generator) => Tensor) => {
      const [first, again] = [make(new Generator(3)), make(new Generator(3))];
      expect(first.toArraySync()).toEqual(again.toArraySync());
      return first;
    };
    expect(draw((generator) => rand([2, 3], { generator })).shape).toEqual([2, 3]);
    expect(draw((generator) => randn([5], { generator, dtype: "f64" })).dtype).toBe("f64");
    expect(draw((generator) => randint(2, 5, [40], { generator })).dtype).toBe("i32");
    expect([...draw((generator) => randperm(9, { generator })).dataSync()].sort()).toEqual([
      ...Array(9).keys(),
    ]);
    const [low, high] = [4, 4.5];
    for (const value of draw((generator) => rand([50], { generator, low, high })).dataSync()) {
      expect(value).toBeGreaterThanOrEqual(low);
      expect(value).toBeLessThan(high);
    }
  });

  it("refuses what makes no tensor", () => {
    expect(() => tensor([[1], [2, 3]])).toThrow(
      "tensor: the nested arrays are ragged: the first entries suggest shape [2, 1], others do not fit it",
    );
    expect(() => tensor([1, [2]])).toThrow("ragged");
    expect(() => tensor([[1], 2])).toThrow("ragged");
    expect(() => tensor([1, 2], { shape: [3] })).toThrow("tensor: shape [3] has 3 elements, 2 were given");
    expect(() => zeros([2, -1])).toThrow("full: shape [2, -1] has extent -1; extents are integers >= 0");
    expect(() => zeros([1.5])).toThrow("extent 1.5");
    expect(() => zeros([2 ** 30, 2 ** 30])).toThrow("has more elements than can be counted");
    expect(() => arange(3, { step: 0 })).toThrow("arange: no steps of 0 lead from 0 to 3");
    expect(() => arange(9.5, { start: 10 })).toThrow("arange: no steps of 1 lead from 10 to 9.5");
    expect(() => rand([2], { dtype: "i32" })).toThrow("random: draws f32 or f64, not i32; use randint()");
    expect(() => randint(3, 3, [2])).toThrow("low < high");
    expect(() => tensor([1], { dtype: "i32", requiresGrad: true })).toThrow(
      "requiresGrad: only f32 and f64 tensors have gradients, this one is i32",
    );
    const flags: unknown = [true, false];
    expect(() => tensor(flags as number[])).toThrow(
      "tensor: expects numbers in nested arrays, found a boolean",
    );
    const text: unknown = "12";
    expect(() => tensor(text as number[])).toThrow("found a string");
  });
});

describe("views", () => {
  const base = () => arange(24).reshape([2, 3, 4]);

  it("share memory: what is written through one is seen through all", () => {
    const x = base();
    const views = [
      x.slice(1, 1, 3),
      x.permute([2, 0, 1]),
      x.reshape([6, 4]),
      x.select(0, 1),
      x.unsqueeze(1),
      x.detach(),
      x.expand([5, 2, 3, 4]),
      x.transpose(),
      ...x.split([1, 3], 2),
    ];
    for (const view of views) expect(view.storage).toBe(x.storage);
    copyInto(x, tensor(-1));
    for (const view of views) expect(new Set(view.dataSync())).toEqual(new Set([-1]));
  });

  it("write only into their own elements", () => {
    const x = zeros([3, 4]);
    copyInto(x.slice(0, 1, 2).transpose().slice(0, -3, -1), tensor(1));
    expect(x.toArraySync()).toEqual([
      [0, 0, 0, 0],
      [0, 1, 1, 0],
      [0, 0, 0, 0],
    ]);
  });

  it("a reshape that no strides express copies", () => {
    const x = base();
    const turned = x.permute([0, 2, 1]);
    const flat = turned.reshape([24]);
    expect(flat.storage).not.toBe(x.storage);
    expect([...flat.dataSync()]).toEqual([...turned.dataSync()]);
    expect(x.contiguous()).toBe(x);
    expect(turned.contiguous().isContiguous).toBe(true);
    expect(turned.clone().toArraySync()).toEqual(turned.toArraySync());
  });

  it("work out one extent of a reshape", () => {
    expect(base().reshape([4, -1]).shape).toEqual([4, 6]);
    expect(base().reshape([-1]).shape).toEqual([24]);
    expect(zeros([0, 3]).reshape([0, 7]).shape).toEqual([0, 7]);
    expect(
      tensor([[3]])
        .reshape([])
        .itemSync(),
    ).toBe(3);
  });

  it("split into equal parts or given extents, in order", () => {
    const x = arange(6);
    expect(x.split(3).map((part) => part.toArraySync())).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
    ]);
    expect(x.split([1, 0, 5]).map((part) => part.toArraySync())).toEqual([[0], [], [1, 2, 3, 4, 5]]);
    expect(base().split([1, 3], -1)[1].shape).toEqual([2, 3, 3]);
  });

  it("say which range, axis or size does not fit", () => {
    const x = base();
    expect(() => x.slice(1, 1, 4)).toThrow("slice: range 1 to 4 does not lie in axis 1 of [2, 3, 4]");
    expect(() => x.slice(1, 2, 1)).toThrow("slice: range 2 to 1 does not lie in axis 1 of [2, 3, 4]");
    expect(() => x.select(0, 2)).toThrow("select: index 2 is out of range for axis 0 of [2, 3, 4]");
    expect(() => x.slice(3, 0)).toThrow("slice: axis 3 is out of range for 3 dimensions; use -3 to 2");
    expect(() => x.split(2, 1)).toThrow("split: axis 1 of [2, 3, 4] does not divide into 2");
    expect(() => x.split([1, 1], 1)).toThrow("split: axis 1 of [2, 3, 4] does not divide into [1,1]");
    expect(() => x.reshape([5, -1])).toThrow("reshape: [2, 3, 4] has 24 elements and cannot become [5, -1]");
    expect(() => x.reshape([-1, -1])).toThrow("cannot become [-1, -1]");
    expect(() => x.permute([0, 1, 1])).toThrow("permute: [0, 1, 1]");
    expect(() => x.squeeze(0)).toThrow("squeeze: axis 0 of [2, 3, 4] has extent 2, not 1");
    expect(() => x.add(zeros([2, 4]))).toThrow("add: shapes [2, 3, 4] and [2, 4] do not broadcast");
  });
});

describe("reading", () => {
  it("gives row-major elements of any view, at once or later", async () => {
    const x = arange(12).reshape([3, 4]);
    const view = x.slice(0, 1).transpose().slice(0, 1, 3);
    const expected = [
      [5, 9],
      [6, 10],
    ];
    expect(view.isContiguous).toBe(false);
    expect(view.toArraySync()).toEqual(expected);
    expect(await view.toArray()).toEqual(expected);
    expect([...(await view.data())]).toEqual([5, 9, 6, 10]);
    const repeated = tensor([1, 2]).unsqueeze(1).expand([2, 3]);
    expect([...(await repeated.data())]).toEqual([1, 1, 1, 2, 2, 2]);
    expect(await x.select(1, 2).slice(0, 1, 2).item()).toBe(6);
    expect((await x.slice(0, 3).data()).length).toBe(0);
  });

  it("gives copies, which writing does not change", () => {
    const x = tensor([1, 2]);
    const data = x.dataSync();
    data[0] = 9;
    copyInto(x.slice(0, 1), tensor(5));
    expect([[...data], x.toArraySync()]).toEqual([
      [9, 2],
      [1, 5],
    ]);
  });

  it("item() wants a single element", async () => {
    expect(tensor([[4]]).itemSync()).toBe(4);
    expect(() => tensor([1, 2]).itemSync()).toThrow("item: tensor [2] has 2 elements, not one; use data()");
    await expect(zeros([0]).item()).rejects.toThrow("item: tensor [0] has 0 elements, not one");
  });
});

describe("requiresGrad", () => {
  it("can be asked of float leaves only, and not withdrawn from results", () => {
    const x = tensor([1]);
    expect([x.requiresGrad, x.isLeaf]).toEqual([false, true]);
    x.requiresGrad = true;
    const y = x.mul(2);
    expect([y.requiresGrad, y.isLeaf]).toEqual([true, false]);
    expect(() => {
      y.requiresGrad = false;
    }).toThrow("requiresGrad: the result of a recorded op always requires grad; use detach()");
    expect(y.detach().requiresGrad).toBe(false);
    x.requiresGrad = false;
    expect(x.mul(2).requiresGrad).toBe(false);
    expect(() => {
      arange(3, { dtype: "i32" }).requiresGrad = true;
    }).toThrow("this one is i32");
  });
});
