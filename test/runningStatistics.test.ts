/** What a norm keeps of the batches it has seen: the numbers, what is refused, and that a backward pass notices. */
import { describe, expect, it } from "vitest";
import { batchStatistics, mul, nn, type Tensor, tensor, updateRunningStatistics } from "../src/index.ts";
import { noise } from "./support/noise.ts";
import { tensorsOnDevice, webGpuUnderTest } from "./support/webgpu.ts";

const options = webGpuUnderTest();

/** Makes tensors on one backend. */
type Make = (values: Float32Array | readonly number[], shape: readonly number[], dtype?: "i32") => Tensor;
const onHost: Make = (values, shape, dtype) => tensor(values, dtype ? { shape, dtype } : { shape });

async function check(make: Make, channels: number): Promise<void> {
  const [means, variances] = [noise(channels, 1, 7), noise(channels, 3, 8)];
  // A row of a wider tensor and every second element of another: layouts that are not dense.
  const mean = make([...means, ...means], [2, channels]).select(0, 1);
  const variance = make(
    [...variances].flatMap((value) => [value, -1]),
    [channels, 2],
  ).select(1, 0);
  const batches = make([41], [], "i32");
  const newest = noise(2 * channels, 2, 9);
  const statistics = make(
    [...newest].flatMap((value) => [0, value]),
    [2, channels, 2],
  ).select(2, 1);
  updateRunningStatistics({ mean, variance, batches }, statistics, { momentum: 0.25, count: 5 });
  const [movedMean, movedVariance] = [await mean.data(), await variance.data()];
  for (let c = 0; c < channels; c++) {
    expect(movedMean[c]).toBeCloseTo(0.75 * means[c] + 0.25 * newest[c], 5);
    expect(movedVariance[c]).toBeCloseTo(0.75 * variances[c] + 0.25 * 1.25 * newest[channels + c], 5);
  }
  expect(await batches.item()).toBe(42);
}

describe("updateRunningStatistics", async () => {
  const onDevice = await tensorsOnDevice(options);

  it.each([1, 3, 65])(
    "moves mean and unbiased variance of %d channels and counts, in any layout",
    (channels) => check(onHost, channels),
  );

  it.skipIf(!options).each([1, 3, 65])("does the same on WebGPU with %d channels", (channels) =>
    check((values, shape, dtype) => onDevice(values, shape, dtype), channels),
  );

  it("refuses statistics of other channels", () => {
    const running = { mean: tensor([0, 0]), variance: tensor([1, 1]), batches: tensor(0, { dtype: "i32" }) };
    const statistics = batchStatistics(tensor(noise(24, 0, 1), { shape: [2, 3, 2, 2] }));
    expect(() => updateRunningStatistics(running, statistics, { momentum: 0.1, count: 8 })).toThrow(
      "updateRunningStatistics: running statistics [2] and a counter [] do not match those of a batch, [2, 3]",
    );
  });

  it("is noticed by a backward pass that needs the old values", () => {
    const norm = new nn.BatchNorm2d(2);
    const x = tensor(noise(16, 0, 2), { shape: [2, 2, 2, 2] });
    norm.weight.requiresGrad = true;
    const loss = mul(norm.weight, norm.buffer("running_var")).sum();
    norm.forward(x);
    expect(() => loss.backward()).toThrow("changed");
  });
});
