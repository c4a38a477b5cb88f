/** The page of a run in Markdown, from its figures. */
import type { Comparison, NotCompared, Timing } from "./alternate.ts";
import type { Ceiling } from "./ceilings.ts";
import type { InferenceFigure } from "./inference.ts";
import { type KernelFigure, rooflineOf } from "./kernels.ts";
import type { PairedResult } from "./paired.ts";
import type { SamplingFigure } from "./sampling.ts";
import type { StepFigure } from "./steps.ts";
import type { WebGpuResults } from "./webgpu.ts";

/** Everything that a run measured, as its JSON file holds it. A table that was not asked for is empty. */
export interface Results {
  readonly date: string;
  readonly quick: boolean;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly system: string;
    readonly node: string;
    readonly v8: string;
    /** Processes that wanted to run in the minute before, on average. */
    readonly loadBefore: number;
  };
  readonly ceilings: readonly Ceiling[];
  readonly steps: readonly StepFigure[];
  readonly kernels: readonly KernelFigure[];
  readonly inference: readonly InferenceFigure[];
  readonly sampling: readonly SamplingFigure[];
  readonly edges: PairedResult | null;
  readonly webgpu: WebGpuResults | null;
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "";
  if (value < 10) return value.toPrecision(3);
  return value.toFixed(value < 100 ? 1 : 0);
}

const percent = (share: number) => `${(100 * share).toFixed(0)} %`;
const times = (value: number) => `${figure(value)}x`;
const threadsOf = (count: number) => `${count} thread${count === 1 ? "" : "s"}`;
const nameOf = ({ peer, threads }: { readonly peer: string; readonly threads: number }) =>
  `${peer}, ${threadsOf(threads)}`;

/** Columns of text; all others hold numbers. */
const textual = new Set(["network", "library", "kernel", "convolution", "bound by"]);

/** A Markdown table. */
function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const rule = headings.map((heading) => (textual.has(heading) ? "---" : "---:"));
  return [headings, rule, ...rows].map(line).join("\n");
}

/** The libraries beside ours that a group of figures has, in the order of the first. */
function peersIn(figures: readonly Comparison[]): string[] {
  return [...new Set(figures.flatMap(({ timings }) => timings.slice(1).map(nameOf)))];
}

/** For each library how many times its speed ours has; empty where it was not compared. */
function speedCells({ timings }: Comparison, peers: readonly string[]): string[] {
  return peers.map((peer) => {
    const timing = timings.find((one, i) => i > 0 && nameOf(one) === peer);
    return timing ? times(timing.speedOfOurs) : "";
  });
}

/** Why libraries are missing, each reason once. */
function reasons(figures: readonly Comparison[]): string {
  const text = ({ peer, reason }: NotCompared) => `Not compared with ${peer}: ${reason}.`;
  const lines = new Set(figures.flatMap(({ notCompared }) => notCompared.map(text)));
  return lines.size > 0 ? `\n\n${[...lines].join("\n")}` : "";
}

function ceilingSection(ceilings: readonly Ceiling[]): string {
  const cell = (value: number | null) => (value === null ? "" : figure(value));
  return `## Ceilings

What WebAssembly reaches on this machine in this run: multiply-adds between registers in GFLOP/s, and a copy of 64 MiB
in GB/s read and written. Kernels are measured by the highest multiply-add figure of their number of threads.

${table(
  ["threads", "mul + add", "fused", "fused, 256 bits", "copy"],
  ceilings.map(({ threads, mulAdd, fused, revectorised, copy }) => [
    String(threads),
    ...[mulAdd, fused, revectorised, copy].map(cell),
  ]),
)}`;
}

function milliseconds({ milliseconds: median, spread }: Timing): string[] {
  return [figure(median), spread.map(figure).join(" to ")];
}

function networkRows(figures: readonly (StepFigure | InferenceFigure)[]): string[][] {
  return figures.flatMap(({ network, timings, ...rest }) =>
    timings.map((timing) => [
      network,
      nameOf(timing),
      ...milliseconds(timing),
      figure((1000 * ("batch" in rest ? rest.batch : 1)) / timing.milliseconds),
      timing.peer === "Gradweave" ? "" : times(timing.speedOfOurs),
      figure(timing.peakBytes / 2 ** 20),
      String(timing.rounds),
    ]),
  );
}

const networkHeadings = [
  "network",
  "library",
  "ms",
  "middle half",
  "images/s",
  "ours, times its speed",
  "peak MiB",
  "rounds",
];

function stepSection(steps: readonly StepFigure[]): string {
  return `## Training step

Forward pass, cross entropy, backward pass, SGD with momentum; equal numbers of parameters, and losses checked to be
equal. Memory is the most that the library's process had resident, its program included.

${table(networkHeadings, networkRows(steps))}${reasons(steps)}`;
}

function inferenceSection(inference: readonly InferenceFigure[]): string {
  return `## Inference

Evaluation of one image, results checked to be equal.

${table(networkHeadings, networkRows(inference))}${reasons(inference)}`;
}

function kernelTable(kernels: readonly KernelFigure[], ceiling: Ceiling, arithmetic: boolean): string {
  const peers = peersIn(kernels);
  const headings = arithmetic
    ? ["convolution", "ms", "middle half", "GFLOP/s", "of the ceiling", "MB", "FLOP/byte", "bound by"]
    : ["kernel", "ms", "middle half", "GB/s", "of a copy", "MB", "FLOP/byte", "bound by"];
  const rows = kernels.map((kernel) => {
    const { gigaflops, gigabytes, share, intensity, boundBy } = rooflineOf(kernel, ceiling);
    const [ours] = kernel.timings;
    return [
      kernel.kernel,
      ...(ours ? milliseconds(ours) : ["", ""]),
      figure(arithmetic ? gigaflops : gigabytes),
      percent(share),
      figure(kernel.bytes / 1e6),
      arithmetic ? figure(intensity) : "",
      boundBy,
      ...speedCells(kernel, peers),
    ];
  });
  return table([...headings, ...peers], rows);
}

function kernelSection(kernels: readonly KernelFigure[], ceilings: readonly Ceiling[]): string {
  const parts = ceilings.flatMap((ceiling) => {
    const own = kernels.filter(({ threads }) => threads === ceiling.threads);
    return [true, false].flatMap((arithmetic) => {
      const group = own.filter(({ operations }) => operations > 0 === arithmetic);
      if (group.length === 0) return [];
      const title = `### ${arithmetic ? "Convolutions" : "Other kernels"}, ${threadsOf(ceiling.threads)}`;
      return [`${title}\n\n${kernelTable(group, ceiling, arithmetic)}`];
    });
  });
  return `## Kernels

Batch 8, f32. MB is the least that a kernel must read and write; its operations per byte decide which ceiling binds it
first. The last columns say how many times a library's speed ours has, medians over alternating rounds.

${parts.join("\n\n")}${reasons(kernels)}`;
}

function samplingSection(sampling: readonly SamplingFigure[]): string {
  return `## What sampling costs

A training step at batch 64 on 28 x 28 images (DenseNet-121: batch 8 on 224 x 224), and the time of one whose gradient
pieces are sampled over it.

${table(
  ["network", "ms", "images/s", "sampled over plain"],
  sampling.map((row) => [
    row.network,
    figure(row.milliseconds),
    figure(row.imagesPerSecond),
    row.sampledOverPlain.toFixed(3),
  ]),
)}`;
}

function edgeSection({ pairs, ratio, spread }: PairedResult): string {
  return `## Edges without a listener

Engine as it is over the same engine without edges, ${pairs} alternating pairs of a step of tiny tensors:
${ratio.toFixed(4)} (middle half of the pairs ${spread.map((value) => value.toFixed(3)).join(" to ")}).`;
}

function webGpuSection({ adapter, ceiling, figures, steps }: WebGpuResults): string {
  const names = peersIn(figures);
  const rows = figures.map((row) => {
    const [ours] = row.timings;
    const gigaflops = row.operations / (ours?.milliseconds ?? Number.NaN) / 1e6;
    const rate =
      row.operations > 0 ? [figure(gigaflops), percent(gigaflops / ceiling.multiplyAdd)] : ["", ""];
    return [row.subject, ...(ours ? milliseconds(ours) : ["", ""]), ...rate, ...speedCells(row, names)];
  });
  const stepRows = steps.map((step) => [
    step.network,
    String(step.kernels),
    figure(step.milliseconds),
    figure(step.javaScript),
    percent(step.javaScript / step.milliseconds),
    figure(step.replayMilliseconds),
    figure(step.replayJavaScript),
  ]);
  return `## WebGPU on ${adapter}

Reached in this run: ${figure(ceiling.multiplyAdd)} GFLOP/s of multiply-adds between registers, ${figure(ceiling.copy)} GB/s
of a copy, read and written. The last columns say how many times a library's speed ours has on the same adapter.

${table(["kernel", "ms", "middle half", "GFLOP/s", "of the ceiling", ...names], rows)}${reasons(figures)}

What a training step takes the thread that JavaScript runs on, Dawn's functions in it included (\`bench/replay.ts\` tells
them apart), and the same step recorded and replayed:

${table(["network", "kernels", "ms", "of it the thread", "share", "replay ms", "of it the thread"], stepRows)}`;
}

/** The versions of the libraries that took part. */
function versionsOf({ steps, kernels, inference, webgpu }: Results): string {
  const timings = [...steps, ...kernels, ...inference, ...(webgpu?.figures ?? [])].flatMap(
    (comparison) => comparison.timings,
  );
  return [...new Set(timings.map(({ peer, version }) => `${peer} ${version}`))].join("; ");
}

/** The whole page. */
export function tables(results: Results): string {
  const { date, quick, machine, ceilings, steps, kernels, inference, sampling, edges } = results;
  const memory = `${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  const sections = [
    `# Benchmarks of ${date}

${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.system}; Node ${machine.node} (V8 ${machine.v8}).
Load average before the run: ${machine.loadBefore.toFixed(2)}.
${versionsOf(results)}.
All f32; medians of alternating rounds with the middle half of them${quick ? "; a quick run, which has few" : ""}.`,
    ceilingSection(ceilings),
    ...(steps.length > 0 ? [stepSection(steps)] : []),
    ...(kernels.length > 0 ? [kernelSection(kernels, ceilings)] : []),
    ...(inference.length > 0 ? [inferenceSection(inference)] : []),
    ...(results.webgpu ? [webGpuSection(results.webgpu)] : []),
    ...(sampling.length > 0 ? [samplingSection(sampling)] : []),
    ...(edges ? [edgeSection(edges)] : []),
  ];
  return `${sections.join("\n\n")}\n`;
}
