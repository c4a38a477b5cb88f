/** Gradweave itself, in the form of a peer. */

import packageJson from "../../package.json" with { type: "json" };
import { conv2d, crossEntropy, defaultBackend, grad, noGrad, optim, scope, tensor } from "../../src/index.ts";
import { densenet } from "../../src/models/index.ts";
import {
  type ConvCase,
  type ConvPart,
  chirp,
  chirpWeight,
  outputShape,
  type Peer,
  type StepConfig,
  sizeOf,
  squaredNorm,
  type Workload,
} from "./peer.ts";

function conv2dWorkload(shapes: ConvCase, part: ConvPart): Workload {
  const { stride, padding } = shapes;
  const output = outputShape(shapes);
  const requiresGrad = part === "gradients";
  const x = tensor(chirp(sizeOf(shapes.x)), { shape: shapes.x, requiresGrad });
  const weight = tensor(chirpWeight(shapes.weight), { shape: shapes.weight, requiresGrad });
  const gradient = tensor(chirp(sizeOf(output)), { shape: output });
  const pass = {
    forward: () => [noGrad(() => conv2d(x, weight, { stride, padding }))],
    gradients: () => {
      const y = conv2d(x, weight, { stride, padding });
      return [y, ...grad(y, [x, weight], { gradients: [gradient] })];
    },
  }[part];
  return {
    run: async () =>
      scope(() => {
        const start = performance.now();
        const results = pass();
        const milliseconds = performance.now() - start;
        return { milliseconds, result: results.map((result) => squaredNorm(result.dataSync())) };
      }),
    dispose: () => {
      for (const operand of [x, weight, gradient]) operand.dispose();
    },
  };
}

function trainingStep(config: StepConfig): Workload {
  const { batch, extent, classes, lr, momentum } = config;
  const model = densenet({ ...config, stem: "small", inChannels: 1 });
  scope(() => {
    const values = [...model.namedParameters()]
      .filter(([, { shape }]) => shape.length > 1)
      .map(([name, { shape }]) => [name, tensor(chirpWeight(shape), { shape })] as const);
    model.loadStateDict(new Map(values), { strict: false });
  });
  const optimizer = new optim.SGD(model.parameters(), { lr, momentum });
  const shape = [batch, 1, extent, extent];
  const images = tensor(chirp(sizeOf(shape)), { shape });
  const labels = tensor(
    Array.from({ length: batch }, (_, i) => i % classes),
    { dtype: "i32" },
  );
  return {
    run: async () =>
      scope(() => {
        const start = performance.now();
        optimizer.zeroGrad();
        const loss = crossEntropy(model.forward(images), labels);
        loss.backward();
        optimizer.step();
        return { milliseconds: performance.now() - start, result: [loss.itemSync()] };
      }),
    dispose: () => {
      for (const operand of [images, labels, ...model.stateDict().values()]) operand.dispose();
    },
  };
}

/** Ours, on the default backend. */
export function openGradweave(): Peer {
  return {
    name: "gradweave",
    version: packageJson.version,
    threads: defaultBackend().info().threads,
    conv2d: async (shapes, part) => conv2dWorkload(shapes, part),
    trainingStep: async (config) => trainingStep(config),
    close: () => {},
  };
}
