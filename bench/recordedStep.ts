/** A training step of DenseNet-121, recorded on WebGPU: what replays are timed with, in Node and in a browser. */
import { crossEntropy, optim, randint, randn, recordStep, scope, setBackend } from "../src/index.ts";
import { densenet121 } from "../src/models/index.ts";
import { milliseconds } from "./paired.ts";

export interface RecordedDenseNet {
  readonly adapter: string;
  readonly kernels: number;
  /** What each of so many replays takes JavaScript's thread, in milliseconds. */
  time(replays: number): Promise<number[]>;
}

/** Engines compile what runs often for seconds, and take several times as long until then. */
const warmMilliseconds = 8000;

/** Two images of 32 x 32, so that software adapters come to an end; the kernels are as many for any size. */
export async function recordDenseNet121(): Promise<RecordedDenseNet> {
  const backend = await setBackend("webgpu");
  const model = densenet121();
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
  const images = randn([2, 3, 32, 32]);
  const labels = randint(0, 1000, [2]);
  const step = () =>
    scope(() => {
      optimizer.zeroGrad();
      const loss = crossEntropy(model.forward(images), labels);
      loss.backward();
      optimizer.step();
      return loss;
    });
  // Twice, so that shaders are compiled and the optimizer's state is there.
  for (let i = 0; i < 2; i++) step().dispose();
  const recorded = recordStep(step);
  const warm = performance.now() + warmMilliseconds;
  while (performance.now() < warm) {
    recorded.replay();
    await backend.synchronize?.();
  }
  return {
    adapter: backend.info().description,
    kernels: recorded.kernels,
    async time(replays) {
      const times: number[] = [];
      for (let i = 0; i < replays; i++) {
        times.push(milliseconds(() => recorded.replay()));
        await backend.synchronize?.();
      }
      return times;
    },
  };
}
