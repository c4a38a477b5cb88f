/**
 * The instrument: while a network trains, it catches the gradient pieces on every edge into the feature maps of its
 * stages, before they are summed, and reduces them to a few numbers per sampled step.
 *
 * During the step nothing is read from the backend: pieces are reduced where they lie, and `flush` reads the small
 * results afterwards. The stages are analysed once for all steps that run the same ops.
 */
import type { Module } from "../nn/index.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { PiecePass, type ReducedStage } from "./recording/pass.ts";
import type { PlannedStage } from "./recording/plan.ts";
import { type SamplingDetail, StageRecord } from "./recording/record.ts";
import type { MeasuredStage } from "./recording/samples.ts";
import { StagePlans, watchStep } from "./recording/watch.ts";
import type { StageSelection } from "./stage.ts";

export interface RecorderOptions {
  /** Steps from one sample to the next. Default 10. */
  readonly everySteps?: number;
  /** "maps" (default) keeps the samples of every feature map; "stages" their mean, of every stage, alone. */
  readonly detail?: SamplingDetail;
}

interface Pending {
  readonly step: number;
  readonly stages: readonly ReducedStage[];
}

/** Measures the gradient pieces in the stages of one model. */
export class GradientRecorder {
  readonly #model: Module;
  readonly #records: readonly StageRecord[];
  readonly #everySteps: number;
  readonly #pending: Pending[] = [];
  readonly #plans: StagePlans<readonly PlannedStage[]>;

  /** Samples every `everySteps`-th step, the first among them. Throws unless it is a positive integer. */
  constructor(
    model: Module,
    stages: readonly StageSelection[],
    { everySteps = 10, detail = "maps" }: RecorderOptions = {},
  ) {
    if (!Number.isInteger(everySteps) || everySteps < 1)
      throw new Error(`GradientRecorder: everySteps ${everySteps} must be a positive integer`);
    this.#model = model;
    this.#plans = new StagePlans(stages, (planned) => planned);
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
    const started: { pass: PiecePass | null } = { pass: null };
    try {
      const result = watchStep(
        this.#model,
        images,
        (forward) => {
          const pass = new PiecePass(this.#plans.for(forward));
          started.pass = pass;
          return (node, event) => pass.take(node, event);
        },
        body,
      );
      if (started.pass) this.#pending.push({ step, stages: started.pass.finish() });
      return result;
    } catch (error) {
      started.pass?.abandon();
      throw error;
    }
  }
}
