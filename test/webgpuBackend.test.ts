/** What the WebGPU backend refuses, and what it leaves behind: errors that name the remedy, and no leaks. */
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import { openDevice } from "../src/backends/webgpu/device.ts";
import { createWebGpuBackend } from "../src/backends/webgpu/index.ts";
import {
  add,
  type Backend,
  DeviceLostError,
  defaultBackend,
  nn,
  ones,
  optim,
  randn,
  recordStep,
  scope,
  setBackend,
  setDefaultBackend,
  tensor,
  zeros,
} from "../src/index.ts";
import { softwareWebGpu, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();
const software = softwareWebGpu();

describe.skipIf(!options)("the WebGPU backend", () => {
  const cpu = defaultBackend();
  afterEach(() => setDefaultBackend(cpu));
  let gpu: Backend;
  beforeAll(async () => {
    gpu = await createWebGpuBackend(options ?? {});
  });

  it("is chosen by name, and so is the CPU again", async () => {
    expect((await setBackend("webgpu", options ?? {})).name).toBe("webgpu");
    expect(zeros([2]).backend.name).toBe("webgpu");
    expect(await setBackend("cpu")).toBe(cpu);
    await expect(setBackend("cuda" as "cpu")).rejects.toThrow(
      'there is no backend "cuda"; choose "cpu" or "webgpu"',
    );
  });

  it.skipIf(!software)("says which adapter computes", async () => {
    const { name, description, memory } = (await createWebGpuBackend(software ?? {})).info();
    expect(name).toBe("webgpu");
    expect(description).toMatch(/swiftshader.*software/i);
    expect(memory.limitBytes).toBe(4 * 2 ** 30);
  });

  it("has no f64", () => {
    expect(() => zeros([2], { dtype: "f64", backend: gpu })).toThrow("webgpu: shaders have no f64");
  });

  it("mixes no tensors of two backends", () => {
    expect(() => add(ones([2]), ones([2], { backend: gpu }))).toThrow(
      "inputs live on backends cpu and webgpu",
    );
    const own = ones([2], { backend: gpu });
    expect(() => cpu.readSync?.(own.storage.buffer, 0, 2)).toThrow("lives on another backend");
    expect(() => gpu.release(ones([2]).storage.buffer)).toThrow("lives on another backend");
  });

  it("reads asynchronously only", () => {
    expect(() => ones([2], { backend: gpu }).dataSync()).toThrow(
      "reads asynchronously; use await tensor.data()",
    );
  });

  it("refuses what a kernel cannot see as a whole", () => {
    expect(() => gpu.allocate("f32", 2 ** 30, "data")).toThrow(
      /this adapter binds at most \d+ MiB.*smaller batch/s,
    );
  });

  it("keeps to its budget, and says what takes it", async () => {
    const small = await createWebGpuBackend({ ...options, memoryBudget: 8 * 2 ** 20 });
    const kept = zeros([2 ** 20], { backend: small });
    const other = zeros([2 ** 19], { backend: small });
    other.dispose();
    // Idle memory of another size is returned first.
    const third = zeros([2 ** 19 + 2 ** 18], { backend: small });
    expect(() => zeros([2 ** 20], { backend: small })).toThrow(
      /cannot allocate 1048576 elements of f32 \(7 MiB are in use, data 7 MiB; the budget is 8 MiB\).*memoryBudget/,
    );
    expect(await kept.slice(0, 0, 2).toArray()).toEqual([0, 0]);
    third.dispose();
  });

  it.skipIf(!software)("warns once where half precision is asked for in vain", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    try {
      const backend = await createWebGpuBackend({ ...software, f16: true });
      expect(await ones([3], { backend }).mul(2).toArray()).toEqual([2, 2, 2]);
      expect(warn.mock.calls.flat().join()).toContain("shader-f16");
    } finally {
      warn.mockRestore();
    }
  });

  it("fails with a named error when the device goes in the middle of a step, and the CPU goes on", async () => {
    const open = await openDevice(options ?? {});
    const backend = new WebGpuBackend(open, 2 ** 30);
    const x = randn([4, 4], { backend });
    const y = x.matmul(x);
    open.device.destroy();
    expect(() => y.add(1)).toThrow(DeviceLostError);
    await expect(y.data()).rejects.toThrow(DeviceLostError);
    expect(ones([2]).add(1).toArraySync()).toEqual([2, 2]);
  });

  it("reads again and again from the same few staging buffers", async () => {
    const own = await createWebGpuBackend(options ?? {});
    if (!(own instanceof WebGpuBackend)) throw new Error("not a WebGPU backend");
    const x = ones([100], { backend: own });
    for (let i = 0; i < 300; i++) await x.data();
    expect(own.counters.stagingBuffers).toBe(1);
    await Promise.all(Array.from({ length: 5 }, () => x.data()));
    expect(own.counters.stagingBuffers).toBe(5);
  });

  it("writes after the kernels that were queued before", async () => {
    const x = tensor([1, 2, 3], { backend: gpu });
    const doubled = x.mul(2);
    gpu.write(x.storage.buffer, [10, 20, 30]);
    expect(await doubled.toArray()).toEqual([2, 4, 6]);
    expect(await x.toArray()).toEqual([10, 20, 30]);
  });

  it("launches more threads than one row of workgroups holds", async () => {
    const length = 65535 * 64 * 4 + 4;
    const x = zeros([length], { backend: gpu }).add(1);
    expect(await x.sum().item()).toBe(length);
    expect(await x.slice(0, length - 2, length).toArray()).toEqual([1, 1]);
  });

  describe("recording a step", () => {
    it("is refused on the CPU", () => {
      expect(() => recordStep(() => undefined)).toThrow(
        'backend cpu runs every step anew; call the step itself, or setBackend("webgpu")',
      );
    });

    it("refuses what would differ in every step", async () => {
      setDefaultBackend(gpu);
      const dropout = new nn.Dropout(0.5);
      const x = ones([8]);
      expect(() => recordStep(() => dropout.forward(x))).toThrow("drop the same elements in every replay");
      const layer = new nn.Linear(3, 2);
      const adam = new optim.Adam(layer.parameters(), {});
      const step = () => {
        layer
          .forward(ones([1, 3]))
          .sum()
          .backward();
        adam.step();
      };
      expect(() => recordStep(step)).toThrow("Adam: cannot be part of a recorded step");
      await expect(recordStep(() => x.data()).result).rejects.toThrow("a recorded step cannot read values");
    });

    it("gives its memory back when the body fails", async () => {
      const own = await setBackend("webgpu", options ?? {});
      const fail = () => {
        scope(() => void ones([2 ** 18]).add(1));
        throw new Error("on purpose");
      };
      expect(() => recordStep(fail)).toThrow("on purpose");
      const { reservedBytes } = own.info().memory;
      for (let i = 0; i < 3; i++) expect(() => recordStep(fail)).toThrow("on purpose");
      scope(() => void ones([2 ** 18]).add(1));
      expect(own.info().memory.reservedBytes).toBe(reservedBytes);
    });

    it("feeds whole tensors of the right size", () => {
      setDefaultBackend(gpu);
      const x = zeros([4]);
      const step = recordStep(() => x.mul(3));
      expect(() => step.feed(x, [1, 2])).toThrow("the tensor has 4 elements, 2 values were given");
      expect(() => step.feed(x.slice(0, 0, 2), [1, 2])).toThrow("this one is a view");
    });

    it("keeps what the host wrote in the middle of it", async () => {
      setDefaultBackend(gpu);
      const x = tensor([1, 2, 3]);
      // The constants' memory is free between their uses, and would be given to what comes next.
      const step = recordStep(() => {
        let y = x;
        for (let i = 1; i < 6; i++) {
          const own = y.mul(2);
          own.dispose();
          const grown = y.add(tensor([i, i, i])).mul(1);
          y = grown;
        }
        return y;
      });
      expect(await step.result.toArray()).toEqual([16, 17, 18]);
      step.feed(x, [10, 20, 30]);
      step.replay();
      expect(await step.result.toArray()).toEqual([25, 35, 45]);
    });
  });
});
