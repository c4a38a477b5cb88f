/** What one stage's samples add up to over a training run. */
import { RunningStatistics } from "../measures/index.ts";
import { emptySample, pieceSample, sideSample, stageSample } from "./figures.ts";
import type { ReducedStage } from "./pass.ts";
import type {
  MeasuredMap,
  MeasuredStage,
  PieceSample,
  SideSample,
  StageFigure,
  StageSample,
} from "./samples.ts";

/** Whether every map's samples are kept, or only their means over a stage. */
export type SamplingDetail = "maps" | "stages";

const figures = [
  "cosine",
  "energyRatio",
  "firstDirectionShare",
  "rankShare",
  "weightCka",
  "norm",
  "sideCorrelation",
  "sideCka",
] as const satisfies readonly StageFigure[];

type ByFigure<Value> = Record<StageFigure, Value>;

function byFigure<Value>(of: (figure: StageFigure) => Value): ByFigure<Value> {
  return {
    cosine: of("cosine"),
    energyRatio: of("energyRatio"),
    firstDirectionShare: of("firstDirectionShare"),
    rankShare: of("rankShare"),
    weightCka: of("weightCka"),
    norm: of("norm"),
    sideCorrelation: of("sideCorrelation"),
    sideCka: of("sideCka"),
  };
}

/** Collects the samples of one stage. */
export class StageRecord {
  readonly #name: string;
  readonly #detail: SamplingDetail;
  readonly #maps = new Map<
    string,
    { readonly consumers: readonly string[]; readonly samples: PieceSample[] }
  >();
  readonly #sides: SideSample[] = [];
  readonly #samples: StageSample[] = [];
  readonly #statistics = byFigure(() => new RunningStatistics());

  constructor(name: string, detail: SamplingDetail) {
    this.#name = name;
    this.#detail = detail;
  }

  /** Reads a step's reductions and adds their figures. */
  async add(step: number, { maps, sides }: ReducedStage): Promise<void> {
    const [pieces, side] = await Promise.all([
      Promise.all(maps.map((map) => pieceSample(step, map))),
      sides && sideSample(step, sides),
    ]);
    const sample = stageSample(step, pieces, side);
    this.#samples.push(sample);
    for (const figure of figures) this.#statistics[figure].add(sample[figure]);
    if (side) this.#sides.push(side);
    if (this.#detail === "maps")
      maps.forEach(({ name, consumers }, i) => void this.#addMap(name, consumers, pieces[i]));
  }

  measured(): MeasuredStage {
    return {
      name: this.#name,
      maps: [...this.#maps].map(([map, entry]): MeasuredMap => ({ map, ...entry })),
      sides: this.#sides.length > 0 ? this.#sides : null,
      samples: this.#samples,
      summaries: byFigure((figure) => this.#statistics[figure].summary()),
    };
  }

  #addMap(name: string, consumers: readonly string[], sample: PieceSample): void {
    const known = this.#maps.get(name);
    if (!known) {
      this.#maps.set(name, { consumers, samples: [sample] });
      return;
    }
    const same = known.consumers.join() === consumers.join();
    const gap = `pieces came from ${consumers.join(", ")} here, from ${known.consumers.join(", ")} before`;
    known.samples.push(same ? sample : emptySample(sample.step, known.consumers.length, gap));
  }
}
