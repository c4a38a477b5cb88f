/** Gradient pieces on edges: each seen once, before the sum, and the sum made of nothing else. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { clearGrad, type EdgeEvent, onEdge, onOp } from "../src/autograd/index.ts";
import { grad, noGrad, type Tensor, tensor } from "../src/index.ts";

const variable = (values: number | number[]) => tensor(values, { dtype: "f64", requiresGrad: true });

/** Every piece that crosses an edge while `body` runs. */
function edgesOf(body: () => void): EdgeEvent[] {
  const events: EdgeEvent[] = [];
  const stop = onEdge((event) => void events.push(event));
  try {
    body();
  } finally {
    stop();
  }
  return events;
}

describe("edges", () => {
  it("carry one piece for each consumer and input, before the sum", () => {
    const [x, weight] = [variable([1, 2]), variable([3, 5])];
    const square = x.mul(x);
    const product = x.mul(weight);
    const loss = square.add(product).sum();
    const pieces: unknown[] = [];
    const stop = onEdge(({ from, to, slot, gradient }) => {
      if (to !== x && to !== weight) return undefined;
      const sender = from.output === square ? "square" : "product";
      pieces.push([sender, to === x ? "x" : "weight", slot, gradient.toArraySync()]);
      return undefined;
    });
    loss.backward();
    stop();
    expect(pieces).toEqual([
      ["product", "x", 0, [3, 5]],
      ["product", "weight", 1, [1, 2]],
      ["square", "x", 0, [1, 2]],
      ["square", "x", 1, [1, 2]],
    ]);
    expect(x.grad?.toArraySync()).toEqual([5, 9]);
  });

  it("are cut by null: the path carries nothing, others do", () => {
    const x = variable([1, 2]);
    const [left, right] = [x.mul(3), x.mul(5)];
    const stop = onEdge(({ from }) => (from.output === left ? null : undefined));
    left.add(right).sum().backward();
    stop();
    expect(x.grad?.toArraySync()).toEqual([5, 5]);
    const y = variable(1);
    const stopAll = onEdge(() => null);
    y.mul(2).backward();
    stopAll();
    expect(y.grad).toBeNull();
  });

  it("pass on what a listener returns, to the next listener too", () => {
    const x = variable([1, 2]);
    const y = x.mul(3);
    const seen: unknown[] = [];
    const stops = [
      onEdge(({ to, gradient }) => (to === x ? gradient.mul(2) : undefined)),
      onEdge(({ to, gradient }) => {
        if (to === x) seen.push(gradient.toArraySync());
        return undefined;
      }),
    ];
    y.sum().backward();
    for (const stop of stops) stop();
    expect(seen).toEqual([[6, 6]]);
    expect(x.grad?.toArraySync()).toEqual([6, 6]);
  });

  it("are silent after the listener is removed, and in the forward pass", () => {
    const x = variable([1]);
    const y = x.mul(2);
    expect(edgesOf(() => void x.mul(2))).toEqual([]);
    edgesOf(() => undefined);
    const called = [0, 0];
    const [stop, stopOther] = called.map((_, i) =>
      onEdge(() => {
        called[i] += 1;
        return undefined;
      }),
    );
    stop();
    stop();
    y.backward();
    stopOther();
    expect(called).toEqual([0, 1]);
  });

  it("refuse a replacement of another shape", () => {
    const x = variable([1, 2]);
    const stop = onEdge(() => tensor([1], { dtype: "f64" }));
    expect(() => x.mul(2).sum().backward()).toThrow("a gradient of shape [1] reached a tensor of shape [2]");
    stop();
  });

  it("lead only where grad() was asked to go", () => {
    const [x, other] = [variable([1, 2]), variable([3, 4])];
    const y = x.mul(2).add(other.mul(5));
    const reached = edgesOf(() => void grad(y.sum(), [x])).map(({ to }) => to);
    expect(reached).toContain(x);
    expect(reached).not.toContain(other);
  });
});

describe("op events", () => {
  it("come in order of execution, with inputs and output, recorded or not", () => {
    const x = variable([4]);
    const names: string[] = [];
    const stop = onOp(({ op, inputs, output }) => {
      names.push(op);
      expect(inputs.length).toBeGreaterThan(0);
      expect(output.shape).toEqual([1]);
    });
    noGrad(() => x.sqrt().neg());
    x.exp();
    stop();
    x.log();
    expect(names).toEqual(["sqrt", "neg", "exp"]);
  });
});

/** A random program: every step combines two earlier values. */
interface Step {
  readonly kind: "add" | "mul" | "sub" | "tanh" | "slice";
  readonly left: number;
  readonly right: number;
}

const leaves = 3;
const programs: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    kind: fc.constantFrom("add", "mul", "sub", "tanh", "slice"),
    left: fc.nat(1000),
    right: fc.nat(1000),
  }),
  { minLength: 1, maxLength: 14 },
);

interface Run {
  readonly values: readonly Tensor[];
  /** Indices that each value was computed from; empty for leaves. */
  readonly reads: readonly (readonly number[])[];
}

function execute(steps: readonly Step[], inputs: readonly Tensor[]): Run {
  const values = [...inputs];
  const reads: number[][] = inputs.map(() => []);
  for (const { kind, left, right } of steps) {
    const [a, b] = [left % values.length, right % values.length];
    const [x, y] = [values[a], values[b]];
    const computed = {
      add: () => x.add(y),
      sub: () => x.sub(y),
      mul: () => x.mul(y),
      tanh: () => x.tanh(),
      slice: () => x.slice(0, 0, 2),
    }[kind]();
    values.push(computed);
    reads.push(kind === "tanh" || kind === "slice" ? [a] : [a, b]);
  }
  return { values, reads };
}

const start = () => [variable([0.3, -0.7]), variable([0.9, 0.4]), variable([-0.2, 0.8])];

describe("random programs", () => {
  it("have the gradients that finite differences say", () => {
    fc.assert(
      fc.property(programs, (steps) => {
        const inputs = start();
        const loss = (from: readonly Tensor[]) => execute(steps, from).values.at(-1)?.sum() ?? tensor(0);
        const gradients = grad(loss(inputs), inputs, { allowUnused: true });
        inputs.forEach((input, i) => {
          const numbers = [...input.dataSync()];
          numbers.forEach((_, position) => {
            const moved = (by: number) =>
              noGrad(() => {
                const shifted = numbers.map((value, j) => (j === position ? value + by : value));
                const others = inputs.map((each, j) => (j === i ? tensor(shifted, { dtype: "f64" }) : each));
                return loss(others).itemSync();
              });
            const slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            const error = Math.abs(gradients[i].dataSync()[position] - slope);
            expect(error).toBeLessThan(1e-6 * (1 + Math.abs(slope)));
          });
        });
      }),
      { numRuns: 60 },
    );
  });

  it("send exactly one piece over every edge of the graph, and their sum, in order, is the gradient", () => {
    fc.assert(
      fc.property(programs, (steps) => {
        const inputs = start();
        const { values, reads } = execute(steps, inputs);
        const last = values.length - 1;
        // The edges, independently of the tape: walk back from the last value through what each one read.
        const needed = new Set([last]);
        for (let i = last; i >= leaves; i--) if (needed.has(i)) for (const read of reads[i]) needed.add(read);
        const expected = [...needed]
          .flatMap((from) => reads[from].map((to, slot) => `${from}.${slot} -> ${to}`))
          .sort();
        for (const value of values) value.retainGrad();
        const sums = new Map<number, number[]>();
        const met: string[] = [];
        const stop = onEdge(({ from, to, slot, gradient }) => {
          const [sender, receiver] = [values.indexOf(from.output), values.indexOf(to)];
          if (sender < 0) return undefined;
          met.push(`${sender}.${slot} -> ${receiver}`);
          const piece = [...gradient.dataSync()];
          sums.set(receiver, sums.get(receiver)?.map((sum, i) => sum + piece[i]) ?? piece);
          return undefined;
        });
        values[last].sum().backward();
        stop();
        expect(met.sort()).toEqual(expected);
        for (const [receiver, sum] of sums)
          expect([...(values[receiver].grad?.dataSync() ?? [])]).toEqual(sum);
      }),
      { numRuns: 200 },
    );
  });
});

describe("a listener that keeps no pieces", () => {
  it("sees the same pieces, and may hold one until it lets go, even beyond the pass", () => {
    const network = () => {
      const x = variable([1, 2]);
      const [left, right] = [x.mul(3), x.mul(5)];
      return { x, loss: left.mul(right).add(left).sum() };
    };
    const plain = network();
    plain.loss.backward();
    const { x, loss } = network();
    const held: { piece: Tensor; release: () => void }[] = [];
    const stop = onEdge(
      ({ to, gradient, hold }) => {
        if (to !== x) return undefined;
        const release = hold();
        // The first piece is let go of while the engine still needs it, twice over; the second outlives the pass.
        if (held.length === 0) {
          release();
          release();
        }
        held.push({ piece: gradient, release });
        return undefined;
      },
      { keepsPieces: false },
    );
    loss.backward();
    stop();
    expect(x.grad?.toArraySync()).toEqual(plain.x.grad?.toArraySync());
    // What was let go of became the memory of the gradient, and goes with it.
    clearGrad(x);
    expect(held.map(({ piece }) => piece.storage.freed)).toEqual([true, false]);
    // loss = 15 x² + 3 x, of which 15 x comes through `right` and 15 x + 3 through `left`.
    expect(held[1].piece.toArraySync()).toEqual([18, 33]);
    held[1].release();
  });
});
