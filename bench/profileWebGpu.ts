/**
 * `npx tsx bench/profileWebGpu.ts [--network csp] [--batch 2] [--extent 32] [--steps 5]`: where the time of a training
 * step of DenseNet-121 goes on WebGPU (GRADWEAVE_WEBGPU_ADAPTER chooses the adapter): every kernel between time stamps,
 * and what JavaScript takes to queue a step.
 */
import { parseArgs } from "node:util";
import { WebGpuBackend } from "../src/backends/webgpu/backend.ts";
import { crossEntropy, optim, randint, randn, scope, setBackend } from "../src/index.ts";
import { cspDenseNet121, densenet121 } from "../src/models/index.ts";

const { values: options } = parseArgs({
  options: {
    network: { type: "string", default: "densenet" },
    batch: { type: "string", default: "2" },
    extent: { type: "string", default: "32" },
    steps: { type: "string", default: "5" },
  },
});
const [batch, extent, steps] = [options.batch, options.extent, options.steps].map(Number);
const backend = await setBackend("webgpu");
if (!(backend instanceof WebGpuBackend))
  throw new Error("bench: setBackend gave another backend than WebGPU");

const model = options.network === "csp" ? cspDenseNet121() : densenet121();
const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
const images = randn([batch, 3, extent, extent]);
const labels = randint(0, 1000, [batch]);
const step = () =>
  scope(() => {
    optimizer.zeroGrad();
    crossEntropy(model.forward(images), labels).backward();
    optimizer.step();
  });

// The first steps compile the kernels and make the optimizer's state, and Node compiles JavaScript for seconds.
const warm = performance.now() + 8000;
do {
  step();
  await backend.synchronize();
} while (performance.now() < warm);
const start = performance.now();
for (let i = 0; i < steps; i++) step();
const queued = (performance.now() - start) / steps;
await backend.synchronize();
const whole = (performance.now() - start) / steps;

const kernels = await backend.profile(async () => {
  for (let i = 0; i < steps; i++) step();
});
const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0) / steps;
const launches = kernels.reduce((sum, kernel) => sum + kernel.launches, 0) / steps;
console.log(
  `${options.network}, batch ${batch}, ${extent} x ${extent}, mean of ${steps} steps on ${backend.info().description}`,
);
console.log(
  `step ${whole.toFixed(1)} ms, JavaScript ${queued.toFixed(1)} ms of it; ` +
    `kernels one by one ${total.toFixed(1)} ms in ${launches.toFixed(0)} launches`,
);
console.log("launches       ms      %   kernel");
for (const { label, launches: count, milliseconds } of kernels) {
  const cells = [
    (count / steps).toFixed(0).padStart(8),
    (milliseconds / steps).toFixed(2).padStart(8),
    ((100 * milliseconds) / steps / total).toFixed(1).padStart(6),
  ];
  console.log(`${cells.join(" ")}   ${label}`);
}
