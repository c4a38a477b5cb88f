/** Several instruments on one training run. */
import type { Tensor } from "../tensor/tensor.ts";
import type { Instrument } from "./trainingRun.ts";

/**
 * One instrument of several, the first outermost: what it changes, the others see. So an editor of gradient paths comes
 * before the recorder that shall measure what is left.
 */
export function chainInstruments(instruments: readonly Instrument[]): Instrument {
  return {
    step<Result>(step: number, images: Tensor, body: () => Result): Result {
      const run = (at: number): Result => {
        const instrument = instruments[at];
        return instrument ? instrument.step(step, images, () => run(at + 1)) : body();
      };
      return run(0);
    },
    samples: (step) => instruments.some((instrument) => instrument.samples?.(step) ?? true),
    async flush() {
      for (const instrument of instruments) await instrument.flush?.();
    },
  };
}
