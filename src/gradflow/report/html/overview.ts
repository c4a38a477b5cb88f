/** The head of the page: what it is, the differences in words, how sure they are, and where to go from here. */

import { mean } from "../derive.ts";
import { certainty, headlines, setting } from "../headlines.ts";
import type { GradientReuseReport, ReportSeedRun } from "../schema.ts";
import { standouts } from "../standouts.ts";
import { isMany } from "./context.ts";
import { slug, svgFigure } from "./figure.ts";
import { intervalPlot } from "./intervalPlot.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { cosineOverview } from "./similarity.ts";

/** Title, date, a notice if the run was stopped, contents. */
export function pageHeader(
  report: GradientReuseReport,
  stageNames: readonly string[],
  { isRunning, every }: { readonly isRunning: boolean; readonly every: number },
): Markup {
  const { meta } = report;
  const parts = isMany(report)
    ? [["variants", "Networks one by one"] as const]
    : stageNames.map((name) => [stageId(name, stageNames), name] as const);
  const links = [
    ["summary", "Summary"],
    ["comparison", "Comparison"],
    ["training", "Training"],
    ...parts,
    ["methods", "Methods"],
  ] as const;
  const seeds = meta.seeds ?? [meta.seed];
  return element(
    "header",
    {},
    element("p", { class: "kicker" }, "Gradient reuse report"),
    element("h1", {}, meta.title),
    element(
      "p",
      { class: "byline" },
      element(
        "time",
        { datetime: meta.createdAt },
        meta.createdAt.replace("T", " ").replace(/(\.\d+)?Z$/, " UTC"),
      ),
      ` · ${seeds.length > 1 ? "seeds" : "seed"} ${seeds.join(", ")} · gradweave ${meta.versions.gradweave} · Node ${meta.versions.node}`,
    ),
    !meta.finished &&
      element(
        "p",
        { class: "notice", role: "note" },
        element("strong", {}, isRunning ? "Still training: " : "Stopped early: "),
        `${meta.stopReason ?? "no reason given"}. The figures below are those measured until then.`,
      ),
    every > 1 &&
      element(
        "p",
        { class: "notice", role: "note" },
        `To stay small this page holds one of ${every} recorded and sampled steps, the last among them; the report's JSON ` +
          "file has them all.",
      ),
    element(
      "nav",
      { "aria-label": "Contents" },
      element(
        "ul",
        {},
        links.map(([id, text]) => element("li", {}, element("a", { href: `#${id}` }, text))),
      ),
    ),
  );
}

/** The id of a stage's section, unique even where two names look alike. */
export function stageId(name: string, stageNames: readonly string[]): string {
  return `stage-${stageNames.indexOf(name) + 1}-${slug(name)}`;
}

/** The id of a network's own section, where there are many. */
export function variantId(variant: number): string {
  return `variant-${variant + 1}`;
}

/** The summary: what was compared, what differs, how sure. */
export function summarySection(report: GradientReuseReport, stageNames: readonly string[]): Markup {
  const many = isMany(report);
  return element(
    "section",
    { id: "summary" },
    element("h2", {}, "Summary"),
    element("p", { class: "lead" }, setting(report)),
    element(
      "div",
      { class: "cards" },
      many ? card("What differs", standouts(report)) : variantCards(report),
      card("How sure", certainty(report)),
    ),
    many ? intervalPlots(report) : undefined,
    cosineOverview(report, stageNames),
  );
}

function card(title: string, sentences: readonly string[]): Markup {
  return element(
    "div",
    { class: "card" },
    element("h3", {}, title),
    element(
      "ul",
      {},
      sentences.map((sentence) => element("li", {}, withMinus(sentence))),
    ),
  );
}

/** A card for every network that is compared with the baseline. */
export function variantCards(report: GradientReuseReport, only?: string): Markup[] {
  const baseline = report.variants[0]?.name ?? "";
  return headlines(report)
    .filter(({ variant }) => only === undefined || variant === only)
    .map(({ variant, sentences }) =>
      element(
        "div",
        { class: "card" },
        element(only === undefined ? "h3" : "h4", {}, `${variant} against ${baseline}`),
        element("dl", {}, sentences.map(definition)),
      ),
    );
}

/** The two measures that the question is about, with the intervals that say how sure they are. */
function intervalPlots(report: GradientReuseReport): Markup {
  const names = report.variants.map(({ name }) => name);
  const shown = report.comparison.filter(({ measure }) => plotted.has(measure));
  return element(
    "div",
    { class: "grid" },
    shown.map((row) => {
      const of = plotted.get(row.measure);
      const seeds = report.variants.map((variant) => variant.seeds?.map((seed) => of?.(seed) ?? null) ?? []);
      const strokes = seeds.some((list) => list.length > 0) ? " Strokes: single seeds." : "";
      return svgFigure(
        slug(row.measure),
        `${row.measure}. Dot: the value in the table; line: 95 % interval.${strokes}`,
        intervalPlot(row, names, seeds),
      );
    }),
  );
}

type OfSeed = (run: ReportSeedRun) => number | null;

const plotted: ReadonlyMap<string, OfSeed> = new Map<string, OfSeed>([
  ["Test accuracy", ({ accuracy }) => accuracy.test],
  [
    "Cosine between pieces",
    ({ stages }) => mean(stages.flatMap(({ samples }) => samples.map(({ cosine }) => cosine))),
  ],
]);

/** True minus signs before numbers. */
function withMinus(text: string): string {
  return text.replace(/(?<=^|[\s(])-(?=\d)/g, "−");
}

/** `Cost: 21 % fewer …` as a term and its text. */
function definition(sentence: string): Content {
  const colon = sentence.indexOf(": ");
  const body = sentence.slice(colon + 2);
  const minus = withMinus(body);
  return [
    element("dt", {}, sentence.slice(0, colon)),
    element("dd", {}, minus.slice(0, 1).toUpperCase() + minus.slice(1)),
  ];
}
