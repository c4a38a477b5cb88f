/** What sampling gradient pieces costs: a training step of small networks with and without it, in this process. */
import { GradientRecorder } from "../src/gradflow/index.ts";
import { crossEntropy, optim, randint, randn, scope, type Tensor } from "../src/index.ts";
import { cspDenseNet, type DenseNet, densenet } from "../src/models/index.ts";
import { paired } from "./paired.ts";

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

function benchNetwork(
  network: string,
  model: DenseNet,
  images: Tensor,
  labels: Tensor,
  pairs: number,
): SamplingFigure {
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
  const recorder = new GradientRecorder(model, model.stages, { everySteps: 1 });
  const pass = (): void => crossEntropy(model.forward(images), labels).backward();
  const step = (body: () => void) => () =>
    scope(() => {
      optimizer.zeroGrad();
      body();
      optimizer.step();
    });
  const { first, ratio } = paired(
    step(pass),
    step(() => recorder.step(0, images, pass)),
    pairs,
    5,
  );
  const { shape } = images;
  return {
    network,
    milliseconds: first,
    imagesPerSecond: (1000 * shape[0]) / first,
    sampledOverPlain: ratio,
  };
}

/** Times steps of a DenseNet and its CSPDenseNet at batch 64 on 28 x 28 images. */
export function benchSampling(pairs: number): SamplingFigure[] {
  const images = randn([64, 1, 28, 28]);
  const labels = randint(0, 10, [64]);
  return [
    benchNetwork("DenseNet", densenet(size), images, labels, pairs),
    benchNetwork("CSPDenseNet", cspDenseNet(size), images, labels, pairs),
  ];
}
