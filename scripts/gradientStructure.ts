/** `npm run docs:structure`: writes docs/gradient-structure.md, what can be counted of gradients before any training. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import {
  analyzeStage,
  gradientArrivals,
  type NetworkStructure,
  networkStructure,
  type Stage,
  stageEquations,
} from "../src/gradflow/index.ts";
import { trace, withoutValues } from "../src/graph/index.ts";
import { createModel, type Fusion, type Network } from "../src/models/index.ts";

export const gradientStructurePath = path.resolve(import.meta.dirname, "../docs/gradient-structure.md");

/** A row of a table: a model, the options it is built with, and the share γ that goes around its blocks. */
interface Variant {
  readonly label: string;
  readonly model: string;
  readonly options?: { readonly fusion: Fusion; readonly partialRatio: number };
}

const shape = [1, 3, 224, 224];

function build({ model, options }: Variant): Network {
  const given: object = options ?? {};
  return withoutValues(() => createModel(model, given));
}

/** The network itself, and its partial forms: every fusion with every share. */
function ablation(plain: Variant, partial: string): Variant[] {
  const fusions = [
    ["both", "CSP, transition → concatenation → transition"],
    ["first", "CSP, fusion first"],
    ["last", "CSP, fusion last"],
  ] as const;
  const forms = fusions.flatMap(([fusion, label]) =>
    [0.25, 0.5, 0.75].map((partialRatio) => ({ label, model: partial, options: { fusion, partialRatio } })),
  );
  return [plain, ...forms];
}

const tables: readonly { readonly title: string; readonly variants: readonly Variant[] }[] = [
  {
    title: "DenseNet-121",
    variants: ablation({ label: "DenseNet", model: "densenet-121" }, "csp-densenet-121"),
  },
  {
    title: "PeleeNet, the networks of the paper's Table 1",
    variants: ablation({ label: "PeleeNet", model: "peleenet" }, "csp-peleenet"),
  },
  {
    title: "Other networks",
    variants: [
      "densenet-169",
      "densenet-201",
      "densenet-264",
      "densenet-201-elastic",
      "csp-densenet-201-elastic",
      "speleenet",
      "resnet-50",
      "csp-resnet-50",
      "resnext-50",
      "csp-resnext-50",
      "darknet-53",
      "csp-darknet-53",
    ].map((model) => ({ label: model, model })),
  },
];

const sumOf = (
  network: NetworkStructure,
  of: (stage: NetworkStructure["stages"][number]) => number,
): number => network.stages.reduce((sum, stage) => sum + of(stage), 0);

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US");

const columns = [
  "network",
  "γ",
  "duplicates",
  "by channels",
  "across the sides",
  "with the layers behind",
  "duplicate MB",
  "log₁₀ paths",
  "longest",
  "longest shortest",
  "sources",
  "shared sources",
];

function row(variant: Variant): string[] {
  const network = networkStructure(build(variant), shape);
  const { summary } = network;
  return [
    variant.label,
    variant.options ? String(variant.options.partialRatio) : "",
    grouped(sumOf(network, ({ structure }) => structure.duplicates)),
    grouped(sumOf(network, ({ structure }) => structure.duplicatesByChannels)),
    grouped(sumOf(network, ({ structure }) => structure.duplicatesAcross)),
    grouped(sumOf(network, ({ duplicatesAcrossBehind }) => duplicatesAcrossBehind)),
    (sumOf(network, ({ structure }) => structure.duplicateBytes) / 1e6).toFixed(1),
    summary.log10Paths.toFixed(2),
    String(summary.longest),
    String(summary.longestShortest),
    summary.meanSources.toFixed(2),
    summary.sharedSources?.toFixed(3) ?? "",
  ];
}

function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = header.map((_, i) => (i === 0 ? "---" : "---:"));
  return [header, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Layer by layer: what it reads, who sends it gradients, and when these arrive, counted from the end of the stage. */
function arrivalTable(stage: Stage): string {
  const rows = gradientArrivals(stage).map(({ layer, sources, times, paths, combination }) => {
    const { name, sources: reads } = stage.layers[layer];
    return [
      `w_${name}`,
      reads.map((map) => `g_${stage.maps[map].name}`).join(", "),
      sources.map((source) => (source === null ? "end" : `w_${stage.layers[source].name}`)).join(", "),
      times.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(", "),
      String(paths),
      String(combination + 1),
    ];
  });
  return markdownTable(
    ["weight", "its gradient set", "sources", "timestamps", "paths", "combination"],
    rows,
  ).replace("---: | ---: | ---: |", "--- | --- | --- |");
}

function stageSection(title: string, variant: Variant): string {
  const network = build(variant);
  const stage = analyzeStage(trace(network, shape), network.stages[0]);
  const { forward, update } = stageEquations(stage);
  const lines = [...forward, "", ...update].map((line) => (line === "" ? "" : `    ${line}`));
  return `### ${title}\n\n${lines.join("\n")}\n\n${arrivalTable(stage)}`;
}

/** The page, deterministic: a test holds docs/gradient-structure.md to it. */
export function renderGradientStructure(): string {
  const sections = tables.map(
    ({ title, variants }) => `## ${title}\n\n${markdownTable(columns, variants.map(row))}`,
  );
  const csp = { model: "csp-densenet-121", label: "" };
  return `# What gradients share, counted

Generated by \`npm run docs:structure\`; a test keeps it up to date. Nothing here was trained: every figure is counted on
the graph of the network, traced at 224 x 224, by dynamic programming. \`networkStructure(model, input)\` of
\`gradweave/gradflow\` gives all of it for any module.

The words, as the CSPNet paper uses them (section 3.1). A weight is updated with the gradients of the feature maps that
its layer reads, its *gradient set*: w_k′ = f(w_k, g_0, …, g_{k−1}). Norms, activations and pooling belong to the layer
beside them, and a bottleneck (1x1, then larger) is one layer.

- **duplicates**: Σ over gradients of (weights that it updates − 1), all stages together; **by channels**: every term
  times the channels of the map.
- **across the sides**: pairs of one weight of each side of a stage that share a gradient; **with the layers behind**:
  counting also the weights that read the stage's output, where a network leaves the transition to its next stage.
- **duplicate MB**: bytes per image of the gradient pieces beyond the first of their map, in f32: written and added only
  because a map is read again.

The other columns count every convolution as a layer, bottlenecks apart, over the whole network, as the same authors do
later (ICCVW 2019, arXiv 2211.04800).

- **log₁₀ paths**: gradient paths from the loss to the first layer. **longest**: layers on the longest. **longest
  shortest**: the most layers that the nearest way to any layer has.
- **sources**: layers that send a gradient to a layer, in the mean; **shared sources**: |A ∩ B| / |A ∪ B| of two layers'
  sources, in the mean over pairs of one resolution whose outputs are concatenated or added.

What comes out:

- The paper's claim about the sides holds as stated: no weight of one side shares a gradient with one of the other in
  transition → concatenation → transition and in fusion last, and every weight of the dense side does in fusion first.
  In the paper's own fusion-first networks the sides meet in the first layers of the next stage.
- Inside the dense side gradients are reused as in a DenseNet, for every γ. What γ changes is how many channels that
  concerns, and so the bytes: from γ = 0.25 to 0.75 they fall, the counts stay.
- Partial stages of as many layers do not have fewer gradient paths: those of the dense side are as many as in the plain
  stage, and the side that goes around adds its own. (The paper's CSPPeleeNet has fewer layers than PeleeNet.) Two
  transitions a stage make the nearest way to the farthest layer longer: 8 layers instead of DenseNet's 6, 12 instead of
  PeleeNet's 8.
- The layers of a stage have fewer sources in common where the sides are kept apart (0.45 instead of 0.50, PeleeNet 0.35
  instead of 0.47); with fusion first they have as many as without sides, or more (0.50 and 0.50).

${sections.join("\n\n")}

## Equations, timestamps and sources of one stage

A timestamp is the number of layers that a gradient has passed when it arrives, the layer itself included, counted from
the end of the stage; sources are the layers that send it. Layers with the same sources get the same combination of
gradients. The first stage of each network, six dense layers:

${stageSection("DenseNet-121", { label: "", model: "densenet-121" })}

${stageSection("CSPDenseNet-121", { ...csp, options: { fusion: "both", partialRatio: 0.5 } })}

${stageSection("CSPDenseNet-121, fusion first", { ...csp, options: { fusion: "first", partialRatio: 0.5 } })}

${stageSection("CSPDenseNet-121, fusion last", { ...csp, options: { fusion: "last", partialRatio: 0.5 } })}
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync(gradientStructurePath, renderGradientStructure());
  console.error(`wrote ${path.relative(process.cwd(), gradientStructurePath)}`);
}
