/** Shapes and strides against an independent computation on indices. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  broadcastAxes,
  broadcastLayout,
  broadcastShapes,
  checkShape,
  contiguousStrides,
  formatShape,
  isContiguous,
  type Layout,
  normalizeAxes,
  normalizeAxis,
  reshapeStrides,
  type Shape,
  sizeOf,
} from "../src/tensor/layout.ts";

/** Where each element lies in memory, in row-major order of the indices: the plain definition of a layout. */
function positions({ shape, strides, offset }: Layout): number[] {
  let list = [offset];
  shape.forEach((extent, axis) => {
    list = list.flatMap((start) => Array.from({ length: extent }, (_, i) => start + i * strides[axis]));
  });
  return list;
}

const extents = (min: number) => fc.array(fc.integer({ min, max: 4 }), { maxLength: 4 });

/** A contiguous tensor's layout, its axes permuted, some cut, some repeated. */
const layouts: fc.Arbitrary<Layout> = extents(1).chain((shape) => {
  const perAxis = <Value>(value: fc.Arbitrary<Value>) =>
    fc.array(value, { minLength: shape.length, maxLength: shape.length });
  return fc
    .record({
      keys: perAxis(fc.nat()),
      cut: perAxis(fc.nat(2)),
      repeat: perAxis(fc.nat(5)),
      offset: fc.nat(7),
    })
    .map(({ keys, cut, repeat, offset }) => {
      const strides = contiguousStrides(shape.map((extent, axis) => extent + cut[axis]));
      const order = shape.map((_, axis) => axis).sort((a, b) => keys[a] - keys[b]);
      return {
        shape: order.map((axis) => shape[axis]),
        strides: order.map((axis) => (repeat[axis] === 0 ? 0 : strides[axis])),
        offset,
      };
    });
});

/** Shapes of as many elements, by merging and splitting the axes at random. */
const shapesOfSize = (size: number): fc.Arbitrary<number[]> =>
  fc.array(fc.nat(), { maxLength: 5 }).map((choices) => {
    let rest = size;
    const shape = choices.map((choice) => {
      const divisors = Array.from({ length: rest }, (_, i) => i + 1).filter((n) => rest % n === 0);
      const taken = divisors[choice % divisors.length];
      rest /= taken;
      return taken;
    });
    return rest === 1 ? shape : [...shape, rest];
  });

describe("strides", () => {
  it("of a contiguous tensor count through memory", () => {
    fc.assert(
      fc.property(extents(0), (shape) => {
        const layout = { shape, strides: contiguousStrides(shape), offset: 0 };
        expect(positions(layout)).toEqual([...Array(sizeOf(shape)).keys()]);
        expect(isContiguous(layout)).toBe(true);
      }),
    );
  });

  it("are contiguous exactly when the positions follow one another", () => {
    fc.assert(
      fc.property(layouts, (layout) => {
        const follow = positions(layout).every((position, i) => position === layout.offset + i);
        expect(isContiguous(layout)).toBe(follow);
      }),
      { numRuns: 500 },
    );
  });

  it("of a reshape reach the same elements in the same order", () => {
    fc.assert(
      fc.property(
        layouts.chain((layout) => fc.tuple(fc.constant(layout), shapesOfSize(sizeOf(layout.shape)))),
        ([layout, shape]) => {
          const strides = reshapeStrides(layout, shape);
          if (strides)
            expect(positions({ shape, strides, offset: layout.offset })).toEqual(positions(layout));
          else expect(stridesByPositions(layout, shape)).toBeNull();
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("of an empty reshape fit the new shape", () => {
    expect(reshapeStrides({ shape: [3, 0], strides: [1, 1], offset: 2 }, [0, 7])).toHaveLength(2);
  });
});

/** The strides of `shape` on the elements of `layout`, read off their positions, or null when there are none. */
function stridesByPositions(layout: Layout, shape: Shape): number[] | null {
  const memory = positions(layout);
  const steps = contiguousStrides(shape);
  const strides = shape.map((extent, axis) => (extent > 1 ? memory[steps[axis]] - memory[0] : 0));
  const reached = positions({ shape, strides, offset: layout.offset });
  return reached.every((position, i) => position === memory[i]) ? strides : null;
}

describe("broadcasting", () => {
  it("pads shapes with ones on the left and stretches ones", () => {
    expect(broadcastShapes("op", [3, 1], [2])).toEqual([3, 2]);
    expect(broadcastShapes("op", [], [4, 1], [1, 5])).toEqual([4, 5]);
    expect(broadcastShapes("op")).toEqual([]);
    expect(broadcastShapes("op", [0], [1])).toEqual([0]);
    expect(broadcastShapes("op", [1], [0])).toEqual([0]);
  });

  it("names what clashes", () => {
    expect(() => broadcastShapes("add", [2, 3], [4, 1])).toThrow(
      "add: shapes [2, 3] and [4, 1] do not broadcast: extents 2 and 4 of dimension -2 differ and neither is 1",
    );
    expect(() => broadcastShapes("add", [0], [2])).toThrow("extents 0 and 2 of dimension -1");
    const layout = { shape: [2], strides: [1], offset: 0 };
    expect(() => broadcastLayout("add", layout, [3])).toThrow("add: shape [2] does not broadcast to [3]");
    expect(() => broadcastLayout("add", layout, [])).toThrow("add: shape [2] does not broadcast to []");
  });

  it("reads every element where its stretched index points", () => {
    const cases = extents(1).chain((shape) =>
      fc.tuple(
        fc.constant(shape),
        fc.array(fc.boolean(), { minLength: shape.length, maxLength: shape.length }),
        fc.nat(shape.length),
      ),
    );
    fc.assert(
      fc.property(cases, ([target, squash, dropped]) => {
        const from = target.map((extent, axis) => (squash[axis] ? 1 : extent)).slice(dropped);
        const source = { shape: from, strides: contiguousStrides(from), offset: 3 };
        const stretched = broadcastLayout("op", source, target);
        // The index of the source is the target's last ones, 0 along axes of extent 1.
        const expected = positions({ shape: target, strides: contiguousStrides(target), offset: 0 }).map(
          (flat) => {
            const index = contiguousStrides(target).map(
              (step, axis) => Math.floor(flat / step) % target[axis],
            );
            return index
              .slice(dropped)
              .reduce((sum, i, axis) => sum + (from[axis] === 1 ? 0 : i) * source.strides[axis], 3);
          },
        );
        expect(positions(stretched)).toEqual(expected);
        const axes = target.flatMap((extent, axis) =>
          axis < dropped || (squash[axis] && extent !== 1) ? [axis] : [],
        );
        expect(broadcastAxes(from, target)).toEqual(axes);
      }),
    );
  });
});

describe("axes", () => {
  it("count from the end when negative", () => {
    expect([normalizeAxis("op", -1, 3), normalizeAxis("op", 0, 3)]).toEqual([2, 0]);
    expect(normalizeAxes("op", [-1, 0], 3)).toEqual([0, 2]);
    expect(normalizeAxes("op", undefined, 2)).toEqual([0, 1]);
    expect(normalizeAxes("op", 1, 2)).toEqual([1]);
    expect(normalizeAxes("op", [], 2)).toEqual([]);
  });

  it("are refused out of range, repeated or broken", () => {
    expect(() => normalizeAxis("sum", 2, 2)).toThrow(
      "sum: axis 2 is out of range for 2 dimensions; use -2 to 1",
    );
    expect(() => normalizeAxis("sum", -3, 2)).toThrow("sum: axis -3");
    expect(() => normalizeAxis("sum", 0.5, 2)).toThrow("sum: axis 0.5");
    expect(() => normalizeAxes("sum", [0, -2], 2)).toThrow("sum: axes [0, 0] repeat an axis");
  });
});

it("a shape prints as written and is checked", () => {
  expect([formatShape([]), formatShape([2, 3])]).toEqual(["[]", "[2, 3]"]);
  expect(() => checkShape("zeros", [2, Number.NaN])).toThrow("zeros: shape [2, NaN] has extent NaN");
});
