/** The option `--profile` of commands: where the time of a training step goes, kernel by kernel. */
import { Option } from "commander";
import { crossEntropy } from "../autograd/index.ts";
import type { Backend, KernelTime } from "../backends/backend.ts";
import type { Batch, BatchLoader } from "../data/index.ts";
import type { Module } from "../nn/index.ts";
import type { Optimizer } from "../nn/optim/index.ts";
import { scope, tensor } from "../tensor/index.ts";
import { renderTable, type TableColumn } from "../text/table.ts";
import { UsageError } from "./exitCodes.ts";

/** `--profile`, for a command. */
export function profileOption(): Option {
  return new Option(
    "--profile",
    "with webgpu: after the training, print how long each kernel of a step takes",
  );
}

/** What is profiled. Its weights take part in further steps: profile when all that shall be kept is kept. */
export interface ProfiledNetwork {
  readonly name: string;
  readonly model: Module;
  readonly optimizer: Optimizer;
}

/** Where the time of a step goes; a mean of several. */
export interface StepProfile {
  readonly name: string;
  readonly images: number;
  /** From one step to the next, kernels following each other as in training. */
  readonly stepMilliseconds: number;
  /** Of those, until JavaScript has told the device all that it has to do. */
  readonly scriptMilliseconds: number;
  /** In a step, each kernel by itself; the longest first. */
  readonly kernels: readonly KernelTime[];
}

/** Steps that a profile is the mean of. */
const profiledSteps = 5;
/** Node compiles what runs often for seconds, until when JavaScript takes two to three times as long as in training. */
const warmMilliseconds = 2000;

/** Throws a UsageError when a backend cannot say how long its kernels take: to be called before the training. */
export async function checkProfile(backend: Backend): Promise<void> {
  if (!backend.profile)
    throw new UsageError(
      `--profile: kernels of the backend ${backend.name} have no clocks; add --backend webgpu`,
    );
  try {
    await backend.profile(async () => {});
  } catch (cause) {
    throw new UsageError(`--profile: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Trains every network a few steps more on the loader's first batch, and measures them. */
export async function profileSteps(
  backend: Backend,
  networks: readonly ProfiledNetwork[],
  loader: BatchLoader,
): Promise<StepProfile[]> {
  for await (const batch of loader.epoch(0)) {
    const profiles: StepProfile[] = [];
    for (const network of networks) profiles.push(await profileOf(backend, network, batch));
    return profiles;
  }
  throw new RangeError(`profileSteps: ${loader.dataset.name} has no batch`);
}

async function profileOf(
  backend: Backend,
  { name, model, optimizer }: ProfiledNetwork,
  { images, labels, shape, count }: Batch,
): Promise<StepProfile> {
  model.train();
  const step = (): void => {
    scope(() => {
      const target = tensor(labels, { dtype: "i32", backend });
      optimizer.zeroGrad();
      crossEntropy(model.forward(tensor(images, { shape, backend })), target).backward();
      optimizer.step();
    });
  };
  const several = async (): Promise<void> => {
    for (let i = 0; i < profiledSteps; i++) step();
  };
  // At least one, which compiles what only training without an instrument needs.
  const warm = performance.now() + warmMilliseconds;
  do {
    step();
    await backend.synchronize?.();
  } while (performance.now() < warm);
  const start = performance.now();
  await several();
  const scriptMilliseconds = (performance.now() - start) / profiledSteps;
  await backend.synchronize?.();
  const stepMilliseconds = (performance.now() - start) / profiledSteps;
  const kernels = (await backend.profile?.(several)) ?? [];
  return {
    ...{ name, images: count, stepMilliseconds, scriptMilliseconds },
    kernels: kernels.map(({ label, launches, milliseconds }) => ({
      label,
      launches: launches / profiledSteps,
      milliseconds: milliseconds / profiledSteps,
    })),
  };
}

const columns: readonly TableColumn[] = [
  { title: "kernel", align: "left" },
  { title: "launches", align: "right" },
  { title: "ms", align: "right" },
  { title: "%", align: "right", spare: 1 },
];

/** A table for people, for a terminal of so many columns. */
export function renderProfile(profile: StepProfile, width: number): string {
  const { name, images, stepMilliseconds, scriptMilliseconds, kernels } = profile;
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const launches = kernels.reduce((sum, kernel) => sum + kernel.launches, 0);
  const rows = kernels.map(({ label, launches: own, milliseconds }) => [
    label,
    own.toFixed(0),
    milliseconds.toFixed(2),
    total > 0 ? ((100 * milliseconds) / total).toFixed(1) : "",
  ]);
  return [
    "",
    `${name}: a step of ${images} images takes ${stepMilliseconds.toFixed(1)} ms, JavaScript ` +
      `${scriptMilliseconds.toFixed(1)} ms of it; ${launches.toFixed(0)} kernels, ${total.toFixed(1)} ms one by one`,
    "",
    ...renderTable(columns, rows, { width }),
    "",
  ].join("\n");
}
