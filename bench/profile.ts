/**
 * `npx tsx bench/profile.ts [--network csp] [--batch 8] [--steps 3] [--shapes]`: where the time of a training step of
 * DenseNet-121 goes. Every kernel that the backend runs is timed by name, apart for the forward pass, the backward
 * pass and the update, beside the arithmetic of convolutions and the bytes that the operands of all hold. Each is waited
 * for, so that with threads the whole takes longer than it does unwatched.
 */
import { parseArgs } from "node:util";
import type { Backend, KernelCall, KernelName, View } from "../src/backends/backend.ts";
import { CpuBackend } from "../src/backends/cpu/index.ts";
import { crossEntropy, defaultBackend, optim, randint, randn, scope } from "../src/index.ts";
import { cspDenseNet121, densenet121 } from "../src/models/index.ts";
import { sizeOf } from "./peers/task.ts";

type Phase = "forward" | "backward" | "update";

interface Entry {
  readonly phase: Phase;
  readonly name: string;
  calls: number;
  milliseconds: number;
  operations: number;
  bytes: number;
}

/** What the account reads of a call, whichever kernel's it is. */
interface Launch {
  readonly kernel: string;
  readonly inputs: readonly View[];
  readonly output: View;
}

/** Elements that a view reads, each once: a broadcast axis adds none. */
function elements({ shape, strides }: View): number {
  return shape.reduce((count, extent, axis) => count * (strides[axis] === 0 ? 1 : extent), 1);
}

/** Of the convolution's own multiply-adds, however it computes them; 0 for other kernels. */
function operationsOf({ kernel, inputs, output }: Launch): number {
  if (!kernel.startsWith("conv2d")) return 0;
  const [first, second] = inputs;
  if (!first || !second) return 0;
  if (kernel.startsWith("conv2dWeightGradient"))
    return 2 * sizeOf(second.shape) * sizeOf(output.shape.slice(1));
  const images = kernel.startsWith("conv2dInputGradient") ? first : output;
  return 2 * sizeOf(images.shape) * sizeOf(second.shape.slice(1));
}

function labelOf({ kernel, inputs, output }: Launch, withShapes: boolean): string {
  if (!withShapes) return kernel;
  const shapes = inputs.map(({ shape }) => `[${shape.join(" ")}]`);
  return `${kernel} ${shapes.join(" ")} -> [${output.shape.join(" ")}]`;
}

/** Makes the backend account for every kernel that it runs. */
function watch(backend: Backend, withShapes: boolean) {
  const entries = new Map<string, Entry>();
  const plain = backend.run.bind(backend);
  const settle = () => (backend instanceof CpuBackend ? backend.settle() : undefined);
  const state: { phase: Phase } = { phase: "forward" };
  backend.run = <K extends KernelName>(call: KernelCall<K>): void => {
    const start = performance.now();
    plain(call);
    settle();
    const milliseconds = performance.now() - start;
    const name = labelOf(call, withShapes);
    const key = `${state.phase} ${name}`;
    const entry = entries.get(key) ?? {
      ...{ phase: state.phase, name },
      ...{ calls: 0, milliseconds: 0, operations: 0, bytes: 0 },
    };
    entries.set(key, entry);
    entry.calls += 1;
    entry.milliseconds += milliseconds;
    entry.operations += operationsOf(call);
    entry.bytes += 4 * [...call.inputs, call.output].reduce((sum, view) => sum + elements(view), 0);
  };
  return { entries, state };
}

const { values: options } = parseArgs({
  options: {
    network: { type: "string", default: "densenet" },
    batch: { type: "string", default: "8" },
    extent: { type: "string", default: "224" },
    steps: { type: "string", default: "3" },
    shapes: { type: "boolean", default: false },
    top: { type: "string", default: "40" },
  },
});
const networks = new Map([
  ["densenet", densenet121],
  ["csp", cspDenseNet121],
]);

/** Ends with one line about what was asked for and cannot be. */
function refuse(complaint: string): never {
  console.error(`bench/profile: ${complaint}`);
  process.exit(2);
}

function count(name: "batch" | "extent" | "steps" | "top"): number {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 1)
    refuse(`--${name} is ${options[name]}, but it must be a whole number from 1`);
  return value;
}

const [batch, extent, steps, top] = (["batch", "extent", "steps", "top"] as const).map(count);
const { network } = options;
const create = networks.get(network);
if (!create) refuse(`there is no network "${network}"; choose ${[...networks.keys()].join(" or ")}`);
const backend = defaultBackend();
const { entries, state } = watch(backend, options.shapes);
const model = create();
const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum: 0.9 });
const images = randn([batch, 3, extent, extent]);
const labels = randint(0, 1000, [batch]);
const phases = { forward: 0, backward: 0, update: 0 };

function step(): void {
  const timed = <T>(phase: Phase, work: () => T): T => {
    state.phase = phase;
    const start = performance.now();
    const result = work();
    phases[phase] += performance.now() - start;
    return result;
  };
  scope(() => {
    optimizer.zeroGrad();
    const loss = timed("forward", () => crossEntropy(model.forward(images), labels));
    timed("backward", () => loss.backward());
    timed("update", () => optimizer.step());
  });
}

// The first step compiles the kernels.
step();
entries.clear();
Object.assign(phases, { forward: 0, backward: 0, update: 0 });
for (let i = 0; i < steps; i++) step();

const total = phases.forward + phases.backward + phases.update;
const inKernels = [...entries.values()].reduce((sum, { milliseconds }) => sum + milliseconds, 0);
const { description, threads } = backend.info();
console.log(
  `${network}, batch ${batch}, ${extent} x ${extent}, mean of ${steps} steps; Node ${process.version}, ` +
    `${description}, ${threads} thread${threads === 1 ? "" : "s"}`,
);
console.log(
  `step ${(total / steps).toFixed(0)} ms: forward ${(phases.forward / steps).toFixed(0)}, ` +
    `backward ${(phases.backward / steps).toFixed(0)}, update ${(phases.update / steps).toFixed(0)}; ` +
    `outside of kernels ${((total - inKernels) / steps).toFixed(0)}; ` +
    `peak ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB resident, ` +
    `${(backend.memoryReport().peakBytes / 2 ** 20).toFixed(0)} MiB of tensors`,
);
console.log("phase      calls      ms      %   GFLOP/s     GB/s   kernel");
const sorted = [...entries.values()].sort((a, b) => b.milliseconds - a.milliseconds);
for (const { phase, name, calls, milliseconds, operations, bytes } of sorted.slice(0, top)) {
  const cells = [
    phase.padEnd(8),
    (calls / steps).toFixed(0).padStart(7),
    (milliseconds / steps).toFixed(1).padStart(7),
    ((100 * milliseconds) / total).toFixed(1).padStart(6),
    (operations > 0 ? (operations / milliseconds / 1e6).toFixed(1) : "").padStart(9),
    (bytes / milliseconds / 1e6).toFixed(1).padStart(8),
  ];
  console.log(`${cells.join(" ")}   ${name}`);
}
