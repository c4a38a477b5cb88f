/**
 * A gradient piece is what reaches a feature map through one consumer alone: moving only what that consumer reads, by
 * a little, changes the loss by the piece times the move. On random stages, in f64, against finite differences.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  add,
  concat,
  conv2d,
  type EdgeEvent,
  mul,
  noGrad,
  onEdge,
  sigmoid,
  slice,
  sum,
  tanh,
} from "../src/autograd/index.ts";
import { analyzeStage, type Stage } from "../src/gradflow/index.ts";
import { trace } from "../src/graph/index.ts";
import { Module, Parameter } from "../src/nn/index.ts";
import { randn } from "../src/tensor/create.ts";
import { Generator } from "../src/tensor/generator.ts";
import { scope } from "../src/tensor/scope.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** One op of a stage; it reads values by index, the input being value 0. */
type Step =
  | {
      readonly op: "conv";
      readonly reads: readonly [number];
      readonly channels: number;
      readonly size: 1 | 3;
    }
  | { readonly op: "concat" | "add" | "mul"; readonly reads: readonly number[] }
  | { readonly op: "slice"; readonly reads: readonly [number]; readonly from: number; readonly to: number }
  | { readonly op: "tanh" | "sigmoid"; readonly reads: readonly [number] };

/** Moves what step `step` reads in place `slot` by `by`. */
interface Move {
  readonly step: number;
  readonly slot: number;
  readonly by: Tensor;
}

const inputShape = [2, 4, 3, 2];

/** Runs its steps, each of which is one op of the graph; its output is the sum of all values that nothing reads. */
class Program extends Module {
  readonly steps: readonly Step[];
  readonly weights: Parameter[] = [];
  /** What every step made in the last call. */
  made: Tensor[] = [];
  move: Move | null = null;

  constructor(steps: readonly Step[], seed: number) {
    super();
    const generator = new Generator(seed);
    const widths = [inputShape[1]];
    for (const step of steps) {
      const read = step.reads.map((i) => widths[i]);
      if (step.op === "conv") {
        const shape = [step.channels, read[0], step.size, step.size];
        const weight = new Parameter(randn(shape, { dtype: "f64", generator, std: 0.5 }));
        this.addModule(`conv${widths.length}`, new Holder(weight));
        this.weights.push(weight);
        widths.push(step.channels);
      } else if (step.op === "concat") widths.push(read.reduce((total, width) => total + width));
      else widths.push(step.op === "slice" ? step.to - step.from : read[0]);
    }
    this.steps = steps;
  }

  override forward(x: Tensor): Tensor {
    const values = [x];
    let convs = 0;
    this.steps.forEach((step, i) => {
      const reads = step.reads.map((value, slot) =>
        this.move?.step === i && this.move.slot === slot ? add(values[value], this.move.by) : values[value],
      );
      const [first, second] = reads;
      switch (step.op) {
        case "conv":
          values.push(conv2d(first, this.weights[convs++], { padding: (step.size - 1) / 2 }));
          break;
        case "concat":
          values.push(concat(reads, 1));
          break;
        case "slice":
          values.push(slice(first, 1, step.from, step.to));
          break;
        case "tanh":
          values.push(tanh(first));
          break;
        case "sigmoid":
          values.push(sigmoid(first));
          break;
        default:
          values.push(step.op === "add" ? add(first, second) : mul(first, second));
      }
    });
    this.made = values;
    const read = new Set(this.steps.flatMap(({ reads }) => reads));
    const ends = values.filter((_, i) => !read.has(i)).map((value) => sum(tanh(value)));
    return ends.reduce((a, b) => add(a, b));
  }
}

/** Gives a weight a module, and so a path, of its own. */
class Holder extends Module {
  readonly weight: Parameter;
  constructor(weight: Parameter) {
    super();
    this.weight = weight;
  }
  override forward(x: Tensor): Tensor {
    return x;
  }
}

/** A dense block of k layers with a transition, whole or between the sides of a partial stage. */
function stageSteps(k: number, fusion: "none" | "both" | "first" | "last", bypass: number): Step[] {
  const steps: Step[] = [];
  const push = (step: Step) => steps.push(step);
  const partial = fusion !== "none";
  if (partial) {
    push({ op: "slice", reads: [0], from: 0, to: bypass });
    push({ op: "slice", reads: [0], from: bypass, to: 4 });
  }
  const maps = [partial ? 2 : 0];
  for (let i = 0; i < k; i++) {
    const read = maps.length === 1 ? maps[0] : push({ op: "concat", reads: [...maps] });
    const normed = push({ op: "tanh", reads: [read] });
    maps.push(push({ op: "conv", reads: [normed], channels: 2, size: 3 }));
  }
  const all = push({ op: "concat", reads: fusion === "first" ? [1, ...maps] : maps });
  const transferred = push({ op: "conv", reads: [all], channels: 3, size: 1 });
  if (fusion === "last" || fusion === "both") {
    const joined = push({ op: "concat", reads: [1, transferred] });
    if (fusion === "both") push({ op: "conv", reads: [joined], channels: 3, size: 1 });
  }
  return steps;
}

interface Gene {
  readonly op: "conv" | "concat" | "add" | "mul" | "slice" | "tanh" | "sigmoid";
  readonly reads: readonly number[];
  readonly number: number;
}

/** Turns genes into steps whose shapes fit. */
function randomSteps(genes: readonly Gene[]): Step[] {
  const widths = [4];
  return genes.map(({ op, reads, number }): Step => {
    const [first, ...others] = reads.map((n) => n % widths.length);
    const width = widths[first];
    const made = (step: Step, channels: number): Step => {
      widths.push(channels);
      return step;
    };
    if (op === "conv") {
      const channels = 2 + (number % 2);
      return made({ op, reads: [first], channels, size: number % 2 ? 1 : 3 }, channels);
    }
    if (op === "concat") {
      const all = [first, ...others];
      return made(
        { op, reads: all },
        all.reduce((total, i) => total + widths[i], 0),
      );
    }
    if (op === "slice" && width > 1) {
      const from = number % (width - 1);
      return made(
        { op, reads: [first], from, to: width - (from > 0 ? 0 : 1) },
        from > 0 ? width - from : width - 1,
      );
    }
    const same = [...widths.keys()].filter((i) => widths[i] === width);
    if (op === "add" || op === "mul") return made({ op, reads: [first, same[number % same.length]] }, width);
    return made({ op: op === "sigmoid" ? op : "tanh", reads: [first] }, width);
  });
}

const steps: fc.Arbitrary<Step[]> = fc.oneof(
  fc
    .array(
      fc.record({
        op: fc.constantFrom<Gene["op"]>("conv", "conv", "concat", "add", "mul", "slice", "tanh", "sigmoid"),
        reads: fc.array(fc.nat(999), { minLength: 1, maxLength: 3 }),
        number: fc.nat(999),
      }),
      { minLength: 2, maxLength: 8 },
    )
    .map(randomSteps),
  fc
    .record({
      k: fc.integer({ min: 1, max: 3 }),
      fusion: fc.constantFrom<("none" | "both" | "first" | "last")[]>("none", "both", "first", "last"),
      bypass: fc.integer({ min: 1, max: 3 }),
    })
    .map(({ k, fusion, bypass }) => stageSteps(k, fusion, bypass)),
);

/** A piece by the step that sent it. */
interface Piece {
  readonly step: number;
  readonly slot: number;
  readonly values: ArrayLike<number>;
  readonly shape: readonly number[];
}

/** Every piece of one backward pass; `keep` says which of them take part in it. */
function piecesOf(
  program: Program,
  x: Tensor,
  keep: (step: number, slot: number) => boolean = () => true,
): Piece[] {
  const loss = program.forward(x);
  const stepOf = new Map(program.made.slice(1).map(({ gradFn }, i) => [gradFn, i]));
  const pieces: Piece[] = [];
  const stop = onEdge(({ from, slot, gradient }: EdgeEvent) => {
    const step = stepOf.get(from);
    if (step === undefined) return undefined;
    if (!keep(step, slot)) return null;
    pieces.push({ step, slot, values: gradient.dataSync(), shape: gradient.shape });
    return undefined;
  });
  try {
    loss.backward();
  } finally {
    stop();
  }
  return pieces;
}

/** The edges into the maps of the whole program as one stage, by step: the graph's first ops are the steps in order. */
function stageEdges(program: Program): {
  stage: Stage;
  edges: { map: number; step: number; slot: number }[];
} {
  const traced = trace(program, randn(inputShape, { dtype: "f64" }));
  const stage = analyzeStage(traced, { name: "program", paths: [""] });
  const edges = stage.edges
    .filter(({ node }) => node < program.steps.length)
    .map(({ map, node, slot }) => ({ map, step: node, slot }));
  const { graph, inputs } = traced;
  stage.maps.forEach(({ value }, map) => {
    const index = value === inputs[0] ? 0 : (graph.values[value].producer ?? -1) + 1;
    // What reads the map's value, but for slices, which are maps of their own.
    const readers = program.steps.flatMap(({ op, reads }, step) =>
      reads.flatMap((read, slot) => (read === index && op !== "slice" ? [{ map, step, slot }] : [])),
    );
    expect(edges.filter((edge) => edge.map === map)).toEqual(readers);
  });
  return { stage, edges };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((total, value, i) => total + value * b[i], 0);

const inputOf = (seed: number): Tensor => {
  const x = randn(inputShape, { dtype: "f64", generator: new Generator(seed + 1) });
  x.requiresGrad = true;
  return x;
};

describe("gradient pieces of random stages", () => {
  it("are the change of the loss when one consumer alone reads something else", () => {
    let compared = 0;
    fc.assert(
      fc.property(steps, fc.nat(9999), (list, seed) => {
        scope(() => {
          const program = new Program(list, seed);
          const x = inputOf(seed);
          const pieces = piecesOf(program, x);
          const generator = new Generator(seed + 2);
          for (const { step, slot } of stageEdges(program).edges) {
            const piece = pieces.find((one) => one.step === step && one.slot === slot);
            if (!piece) throw new Error(`no piece arrived from step ${step}, slot ${slot}`);
            const direction = randn(piece.shape, { dtype: "f64", generator });
            const lossAt = (h: number) => {
              program.move = { step, slot, by: mul(direction, h) };
              const loss = noGrad(() => program.forward(x)).itemSync();
              program.move = null;
              return loss;
            };
            // Five points, as tanh of a product's steep map bends too much within three.
            const h = 1e-4;
            const difference = (8 * (lossAt(h) - lossAt(-h)) - (lossAt(2 * h) - lossAt(-2 * h))) / (12 * h);
            const expected = dot(piece.values, direction.dataSync());
            expect(Math.abs(difference - expected)).toBeLessThan(1e-7 * (1 + Math.abs(expected)));
            compared += 1;
          }
        });
      }),
      { numRuns: 60 },
    );
    expect(compared).toBeGreaterThan(60);
  });

  it("add up to the map's gradient, and are each what is left of it when the others are cut", () => {
    let cut = 0;
    fc.assert(
      fc.property(steps, fc.nat(9999), (list, seed) => {
        scope(() => {
          const program = new Program(list, seed);
          const whole = piecesOf(program, inputOf(seed));
          const intoInput = program.steps.flatMap(({ reads }, step) =>
            reads.flatMap((value, slot) => (value === 0 ? [{ step, slot }] : [])),
          );
          const isAt = (step: number, slot: number) => (edge: { step: number; slot: number }) =>
            edge.step === step && edge.slot === slot;
          const full = inputOf(seed);
          piecesOf(program, full);
          const total = Float64Array.from(full.grad?.dataSync() ?? []);
          const rest = Float64Array.from(total);
          for (const chosen of intoInput) {
            const x = inputOf(seed);
            piecesOf(
              program,
              x,
              (step, slot) => !intoInput.some(isAt(step, slot)) || isAt(step, slot)(chosen),
            );
            const alone = x.grad?.dataSync() ?? [];
            const piece = whole.find(isAt(chosen.step, chosen.slot));
            expect(Array.from(alone)).toEqual(Array.from(piece?.values ?? []));
            for (let i = 0; i < rest.length; i++) rest[i] -= alone[i];
          }
          // The pieces were added in another order.
          const size = Math.max(...total.map(Math.abs), 1);
          expect(Math.max(...rest.map(Math.abs))).toBeLessThan(1e-12 * size);
          cut += intoInput.length - 1;
        });
      }),
      { numRuns: 40 },
    );
    expect(cut).toBeGreaterThan(5);
  });
});
