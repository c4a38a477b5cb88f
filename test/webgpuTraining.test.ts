/**
 * Training on WebGPU against training on the CPU. Left to themselves two trainings of f32 drift apart on any two
 * machines: rounding decides on which side of a ReLU's kink a value falls, and from there the difference grows (the
 * CPU with and without fused multiply-add does the same). So both start every step from the same weights here, but
 * where the activation is smooth: there they are left to themselves.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  analyzeStage,
  GradientRecorder,
  stageEquations,
  stageStructure,
  trace,
} from "../src/gradflow/index.ts";
import {
  type Backend,
  crossEntropy,
  defaultBackend,
  manualSeed,
  optim,
  recordStep,
  scope,
  setBackend,
  setDefaultBackend,
  tensor,
  zeros,
} from "../src/index.ts";
import type { DenseNet } from "../src/models/index.ts";
import { smallNetworks } from "./support/smallNetworks.ts";
import { webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

const batchSize = 4;
const imageShape = [batchSize, 1, 14, 14];

/** Images and labels of step `step`, the same every time. */
function batch(step: number): { images: Float32Array; labels: Int32Array } {
  const length = imageShape.reduce((product, extent) => product * extent, 1);
  return {
    images: Float32Array.from(
      { length },
      (_, i) => Math.sin(0.37 * i + 1.7 * step) * Math.cos(0.011 * i * i),
    ),
    labels: Int32Array.from({ length: batchSize }, (_, i) => (3 * i + step) % 10),
  };
}

describe.skipIf(!options)("training on WebGPU", () => {
  const cpu = defaultBackend();
  let gpu: Backend;
  beforeAll(async () => {
    gpu = await setBackend("webgpu", options ?? {});
  });
  afterAll(() => setDefaultBackend(cpu));

  function training(build: () => DenseNet, backend: Backend, everySteps = 2) {
    setDefaultBackend(backend);
    manualSeed(5);
    const model = build();
    const optimizer = new optim.SGD(model.parameters(), {
      lr: 0.05,
      momentum: 0.9,
      nesterov: true,
      weightDecay: 1e-4,
    });
    const recorder = new GradientRecorder(model, model.stages, { everySteps });
    const step = async (number: number): Promise<number> => {
      setDefaultBackend(backend);
      const { images, labels } = batch(number);
      const loss = scope(() => {
        optimizer.zeroGrad();
        const x = tensor(images, { shape: imageShape });
        const measured = recorder.step(number, x, () => {
          const loss = crossEntropy(model.forward(x), tensor(labels, { dtype: "i32" }));
          loss.backward();
          return loss;
        });
        optimizer.step();
        return measured;
      });
      const value = await loss.item();
      loss.dispose();
      await recorder.flush();
      return value;
    };
    return { model, optimizer, recorder, step };
  }

  it.each(smallNetworks)("%s takes the CPU's steps", async (_, build) => {
    const [reference, own] = [training(build, cpu), training(build, gpu)];
    for (let step = 0; step < 6; step++) {
      own.model.loadStateDict(reference.model.stateDict());
      const [expected, loss] = [await reference.step(step), await own.step(step)];
      expect(Math.abs(loss - expected)).toBeLessThan(1e-5 * expected);
      const gradients = own.model.namedParameters();
      for (const [name, parameter] of reference.model.namedParameters()) {
        const [a, b] = [await parameter.grad?.data(), await gradients.get(name)?.grad?.data()];
        if (!a || !b) throw new Error(`${name} has no gradient`);
        const scale = Math.hypot(...a);
        expect(Math.hypot(...a.map((value, i) => value - b[i])), name).toBeLessThan(1e-3 * scale + 1e-7);
      }
    }
    const figures = (measured: ReturnType<GradientRecorder["measured"]>): number[] =>
      measured.flatMap(({ maps }) =>
        maps.flatMap(({ samples }) =>
          samples.flatMap(({ cosine }) => cosine.flat().map((value) => value ?? 0)),
        ),
      );
    const [expected, found] = [reference.recorder.measured(), own.recorder.measured()].map(figures);
    expect(found.length).toBe(expected.length);
    expect(found.length).toBeGreaterThan(10);
    found.forEach((value, i) => void expect(Math.abs(value - expected[i])).toBeLessThan(1e-3));
  });

  it.each(smallNetworks)(
    "%s without kinks follows the CPU's loss for 50 steps of its own",
    async (_, build) => {
      const [reference, own] = [cpu, gpu].map((backend) =>
        training(() => build({ activation: "swish" }), backend, 1000),
      );
      const losses: number[] = [];
      for (let step = 0; step < 50; step++) {
        // Few batches over and over, which can be learnt.
        const expected = await reference.step(step % 4);
        losses.push(expected);
        expect(Math.abs((await own.step(step % 4)) - expected), `step ${step}`).toBeLessThan(1e-3 * expected);
      }
      expect(Math.min(...losses.slice(-10))).toBeLessThan(losses[0] / 2);
    },
  );

  it.each(smallNetworks)("%s has the same equations and structure", (_, build) => {
    const [reference, own] = [cpu, gpu].map((backend) => {
      setDefaultBackend(backend);
      const model = build();
      const traced = trace(model, zeros([1, 1, 14, 14]));
      return model.stages.map((stage) => {
        const analyzed = analyzeStage(traced, stage);
        return { equations: stageEquations(analyzed), structure: stageStructure(analyzed) };
      });
    });
    expect(own).toEqual(reference);
  });

  it("gives its state to the CPU only once it was read", async () => {
    const { model } = training(smallNetworks[0][1], gpu);
    setDefaultBackend(cpu);
    const own = smallNetworks[0][1]();
    expect(() => own.loadStateDict(model.stateDict())).toThrow("lives on webgpu and the module on cpu");
  });

  it("replays a recorded step as the step itself", async () => {
    const build = smallNetworks[1][1];
    // A step that the recorder watches fuses less, and so rounds otherwise.
    const [ordinary, recorded] = [training(build, gpu, 100), training(build, gpu, 100)];
    const images = zeros(imageShape);
    const labels = zeros([batchSize], { dtype: "i32" });
    const first = batch(1);
    for (const [target, values] of [
      [images, first.images],
      [labels, first.labels],
    ] as const)
      target.backend.write(target.storage.buffer, values);
    const step = recordStep(() => {
      recorded.optimizer.zeroGrad();
      const loss = crossEntropy(recorded.model.forward(images), labels);
      loss.backward();
      recorded.optimizer.step();
      return loss;
    });
    expect(step.kernels).toBeGreaterThan(50);
    const losses = [await step.result.item()];
    for (let number = 2; number < 6; number++) {
      const next = batch(number);
      step.feed(images, next.images);
      step.feed(labels, next.labels);
      step.replay();
      losses.push(await step.result.item());
    }
    const expected: number[] = [];
    for (let number = 1; number < 6; number++) expected.push(await ordinary.step(number));
    expect(losses).toEqual(expected);
    step.dispose();
    expect(() => step.replay()).toThrow("disposed");
  });

  it("leaves memory as it was, step after step", async () => {
    const { step } = training(smallNetworks[0][1], gpu);
    for (let number = 1; number < 8; number++) await step(number);
    // Networks of other tests may be collected in between, so what lives can become less.
    const before = gpu.memoryReport();
    const reserved = gpu.info().memory.reservedBytes;
    for (let number = 8; number < 24; number++) await step(number);
    const after = gpu.memoryReport();
    expect(after.liveBytes).toBeLessThanOrEqual(before.liveBytes);
    expect(after.liveBuffers).toBeLessThanOrEqual(before.liveBuffers);
    expect(gpu.info().memory.reservedBytes).toBe(reserved);
  });
});
