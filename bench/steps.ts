/**
 * The training-step table: forward pass, cross entropy, backward pass and SGD with momentum of a network, in fresh
 * processes for each, so that the most memory that a process had is that network's.
 */
import { alternate, type Comparison } from "./alternate.ts";
import { trainedNetworks } from "./networks.ts";
import { PeerSet } from "./peerSet.ts";
import type { PeerName } from "./peers/peer.ts";
import type { StepTask } from "./peers/task.ts";

export interface StepFigure extends Comparison {
  readonly network: string;
  readonly threads: number;
  readonly batch: number;
}

/**
 * Training goes on for minutes: what the engine compiles in the first second or two, and what turning from one library
 * to the other costs, is not its speed. After 0.4 s, in turns of 30 ms, the toy network's step takes 2.3 ms, so 1.75.
 */
const sustained = { warmUp: 2000, turn: 100 };

export async function benchSteps(threadCounts: readonly number[], quick: boolean): Promise<StepFigure[]> {
  const figures: StepFigure[] = [];
  for (const { name, size } of trainedNetworks) {
    // A step of the large ones takes seconds, and a quick run has time for the one that matters most.
    const isLarge = size.extent === 224;
    if (quick && isLarge && size.fusion) continue;
    const peerNames: PeerName[] = ["Gradweave", "PyTorch"];
    for (const threads of quick ? threadCounts.slice(-1) : threadCounts) {
      const names = isLarge || threads > 1 || quick ? peerNames : [...peerNames, "tfjs cpu" as const];
      const task: StepTask = { ...size, kind: "step", lr: 0.01, momentum: 0.9 };
      const peers = new PeerSet();
      try {
        const opened = await peers.all(names, threads);
        const subject = `${name}, ${threads} thread${threads === 1 ? "" : "s"}`;
        const small = quick ? { rounds: 41, budget: 4000 } : { ...sustained, rounds: 41, budget: 12_000 };
        const how = isLarge ? { rounds: quick ? 2 : 11, budget: 60_000 } : small;
        // The third loss shows that gradients and updates are the same too.
        const comparison = await alternate(subject, task, opened, {
          ...how,
          checks: isLarge && quick ? 1 : 3,
        });
        figures.push({ network: name, threads, batch: size.batch, ...comparison });
      } finally {
        await peers.close();
      }
    }
  }
  return figures;
}
