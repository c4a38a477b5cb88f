/**
 * Counterfactuals: a network is trained with some of its gradient paths cut or scaled, in the backward pass only, so that
 * nothing but the gradients differs from the run beside it. It is what the paper argues for by structure alone.
 *
 *     const editor = new PathEditor(model, model.stages, [truncate(duplicatedPaths())]);
 *     editor.step(step, images, () => crossEntropy(model.forward(images), labels).backward());
 */
import { mul } from "../autograd/index.ts";
import type { Module } from "../nn/index.ts";
import { Generator } from "../tensor/generator.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PlannedPiece, PlannedStage } from "./recording/plan.ts";
import { StagePlans, watchStep } from "./recording/watch.ts";
import type { StageSelection } from "./stage.ts";

/**
 * Gradient paths from consumers to feature maps, by what is given: all others match anything. So `{ map: "0" }` is every
 * piece that reaches x_0, in every stage.
 */
export interface EdgeSelection {
  /** The name of a stage. */
  readonly stage?: string;
  /** A feature map as the equations call it: `0''`, `2`, `T`. */
  readonly map?: string;
  /** A consumer as the recorder calls it: `w_2`, `w_2+w_T`, or `out` for what comes from behind the stage. */
  readonly consumer?: string;
  /** A module: pieces that layers at or below it send. */
  readonly from?: string;
  /** A module: pieces for maps that layers at or below it made. */
  readonly to?: string;
}

/** Every piece of a map but one: see `duplicatedPaths`. */
export interface DuplicateSelection {
  readonly keep: "nearest" | "random";
  readonly seed: number;
}

export type PathSelection = EdgeSelection | DuplicateSelection;

/** A change of chosen paths: each of their pieces is multiplied by `factor`; 0 cuts it. */
export interface PathEdit {
  readonly paths: readonly PathSelection[];
  readonly factor: number;
}

/**
 * The paths by which a feature map's gradient arrives again: of the pieces of every map all but that of its nearest
 * consumer, the first to read it. With `keep: "random"` another one of them stays, drawn once for the run: as many
 * pieces are cut, and which does not depend on distance. The control for the former.
 */
export function duplicatedPaths({
  keep = "nearest",
  seed = 0,
}: Partial<DuplicateSelection> = {}): DuplicateSelection {
  return { keep, seed };
}

/** Cuts gradient paths: their pieces do not arrive. The forward pass is that of the whole network. */
export function truncate(paths: PathSelection | readonly PathSelection[]): PathEdit {
  return { paths: listOf(paths), factor: 0 };
}

/** Scales the pieces on gradient paths. Throws unless `factor` is finite; a factor of 0 cuts. */
export function reweight(paths: PathSelection | readonly PathSelection[], factor: number): PathEdit {
  if (!Number.isFinite(factor))
    throw new Error(`reweight: factor ${factor} must be a finite number; truncate(paths) cuts them`);
  return { paths: listOf(paths), factor };
}

function listOf(paths: PathSelection | readonly PathSelection[]): readonly PathSelection[] {
  return isList(paths) ? paths : [paths];
}

function isList(paths: PathSelection | readonly PathSelection[]): paths is readonly PathSelection[] {
  return Array.isArray(paths);
}

/** What happens to pieces, by `node/slot`: what they are multiplied by. */
type Factors = ReadonlyMap<string, number>;

/** Edits the gradient paths in the stages of one model, in every step that it runs. */
export class PathEditor {
  readonly #model: Module;
  readonly #plans: StagePlans<Factors>;
  #edited = 0;

  /** Throws when there is nothing to edit. Whether the paths exist shows in the first step. */
  constructor(model: Module, stages: readonly StageSelection[], edits: readonly PathEdit[]) {
    if (edits.length === 0 || edits.some(({ paths }) => paths.length === 0))
      throw new Error(
        "PathEditor: there is no path to edit; give truncate(paths) or reweight(paths, factor)",
      );
    this.#model = model;
    this.#plans = new StagePlans(stages, (planned) => factorsOf(planned, edits));
  }

  /** Gradient pieces that were cut or scaled in the last step. */
  get editedPieces(): number {
    return this.#edited;
  }

  /**
   * Runs `body`, one forward and backward pass of the model on `images`, with the paths edited. Throws in the middle of
   * the pass when one of them does not exist. A recorder inside `body` sees what is left of the pieces.
   */
  step<Result>(_step: number, images: Tensor, body: () => Result): Result {
    this.#edited = 0;
    return watchStep(
      this.#model,
      images,
      (forward) => {
        const factors = this.#plans.for(forward);
        return (node, { slot, gradient }) => {
          const factor = factors.get(`${node}/${slot}`);
          if (factor === undefined) return undefined;
          this.#edited += 1;
          return factor === 0 ? null : mul(gradient, factor);
        };
      },
      body,
    );
  }
}

/** Every edge of the stages that takes part, with what an `EdgeSelection` asks for. */
interface NamedEdge {
  readonly key: string;
  readonly stage: string;
  readonly map: string;
  readonly consumer: string;
  readonly from: readonly string[];
  readonly to: string | null;
}

function factorsOf(stages: readonly PlannedStage[], edits: readonly PathEdit[]): Factors {
  const edges = stages.flatMap(namedEdges);
  const factors = new Map<string, number>();
  for (const { paths, factor } of edits) {
    // An edge that two selections of one edit name is edited once.
    const keys = new Set(paths.flatMap((selection) => edgesOf(stages, edges, selection, factor === 0)));
    for (const key of keys) factors.set(key, (factors.get(key) ?? 1) * factor);
  }
  return factors;
}

const keyOf = ({ node, slot }: PlannedPiece): string => `${node}/${slot}`;

function namedEdges({ name, stage, maps }: PlannedStage): NamedEdge[] {
  return maps.flatMap((map, index) => {
    const { layer } = stage.maps[index];
    return map.pieces.map(
      (piece): NamedEdge => ({
        key: keyOf(piece),
        stage: name,
        map: map.name,
        consumer: piece.consumer,
        from: piece.layers.map((consumer) => stage.layers[consumer].modulePath),
        to: layer === null ? null : stage.layers[layer].modulePath,
      }),
    );
  });
}

function edgesOf(
  stages: readonly PlannedStage[],
  edges: readonly NamedEdge[],
  selection: PathSelection,
  cuts: boolean,
): string[] {
  const found = "keep" in selection ? duplicates(stages, selection) : matching(edges, selection);
  if (found.length > 0) return found;
  const operation = cuts ? "truncate" : "reweight";
  if ("keep" in selection)
    throw new Error(
      `${operation}: no feature map of these stages has two gradient pieces; there are no duplicated paths`,
    );
  throw new Error(
    `${operation}: no gradient path has ${describe(selection)}; ${nearMisses(edges, selection)}`,
  );
}

const inside = (path: string, module: string): boolean =>
  module === "" || path === module || path.startsWith(`${module}.`);

function matches(edge: NamedEdge, { stage, map, consumer, from, to }: EdgeSelection): boolean {
  return (
    (stage === undefined || edge.stage === stage) &&
    (map === undefined || edge.map === map) &&
    (consumer === undefined || edge.consumer === consumer) &&
    (from === undefined || edge.from.some((path) => inside(path, from))) &&
    (to === undefined || (edge.to !== null && inside(edge.to, to)))
  );
}

const matching = (edges: readonly NamedEdge[], selection: EdgeSelection): string[] =>
  edges.filter((edge) => matches(edge, selection)).map(({ key }) => key);

function describe(selection: EdgeSelection): string {
  return Object.entries(selection)
    .map(([name, value]) => `${name} "${value}"`)
    .join(" and ");
}

/** What there is instead: the values of the first part of the selection that leaves nothing. */
function nearMisses(edges: readonly NamedEdge[], selection: EdgeSelection): string {
  const values = {
    stage: (edge: NamedEdge) => [edge.stage],
    map: (edge: NamedEdge) => [edge.map],
    consumer: (edge: NamedEdge) => [edge.consumer],
    from: (edge: NamedEdge) => edge.from,
    to: (edge: NamedEdge) => (edge.to === null ? [] : [edge.to]),
  };
  let left = edges;
  for (const part of ["stage", "map", "consumer", "from", "to"] as const) {
    if (selection[part] === undefined) continue;
    const next = left.filter((edge) => matches(edge, { [part]: selection[part] }));
    if (next.length === 0) {
      const known = [...new Set(left.flatMap(values[part]))].map((value) => `"${value}"`);
      return `its ${part} would be one of ${known.join(", ") || "none"}`;
    }
    left = next;
  }
  return "there is none in these stages";
}

/** All pieces but one of every map that is compared. */
function duplicates(stages: readonly PlannedStage[], { keep, seed }: DuplicateSelection): string[] {
  const generator = new Generator(seed);
  return stages.flatMap(({ maps }) =>
    maps.flatMap(({ pieces, compared }) => {
      if (!compared) return [];
      const [drawn = 0] = generator.permutation(pieces.length);
      const kept = keep === "random" ? drawn : 0;
      return pieces.filter((_, i) => i !== kept).map(keyOf);
    }),
  );
}
