/** Pooling and resizing where PyTorch's fixtures do not reach: ceilMode, uneven margins, what is refused and how. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { backward } from "../../src/autograd/engine.ts";
import { adaptiveAvgPool2d, globalAvgPool2d } from "../../src/autograd/ops/adaptiveAvgPool2d.ts";
import { avgPool2d } from "../../src/autograd/ops/avgPool2d.ts";
import { maxPool2d } from "../../src/autograd/ops/maxPool2d.ts";
import { sum } from "../../src/autograd/ops/sum.ts";
import { upsample } from "../../src/autograd/ops/upsample.ts";
import { arange, rand, tensor, zeros } from "../../src/tensor/create.ts";
import { Generator } from "../../src/tensor/generator.ts";
import type { Tensor } from "../../src/tensor/tensor.ts";

const images = (...shape: number[]): Tensor => {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return tensor(arange(size).dataSync(), { shape });
};

/** Start and end (within the image) of every window along one axis with ceilMode, by PyTorch's documentation. */
function windowsWithCeil(size: number, kernel: number, stride: number, padding: number): [number, number][] {
  const windows: [number, number][] = [];
  const count = Math.ceil((size + 2 * padding - kernel) / stride) + 1;
  for (let i = 0; i < count; i++) {
    const start = i * stride - padding;
    // Windows that would start in the margin at the end are ignored.
    if (start < size) windows.push([Math.max(0, start), Math.min(size, start + kernel)]);
  }
  return windows;
}

const axis = fc
  .record({
    size: fc.integer({ min: 1, max: 9 }),
    kernel: fc.integer({ min: 1, max: 4 }),
    stride: fc.integer({ min: 1, max: 5 }),
    padding: fc.nat(2),
  })
  .filter(({ size, kernel, padding }) => padding <= kernel / 2 && kernel <= size + 2 * padding);

describe("ceilMode", () => {
  it("lets the last window hang over the edge, without counting what is not there", () => {
    fc.assert(
      fc.property(axis, axis, fc.nat(), (vertical, horizontal, seed) => {
        const x = rand([1, 1, vertical.size, horizontal.size], {
          dtype: "f64",
          generator: new Generator(seed),
        });
        const values = x.dataSync();
        const expected = { max: [] as number[], mean: [] as number[] };
        const rows = windowsWithCeil(vertical.size, vertical.kernel, vertical.stride, vertical.padding);
        const columns = windowsWithCeil(
          horizontal.size,
          horizontal.kernel,
          horizontal.stride,
          horizontal.padding,
        );
        for (const [top, bottom] of rows)
          for (const [left, right] of columns) {
            const window: number[] = [];
            for (let h = top; h < bottom; h++)
              for (let w = left; w < right; w++) window.push(values[h * horizontal.size + w]);
            expected.max.push(Math.max(...window));
            expected.mean.push(window.reduce((total, value) => total + value, 0) / window.length);
          }
        const options = {
          kernelSize: [vertical.kernel, horizontal.kernel],
          stride: [vertical.stride, horizontal.stride],
          padding: [vertical.padding, horizontal.padding],
          ceilMode: true,
        } as const;
        const largest = maxPool2d(x, options);
        expect(largest.shape).toEqual([1, 1, rows.length, columns.length]);
        expect([...largest.dataSync()]).toEqual(expected.max);
        const means = avgPool2d(x, { ...options, countIncludePad: false });
        expect(means.shape).toEqual(largest.shape);
        means.dataSync().forEach((value, i) => {
          expect(value).toBeCloseTo(expected.mean[i], 12);
        });
      }),
      { numRuns: 200 },
    );
  });

  it("does not mix with a margin that counts", () => {
    const options = { kernelSize: 3, stride: 2, padding: 1, ceilMode: true };
    expect(() => avgPool2d(images(1, 1, 4, 4), options)).toThrow(
      /^avgPool2d: ceilMode with padding \[1, 1, 1, 1\] that counts is not supported; set countIncludePad: false/,
    );
    expect(avgPool2d(images(1, 1, 3, 3), { kernelSize: 2, ceilMode: true }).toArraySync()).toEqual([
      [
        [
          [2, 3.5],
          [6.5, 8],
        ],
      ],
    ]);
  });
});

describe("maxPool2d", () => {
  it("pads each side as told: Darknet's size 2 with stride 1 keeps the image's size", () => {
    const result = maxPool2d(images(1, 1, 2, 3), { kernelSize: 2, stride: 1, padding: [0, 1, 0, 1] });
    expect(result.toArraySync()).toEqual([
      [
        [
          [4, 5, 5],
          [4, 5, 5],
        ],
      ],
    ]);
  });

  it("lets NaN win and gives it the gradient", () => {
    const x = tensor([[[[1, Number.NaN, 3, 2]]]], { requiresGrad: true });
    const y = maxPool2d(x, { kernelSize: [1, 2] });
    expect([...y.dataSync()]).toEqual([Number.NaN, 3]);
    backward(sum(y));
    expect(x.grad?.dataSync()).toEqual(Float32Array.of(0, 1, 1, 0));
  });

  it("names what does not fit", () => {
    expect(() => maxPool2d(zeros([1, 2, 5, 5]), { kernelSize: 6 })).toThrow(
      "maxPool2d: a window of 6 (kernel 6, dilation 1) does not fit into 5 (extent 5, padding 0 + 0); " +
        "use a larger input, more padding or a smaller kernel",
    );
    expect(() => maxPool2d(zeros([1, 2, 5, 5]), { kernelSize: 2, padding: 2 })).toThrow(
      /^maxPool2d: padding \[2, 2, 2, 2\] must be smaller than the window's reach \[2, 2\]/,
    );
    expect(() => maxPool2d(zeros([2, 5, 5]), { kernelSize: 2 })).toThrow(
      /^maxPool2d: input \[2, 5, 5\] has 3 dimensions, not the 4 of \[N, C, H, W\]/,
    );
    expect(() => maxPool2d(zeros([1, 2, 5, 5]), { kernelSize: [2, 0] })).toThrow(
      "maxPool2d: kernelSize [2, 0] must be an integer >= 1 or a pair of such",
    );
    expect(() => maxPool2d(zeros([1, 2, 5, 5]), { kernelSize: 2, stride: 1.5 })).toThrow(
      /^maxPool2d: stride 1.5/,
    );
    expect(() => maxPool2d(zeros([1, 2, 5, 5]), { kernelSize: 2, padding: -1 })).toThrow(
      /^maxPool2d: padding -1 must be/,
    );
    expect(() => maxPool2d(zeros([1, 1, 2, 2], { dtype: "i32" }), { kernelSize: 2 })).toThrow(
      /^maxPool2d: takes f32 and f64, not i32/,
    );
  });
});

describe("adaptive and global average pooling", () => {
  it("agree on one pixel", () => {
    const x = images(2, 3, 5, 7);
    expect(globalAvgPool2d(x).shape).toEqual([2, 3, 1, 1]);
    expect(globalAvgPool2d(x).dataSync()).toEqual(adaptiveAvgPool2d(x, 1).dataSync());
  });

  it("refuse images without pixels, and other things than images", () => {
    expect(() => adaptiveAvgPool2d(zeros([1, 2, 0, 3]), 1)).toThrow(
      /^adaptiveAvgPool2d: input \[1, 2, 0, 3\] has no pixels/,
    );
    expect(() => adaptiveAvgPool2d(zeros([1, 2, 2, 3]), [1, 0])).toThrow(
      /^adaptiveAvgPool2d: outputSize \[1, 0\] must be/,
    );
    expect(() => globalAvgPool2d(zeros([3, 2]))).toThrow(/^globalAvgPool2d: input \[3, 2\]/);
  });
});

describe("upsample", () => {
  it("repeats pixels for a whole factor", () => {
    expect(upsample(images(1, 1, 1, 3), { scaleFactor: [2, 3] }).toArraySync()).toEqual([
      [
        [
          [0, 0, 0, 1, 1, 1, 2, 2, 2],
          [0, 0, 0, 1, 1, 1, 2, 2, 2],
        ],
      ],
    ]);
  });

  it("takes pixel floor(i * from / to) exactly, where 1 / 49 times 49 rounds below 1", () => {
    const picked = upsample(images(1, 1, 1, 2), { size: [1, 98] }).dataSync();
    expect(picked.indexOf(1)).toBe(49);
  });

  it("keeps a linear ramp linear with alignCorners", () => {
    const ramp = upsample(images(1, 1, 1, 4), { size: [1, 7], mode: "bilinear", alignCorners: true });
    expect([...ramp.dataSync()]).toEqual([0, 0.5, 1, 1.5, 2, 2.5, 3]);
  });

  it("says what is missing or contradicts", () => {
    const x = images(1, 1, 3, 3);
    expect(() => upsample(x, {})).toThrow("upsample: give either size or scaleFactor");
    expect(() => upsample(x, { size: 2, scaleFactor: 2 })).toThrow(/give either/);
    expect(() => upsample(x, { size: 0 })).toThrow(/^upsample: size 0 must be/);
    expect(() => upsample(x, { scaleFactor: 0.25 })).toThrow(
      "upsample: scaleFactor [0.25, 0.25] leaves no pixels of [1, 1, 3, 3]; use a larger one",
    );
    expect(() => upsample(x, { size: 2, alignCorners: true })).toThrow(/alignCorners needs mode "bilinear"/);
    expect(() => upsample(zeros([1, 1, 0, 3]), { size: 2 })).toThrow(/has no pixels to read/);
  });
});
