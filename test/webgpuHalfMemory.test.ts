/**
 * Half-precision storage where no adapter has it: rounding, the text of shaders, the account of memory, and which
 * tensors may be stored so.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Backend } from "../src/backends/backend.ts";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { fromHalf, toHalf } from "../src/backends/webgpu/half.ts";
import { DeviceMemory, type GpuMemory } from "../src/backends/webgpu/memory.ts";
import { type OperandType, type ShaderSource, shaderText } from "../src/backends/webgpu/programs.ts";
import { toWords } from "../src/backends/webgpu/staging.ts";
import {
  adaptiveAvgPool2d,
  checkpoint,
  crossEntropy,
  defaultBackend,
  enableGrad,
  GrowingConcat,
  grad,
  maxPool2d,
  nn,
  noGrad,
  optim,
  randn,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "../src/index.ts";

describe("half precision on the host", () => {
  /** Every finite number of half precision, by the definition of IEEE 754 binary16, with its bits. */
  const numbers = Array.from({ length: 0x7c00 }, (_, bits) => {
    const [exponent, fraction] = [bits >> 10, bits & 1023];
    const value = exponent === 0 ? fraction / 1024 / 2 ** 14 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return { bits, value };
  });

  it("reads all bits as what they mean", () => {
    const bits = Uint16Array.from(numbers, (number) => number.bits);
    expect([...fromHalf(bits)]).toEqual(numbers.map(({ value }) => value));
    expect([...fromHalf(bits.map((each) => each | 0x8000))]).toEqual(numbers.map(({ value }) => -value));
    expect([...fromHalf(Uint16Array.of(0x7c00, 0xfc00, 0x7c01, 0xffff))]).toEqual([
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
      Number.NaN,
    ]);
  });

  it("gives every number its own bits back", () => {
    const values = numbers.flatMap(({ value }) => [value, -value]);
    expect([...fromHalf(toHalf(values))]).toEqual(values);
  });

  it("rounds to the nearest number, the even one of two as near", () => {
    const between = (at: number, share: number) =>
      Math.fround(numbers[at].value + share * (numbers[at + 1].value - numbers[at].value));
    fc.assert(
      fc.property(
        fc.nat(numbers.length - 2),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        (at, share) => {
          const nearest = share < 0.5 ? at : at + 1;
          fc.pre(Math.abs(share - 0.5) > 1e-3);
          expect([...toHalf([between(at, share), -between(at, share)])]).toEqual([nearest, nearest | 0x8000]);
        },
      ),
      {
        examples: [
          [0, 0.2],
          [0, 0.7],
          [1022, 0.6],
          [1023, 0.6],
          [0x7bfe, 0.9],
        ],
      },
    );
    for (const at of [0, 1, 1022, 1023, 1024, 15_361, 0x7bfe])
      expect([...toHalf([between(at, 0.5)])], `between ${at} and the next`).toEqual([at + (at & 1)]);
  });

  it("keeps infinities and NaN, and makes one of what is too large", () => {
    const { POSITIVE_INFINITY: inf, NaN: nan } = Number;
    expect([...fromHalf(toHalf([65504, 65519.9, 65520, -1e30, inf, -inf, nan, 1e-9, -0]))]).toEqual([
      65504,
      65504,
      inf,
      -inf,
      inf,
      -inf,
      nan,
      0,
      -0,
    ]);
  });

  it("fills whole words", () => {
    expect(toWords({ dtype: "f32", half: true }, [1, 2, -2])).toEqual(
      Uint16Array.of(0x3c00, 0x4000, 0xc000, 0),
    );
    expect(toWords({ dtype: "f32", half: false }, [1, 2, -2])).toEqual(Float32Array.of(1, 2, -2));
  });
});

describe("the text of a shader", () => {
  const operand = (given: Partial<OperandType>): OperandType => ({
    name: "x",
    dtype: "f32",
    access: "read",
    binding: 0,
    half: false,
    vector: false,
    ...given,
  });
  const text = (operands: readonly OperandType[], given: Partial<ShaderSource> = {}): string =>
    shaderText({ operands, numbers: [], workgroupSize: 64, body: "", ...given });

  it("reads and writes half precision through f32", () => {
    const shader = text([
      operand({ half: true }),
      operand({ name: "y", access: "readWrite", binding: 1, half: true, vector: true }),
      operand({ name: "z", access: "write", binding: 2 }),
    ]);
    expect(shader).toMatch(/^enable f16;\n/);
    expect(shader).toContain("var<storage, read> b0: array<f16>;");
    expect(shader).toContain("var<storage, read_write> b1: array<vec4<f16>>;");
    expect(shader).toContain("var<storage, read_write> b2: array<f32>;");
    expect(shader).toContain("fn x_get(i: i32) -> f32 { return f32(b0[i]); }");
    expect(shader).toContain("fn y_get4(i: i32) -> vec4<f32> { return vec4<f32>(b1[i >> 2]); }");
    expect(shader).toContain("fn y_set(i: i32, v: f32) { b1[i >> 2][i & 3] = f16(v); }");
    expect(shader).toContain("fn y_set4(i: i32, v: vec4<f32>) { b1[i >> 2] = vec4<f16>(v); }");
    expect(shader).toContain("fn z_set(i: i32, v: f32) { b2[i] = v; }");
  });

  it("names both features where it needs both, and neither where it needs none", () => {
    expect(text([operand({ half: true })], { quads: true })).toMatch(/^enable subgroups;\nenable f16;\n/);
    expect(text([operand({}), operand({ name: "y", binding: 1, dtype: "i32" })])).not.toMatch(/f16|enable/);
  });

  it("reads operands that share a buffer of both widths", () => {
    const shader = text([
      operand({ half: true, vector: true }),
      operand({ name: "y", access: "write", half: true }),
    ]);
    expect(shader).toContain("var<storage, read_write> b0: array<f16>;");
    expect(shader).toContain("return vec4<f32>(f32(b0[i + 0]), f32(b0[i + 1])");
    expect(shader).toContain("fn y_set(i: i32, v: f32) { b0[i] = f16(v); }");
  });
});

describe("device memory", () => {
  /** A device that only counts. */
  const device = {
    createBuffer: ({ size }: { readonly size: number }) => ({ size }),
  } as unknown as GPUDevice;
  const memoryOf = (storesHalf: boolean) =>
    new DeviceMemory(device, { bytesPerBuffer: 2 ** 30, budgetBytes: 2 ** 30 }, () => undefined, storesHalf);

  it("takes two bytes for what may be rounded, where it was asked to", () => {
    const memory = memoryOf(true);
    const map = memory.allocate("f32", 5000, "activations", true);
    expect([map.half, map.bytes, map.memory.size]).toEqual([true, 10_000, 10_240]);
    expect(memory.report().byCategory.activations).toEqual({ live: 10_000, peak: 10_000 });
    for (const [dtype, mayRound] of [
      ["i32", true],
      ["u8", true],
      ["f32", false],
    ] as const)
      expect(memory.allocate(dtype, 10, "data", mayRound).half).toBe(false);
    expect(memory.report().byCategory.data.live).toBe(120);
    memory.release(map);
    expect(memory.report().byCategory.activations.live).toBe(0);
    expect(memoryOf(false).allocate("f32", 5000, "activations", true).bytes).toBe(20_000);
  });

  it("widens a buffer in place, with its old memory to be used again", () => {
    const memory = memoryOf(true);
    const buffer = memory.allocate("f32", 300, "activations", true);
    const { id } = buffer;
    const copied: GpuMemory[] = [];
    memory.widen(buffer, (from, to) => copied.push(from, to));
    expect(copied.map(({ half, id: own }) => [half, own === id])).toEqual([
      [true, true],
      [false, false],
    ]);
    expect([buffer.half, buffer.bytes, buffer.id]).toEqual([false, 1200, copied[1].id]);
    expect(memory.report()).toMatchObject({ liveBytes: 1200, liveBuffers: 1 });
    expect(memory.allocate("f32", 300, "activations", true).id).toBe(id);
  });
});

describe("what may be rounded", () => {
  /** Lengths of what may be rounded while `body` runs, on the CPU's backend, which is told and never rounds. */
  function rounded(body: () => void): number[] {
    const before = defaultBackend();
    const backend: Backend = createCpuBackend();
    const allocate = backend.allocate.bind(backend);
    const lengths: number[] = [];
    backend.allocate = (dtype, length, category, mayRound) => {
      if (mayRound) lengths.push(length);
      return allocate(dtype, length, category);
    };
    setDefaultBackend(backend);
    try {
      body();
    } finally {
      setDefaultBackend(before);
    }
    return lengths;
  }

  const network = () => {
    const [conv, norm, linear] = [
      new nn.Conv2d(2, 3, 3, { padding: 1 }),
      new nn.BatchNorm2d(3),
      new nn.Linear(3, 4),
    ];
    const logits = (x: Tensor) => {
      const maps = maxPool2d(norm.forward(conv.forward(x)).relu(), { kernelSize: 2 });
      return linear.forward(adaptiveAvgPool2d(maps, 1).reshape([2, 3]));
    };
    return { logits, parameters: [conv, norm, linear].flatMap((layer) => layer.parameters()) };
  };
  const labels = () => tensor([1, 3], { dtype: "i32" });

  it("is the maps of a forward pass, not weights, images, statistics, logits, losses or gradients", () => {
    const [map, pooled] = [2 * 3 * 6 * 6, 2 * 3 * 3 * 3];
    const lengths = rounded(() => {
      const { logits, parameters } = network();
      const optimizer = new optim.Adam(parameters, { lr: 0.1 });
      crossEntropy(logits(randn([2, 2, 6, 6]).mul(0.5)), labels()).backward();
      optimizer.step();
    });
    expect(lengths).toEqual([map, map, map, pooled]);
  });

  it("is the same in both passes of a checkpoint, and nothing in one that is not to be differentiated", () => {
    const x = () => randn([1, 2, 3, 3], { requiresGrad: true });
    const body = (map: Tensor) => map.relu().mul(map);
    expect(rounded(() => checkpoint(body, x()).sum().backward())).toEqual([18, 18, 18, 18]);
    expect(rounded(() => noGrad(() => checkpoint(body, x())))).toEqual([]);
    const gradientInside = (map: Tensor) => {
      const [gradient] = enableGrad(() => grad([map.tanh().sum()], [map]));
      return map.mul(gradient ?? 0);
    };
    // tanh(x) and the product, not the gradient between them.
    expect(rounded(() => void checkpoint(gradientInside, x()))).toEqual([18, 18]);
  });

  it("is no gradient, also where gradients are differentiated again", () => {
    const lengths = rounded(() => {
      const x = randn([2, 2, 3, 3], { requiresGrad: true });
      const [gradient] = grad([x.tanh().sum()], [x], { createGraph: true });
      gradient?.mul(gradient).sum().backward();
    });
    // tanh(x), and the square of its gradient, which is computed in no backward pass.
    expect(lengths).toEqual([36, 36]);
  });

  it("is nothing where no backward pass follows", () => {
    expect(rounded(() => noGrad(() => network().logits(randn([2, 2, 6, 6]))))).toEqual([]);
  });

  it("is the memory of a dense block", () => {
    const lengths = rounded(() => {
      const first = randn([2, 3, 4, 4], { requiresGrad: true });
      const block = new GrowingConcat(first, 5);
      block.append(first.slice(1, 0, 2));
      block.tensor().sum().backward();
    });
    expect(lengths).toEqual([2 * 5 * 4 * 4]);
  });
});
