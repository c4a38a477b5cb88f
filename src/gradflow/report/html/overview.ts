/** The head of the page: what it is, the differences in words, how sure they are, and where to go from here. */

import { certainty, headlines, setting } from "../headlines.ts";
import type { GradientReuseReport } from "../schema.ts";
import { slug } from "./figure.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { cosineOverview } from "./similarity.ts";

/** Title, date, a notice if the run was stopped, contents. */
export function pageHeader({ meta }: GradientReuseReport, stageNames: readonly string[]): Markup {
  const links: [string, string][] = [
    ["summary", "Summary"],
    ["comparison", "Comparison"],
    ["training", "Training"],
    ...stageNames.map((name): [string, string] => [stageId(name, stageNames), name]),
    ["methods", "Methods"],
  ];
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
      ` · seed ${meta.seed} · gradweave ${meta.versions.gradweave} · Node ${meta.versions.node}`,
    ),
    !meta.finished &&
      element(
        "p",
        { class: "notice", role: "note" },
        element("strong", {}, "Stopped early: "),
        `${meta.stopReason ?? "no reason given"}. The figures below are those measured until then.`,
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

/** The summary: what was compared, what differs, how sure. */
export function summarySection(report: GradientReuseReport, stageNames: readonly string[]): Markup {
  const baseline = report.variants[0]?.name ?? "";
  return element(
    "section",
    { id: "summary" },
    element("h2", {}, "Summary"),
    element("p", { class: "lead" }, setting(report)),
    element(
      "div",
      { class: "cards" },
      headlines(report).map(({ variant, sentences }) =>
        element(
          "div",
          { class: "card" },
          element("h3", {}, `${variant} against ${baseline}`),
          element("dl", {}, sentences.map(definition)),
        ),
      ),
      element(
        "div",
        { class: "card" },
        element("h3", {}, "How sure"),
        element(
          "ul",
          {},
          certainty(report).map((sentence) => element("li", {}, sentence)),
        ),
      ),
    ),
    cosineOverview(report, stageNames),
  );
}

/** `Cost: 21 % fewer …` as a term and its text. */
function definition(sentence: string): Content {
  const colon = sentence.indexOf(": ");
  const body = sentence.slice(colon + 2);
  const minus = body.replace(/(?<=^|[\s(])-(?=\d)/g, "−");
  return [
    element("dt", {}, sentence.slice(0, colon)),
    element("dd", {}, minus.slice(0, 1).toUpperCase() + minus.slice(1)),
  ];
}
