/** The kernel table: every layer in Gradweave and its peers, beside what the machine could do. */
import { type AlternateOptions, alternate, type Comparison } from "./alternate.ts";
import { type Ceiling, multiplyAddCeiling } from "./ceilings.ts";
import { convolutions, everyLibrary, type Layer, memoryBound } from "./layers.ts";
import { PeerSet } from "./peerSet.ts";
import type { PeerName } from "./peers/peer.ts";

export interface KernelFigure extends Comparison {
  readonly kernel: string;
  readonly threads: number;
  readonly operations: number;
  readonly bytes: number;
}

/** How near a kernel comes to its ceiling. */
export interface Roofline {
  readonly gigaflops: number;
  readonly gigabytes: number;
  /** Operations per byte. */
  readonly intensity: number;
  /** Which ceiling would be reached first. */
  readonly boundBy: "arithmetic" | "memory";
  /** Of the multiply-add ceiling, or where there is no arithmetic to speak of, of the copy's. */
  readonly share: number;
}

export function rooflineOf({ operations, bytes, timings }: KernelFigure, ceiling: Ceiling): Roofline {
  const milliseconds = timings[0]?.milliseconds ?? Number.NaN;
  const gigaflops = operations / milliseconds / 1e6;
  const gigabytes = bytes / milliseconds / 1e6;
  const products = multiplyAddCeiling(ceiling);
  return {
    ...{ gigaflops, gigabytes },
    intensity: operations / bytes,
    boundBy: operations / products > bytes / ceiling.copy ? "arithmetic" : "memory",
    share: operations > 0 ? gigaflops / products : gigabytes / ceiling.copy,
  };
}

/** Libraries that have threads, or that are compared on one. */
const peersOf = (threads: number): PeerName[] =>
  threads === 1 ? ["Gradweave", "PyTorch", "tfjs wasm"] : ["Gradweave", "PyTorch"];

/** Measures all layers, or with `quick` a few of them. */
export async function benchKernels(threadCounts: readonly number[], quick: boolean): Promise<KernelFigure[]> {
  const options: AlternateOptions = quick ? { rounds: 5, budget: 200 } : { rounds: 15, budget: 600 };
  const figures: KernelFigure[] = [];
  const peers = new PeerSet();
  const measure = async (
    layer: Layer,
    threads: number,
    names: readonly PeerName[],
    how: AlternateOptions,
  ) => {
    if (quick && !layer.quick) return;
    const { name, task, operations, bytes } = layer;
    const opened = await peers.all(names, threads);
    const subject = `${name}, ${threads} thread${threads === 1 ? "" : "s"}`;
    figures.push({
      kernel: name,
      threads,
      operations,
      bytes,
      ...(await alternate(subject, task, opened, how)),
    });
  };
  try {
    for (const threads of threadCounts)
      for (const layer of [...convolutions, ...memoryBound])
        await measure(layer, threads, peersOf(threads), options);
    const every: PeerName[] = ["Gradweave", "PyTorch", "tfjs wasm", "tfjs cpu", "jax-js wasm"];
    for (const layer of everyLibrary)
      await measure(layer, 1, every, { rounds: 9, budget: quick ? 300 : 2000 });
  } finally {
    await peers.close();
  }
  return figures;
}
