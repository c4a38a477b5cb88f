/**
 * The instrument: while a network trains, it catches the gradient pieces on every edge into the feature maps of its
 * stages, before they are summed, and reduces them to a few numbers per sampled step.
 */
import {
  type EdgeEvent,
  matmul,
  mean,
  type Node,
  noGrad,
  onEdge,
  onOp,
  reshape,
  stack,
} from "../autograd/index.ts";
import { type Graph, GraphBuilder } from "../graph/index.ts";
import type { Module } from "../nn/index.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  cosineSimilarity,
  effectiveRank,
  firstDirectionShare,
  type GramMatrix,
  norms,
  pearsonCorrelation,
  sharedEnergy,
} from "./measures.ts";
import { analyzeStage, type Stage, type StageSelection } from "./stage.ts";

/** The pieces at one feature map in one step, reduced to numbers; see `measures.ts` for each. */
export interface PieceSample {
  readonly step: number;
  readonly norms: readonly number[];
  readonly cosine: readonly (readonly (number | null)[])[];
  readonly sharedEnergy: number | null;
  readonly firstDirectionShare: number | null;
  readonly effectiveRank: number | null;
}

/** All samples of one feature map. */
export interface MeasuredMap {
  /** `0''`, `2`, `T` */
  readonly map: string;
  /** The consumers by the names of their weights, `w_2+w_T` for a sum read by both, `out` for what leaves the stage. */
  readonly consumers: readonly string[];
  readonly samples: PieceSample[];
}

/** Pearson correlation between the two sides' gradients in one step. */
export interface SideSample {
  readonly step: number;
  readonly correlation: number | null;
}

/** What was measured on one stage. */
export interface MeasuredStage {
  readonly name: string;
  readonly maps: readonly MeasuredMap[];
  /** null for a stage with one side. */
  readonly sides: readonly SideSample[] | null;
}

/** Where gradients leave the stage instead of going to one of its layers. */
const outside = "out";

interface StageRecord {
  readonly maps: Map<string, MeasuredMap>;
  readonly sides: SideSample[];
}

/** Measures the gradient pieces in the stages of one model. */
export class GradientRecorder {
  readonly #model: Module;
  readonly #selections: readonly StageSelection[];
  readonly #records: readonly StageRecord[];
  #everySteps: number;

  /** Samples every `everySteps`-th step, the first among them. Throws unless it is a positive integer. */
  constructor(
    model: Module,
    stages: readonly StageSelection[],
    { everySteps = 10 }: { readonly everySteps?: number } = {},
  ) {
    if (!Number.isInteger(everySteps) || everySteps < 1)
      throw new Error(`GradientRecorder: everySteps ${everySteps} must be a positive integer`);
    this.#model = model;
    this.#selections = stages;
    this.#everySteps = everySteps;
    this.#records = stages.map(() => ({ maps: new Map(), sides: [] }));
  }

  /**
   * Runs `body`, one forward and backward pass of the model, and samples it when it is `step`'s turn. `images` is
   * what the model is called with. Sampling does not change what `body` computes. A scope around the backward pass
   * belongs around this call, not into `body`: the pieces are measured when `body` is done.
   */
  step<Result>(step: number, images: Tensor, body: () => Result): Result {
    return step % this.#everySteps === 0 ? this.#sample(step, images, body) : body();
  }

  /** What was measured so far, stage by stage. */
  measured(): MeasuredStage[] {
    return this.#selections.map(({ name }, i) => ({
      name,
      maps: [...this.#records[i].maps.values()],
      sides: this.#records[i].sides.length > 0 ? this.#records[i].sides : null,
    }));
  }

  #sample<Result>(step: number, images: Tensor, body: () => Result): Result {
    const builder = new GraphBuilder(this.#model.namedParameters());
    const input = builder.idOf(images);
    const pieces = new PieceCollector(builder);
    const stopOps = onOp((event) => builder.add(event));
    const stopEdges = onEdge((edge) => {
      stopOps();
      pieces.add(edge);
      return undefined;
    });
    let result: Result;
    try {
      result = body();
    } finally {
      stopOps();
      stopEdges();
    }
    scope(() =>
      noGrad(() => {
        const graph = builder.graph();
        // The last op on the tape made the loss, where a stage that is the whole model ends.
        const last = graph.nodes.findLast((node) => builder.tensorOf(node.output).gradFn);
        const output = last?.output ?? null;
        this.#selections.forEach((selection, i) => {
          const stage = analyzeStage({ graph, inputs: [input], output }, selection);
          this.#measure(step, stage, pieces, this.#records[i]);
        });
      }),
    );
    return result;
  }

  #measure(step: number, stage: Stage, pieces: PieceCollector, record: StageRecord): void {
    const sum = new Map<number, Tensor[]>();
    stage.maps.forEach(({ name }, map) => {
      const edges = stage.edges.filter((edge) => edge.map === map);
      const found = edges.flatMap(({ node, slot, consumers }) => {
        const piece = pieces.get(node, slot);
        return piece ? [{ piece, consumer: consumerName(stage, consumers) }] : [];
      });
      sum.set(
        map,
        found.map(({ piece }) => piece),
      );
      // Where every piece comes from outside, the map belongs to the next stage.
      if (found.length < 2 || found.every(({ consumer }) => consumer === outside)) return;
      const entry = record.maps.get(name) ?? {
        map: name,
        consumers: found.map(({ consumer }) => consumer),
        samples: [],
      };
      record.maps.set(name, entry);
      entry.samples.push(summarise(step, gramMatrix(found.map(({ piece }) => piece))));
    });
    const sideGradient = (side: "dense" | "bypass"): Float64Array | null => {
      const map = stage.maps.findIndex(
        (candidate) => candidate.side === side && candidate.name.startsWith("0'"),
      );
      const list = sum.get(map) ?? [];
      return list.length > 0 ? channelMean(list) : null;
    };
    const [dense, bypass] = [sideGradient("dense"), sideGradient("bypass")];
    if (dense && bypass) record.sides.push({ step, correlation: pearsonCorrelation(dense, bypass) });
  }
}

/** The layers behind one edge: `w_2`, or, where a sum leads to several, `w_2+w_T`; of more than three the ends. */
function consumerName(stage: Stage, consumers: readonly number[]): string {
  const names = consumers.map((layer) => `w_${stage.layers[layer].name}`);
  if (names.length === 0) return outside;
  return names.length > 3 ? `${names[0]}+…+${names[names.length - 1]}` : names.join("+");
}

/** Keeps the pieces of one backward pass by the graph node that sent them. */
class PieceCollector {
  readonly #builder: GraphBuilder;
  readonly #pieces = new Map<number, Tensor>();
  #nodeOf: Map<Node, number> | null = null;

  constructor(builder: GraphBuilder) {
    this.#builder = builder;
  }

  add({ from, slot, gradient }: EdgeEvent): void {
    this.#nodeOf ??= tapeNodes(this.#builder);
    const node = this.#nodeOf.get(from);
    if (node !== undefined) this.#pieces.set(this.#key(node, slot), gradient);
  }

  get(node: number, slot: number): Tensor | undefined {
    return this.#pieces.get(this.#key(node, slot));
  }

  #key(node: number, slot: number): number {
    return node * 4096 + slot;
  }
}

/** Which op of the graph each node of the tape is. */
function tapeNodes(builder: GraphBuilder): Map<Node, number> {
  const graph: Graph = builder.graph();
  return new Map(
    graph.nodes.flatMap(({ id, output }) => {
      const { gradFn } = builder.tensorOf(output);
      return gradFn ? [[gradFn, id] as const] : [];
    }),
  );
}

/** All pairwise dot products of equally shaped tensors, reduced on their backend. */
export function gramMatrix(pieces: readonly Tensor[]): number[][] {
  const rows = stack(pieces.map((piece) => reshape(piece, [piece.size])));
  const flat = matmul(rows, rows.transpose()).dataSync();
  const n = pieces.length;
  return pieces.map((_, a) => Array.from(flat.subarray(a * n, (a + 1) * n)));
}

function summarise(step: number, gram: GramMatrix): PieceSample {
  return {
    step,
    norms: norms(gram),
    cosine: cosineSimilarity(gram),
    sharedEnergy: sharedEnergy(gram),
    firstDirectionShare: firstDirectionShare(gram),
    effectiveRank: effectiveRank(gram),
  };
}

/** The gradient of a map, as the sum of its pieces, averaged over channels: [N, H, W] in one list. */
function channelMean(pieces: readonly Tensor[]): Float64Array {
  const total = pieces.reduce((sum, piece) => sum.add(piece));
  return Float64Array.from(mean(total, 1).dataSync());
}
