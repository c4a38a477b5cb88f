/**
 * One sampled backward pass: catches the pieces that a plan asks for, and reduces them to small tensors as soon as a
 * feature map has all of its own. So a pass holds the pieces of one dense block at a time, not those of the network,
 * and nothing is read from the backend while it works.
 */
import { add, type EdgeEvent, mean, noGrad, permute, reshape, slice, stack } from "../../autograd/index.ts";
import { outsideScopes, scope } from "../../tensor/scope.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { ckaGram, fewestCkaExamples, gramMatrix, gramOfRows } from "../measures/index.ts";
import type { PlannedMap, PlannedStage } from "./plan.ts";

/** The reductions of one map. Indices are those of the plan's pieces that arrived. */
export interface ReducedMap {
  readonly name: string;
  readonly consumers: readonly string[];
  /** `[n, n]` */
  readonly gram: Tensor;
  /** Gram matrix of the weights' kernels, and which of the consumers they are; null with fewer than two. */
  readonly weights: { readonly gram: Tensor; readonly of: readonly number[] } | null;
}

/** The reductions of the two sides. */
export interface ReducedSides {
  /** `[4, 4]`: both channel means, and both after their own mean was subtracted. */
  readonly moments: Tensor;
  /** Kernels of the images, `[N, N]`. */
  readonly dense: Tensor;
  readonly bypass: Tensor;
}

export interface ReducedStage {
  readonly maps: readonly ReducedMap[];
  readonly sides: ReducedSides | null;
}

/** A piece that was caught, and how to let go of it. */
interface Caught {
  readonly piece: Tensor;
  readonly release: () => void;
}

interface SideGradient {
  /** `[N, H, W]` */
  readonly channelMean: Tensor;
  readonly kernel: Tensor;
}

/** Reduces without recording, to tensors that outlive every scope: they are read and freed after the step. */
function reduce<Result>(body: () => Result): Result {
  return outsideScopes(() => scope(() => noGrad(body)));
}

class MapPieces {
  readonly plan: PlannedMap;
  readonly #caught: (Caught | null)[];
  readonly #kernels: (Tensor | null)[];
  #missing: number;

  constructor(plan: PlannedMap) {
    this.plan = plan;
    this.#caught = plan.pieces.map(() => null);
    this.#kernels = plan.pieces.map(() => null);
    this.#missing = plan.pieces.length;
  }

  /** Takes a piece; true when it was the last one that was missing. */
  take(index: number, { gradient, hold }: EdgeEvent): boolean {
    // A second pass over the same tape has nothing to add to the first.
    if (this.#caught[index] || this.#missing === 0) return false;
    this.#missing -= 1;
    this.#caught[index] = { piece: gradient, release: hold() };
    return this.#missing === 0;
  }

  /** Takes the gradient of the weight that piece `index`'s consumer reads the map with. */
  takeWeight(index: number, gradient: Tensor): void {
    const { weight } = this.plan.pieces[index];
    if (!weight || this.#kernels[index]) return;
    this.#kernels[index] = reduce(() => weightKernel(gradient, weight.from, weight.to));
  }

  /** Reduces what arrived; null where there is nothing to compare. */
  compare(): ReducedMap | null {
    const arrived = this.#arrived();
    if (!this.plan.compared || arrived.length < 2) return null;
    const weighted = arrived.filter((index) => this.#kernels[index]);
    const kernels = weighted.flatMap((index) => this.#kernels[index] ?? []);
    return {
      name: this.plan.name,
      consumers: arrived.map((index) => this.plan.pieces[index].consumer),
      gram: reduce(() => gramMatrix(this.#pieces())),
      weights:
        kernels.length > 1
          ? { gram: reduce(() => ckaGram(kernels)), of: weighted.map((index) => arrived.indexOf(index)) }
          : null,
    };
  }

  /** The gradient of the map, as the sum of its pieces, reduced; null when nothing arrived. */
  sideGradient(): SideGradient | null {
    const pieces = this.#pieces();
    if (pieces.length === 0) return null;
    return reduce(() => {
      const total = pieces.reduce((sum, piece) => add(sum, piece));
      const images = total.shape[0];
      return {
        channelMean: mean(total, 1),
        kernel: gramOfRows(reshape(total, [images, total.size / images])),
      };
    });
  }

  release(): void {
    this.#caught.forEach((caught, i) => {
      caught?.release();
      this.#caught[i] = null;
    });
    this.#kernels.forEach((kernel, i) => {
      kernel?.dispose();
      this.#kernels[i] = null;
    });
    this.#missing = 0;
  }

  #arrived(): number[] {
    return this.#caught.flatMap((caught, index) => (caught ? [index] : []));
  }

  #pieces(): Tensor[] {
    return this.#caught.flatMap((caught) => (caught ? [caught.piece] : []));
  }
}

/**
 * The kernel XXᵀ of a weight's gradient over the input channels `from` to `to`: examples are channels, dimensions the
 * output channels and kernel positions, so that it does not depend on which output channel learned what.
 */
function weightKernel(gradient: Tensor, from: number, to: number): Tensor {
  const channelsFirst =
    gradient.rank === 2
      ? gradient
      : permute(gradient, [1, 0, ...gradient.shape.slice(2).map((_, i) => i + 2)]);
  const part = slice(channelsFirst, 0, from, to);
  return gramOfRows(reshape(part, [to - from, part.size / (to - from)]));
}

class StagePieces {
  readonly maps: readonly MapPieces[];
  readonly #reduced: (ReducedMap | null)[];
  readonly #sides: { dense: SideGradient | null; bypass: SideGradient | null } = {
    dense: null,
    bypass: null,
  };

  constructor(plan: PlannedStage) {
    this.maps = plan.maps.map((map) => new MapPieces(map));
    this.#reduced = plan.maps.map(() => null);
  }

  /** Reduces a map for which nothing more is awaited, and lets go of its pieces. */
  finishMap(index: number): void {
    const map = this.maps[index];
    this.#reduced[index] ??= map.compare();
    const { side } = map.plan;
    if (side) this.#sides[side] ??= map.sideGradient();
    map.release();
  }

  finish(): ReducedStage {
    this.maps.forEach((_, index) => void this.finishMap(index));
    const { dense, bypass } = this.#sides;
    const sides = dense && bypass ? reduceSides(dense, bypass) : null;
    for (const side of [dense, bypass]) {
      side?.channelMean.dispose();
      if (!sides) side?.kernel.dispose();
    }
    return { maps: this.#reduced.filter((map) => map !== null), sides };
  }
}

function reduceSides(dense: SideGradient, bypass: SideGradient): ReducedSides {
  const moments = reduce(() => {
    const rows = stack([dense, bypass].map(({ channelMean }) => reshape(channelMean, [channelMean.size])));
    const centred = rows.sub(mean(rows, 1, { keepDims: true }));
    return gramMatrix([rows.select(0, 0), rows.select(0, 1), centred.select(0, 0), centred.select(0, 1)]);
  });
  return { moments, dense: dense.kernel, bypass: bypass.kernel };
}

/** What an edge's piece is wanted for. */
interface Target {
  readonly stage: StagePieces;
  readonly map: number;
  readonly piece: number;
  readonly of: "map" | "weight";
}

/** Catches and reduces the pieces of one backward pass. */
export class PiecePass {
  readonly #stages: readonly StagePieces[];
  readonly #targets = new Map<string, Target[]>();

  constructor(plan: readonly PlannedStage[]) {
    this.#stages = plan.map((stage) => new StagePieces(stage));
    for (const stage of this.#stages)
      stage.maps.forEach(({ plan: { pieces, compared, side } }, map) => {
        if (!compared && !side) return;
        const wantsWeights =
          compared && pieces.some(({ weight }) => weight && weight.to - weight.from >= fewestCkaExamples);
        pieces.forEach(({ node, slot, weight }, piece) => {
          this.#want(node, slot, { stage, map, piece, of: "map" });
          if (weight && wantsWeights)
            this.#want(weight.node, weight.slot, { stage, map, piece, of: "weight" });
        });
      });
  }

  /** Takes the piece that op `node` of the graph sends to its input `slot`, if it is wanted. */
  take(node: number, event: EdgeEvent): undefined {
    for (const { stage, map, piece, of } of this.#targets.get(`${node}/${event.slot}`) ?? []) {
      const pieces = stage.maps[map];
      if (of === "weight") pieces.takeWeight(piece, event.gradient);
      else if (pieces.take(piece, event)) stage.finishMap(map);
    }
  }

  /** Reduces what is left: maps of which a piece never came, because its path was cut or leads nowhere. */
  finish(): ReducedStage[] {
    return this.#stages.map((stage) => stage.finish());
  }

  /** Lets go of everything, after a pass that failed. */
  abandon(): void {
    for (const { maps } of this.#stages) for (const map of maps) map.release();
  }

  #want(node: number, slot: number, target: Target): void {
    const key = `${node}/${slot}`;
    const known = this.#targets.get(key);
    if (known) known.push(target);
    else this.#targets.set(key, [target]);
  }
}
