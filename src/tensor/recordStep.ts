/**
 * A training step that is recorded once and run again without JavaScript building it anew: on a GPU a step is a list
 * of kernels over buffers that are there already, and telling the device each of them costs more than a small network
 * computes.
 */
import { defaultBackend } from "./runtime.ts";
import type { Tensor } from "./tensor.ts";

/** A recorded step. */
export interface RecordedStep<Result> {
  /** What the body returned. The tensors in it are written anew by every replay. */
  readonly result: Result;
  /** Kernels of the step. */
  readonly kernels: number;
  /**
   * Writes new values, the next batch, into a tensor that was there before the recording. Throws when the count does
   * not fit, or when the tensor is a view.
   */
  feed(tensor: Tensor, values: ArrayLike<number>): void;
  /** Runs the step again. Throws once disposed of. */
  replay(): void;
  /** Gives the step's memory back. */
  dispose(): void;
}

let recordings = 0;

/** Throws while a step is being recorded: for what would compute something else in every step. */
export function refuseRecording(what: string, why: string): void {
  if (recordings > 0) throw new Error(`${what}: cannot be part of a recorded step: ${why}`);
}

/**
 * Runs `body` and records its kernels, on a backend that can (WebGPU). Everything that is a plain number in the body,
 * such as the learning rate, stays what it is in every replay. `body` must not read values; what it allocates lives
 * until `dispose()`.
 *
 *     const images = zeros([64, 1, 28, 28]), labels = zeros([64], { dtype: "i32" });
 *     const step = recordStep(() => { optimizer.zeroGrad(); const loss = crossEntropy(model.forward(images), labels);
 *                                     loss.backward(); optimizer.step(); return loss; });
 *     for (const batch of batches) { step.feed(images, batch.images); step.feed(labels, batch.labels); step.replay(); }
 *
 * Throws on other backends, while another step is recorded, and for dropout and optimizers that count their steps.
 */
export function recordStep<Result>(body: () => Result): RecordedStep<Result> {
  const backend = defaultBackend();
  if (!backend.record)
    throw new Error(
      `recordStep: backend ${backend.name} runs every step anew; call the step itself, or setBackend("webgpu") first`,
    );
  recordings += 1;
  try {
    const { result, recording } = backend.record(body);
    return {
      result,
      kernels: recording.kernels,
      feed: (tensor, values) => {
        if (tensor.storage.length !== tensor.size || !tensor.isContiguous)
          throw new Error(
            "recordStep: feed() writes whole tensors, this one is a view; give the one it looks at",
          );
        if (values.length !== tensor.size)
          throw new Error(
            `recordStep: the tensor has ${tensor.size} elements, ${values.length} values were given`,
          );
        tensor.backend.write(tensor.storage.buffer, values);
      },
      replay: recording.replay,
      dispose: recording.dispose,
    };
  } finally {
    recordings -= 1;
  }
}
