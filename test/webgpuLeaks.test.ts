/** What training and reading leave behind on the device: nothing, however long they go on. */
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import { openDevice } from "../src/backends/webgpu/device.ts";
import {
  crossEntropy,
  defaultBackend,
  nn,
  ones,
  optim,
  randn,
  scope,
  setDefaultBackend,
  tensor,
} from "../src/index.ts";
import { webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

describe.skipIf(!options)("a WebGPU device", () => {
  const cpu = defaultBackend();
  let gpu: WebGpuBackend;
  /** Buffers that were made on the device. */
  let made: () => number;
  beforeAll(async () => {
    const open = await openDevice(options ?? {});
    const createBuffer = vi.spyOn(open.device, "createBuffer");
    made = () => createBuffer.mock.calls.length;
    gpu = new WebGpuBackend(open, 2 ** 30);
    setDefaultBackend(gpu);
  });
  afterAll(() => setDefaultBackend(cpu));

  it("has the same buffers and bytes after 100 steps and after 300", async () => {
    const model = new nn.Sequential(
      new nn.Conv2d(1, 4, 3, { padding: 1, bias: false }),
      new nn.BatchNorm2d(4),
      new nn.ReLU(),
      new nn.Conv2d(4, 8, 3, { stride: 2 }),
      new nn.Flatten(),
      new nn.Linear(8 * 3 * 3, 10),
    );
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
    const images = randn([3, 1, 8, 8]);
    const labels = tensor([1, 7, 4], { dtype: "i32" });
    const step = () =>
      scope(() => {
        optimizer.zeroGrad();
        crossEntropy(model.forward(images), labels).backward();
        optimizer.step();
      });
    const after = async (steps: number) => {
      for (let i = 0; i < steps; i++) step();
      await images.data();
      const { liveBytes, pooledBytes } = gpu.memoryReport();
      return { made: made(), liveBytes, pooledBytes, reserved: gpu.info().memory.reservedBytes };
    };
    const before = await after(100);
    expect(before.liveBytes).toBeGreaterThan(0);
    expect(before.made).toBeGreaterThan(0);
    expect(await after(200)).toEqual(before);
  });

  it("has the same buffers and bytes after 10 readbacks and after 10,000", async () => {
    const x = ones([100]);
    const after = async (reads: number) => {
      for (let i = 0; i < reads; i++) await x.data();
      const { stagingBuffers } = gpu.counters;
      return { made: made(), stagingBuffers, reserved: gpu.info().memory.reservedBytes };
    };
    const before = await after(10);
    expect(before.stagingBuffers).toBeGreaterThan(0);
    expect(await after(9_990)).toEqual(before);
  });
});
