/** Gradients that are summed in place and side by side: the same bits as piece by piece, with fewer kernels. */
import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import {
  batchNorm,
  clearGrad,
  concat,
  defaultBackend,
  nn,
  onEdge,
  randn,
  scope,
  type Tensor,
} from "../src/index.ts";
import { DenseBlock } from "../src/models/index.ts";
import { areDisjoint, continues } from "../src/tensor/disjoint.ts";
import { contiguousStrides } from "../src/tensor/layout.ts";

/** How often each kernel ran in `body`. */
function launchesOf(body: () => void): Map<string, number> {
  const run = vi.spyOn(defaultBackend(), "run");
  try {
    body();
    const counts = new Map<string, number>();
    for (const [{ kernel }] of run.mock.calls) counts.set(kernel, (counts.get(kernel) ?? 0) + 1);
    return counts;
  } finally {
    run.mockRestore();
  }
}

const variable = (shape: readonly number[]): Tensor => {
  const x = randn(shape);
  x.requiresGrad = true;
  return x;
};

describe("a dense block's gradients", () => {
  const additionsIn = (layers: number): number =>
    scope(() => {
      const block = new DenseBlock(layers, 3, { growthRate: 2, bottleneckWidth: 1 });
      const loss = block
        .forward(variable([2, 3, 4, 4]))
        .square()
        .sum();
      return launchesOf(() => loss.backward()).get("pointwise") ?? 0;
    });

  it("are added in one kernel a layer, not one for each pair of layers", () => {
    expect(additionsIn(9) - additionsIn(8)).toBe(1);
    expect(additionsIn(5) - additionsIn(4)).toBe(1);
  });
});

describe("gradients of leaves", () => {
  it("are the memory that the pass computed them in", () => {
    scope(() => {
      const norm = new nn.BatchNorm2d(2);
      const conv = new nn.Conv2d(3, 2, 3, { padding: 1 });
      const loss = norm.forward(conv.forward(randn([2, 3, 4, 4]))).sum();
      expect(launchesOf(() => loss.backward()).get("copy")).toBeUndefined();
    });
  });

  it("stay when another leaf's gradient in the same memory is cleared, and go with the last", () => {
    const norm = new nn.BatchNorm2d(2);
    norm
      .forward(randn([2, 2, 4, 4]))
      .sum()
      .backward();
    const gradient = norm.weight.grad;
    clearGrad(norm.weight);
    expect(norm.weight.grad).toBeNull();
    expect(norm.bias.grad?.dataSync()).toEqual(new Float32Array([32, 32]));
    expect(gradient?.storage.freed).toBe(false);
    clearGrad(norm.bias);
    expect(gradient?.storage.freed).toBe(true);
  });

  it("outlive those of leaves in an inner scope", () => {
    const bias = variable([2]);
    scope(() => {
      const weight = variable([2]);
      batchNorm(randn([2, 2, 4, 4]), weight, bias)
        .sum()
        .backward();
      expect(weight.grad?.dataSync()).toHaveLength(2);
    });
    expect(bias.grad?.dataSync()).toEqual(new Float32Array([32, 32]));
  });

  it("are copies where the memory is another's too", () => {
    const [x, y] = [variable([3]), variable([3])];
    const sum = x.add(y);
    sum.mul(sum).sum().backward();
    expect(x.grad?.dataSync()).toEqual(y.grad?.dataSync());
    x.grad?.dispose();
    expect(y.grad?.storage.freed).toBe(false);
    // A slice's gradient is one part of a wider one: keeping that for the leaf would keep all of it.
    const [narrow, wide] = [variable([1, 2, 3]), randn([1, 5, 3])];
    concat([narrow, wide], 1).square().sum().backward();
    expect(narrow.grad?.storage.length).toBe(6);
  });
});

/** A step of a random program: which op, and which values it reads. */
const kinds = ["add", "mul", "tanh", "concat", "half", "twice", "mean"] as const;
interface Step {
  readonly kind: (typeof kinds)[number];
  readonly reads: readonly number[];
}
const program: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom(...kinds),
    reads: fc.array(fc.nat(100), { minLength: 3, maxLength: 3 }),
  }),
  { minLength: 3, maxLength: 20 },
);

/** Images of any number of channels; a sum's right side is the newest value but one of the left's shape. */
function execute(steps: readonly Step[], inputs: readonly Tensor[]) {
  const values = [...inputs];
  for (const { kind, reads } of steps) {
    const [a, b, c] = reads.map((at) => values[at % values.length]);
    const partner = values.filter(({ shape }) => shape[1] === a.shape[1]).at(-(1 + (reads[1] % 2))) ?? a;
    const joined = () => concat([a, b, c], 1);
    const computed = {
      add: () => a.add(partner),
      mul: () => a.mul(partner),
      tanh: () => a.tanh(),
      half: () => a.slice(1, 0, Math.max(1, a.shape[1] >> 1)),
      twice: () => a.add(a),
      mean: () => a.mean([2, 3], { keepDims: true }).mul(partner),
      concat: () => (joined().shape[1] > 40 ? joined().slice(1, 0, 40) : joined()),
    }[kind]();
    values.push(computed);
  }
  return values;
}

describe("random programs", () => {
  it("give the same bits as sums of pieces that are all kept", () => {
    fc.assert(
      fc.property(program, (steps) =>
        scope(() => {
          const inputs = [2, 2, 3].map((channels) => variable([2, channels, 2, 3]));
          const gradients = (retained: boolean) => {
            for (const x of inputs) clearGrad(x);
            const values = execute(steps, inputs);
            if (retained) for (const value of values) value.retainGrad();
            values
              .slice(-2)
              .map((value) => value.square().sum())
              .reduce((total, each) => total.add(each))
              .backward();
            return inputs.map((x) => [...(x.grad?.dataSync() ?? [])]);
          };
          const [plain, retained] = [gradients(false), gradients(true)];
          const stop = onEdge(() => undefined);
          const kept = gradients(false);
          stop();
          expect(plain).toEqual(kept);
          expect(retained).toEqual(kept);
        }),
      ),
      { numRuns: 150 },
    );
  });
});

describe("views of one array", () => {
  const axis = fc.record({
    extent: fc.integer({ min: 1, max: 4 }),
    cuts: fc.array(fc.nat(4), { minLength: 4, maxLength: 4 }),
  });
  const pair = fc.array(axis, { minLength: 1, maxLength: 3 }).map((axes) => {
    const strides = contiguousStrides(axes.map(({ extent }) => extent));
    const view = (first: number) => {
      const ranges = axes.map(({ extent, cuts }) => {
        const [start, end] = [cuts[first] % extent, (cuts[first + 1] % extent) + 1].sort((a, b) => a - b);
        return [start, Math.max(end, start + 1)];
      });
      const offset = ranges.reduce((total, [start], i) => total + start * strides[i], 0);
      return { shape: ranges.map(([start, end]) => end - start), strides, offset };
    };
    return [view(0), view(2)] as const;
  });
  const elements = ({ shape, strides, offset }: { shape: number[]; strides: number[]; offset: number }) =>
    shape.reduce(
      (positions, extent, i) =>
        positions.flatMap((at) => Array.from({ length: extent }, (_, step) => at + step * strides[i])),
      [offset],
    );

  it("are disjoint exactly when no element is in both", () => {
    fc.assert(
      fc.property(pair, ([a, b]) => {
        const shared = elements(a).filter((position) => elements(b).includes(position));
        expect(areDisjoint(a, b)).toBe(shared.length === 0);
      }),
    );
  });

  it("continue each other exactly when both together are the elements of one wider view", () => {
    fc.assert(
      fc.property(pair, ([a, b]) => {
        a.shape.forEach((extent, i) => {
          if (!continues(a, b, i)) return;
          const shape = a.shape.map((n, at) => (at === i ? extent + b.shape[i] : n));
          const wide = elements({ ...a, shape }).sort((x, y) => x - y);
          expect([...elements(a), ...elements(b)].sort((x, y) => x - y)).toEqual(wide);
        });
      }),
    );
  });
});
