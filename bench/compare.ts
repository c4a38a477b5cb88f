/**
 * `npm run bench -- --peers`: Gradweave beside the libraries of bench/package.json and PyTorch. Every pair runs
 * alternately in this one run, both begin from the same numbers, and a result that differs from ours ends the run:
 * the time of other work is no comparison.
 */
import type { Comparison, ComparisonTable, NotCompared } from "./comparisonPage.ts";
import { type PairedResult, summarise } from "./paired.ts";
import { openGradweave } from "./peers/gradweave.ts";
import { jaxJs } from "./peers/jaxJs.ts";
import {
  type ConvCase,
  type ConvPart,
  outputShape,
  type Peer,
  type StepConfig,
  sizeOf,
  type Workload,
} from "./peers/peer.ts";
import { pytorch } from "./peers/pytorch.ts";
import { tfjs } from "./peers/tfjs.ts";

interface Subject {
  readonly name: string;
  /** Within a part, a peer's time is taken to grow with the arithmetic. */
  readonly part: ConvPart;
  /** Multiplications and additions of the convolutions, roughly. */
  readonly operations: number;
  open(peer: Peer): Promise<Workload>;
}

export interface CompareOptions {
  /** Most measured pairs of a comparison. */
  readonly pairs: number;
  /** No pair begins after so many milliseconds of a comparison. */
  readonly budget: number;
  /** A peer whose single run is expected to take longer, from its smaller shapes, is left out. */
  readonly longestRun: number;
}

/** Of a training step the third loss shows that gradients and updates are the same too. */
const checkedPairs = 3;

/** Small to large: the time of the small ones tells whether a peer can do the large ones at all. */
const convolutions: readonly ConvCase[] = [
  { x: [32, 32, 14, 14], weight: [16, 32, 1, 1], stride: 1, padding: 0 },
  { x: [32, 16, 14, 14], weight: [8, 16, 3, 3], stride: 1, padding: 1 },
  { x: [8, 64, 56, 56], weight: [64, 64, 3, 3], stride: 1, padding: 1 },
];

/** The network of examples/gradient-reuse.ts. */
const step: StepConfig = {
  ...{ blocks: [3, 3, 3], growthRate: 8, bottleneckWidth: 2, stemChannels: 16, classes: 10 },
  ...{ batch: 16, extent: 28, lr: 0.05, momentum: 0.9 },
};

/** Of the dense layers' forward pass, which are most of a step. */
function stepOperations({
  blocks,
  growthRate,
  bottleneckWidth,
  stemChannels,
  batch,
  extent,
}: StepConfig): number {
  let channels = stemChannels;
  return blocks.reduce((sum, layers, index) => {
    const pixels = batch * (extent / 2 ** (index + 1)) ** 2;
    const width = bottleneckWidth * growthRate;
    const inputs = layers * channels + (growthRate * layers * (layers - 1)) / 2;
    channels = Math.floor((channels + layers * growthRate) / 2);
    return sum + 2 * pixels * width * (inputs + 9 * layers * growthRate);
  }, 0);
}

function subjects(): Subject[] {
  const list = convolutions.flatMap((shapes): Subject[] => {
    const { x, weight } = shapes;
    const name = `conv ${weight[2]}x${weight[3]}, [${x.join(", ")}] to ${weight[0]}`;
    const operations = 2 * sizeOf(outputShape(shapes)) * sizeOf(weight.slice(1));
    return [
      {
        name: `${name}, forward`,
        part: "forward",
        operations,
        open: (peer) => peer.conv2d(shapes, "forward"),
      },
      {
        name: `${name}, forward and both gradients`,
        part: "gradients",
        operations: 3 * operations,
        open: (peer) => peer.conv2d(shapes, "gradients"),
      },
    ];
  });
  const { blocks, growthRate, batch, extent } = step;
  list.push({
    name: `training step, DenseNet [${blocks.join(", ")}], growth ${growthRate}, batch ${batch}, ${extent} x ${extent}`,
    part: "gradients",
    operations: 3 * stepOperations(step),
    open: (peer) => peer.trainingStep(step),
  });
  return list;
}

function checkSame(subject: string, peer: Peer, ours: readonly number[], theirs: readonly number[]): void {
  const same =
    ours.length === theirs.length &&
    ours.every((value, i) => Math.abs(value - (theirs[i] ?? Number.NaN)) <= 2e-3 * Math.abs(value));
  if (!same)
    throw new Error(
      `bench: ${peer.name} does other work than ours in "${subject}": its result is [${theirs.join(", ")}], ` +
        `ours [${ours.join(", ")}]; make its adapter in bench/peers/ do the same`,
    );
}

/** A peer has no such operation; its message says so in the table. */
class CannotRun extends Error {}

async function attempt<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new CannotRun(messageOf(cause), { cause });
  }
}

/** The first line of an error's message. */
function messageOf(error: unknown): string {
  const [line = ""] = String(error instanceof Error ? error.message : error).split("\n");
  return line;
}

/** Runs that are not measured, for as long as `milliseconds`; none for work that takes longer than that. */
async function warmUp(workload: Workload, milliseconds: number): Promise<void> {
  for (let spent = 0; spent < milliseconds; ) spent += (await workload.run()).milliseconds;
}

/** Alternating pairs, the order swapped every time; the results of the first ones, not measured, are compared. */
async function pairedRuns(
  subject: string,
  peer: Peer,
  ours: Workload,
  theirs: Workload,
  { pairs, budget }: CompareOptions,
): Promise<PairedResult> {
  const end = performance.now() + budget;
  const hasTime = () => performance.now() < end;
  let first = { own: 0, other: 0 };
  for (let i = 0; i < checkedPairs && (i === 0 || hasTime()); i++) {
    const other = await attempt(theirs.run());
    const own = await ours.run();
    checkSame(subject, peer, own.result, other.result);
    first = { own: own.milliseconds, other: other.milliseconds };
  }
  if (first.own < budget / 4) await warmUp(ours, budget / 8);
  if (first.other < budget / 4) await warmUp(theirs, budget / 8);

  const times: [number, number][] = [];
  while (times.length === 0 || (times.length < pairs && hasTime())) {
    const early = times.length % 2 === 1 ? await ours.run() : undefined;
    const other = await theirs.run();
    const own = early ?? (await ours.run());
    times.push([other.milliseconds, own.milliseconds]);
  }
  return summarise(times);
}

/** Theirs is `first`, ours `second`. A string says why there are no figures. */
async function compare(
  subject: Subject,
  ours: Peer,
  peer: Peer,
  options: CompareOptions,
): Promise<PairedResult | string> {
  const opened: Workload[] = [];
  try {
    const theirs = await attempt(subject.open(peer));
    opened.push(theirs);
    const own = await subject.open(ours);
    opened.push(own);
    return await pairedRuns(subject.name, peer, own, theirs, options);
  } catch (error) {
    if (error instanceof CannotRun) return error.message;
    throw error;
  } finally {
    for (const workload of opened) workload.dispose();
  }
}

/** Opens what is installed, and measures all of it. Prints a line per comparison to stderr. */
export async function comparePeers(options: CompareOptions): Promise<ComparisonTable> {
  const ours = openGradweave();
  const peers: Peer[] = [];
  const missing: { name: string; reason: string }[] = [];
  for (const source of [pytorch(1), pytorch(2), tfjs("wasm"), tfjs("cpu"), jaxJs]) {
    try {
      peers.push(await source.open());
    } catch (error) {
      missing.push({ name: source.name, reason: messageOf(error) });
      console.error(`${source.name} is left out: ${messageOf(error)}`);
    }
  }

  const figures: Comparison[] = [];
  const notCompared: NotCompared[] = [];
  try {
    for (const peer of peers) {
      /** Milliseconds of an operation, by part, from the last comparison with this peer. */
      const pace = new Map<string, number>();
      for (const subject of subjects()) {
        const names = { subject: subject.name, peer: peer.name };
        const expected = (pace.get(subject.part) ?? 0) * subject.operations;
        if (expected > options.longestRun) {
          const seconds = (expected / 1000).toFixed(0);
          notCompared.push({ ...names, reason: `left out, one run would take about ${seconds} s` });
          continue;
        }
        const result = await compare(subject, ours, peer, options);
        if (typeof result === "string") {
          notCompared.push({ ...names, reason: result });
          continue;
        }
        const { first: theirs, second: own, ratio, spread, pairs } = result;
        pace.set(subject.part, theirs / subject.operations);
        figures.push({ ...names, theirs, ours: own, oursOverPeer: ratio, spread, pairs });
        console.error(`${subject.name}: ours over ${peer.name} ${ratio.toPrecision(3)}`);
      }
    }
  } finally {
    for (const peer of peers) peer.close();
  }
  return {
    ours: { version: ours.version, threads: ours.threads },
    peers: peers.map(({ name, version, threads }) => ({ name, version, threads })),
    ...{ missing, figures, notCompared },
  };
}
