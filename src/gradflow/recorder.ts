/**
 * The instrument: while a network trains, it catches the gradient pieces on every edge into the feature maps of its
 * stages, before they are summed, and reduces them to a few numbers per sampled step.
 *
 * During the step nothing is read from the backend: pieces are reduced where they lie, and `flush` reads the small
 * results afterwards. The stages are analysed once for all steps that run the same ops.
 */
import { type Node, onEdge, onOp } from "../autograd/index.ts";
import { type Graph, GraphBuilder } from "../graph/index.ts";
import type { Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { sameGraph } from "./recording/graphs.ts";
import { PiecePass, type ReducedStage } from "./recording/pass.ts";
import { type PlannedStage, planStage } from "./recording/plan.ts";
import { type SamplingDetail, StageRecord } from "./recording/record.ts";
import type { MeasuredStage } from "./recording/samples.ts";
import type { StageSelection } from "./stage.ts";

export interface RecorderOptions {
  /** Steps from one sample to the next. Default 10. */
  readonly everySteps?: number;
  /** "maps" (default) keeps the samples of every feature map; "stages" their mean, of every stage, alone. */
  readonly detail?: SamplingDetail;
}

/** Graphs whose plans are remembered: a training run has one, and another for a smaller last batch. */
const rememberedPlans = 4;

interface Plan {
  readonly graph: Graph;
  readonly stages: readonly PlannedStage[];
}

interface Pending {
  readonly step: number;
  readonly stages: readonly ReducedStage[];
}

/** Measures the gradient pieces in the stages of one model. */
export class GradientRecorder {
  readonly #model: Module;
  readonly #selections: readonly StageSelection[];
  readonly #records: readonly StageRecord[];
  readonly #everySteps: number;
  readonly #pending: Pending[] = [];
  readonly #plans: Plan[] = [];

  /** Samples every `everySteps`-th step, the first among them. Throws unless it is a positive integer. */
  constructor(
    model: Module,
    stages: readonly StageSelection[],
    { everySteps = 10, detail = "maps" }: RecorderOptions = {},
  ) {
    if (!Number.isInteger(everySteps) || everySteps < 1)
      throw new Error(`GradientRecorder: everySteps ${everySteps} must be a positive integer`);
    this.#model = model;
    this.#selections = stages;
    this.#everySteps = everySteps;
    this.#records = stages.map(({ name }) => new StageRecord(name, detail));
  }

  /** Whether `step` is one of those that are sampled. */
  samples(step: number): boolean {
    return step % this.#everySteps === 0;
  }

  /**
   * Runs `body`, one forward and backward pass of the model, and samples it when it is `step`'s turn. `images` is
   * what the model is called with. Sampling does not change what `body` computes. A scope around the backward pass
   * belongs around this call, not into `body`. Call `flush` after the step.
   */
  step<Result>(step: number, images: Tensor, body: () => Result): Result {
    return this.samples(step) ? this.#sample(step, images, body) : body();
  }

  /** Reads what the sampled steps since the last call left on the backend. Cheap when there was none. */
  async flush(): Promise<void> {
    for (const { step, stages } of this.#pending.splice(0))
      await Promise.all(stages.map((stage, i) => this.#records[i].add(step, stage)));
  }

  /** What was measured so far, stage by stage. Throws while sampled steps wait to be read. */
  measured(): MeasuredStage[] {
    const waiting = this.#pending.length;
    if (waiting > 0)
      throw new Error(
        `GradientRecorder: ${waiting} sampled step${waiting > 1 ? "s" : ""} (the last is step ${this.#pending[waiting - 1].step}) ` +
          "were not read yet; await recorder.flush() before measured()",
      );
    return this.#records.map((record) => record.measured());
  }

  #sample<Result>(step: number, images: Tensor, body: () => Result): Result {
    const builder = new GraphBuilder(this.#model.namedParameters());
    const input = builder.idOf(images);
    const started: { pass: PiecePass | null; nodes: ReadonlyMap<Node, number> } = {
      pass: null,
      nodes: new Map(),
    };
    const stopOps = onOp((event) => builder.add(event));
    const stopEdges = onEdge(
      (event) => {
        if (!started.pass) {
          stopOps();
          started.nodes = tapeNodes(builder);
          started.pass = new PiecePass(this.#planFor(builder, input));
        }
        const node = started.nodes.get(event.from);
        if (node !== undefined) started.pass.take(node, event);
        return undefined;
      },
      { keepsPieces: false },
    );
    try {
      const result = body();
      stopEdges();
      if (started.pass) this.#pending.push({ step, stages: started.pass.finish() });
      return result;
    } catch (error) {
      started.pass?.abandon();
      throw error;
    } finally {
      stopOps();
      stopEdges();
    }
  }

  #planFor(builder: GraphBuilder, input: number): readonly PlannedStage[] {
    const graph = builder.graph();
    const known = this.#plans.find((plan) => sameGraph(plan.graph, graph));
    if (known) return known.stages;
    // The last op on the tape made the loss, where a stage that is the whole model ends.
    const last = graph.nodes.findLast((node) => builder.tensorOf(node.output).gradFn);
    const stages = this.#selections.map((selection) =>
      planStage(graph, input, last?.output ?? null, selection),
    );
    this.#plans.push({ graph, stages });
    if (this.#plans.length > rememberedPlans) this.#plans.shift();
    return stages;
  }
}

/** Which op of the graph each node of the tape is. */
function tapeNodes(builder: GraphBuilder): Map<Node, number> {
  return new Map(
    builder.graph().nodes.flatMap(({ id, output }) => {
      const { gradFn } = builder.tensorOf(output);
      return gradFn ? [[gradFn, id] as const] : [];
    }),
  );
}
