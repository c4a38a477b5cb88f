/** Where the time of a training step goes: measured on WebGPU, refused where kernels have no clocks. */
import { describe, expect, it } from "vitest";
import { createCpuBackend } from "../src/backends/cpu/index.ts";
import { createWebGpuBackend } from "../src/backends/webgpu/index.ts";
import type { BatchLoader } from "../src/data/index.ts";
import { defaultBackend, nn, optim, setDefaultBackend } from "../src/index.ts";
import { checkProfile, profileSteps, renderProfile } from "../src/train/index.ts";
import { noise } from "./support/noise.ts";
import { webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

/** One batch of three images of 5 x 5. */
const loader: BatchLoader = {
  dataset: { name: "noise", count: 3 },
  batchSize: 3,
  length: 1,
  async *epoch() {
    const shape = [3, 1, 5, 5] as const;
    yield { images: noise(75), labels: Int32Array.of(0, 1, 2), count: 3, shape, index: 0 };
  },
};

describe("checkProfile", () => {
  it("refuses a backend whose kernels have no clocks", async () => {
    await expect(checkProfile(createCpuBackend())).rejects.toThrow("add --backend webgpu");
  });

  it("says what a device lacks", async () => {
    const backend = Object.assign(createCpuBackend(), {
      profile: () => Promise.reject(new Error("webgpu: this adapter has no timestamp-query")),
    });
    await expect(checkProfile(backend)).rejects.toThrow(
      "--profile: webgpu: this adapter has no timestamp-query",
    );
  });
});

describe.skipIf(!options)("profileSteps", () => {
  it("gives the kernels of one step with their times, and the time of JavaScript", async () => {
    const backend = await createWebGpuBackend(options ?? {});
    await checkProfile(backend);
    const before = defaultBackend();
    setDefaultBackend(backend);
    const model = new nn.Sequential(
      new nn.Conv2d(1, 4, 3),
      new nn.ReLU(),
      new nn.Conv2d(4, 3, 3),
      new nn.Flatten(),
    );
    setDefaultBackend(before);
    model.eval();
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.1, momentum: 0.9 });
    const [profile] = await profileSteps(backend, [{ name: "small", model, optimizer }], loader);
    expect(model.training).toBe(true);
    const { kernels, scriptMilliseconds, stepMilliseconds } = profile;
    const launches = new Map(kernels.map(({ label, launches }) => [label, launches]));
    expect(launches.get("conv2d")).toBe(2);
    // The image needs no gradient.
    expect(launches.get("conv2dInputGradient")).toBe(1);
    expect(launches.get("conv2dWeightGradient")).toBe(2);
    expect(scriptMilliseconds).toBeGreaterThan(0);
    expect(scriptMilliseconds).toBeLessThanOrEqual(stepMilliseconds);
    const times = kernels.map(({ milliseconds }) => milliseconds);
    expect(times).toEqual([...times].sort((a, b) => b - a));
    expect(times[0]).toBeGreaterThan(0);
    const text = renderProfile(profile, 80);
    expect(text).toMatch(
      /^\nsmall: a step of 3 images takes [\d.]+ ms, JavaScript [\d.]+ ms of it; \d+ kernels/,
    );
    expect(text).toMatch(/\nconv2dWeightGradient +2 +[\d.]+ +[\d.]+\n/);
  });
});

describe("renderProfile", () => {
  it("adds up launches and times", () => {
    const text = renderProfile(
      {
        ...{ name: "a", images: 8, stepMilliseconds: 12.34, scriptMilliseconds: 5 },
        kernels: [
          { label: "long", launches: 2, milliseconds: 7.5 },
          { label: "short", launches: 1, milliseconds: 2.5 },
        ],
      },
      80,
    );
    expect(text.split("\n")).toEqual([
      "",
      "a: a step of 8 images takes 12.3 ms, JavaScript 5.0 ms of it; 3 kernels, 10.0 ms one by one",
      "",
      "kernel  launches    ms     %",
      "────────────────────────────",
      "long           2  7.50  75.0",
      "short          1  2.50  25.0",
      "",
    ]);
  });
});
