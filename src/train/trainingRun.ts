/** Training one network, a step at a time, so that several can take turns on the same batches. */
import { argmax, crossEntropy, equal, noGrad, sum, to } from "../autograd/index.ts";
import type { Batch } from "../data/index.ts";
import type { Module } from "../nn/index.ts";
import { LearningRateScheduler, type Optimizer, type Schedule } from "../nn/optim/index.ts";
import { memoryReport, resetPeakMemory, scope, type Tensor, tensor } from "../tensor/index.ts";

/** Watches the forward and backward pass of chosen steps, as the gradient recorder does. */
export interface Instrument {
  /** Runs `body`, the forward and backward pass of step `step` on `images`, and returns its result. */
  step<Result>(step: number, images: Tensor, body: () => Result): Result;
  /** Whether `step` is one that it watches: such a step takes more time and memory. Default: every one. */
  samples?(step: number): boolean;
  /** Reads what it measured, after every step. */
  flush?(): Promise<void>;
}

export interface TrainingRunOptions {
  /** What progress lines, errors and reports call the network. */
  readonly name: string;
  readonly model: Module;
  readonly optimizer: Optimizer;
  /** Learning rate over the steps, as a multiple of the optimizer's. Default: constant. */
  readonly schedule?: Schedule;
  readonly instrument?: Instrument;
  /** The steps that were taken before, where a training goes on. Default: none. */
  readonly records?: readonly StepRecord[];
}

/** What one training step measured. */
export interface StepRecord {
  /** Counted from 0: the number of updates made before this step. */
  readonly step: number;
  /** Mean cross entropy of the batch, in nats. */
  readonly loss: number;
  /** Share of the batch classified correctly, 0 to 1, before the update. */
  readonly accuracy: number;
  /** Time of forward, backward and update, until the loss could be read. */
  readonly milliseconds: number;
  readonly images: number;
  readonly learningRate: number;
}

/** The loss became NaN or infinite; nothing that is computed afterwards means anything. */
export class DivergedError extends Error {
  override readonly name = "DivergedError";
}

/** What a scheduler does when the learning rate stays as it is. */
const constant: Schedule = () => 1;

/** A classifier in training: `model` turns `[N, C, H, W]` images into `[N, classes]` logits. */
export class TrainingRun {
  readonly name: string;
  readonly model: Module;
  /** One entry a step. */
  readonly records: StepRecord[];
  readonly #optimizer: Optimizer;
  readonly #scheduler: LearningRateScheduler;
  readonly #instrument: Instrument | undefined;
  #largestStep = 0;
  #largestSampledStep = 0;

  constructor({ name, model, optimizer, schedule = constant, instrument, records = [] }: TrainingRunOptions) {
    this.name = name;
    this.model = model;
    this.#optimizer = optimizer;
    this.records = [...records];
    this.#scheduler = new LearningRateScheduler(optimizer, schedule, records.length);
    this.#instrument = instrument;
  }

  /**
   * Most bytes that the network had in use at one moment of a step: its weights and optimizer state, and on top of
   * them activations, gradients and temporary tensors. Other networks in memory do not count, nor do steps that the
   * instrument watched, unless it watched them all.
   */
  get peakBytes(): number {
    const kept = [...this.model.stateDict().values(), ...this.#optimizer.stateDict().tensors.values()];
    const bytes = kept.reduce((sum, { size }) => sum + 4 * size, 0);
    return bytes + (this.#largestStep || this.#largestSampledStep);
  }

  /** Trains on one batch. Throws a DivergedError when the loss is not finite. */
  async step(batch: Batch): Promise<StepRecord> {
    const step = this.records.length;
    const learningRate = this.#optimizer.lr;
    if (!this.model.training) this.model.train();
    this.#optimizer.zeroGrad();
    resetPeakMemory();
    const before = memoryReport();
    const start = performance.now();
    const measured = scope(() => this.#update(batch, step));
    const loss = await takeNumber(measured.loss);
    const correct = await takeNumber(measured.correct);
    await this.#instrument?.flush?.();
    const milliseconds = performance.now() - start;
    const after = memoryReport();
    // What an optimizer allocates in its first step stays, and is counted with its state.
    const newState = after.byCategory.optimizer.live - before.byCategory.optimizer.live;
    const bytes = after.peakBytes - before.liveBytes - newState;
    if (this.#instrument?.samples?.(step) ?? this.#instrument !== undefined)
      this.#largestSampledStep = Math.max(this.#largestSampledStep, bytes);
    else this.#largestStep = Math.max(this.#largestStep, bytes);
    if (!Number.isFinite(loss))
      throw new DivergedError(
        `${this.name}: the loss became ${loss} at step ${step}, with learning rate ${learningRate}; ` +
          "lower the learning rate, or look for extreme values in the images",
      );
    this.#scheduler.step();
    const accuracy = correct / batch.count;
    const record = { step, loss, accuracy, milliseconds, images: batch.count, learningRate };
    this.records.push(record);
    return record;
  }

  #update(batch: Batch, step: number): { loss: Tensor; correct: Tensor } {
    const images = tensor(batch.images, { shape: batch.shape });
    const labels = tensor(batch.labels, { dtype: "i32" });
    const pass = () => {
      const logits = this.model.forward(images);
      const loss = crossEntropy(logits, labels);
      loss.backward();
      return { loss, logits };
    };
    const { loss, logits } = this.#instrument ? this.#instrument.step(step, images, pass) : pass();
    this.#optimizer.step();
    return { loss, correct: countCorrect(logits, labels) };
  }
}

/** How many rows of `[N, classes]` logits have their largest entry at the label, as a scalar. */
export function countCorrect(logits: Tensor, labels: Tensor): Tensor {
  return noGrad(() => sum(to(equal(to(argmax(logits, 1), "i32"), labels), "f32")));
}

/** Reads a scalar and frees it. */
export async function takeNumber(scalar: Tensor): Promise<number> {
  const value = await scalar.item();
  scalar.dispose();
  return value;
}
