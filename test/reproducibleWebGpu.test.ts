/**
 * Reproducible mode on WebGPU: the bits of the CPU in the same mode, for every op and gradient, for trained networks, and
 * against exact rational arithmetic.
 */
import fc from "fast-check";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { registeredOps } from "../src/autograd/defineOp.ts";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import { openDevice } from "../src/backends/webgpu/device.ts";
import { wrongArithmetic } from "../src/backends/webgpu/reproducible/selfCheck.ts";
import { GradientRecorder } from "../src/gradflow/index.ts";
import {
  abs,
  add,
  type Backend,
  clamp,
  crossEntropy,
  defaultBackend,
  div,
  exp,
  floor,
  log,
  logSoftmax,
  manualSeed,
  matmul,
  max,
  maximum,
  maxPool2d,
  minimum,
  mul,
  optim,
  pow,
  recordStep,
  relu,
  scope,
  setBackend,
  setDefaultBackend,
  sign,
  softplus,
  sqrt,
  stack,
  sum,
  type Tensor,
  tanh,
  tensor,
  upsample,
  zeros,
} from "../src/index.ts";
import type { DenseNet } from "../src/models/index.ts";
import { casesOf, claimsOf } from "./support/opsOnDevice.ts";
import { dots, exactDot } from "./support/rational.ts";
import { smallNetworks } from "./support/smallNetworks.ts";
import { softwareWebGpu, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();
const software = softwareWebGpu();

/** Where two lists of numbers differ in a bit; null where they do not. A NaN is a NaN. */
function difference(own: ArrayLike<number>, expected: ArrayLike<number>): string | null {
  if (own.length !== expected.length) return `${own.length} numbers, not ${expected.length}`;
  for (let i = 0; i < own.length; i++)
    if (!Object.is(own[i], expected[i])) return `[${i}] is ${own[i]}, not ${expected[i]}`;
  return null;
}

const imageShape = [4, 1, 14, 14];
const labelsOf = (step: number) => Int32Array.from({ length: 4 }, (_, i) => (3 * i + step) % 10);
const imagesOf = (step: number) =>
  Float32Array.from(
    { length: 4 * 14 * 14 },
    (_, i) => Math.sin(0.37 * i + 1.7 * step) * Math.cos(0.011 * i * i),
  );

describe.skipIf(!options)("reproducible mode on WebGPU", () => {
  const before = defaultBackend();
  let cpu: Backend;
  let gpu: Backend;
  beforeAll(async () => {
    cpu = await setBackend("cpu", { reproducible: true });
    gpu = await setBackend("webgpu", { ...options, reproducible: true });
    setDefaultBackend(before);
  });
  afterEach(() => {
    setDefaultBackend(before);
    vi.restoreAllMocks();
  });

  it("says so", () => {
    expect(gpu.info()).toMatchObject({ name: "webgpu", reproducible: true, selfCheck: "passed" });
    expect(gpu.info().description).toMatch(/, reproducible$/);
  });

  it("sums products exactly and rounds once", async () => {
    const samples = fc.sample(dots, 2000);
    const depth = Math.max(...samples.map(({ a }) => a.length));
    const stack = (side: "a" | "b", shape: number[]): Tensor => {
      const values = new Float32Array(samples.length * depth);
      samples.forEach((sample, i) => void values.set(sample[side], i * depth));
      return tensor(values, { shape, backend: gpu });
    };
    const product = matmul(stack("a", [samples.length, 1, depth]), stack("b", [samples.length, depth, 1]));
    const exact = samples.map(({ a, b }) => exactDot(a, b));
    expect(difference(await product.data(), exact)).toBeNull();
  });

  it("shares long sums among threads without changing them", async () => {
    const length = 20_011;
    const values = Float32Array.from({ length }, (_, i) => Math.sin(i * i) * 2 ** (i % 19));
    const exact = exactDot(values, new Float32Array(length).fill(1));
    expect(await tensor(values, { backend: gpu }).sum().item()).toBe(exact);
  });

  it.each(
    [...registeredOps().values()].filter(({ name }) => name !== "cast").map((op) => [op.name, op] as const),
  )("%s and its gradients have the CPU's bits", async (_, op) => {
    for (const example of casesOf(op)) {
      const [expected, found] = [claimsOf(example, cpu), claimsOf(example, gpu)];
      expect(found.length).toBe(expected.length);
      for (const [i, claim] of found.entries()) {
        const wrong = difference(await claim.found.data(), await expected[i].found.data());
        expect(wrong, `${claim.what} of ${JSON.stringify(example.sample.inputs)}`).toBeNull();
      }
    }
  });

  it("treats zeros of both signs, infinities and NaN as the CPU does", async () => {
    const special = [
      0,
      -0,
      1,
      -1,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      2 ** -126,
      3e38,
      -3e38,
      0.5,
      88.8,
      -88,
      7.5,
      -3,
    ];
    const n = special.length;
    const first = special.flatMap((value) => special.map(() => value));
    const second = special.flatMap(() => special);
    const results = (backend: Backend): Record<string, Tensor> => {
      const [a, b] = [first, second].map((values) => tensor(values, { backend }));
      const image = b.reshape([1, 1, n, n]);
      return {
        powers: pow(a, b),
        extremes: add(maximum(a, b), minimum(a, b)),
        "quotients and products": add(div(a, b), mul(a, b)),
        "clamped and rectified": add(clamp(a, -1, 0), relu(b)),
        functions: add(exp(a), add(log(b), add(tanh(a), add(sqrt(b), softplus(a))))),
        signs: mul(sign(a), add(floor(b), abs(a))),
        "largest of columns": max(image, [2]),
        "largest of windows": maxPool2d(image, { kernelSize: 3, stride: 2, padding: 1 }),
        resized: upsample(image, { scaleFactor: 2 }),
        logSoftmax: logSoftmax(stack([a, b], 0), 0),
        sums: sum(stack([a, b], 0), 0),
      };
    };
    const [expected, found] = [results(cpu), results(gpu)];
    for (const [name, result] of Object.entries(found))
      expect(difference(await result.data(), await expected[name].data()), name).toBeNull();
  });

  function training(build: () => DenseNet, backend: Backend) {
    setDefaultBackend(backend);
    manualSeed(5);
    const model = build();
    const settings = { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 1e-4 };
    const optimizer = new optim.SGD(model.parameters(), settings);
    return { model, optimizer, recorder: new GradientRecorder(model, model.stages, { everySteps: 2 }) };
  }

  const stateOf = async ({ model }: { readonly model: DenseNet }) =>
    Promise.all([...model.stateDict().values()].map((value) => value.data()));

  it.each(smallNetworks)("%s trains to the CPU's bits, and shows the same gradients", async (_, build) => {
    const run = async (backend: Backend) => {
      const own = training(build, backend);
      const losses: number[] = [];
      for (let step = 0; step < 4; step++) {
        const loss = scope(() => {
          own.optimizer.zeroGrad();
          const images = tensor(imagesOf(step), { shape: imageShape });
          const measured = own.recorder.step(step, images, () => {
            const loss = crossEntropy(own.model.forward(images), tensor(labelsOf(step), { dtype: "i32" }));
            loss.backward();
            return loss;
          });
          own.optimizer.step();
          return measured;
        });
        losses.push(await loss.item());
        await own.recorder.flush();
      }
      const evaluated = await own.model
        .eval()
        .forward(tensor(imagesOf(9), { shape: imageShape }))
        .data();
      return { losses, evaluated, state: await stateOf(own), figures: own.recorder.measured() };
    };
    const [expected, found] = [await run(cpu), await run(gpu)];
    expect(found.losses).toEqual(expected.losses);
    expect(difference(found.evaluated, expected.evaluated)).toBeNull();
    found.state.forEach((values, i) => void expect(difference(values, expected.state[i])).toBeNull());
    expect(found.figures).toEqual(expected.figures);
  });

  it("replays a recorded step with the bits of the step itself", async () => {
    const [plain, recorded] = [training(smallNetworks[0][1], gpu), training(smallNetworks[0][1], gpu)];
    const images = zeros(imageShape);
    const labels = zeros([4], { dtype: "i32" });
    const stepOf = ({ model, optimizer }: typeof plain) => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(images), labels);
      loss.backward();
      optimizer.step();
      return loss;
    };
    images.backend.write(images.storage.buffer, imagesOf(0));
    labels.backend.write(labels.storage.buffer, labelsOf(0));
    for (let step = 0; step < 3; step++) scope(() => stepOf(plain));
    const step = recordStep(() => stepOf(recorded));
    step.replay();
    step.replay();
    const [expected, found] = [await stateOf(plain), await stateOf(recorded)];
    step.dispose();
    found.forEach((values, i) => void expect(difference(values, expected[i])).toBeNull());
  });

  it("is refused together with half precision", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const half = setBackend("webgpu", { ...options, reproducible: true, f16: true });
    const { f16 } = await openDevice({ ...options, f16: true });
    if (f16) await expect(half).rejects.toThrow("ask for f16 or reproducible, not both");
    else expect((await half).info().reproducible).toBe(true);
  });

  it("finds out adapters that round otherwise", async () => {
    // The shaders of ordinary mode are such: they divide by constants roughly, and have functions of their own.
    const open = await openDevice(software ?? {});
    expect(await wrongArithmetic(new WebGpuBackend(open, 2 ** 28))).toContain("functions");
    expect(await wrongArithmetic(new WebGpuBackend(open, 2 ** 28, true, true))).toEqual([]);
    open.close();
  });
});
