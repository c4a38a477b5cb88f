/** Tensors on a backend that reads asynchronously only, on two backends at once, and without memory. */
import { describe, expect, it } from "vitest";
import type { Backend, Buffer, KernelCall, KernelName } from "../src/backends/backend.ts";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { arange, memoryReport, rand, tensor, zeros } from "../src/index.ts";

/** The CPU backend as a device that answers later, as GPUs do. */
function distant(): Backend {
  const near = createCpuBackend();
  return {
    name: "distant",
    allocate: (dtype, length, category) => near.allocate(dtype, length, category),
    release: (buffer) => near.release(buffer),
    recategorize: (buffer, category) => near.recategorize(buffer, category),
    run: <K extends KernelName>(call: KernelCall<K>) => near.run(call),
    write: (buffer, values) => near.write(buffer, values),
    read: (buffer: Buffer, start: number, end: number) => near.read(buffer, start, end),
    memoryReport: () => near.memoryReport(),
    resetPeakMemory: () => near.resetPeakMemory(),
    info: () => near.info(),
  };
}

describe("a backend that reads asynchronously", () => {
  const x = arange(6, { backend: distant() }).reshape([2, 3]).transpose();

  it("computes and is awaited", async () => {
    expect(await x.add(1).toArray()).toEqual([
      [1, 4],
      [2, 5],
      [3, 6],
    ]);
    expect(await x.sum().item()).toBe(15);
  });

  it("says so where a value is wanted at once", () => {
    expect(() => x.dataSync()).toThrow(
      "dataSync: backend distant reads asynchronously; use await tensor.data()",
    );
    expect(String(x)).toBe("tensor(on distant, shape [3, 2], f32)");
  });

  it("does not mix with another", () => {
    expect(() => x.add(zeros([3, 2]))).toThrow("add: inputs live on backends distant and cpu");
  });
});

describe("memory that cannot be had", () => {
  it("is a named error that says what to do, and is not counted", () => {
    const before = memoryReport().liveBytes;
    const message =
      /^cpu: cannot allocate 1099511627776 elements of f32 \(\d+ MiB are in use[^)]*; WebAssembly memory: [^)]*\); use a smaller batch, checkpoint\(\) parts of the model, or run steps in scope\(\)$/;
    expect(() => zeros([2 ** 20, 2 ** 20])).toThrow(message);
    expect(() => rand([2 ** 20, 2 ** 20])).toThrow(message);
    expect(() =>
      tensor(0)
        .expand([2 ** 20, 2 ** 20])
        .add(1),
    ).toThrow(message);
    expect(memoryReport().liveBytes - before).toBeLessThan(100);
  });
});
