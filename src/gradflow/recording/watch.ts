/** Follows one training step: its forward pass as a graph, then every gradient piece by the op that sends it. */
import { type EdgeEvent, type Node, onEdge, onOp } from "../../autograd/index.ts";
import { type Graph, GraphBuilder } from "../../graph/index.ts";
import type { Module } from "../../nn/index.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { StageSelection } from "../stage.ts";
import { sameGraph } from "./graphs.ts";
import { type PlannedStage, planStage } from "./plan.ts";

/** Sees a piece that op `node` of the graph sends; what it returns replaces the piece, null cuts it. */
export type PieceListener = (node: number, event: EdgeEvent) => Tensor | null | undefined;

/** A step's forward pass, with the values that the images entered by and the loss ended in. */
export interface WatchedForward {
  readonly graph: Graph;
  readonly input: number;
  readonly output: number | null;
  /** Paths of the model's modules. */
  readonly modules: readonly string[];
}

/**
 * Runs `body`, one forward and backward pass of `model` on `images`. When the first gradient piece comes, `begin` is
 * given the forward pass, and what it returns sees that piece and all that follow.
 */
export function watchStep<Result>(
  model: Module,
  images: Tensor,
  begin: (forward: WatchedForward) => PieceListener,
  body: () => Result,
): Result {
  const builder = new GraphBuilder(model.namedParameters());
  const input = builder.idOf(images);
  let listener: PieceListener | null = null;
  let nodes: ReadonlyMap<Node, number> = new Map();
  const stopOps = onOp((event) => builder.add(event));
  const stopEdges = onEdge(
    (event) => {
      if (!listener) {
        stopOps();
        nodes = tapeNodes(builder);
        const graph = builder.graph();
        // The last op on the tape made the loss, where a stage that is the whole model ends.
        const last = graph.nodes.findLast((node) => builder.tensorOf(node.output).gradFn);
        const modules = [...model.namedModules().keys()];
        listener = begin({ graph, input, output: last?.output ?? null, modules });
      }
      const node = nodes.get(event.from);
      return node === undefined ? undefined : listener(node, event);
    },
    { keepsPieces: false },
  );
  try {
    return body();
  } finally {
    stopOps();
    stopEdges();
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

/** Graphs that are remembered: a training run has one, and another for a smaller last batch. */
const rememberedGraphs = 4;

/** Works out what `plan` says once for all steps that run the same ops. */
export class StagePlans<Plan> {
  readonly #selections: readonly StageSelection[];
  readonly #plan: (stages: readonly PlannedStage[]) => Plan;
  readonly #known: { readonly graph: Graph; readonly plan: Plan }[] = [];

  constructor(selections: readonly StageSelection[], plan: (stages: readonly PlannedStage[]) => Plan) {
    this.#selections = selections;
    this.#plan = plan;
  }

  for({ graph, input, output, modules }: WatchedForward): Plan {
    const known = this.#known.find((entry) => sameGraph(entry.graph, graph));
    if (known) return known.plan;
    const traced = { graph, inputs: [input], output, modules };
    const plan = this.#plan(this.#selections.map((selection) => planStage(traced, selection)));
    this.#known.push({ graph, plan });
    if (this.#known.length > rememberedGraphs) this.#known.shift();
    return plan;
  }
}
