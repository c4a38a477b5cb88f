/** What sampling gradient pieces costs: a training step of networks with and without it, in turn, in this process. */
import { GradientRecorder } from "../src/gradflow/index.ts";
import { crossEntropy, optim, randint, randn, scope, type Tensor } from "../src/index.ts";
import { cspDenseNet, type DenseNet, densenet, densenet121 } from "../src/models/index.ts";
import { summarise } from "./paired.ts";

const size = {
  blocks: [4, 4],
  growthRate: 8,
  bottleneckWidth: 2,
  stemChannels: 16,
  stem: "small",
  inChannels: 1,
  classes: 10,
} as const;

export interface SamplingFigure {
  readonly network: string;
  readonly milliseconds: number;
  readonly imagesPerSecond: number;
  /** Time of a step whose gradient pieces are sampled over that of one whose are not. */
  readonly sampledOverPlain: number;
}

interface Workload {
  readonly network: string;
  readonly model: DenseNet;
  readonly images: Tensor;
  readonly classes: number;
  readonly pairs: number;
}

async function benchNetwork({ network, model, images, classes, pairs }: Workload): Promise<SamplingFigure> {
  const labels = randint(0, classes, [images.shape[0]]);
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
  const recorder = new GradientRecorder(model, model.stages, { everySteps: 1 });
  const pass = (): Tensor => {
    const loss = crossEntropy(model.forward(images), labels);
    loss.backward();
    return loss;
  };
  /** One step to where its loss, and its figures, can be read. */
  const step = async (sampled: boolean): Promise<number> => {
    const start = performance.now();
    const loss = scope(() => {
      optimizer.zeroGrad();
      const value = sampled ? recorder.step(0, images, pass) : pass();
      optimizer.step();
      return value;
    });
    await loss.item();
    await recorder.flush();
    loss.dispose();
    return performance.now() - start;
  };
  const times: [plain: number, sampled: number][] = [];
  const warmUp = Math.min(5, pairs);
  for (let i = -warmUp; i < pairs; i++) {
    const [a, b] = i % 2 === 0 ? [true, false] : [false, true];
    const [first, second] = [await step(a), await step(b)];
    if (i >= 0) times.push(a ? [second, first] : [first, second]);
  }
  const { first, ratio } = summarise(times);
  return {
    network,
    milliseconds: first,
    imagesPerSecond: (1000 * images.shape[0]) / first,
    sampledOverPlain: ratio,
  };
}

/**
 * Times steps of a DenseNet and its CSPDenseNet at batch 64 on 28 x 28 images, and, unless `quick`, of DenseNet-121 at
 * batch 8 on 224 x 224.
 */
export async function benchSampling(quick: boolean): Promise<SamplingFigure[]> {
  const small = { images: randn([64, 1, 28, 28]), classes: 10, pairs: quick ? 5 : 40 };
  const figures = [
    await benchNetwork({ network: "DenseNet", model: densenet(size), ...small }),
    await benchNetwork({ network: "CSPDenseNet", model: cspDenseNet(size), ...small }),
  ];
  if (quick) return figures;
  const large = { images: randn([8, 3, 224, 224]), classes: 1000, pairs: 10 };
  return [...figures, await benchNetwork({ network: "DenseNet-121", model: densenet121(), ...large })];
}
