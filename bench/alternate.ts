/** Runs the same work of several libraries in turn, so that whatever else the machine does hits all alike. */
import { setTimeout } from "node:timers/promises";
import { quantile } from "./paired.ts";
import type { Peer, PeerName, RemoteWorkload } from "./peers/peer.ts";
import type { Task } from "./peers/task.ts";

export interface AlternateOptions {
  /** Most measured rounds. */
  readonly rounds: number;
  /** A library whose measured runs have taken so many milliseconds takes part in no further round. */
  readonly budget: number;
  /** Results that are compared before the first round; of a training step, losses. */
  readonly checks?: number;
  /** What a library runs before it is measured, at most a quarter of the budget. Default 400 milliseconds. */
  readonly warmUp?: number;
  /** How long one run lasts at least. Default 30 milliseconds: timers and pipes must not count. */
  readonly turn?: number;
}

export interface Timing {
  readonly peer: PeerName;
  readonly version: string;
  readonly threads: number;
  /** Of one run: the median, and the middle half. */
  readonly milliseconds: number;
  readonly spread: readonly [low: number, high: number];
  /** Median over the rounds of its time over ours, above 1 where ours is faster; of ours 1. */
  readonly speedOfOurs: number;
  readonly rounds: number;
  /** The most memory that its process had. */
  readonly peakBytes: number;
  readonly parameters: number | undefined;
}

/** A library that has no figure, and why. */
export interface NotCompared {
  readonly peer: string;
  readonly threads: number;
  readonly reason: string;
}

export interface Comparison {
  /** Ours first. */
  readonly timings: readonly Timing[];
  readonly notCompared: readonly NotCompared[];
}

/** Threads of the library whose turn it was may go on looking for work for a while, on cores that the next one needs. */
const settleMilliseconds = 20;

interface Participant {
  readonly workload: RemoteWorkload;
  readonly times: number[];
  repeats: number;
  spent: number;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * After `updates` steps of training the tolerance is wider: where rounding turns a ReLU around, gradients differ in the
 * third digit, also between PyTorch with one thread and with two.
 */
function isClose(ours: readonly number[], theirs: readonly number[], updates: number): boolean {
  const tolerance = 2e-3 * 5 ** updates;
  return (
    ours.length === theirs.length &&
    ours.every(
      (value, i) => Math.abs(value - (theirs[i] ?? Number.NaN)) <= tolerance * Math.abs(value) + 1e-6,
    )
  );
}

/** The result of a library's work, or null for one that lacks a part of it and finds that out only now. */
async function resultOf(
  { workload }: Participant,
  notCompared: NotCompared[],
): Promise<readonly number[] | null> {
  try {
    return await workload.check();
  } catch (error) {
    const { name: peer, threads } = workload.peer;
    notCompared.push({ peer, threads, reason: messageOf(error) });
    return null;
  }
}

/**
 * Those that do the same work, ours first. Throws when a library computes something else: the time of other work is
 * no comparison.
 */
async function checkSame(
  subject: string,
  participants: readonly Participant[],
  checks: number,
  notCompared: NotCompared[],
): Promise<Participant[]> {
  const [ours, ...others] = participants;
  if (!ours || others.length === 0) return [...participants];
  let left = others;
  for (let i = 0; i < checks; i++) {
    const own = await ours.workload.check();
    const able: Participant[] = [];
    for (const other of left) {
      const { parameters, peer } = other.workload;
      const theirs = await resultOf(other, notCompared);
      if (!theirs) continue;
      able.push(other);
      if (isClose(own, theirs, i) && (parameters === undefined || parameters === ours.workload.parameters))
        continue;
      throw new Error(
        `bench: ${peer.name} does other work than ours in "${subject}": its result is [${theirs.join(", ")}] ` +
          `with ${parameters ?? "no"} parameters, ours [${own.join(", ")}] with ` +
          `${ours.workload.parameters ?? "no"}; make bench/peers/ do the same`,
      );
    }
    left = able;
  }
  return [ours, ...left];
}

async function measure(
  participants: readonly Participant[],
  { rounds, budget, warmUp = 400, turn = 30 }: AlternateOptions,
): Promise<void> {
  for (const one of participants) {
    let milliseconds = await one.workload.run(1);
    // Code that is compiled while it runs is faster later on, and how often it fits a run is known only then.
    for (let spent = milliseconds; spent < Math.min(warmUp, budget / 4); ) {
      const repeats = Math.max(1, Math.round(turn / milliseconds));
      milliseconds = await one.workload.run(repeats);
      spent += repeats * milliseconds;
    }
    one.repeats = Math.max(1, Math.min(1000, Math.round(turn / milliseconds)));
  }
  for (let round = 0; round < rounds; round++) {
    const [ours, ...others] = participants;
    const left = others.filter(({ spent }) => spent < budget);
    if (!ours || (left.length === 0 && ours.spent >= budget)) return;
    const inTurn = round % 2 === 0 ? [ours, ...left] : [...left.reverse(), ours];
    for (const one of inTurn) {
      await setTimeout(settleMilliseconds);
      const milliseconds = await one.workload.run(one.repeats);
      one.times[round] = milliseconds;
      one.spent += one.repeats * milliseconds;
    }
  }
}

function timingOf({ workload, times }: Participant, ours: Participant): Timing {
  const { peer, parameters } = workload;
  return {
    ...{ peer: peer.name, version: peer.version, threads: peer.threads },
    milliseconds: quantile(times, 0.5),
    spread: [quantile(times, 0.25), quantile(times, 0.75)],
    speedOfOurs: quantile(
      times.map((time, round) => time / (ours.times[round] ?? Number.NaN)),
      0.5,
    ),
    rounds: times.length,
    peakBytes: peer.peakBytes,
    parameters,
  };
}

/** A library's process, or why there is none. */
export type OpenPeer = Peer | NotCompared;

/**
 * Measures one piece of work, the first library being ours.
 *
 * @throws Error when ours cannot do it, or when the results of two libraries differ
 */
export async function alternate(
  subject: string,
  task: Task,
  peers: readonly OpenPeer[],
  options: AlternateOptions,
): Promise<Comparison> {
  const participants: Participant[] = [];
  const notCompared: NotCompared[] = [];
  try {
    for (const peer of peers) {
      if ("reason" in peer) {
        notCompared.push(peer);
        continue;
      }
      try {
        participants.push({ workload: await peer.prepare(task), times: [], repeats: 1, spent: 0 });
      } catch (error) {
        if (participants.length === 0) throw error;
        notCompared.push({ peer: peer.name, threads: peer.threads, reason: messageOf(error) });
      }
    }
    const able = await checkSame(subject, participants, options.checks ?? 1, notCompared);
    await measure(able, options);
    const [ours] = able;
    if (!ours) throw new Error(`bench: no library for "${subject}"`);
    const timings = able.map((one) => timingOf(one, ours));
    const figures = timings.slice(1).map((one) => `${one.peer} x${one.speedOfOurs.toPrecision(3)}`);
    console.error(`${subject}: ${(timings[0]?.milliseconds ?? 0).toPrecision(3)} ms; ${figures.join(", ")}`);
    return { timings, notCompared };
  } finally {
    for (const { workload } of participants) await workload.close();
  }
}
