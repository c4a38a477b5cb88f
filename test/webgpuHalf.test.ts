/**
 * Half-precision storage on an adapter that has shader-f16: ops on it, reading and writing it, what becomes of it, and
 * training. The software adapter of the development dependencies has none: GRADWEAVE_WEBGPU_ADAPTER names another one.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { registeredOps } from "../src/autograd/defineOp.ts";
import type { Buffer } from "../src/backends/backend.ts";
import type { DType } from "../src/backends/dtype.ts";
import type { MemoryCategory } from "../src/backends/memory.ts";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import { type OpenDevice, openDevice } from "../src/backends/webgpu/device.ts";
import { fromHalf, halfRounding, largestHalf, toHalf } from "../src/backends/webgpu/half.ts";
import { GpuMemory } from "../src/backends/webgpu/memory.ts";
import {
  type Backend,
  checkpoint,
  conv2d,
  crossEntropy,
  defaultBackend,
  manualSeed,
  noGrad,
  optim,
  recordStep,
  scope,
  setDefaultBackend,
  type Tensor,
  tensor,
  zeros,
} from "../src/index.ts";
import { densenet } from "../src/models/index.ts";
import { Parameter } from "../src/nn/parameter.ts";
import { noise } from "./support/noise.ts";
import { type Claim, casesOf, claimsOf, complaintsOf } from "./support/opsOnDevice.ts";
import { smallSize } from "./support/smallNetworks.ts";
import { webGpuUnderTest } from "./support/webgpu.ts";

/** Opens the adapter with half precision; null, with the reason printed, where it has none. */
async function openHalf(): Promise<OpenDevice | null> {
  const options = webGpuUnderTest();
  if (!options) return null;
  const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
  const open = await openDevice({ ...options, f16: true }).finally(() => warn.mockRestore());
  if (open.f16) return open;
  console.warn(`Half-precision tests are skipped: ${open.adapter.name} has no shader-f16`);
  open.close();
  return null;
}

const rounded = (values: ArrayLike<number>): Float32Array => fromHalf(toHalf(values));

/** Also what tests make is stored in half precision, of any shape; but not the constants of formulas, such as an ε. */
class HalfInputs extends WebGpuBackend {
  override allocate(dtype: DType, length: number, category: MemoryCategory, mayRound = false): Buffer {
    return super.allocate(dtype, length, category, mayRound || (category === "data" && length > 1));
  }
}

const isHalf = ({ storage }: Tensor): boolean => storage.buffer instanceof GpuMemory && storage.buffer.half;

const opened = await openHalf();

describe.skipIf(!opened)("half-precision storage", () => {
  const cpu = defaultBackend();
  let gpu: WebGpuBackend;
  let plain: Backend;
  beforeAll(async () => {
    if (!opened) return;
    gpu = new WebGpuBackend(opened, 2 ** 30);
    plain = new WebGpuBackend(await openDevice({ ...webGpuUnderTest(), f16: false }), 2 ** 30);
  });
  afterAll(() => setDefaultBackend(cpu));

  /** A map that an op made while gradients are recorded, of values rounded to half precision. */
  const mapOf = (
    values: readonly number[] | Float32Array,
    shape: readonly number[],
    backend = gpu,
  ): Tensor => {
    const map = tensor(values, { shape, backend, requiresGrad: true }).mul(1);
    expect(isHalf(map)).toBe(true);
    return map;
  };

  describe("of the inputs and maps of every op", () => {
    /** An output is rounded once; a gradient is that of a rule which may read the rounded output, of slope up to 4. */
    const bound = ({ what }: Claim) => (what === "the output" ? 1 : 4) * halfRounding;
    for (const op of registeredOps().values())
      for (const quads of /conv2d|matmul/i.test(op.name) ? [true, false] : [true])
        it(`${op.name} is the reference${quads ? "" : " with the kernels of GPUs"}`, async () => {
          if (!opened) return;
          const device = new HalfInputs(opened, 2 ** 30, quads);
          const claims = casesOf(op).flatMap((example) =>
            Object(example.sample.attributes).dtype === "f64" ? [] : claimsOf(example, device, rounded),
          );
          const wrong = await Promise.all(claims.map((claim) => complaintsOf(claim, bound(claim))));
          expect(wrong.flat()).toEqual([]);
        });
  });

  it("reads any stretch as the rounded values", async () => {
    const values = noise(2 * 3 * 5 * 3);
    const map = mapOf(values, [2, 3, 5, 3]);
    const expected = rounded(values);
    expect(await map.data()).toEqual(expected);
    for (const [start, end] of [
      [0, 1],
      [1, 2],
      [1, 4],
      [45, 90],
      [89, 90],
      [7, 7],
    ])
      expect(await gpu.read(map.storage.buffer, start, end)).toEqual(expected.slice(start, end));
  });

  it("rounds what the host writes as what kernels write", async () => {
    const map = mapOf([1, 2, 3], [1, 1, 1, 3]);
    const values = noise(3, 0, 5);
    gpu.write(map.storage.buffer, values);
    expect(await map.data()).toEqual(rounded(values));
    // Not recorded, and so not rounded again.
    const error = noGrad(() => map.sub(tensor(values, { shape: [1, 1, 1, 3], backend: gpu })));
    expect(await error.data()).toEqual(rounded(values).map((value, i) => Math.fround(value - values[i])));
  });

  it("is infinite beyond 65504, where f32 is not", async () => {
    const values = [largestHalf, 65600, -1e6, 3];
    expect(await mapOf(values, [1, 1, 2, 2]).toArray()).toEqual([
      [
        [
          [65504, Number.POSITIVE_INFINITY],
          [Number.NEGATIVE_INFINITY, 3],
        ],
      ],
    ]);
    const flat = tensor(values, { backend: gpu, requiresGrad: true }).mul(1);
    expect(isHalf(flat)).toBe(false);
    expect(await flat.toArray()).toEqual(values);
  });

  it("ends where a map becomes a weight", async () => {
    const values = noise(36);
    const map = mapOf(values, [2, 2, 3, 3]);
    const { weights, activations } = gpu.memoryReport().byCategory;
    const [view, parameter] = [map.slice(1, 1, 2).detach(), new Parameter(map.detach())];
    const after = gpu.memoryReport().byCategory;
    expect([after.weights.live - weights.live, after.activations.live - activations.live]).toEqual([
      144, -72,
    ]);
    expect(isHalf(parameter)).toBe(false);
    // Less than half precision can tell from 0.
    const small = new Float32Array(36).fill(2 ** -30);
    expect(await parameter.data()).toEqual(rounded(values));
    gpu.write(parameter.storage.buffer, small);
    expect(await parameter.data()).toEqual(small);
    expect(await view.data()).toEqual(new Float32Array(18).fill(2 ** -30));
  });

  const imageShape = [4, 1, 14, 14];
  const batch = (step: number) => ({
    images: Float32Array.from(
      { length: 4 * 14 * 14 },
      (_, i) => Math.sin(0.37 * i + 1.7 * step) * Math.cos(0.011 * i * i),
    ),
    labels: Int32Array.from({ length: 4 }, (_, i) => (3 * i + step) % 10),
  });

  function training(backend: Backend) {
    setDefaultBackend(backend);
    manualSeed(5);
    const model = densenet({ ...smallSize, activation: "swish" });
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.05, momentum: 0.9, nesterov: true });
    const body = (x: Tensor, y: Tensor): Tensor => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(x), y);
      loss.backward();
      optimizer.step();
      return loss;
    };
    const step = async (number: number): Promise<number> => {
      setDefaultBackend(backend);
      const { images, labels } = batch(number);
      const loss = scope(() => body(tensor(images, { shape: imageShape }), tensor(labels, { dtype: "i32" })));
      const value = await loss.item();
      loss.dispose();
      return value;
    };
    return { step, body };
  }

  it("trains as f32 does, with half the memory in activations", async () => {
    if (!opened) return;
    const backends = [plain, new WebGpuBackend(opened, 2 ** 30)];
    const [reference, own] = backends.map(training);
    const losses: number[] = [];
    const apart: number[] = [];
    for (let step = 0; step < 30; step++) {
      const expected = await reference.step(step % 4);
      const loss = await own.step(step % 4);
      losses.push(loss);
      apart.push(Math.abs(loss - expected) / expected);
    }
    // 2.5e-4 was measured; a rounding error of 2^-11 is twice that.
    expect(Math.max(...apart)).toBeLessThan(2e-3);
    expect(Math.max(...apart)).toBeGreaterThan(0);
    expect(Math.min(...losses.slice(-4))).toBeLessThan(0.65 * losses[0]);
    const [whole, half] = backends.map((backend) => backend.memoryReport().byCategory);
    expect(half.activations.peak).toBeLessThan(0.51 * whole.activations.peak);
    for (const category of ["weights", "gradients", "optimizer", "data"] as const)
      expect(half[category].peak).toBe(whole[category].peak);
  });

  it("has the same bits with a checkpoint", async () => {
    const [values, weights] = [noise(2 * 3 * 6 * 6), noise(4 * 3 * 3 * 3, 0, 2)];
    const run = async (wrap: (body: (x: Tensor) => Tensor, x: Tensor) => Tensor) => {
      const x = tensor(values, { shape: [2, 3, 6, 6], backend: gpu, requiresGrad: true });
      const weight = tensor(weights, { shape: [4, 3, 3, 3], backend: gpu, requiresGrad: true });
      const y = wrap((map) => conv2d(map, weight).relu().mul(1.3).tanh(), x);
      y.square().sum().backward();
      return Promise.all([y, x.grad, weight.grad].map((each) => each?.data()));
    };
    const plainly = await run((body, x) => body(x));
    expect(await run(checkpoint)).toEqual(plainly);
    expect(plainly[0]).toEqual(rounded(plainly[0] ?? []));
  });

  it("replays a recorded step as the step itself", async () => {
    const [ordinary, recorded] = [training(gpu), training(gpu)];
    setDefaultBackend(gpu);
    const [images, labels] = [zeros(imageShape), zeros([4], { dtype: "i32" })];
    gpu.write(images.storage.buffer, batch(1).images);
    gpu.write(labels.storage.buffer, batch(1).labels);
    const step = recordStep(() => recorded.body(images, labels));
    const losses = [await step.result.item()];
    for (let number = 2; number < 5; number++) {
      step.feed(images, batch(number).images);
      step.feed(labels, batch(number).labels);
      step.replay();
      losses.push(await step.result.item());
    }
    step.dispose();
    const expected: number[] = [];
    for (let number = 1; number < 5; number++) expected.push(await ordinary.step(number));
    expect(losses).toEqual(expected);
  });
});
