/** What is counted on a stage's graph: the reuse matrix, the equations with their reused gradients, the paths. */

import { formatPathCount, scaleFor } from "../format.ts";
import type { ReportStage } from "../schema.ts";
import type { PageContext } from "./context.ts";
import { foldedTable, heading, slug, table } from "./figure.ts";
import { type Content, element, type Markup } from "./markup.ts";
import { number, numberCell } from "./numbers.ts";
import type { SymbolIndex } from "./symbolIndex.ts";
import { equationHtml, symbolHtml, symbolPlain } from "./typeset.ts";

const counts = scaleFor("count", []);
const noGap = "";

/** A stage of one network, with what drawing it needs. */
export interface StageView {
  readonly variant: string;
  readonly stage: ReportStage;
  readonly index: SymbolIndex;
  /** Joins what is highlighted together: one network's stage. */
  readonly scope: string;
  /** Where the stage is in the report, to explain gaps. */
  readonly path: string;
}

/** Rows are weights, columns gradients: the update equations as a matrix, with its sums. */
export function reuseMatrix({ variant, stage, index, scope }: StageView): Markup {
  const { featureMaps, weights, reuse, duplicates } = stage.structure;
  const reuseOf = new Map(reuse.map((entry) => [entry.gradient, entry.count]));
  const cell = (weight: string, gradient: string, map: string, sources: readonly string[]): Markup => {
    const membership = { "data-in": `${index.weight(weight)} ${index.gradient(gradient)}` };
    if (!sources.includes(map)) return element("td", { ...membership, class: "off", "data-value": 0 });
    const across = duplicates.pairs.some(
      (pair) => pair.across && pair.gradient === gradient && pair.weights.includes(weight),
    );
    const kind = across ? "across" : (reuseOf.get(gradient) ?? 0) > 1 ? "reused" : "single";
    const title = `${symbolPlain(gradient)} updates ${symbolPlain(weight)}: ${cellWords[kind].text}`;
    return element("td", { ...membership, class: kind, "data-value": 1, title }, cellWords[kind].mark);
  };
  return element(
    "div",
    { "data-scope": scope },
    table({
      caption: variant,
      fileName: `${slug(variant)}-${slug(stage.name)}-reuse-matrix`,
      attributes: { class: featureMaps.length > 12 ? "matrix many" : "matrix" },
      head: element(
        "tr",
        {},
        element("td", { class: "corner" }),
        featureMaps.map(({ gradient }) =>
          heading("col", symbolHtml(gradient), {
            "data-in": index.gradient(gradient),
            "data-pick": index.gradient(gradient),
          }),
        ),
        heading("col", "sources", { class: "sum", title: "Gradients in the set of the weight" }),
      ),
      body: [
        weights.map((weight) =>
          element(
            "tr",
            {},
            heading("row", symbolHtml(weight.symbol), {
              "data-in": index.weight(weight.symbol),
              "data-pick": index.weight(weight.symbol),
            }),
            featureMaps.map((map) => cell(weight.symbol, map.gradient, map.symbol, weight.sources)),
            numberCell(weight.sources.length, counts, noGap, { class: "sum" }),
          ),
        ),
        element(
          "tr",
          { class: "sums" },
          heading("row", "reuse", { class: "sum", title: "Weights that the gradient updates" }),
          featureMaps.map((map) => {
            const count = reuseOf.get(map.gradient);
            return count === undefined
              ? element("td", { class: "off" })
              : numberCell(count, counts, noGap, { "data-in": index.gradient(map.gradient), class: "sum" });
          }),
          element("td", {}),
        ),
      ],
    }),
  );
}

const cellWords = {
  single: { mark: "○", text: "this weight only" },
  reused: { mark: "●", text: "and other weights too" },
  across: { mark: "◆", text: "and a weight of the other side" },
} as const;

/** What the marks of the matrix mean. */
export function matrixLegend(): Markup {
  const entry = (kind: keyof typeof cellWords, text: string) =>
    element(
      "span",
      { class: "key" },
      element("span", { class: `swatch ${kind}` }, cellWords[kind].mark),
      ` ${text}`,
    );
  return element(
    "p",
    { class: "keys" },
    entry("single", "gradient updates this weight only"),
    entry("reused", "gradient is reused by other weights"),
    entry("across", "gradient is shared across the two sides"),
  );
}

/** Forward and update equations; in the updates, gradients that reach more than one weight are marked. */
export function equations({ variant, stage, index, scope }: StageView): Markup {
  const { forward, update, forwardLatex, updateLatex, legend } = stage.equations;
  const reused = new Set(
    stage.structure.reuse.filter(({ count }) => count > 1).map(({ gradient }) => gradient),
  );
  const mark = (symbol: string, set: Markup) =>
    reused.has(symbol)
      ? element("mark", { "data-in": index.gradient(symbol), title: "updates more than one weight" }, set)
      : set;
  const list = (lines: readonly string[], decorate?: typeof mark) =>
    element(
      "ul",
      { class: "equations" },
      lines.map((line) => element("li", {}, equationHtml(line, decorate))),
    );
  const latex = [...forwardLatex, ...updateLatex].join("\n");
  return element(
    "div",
    { class: "math", "data-scope": scope },
    element("h4", {}, variant),
    element("p", { class: "math-label" }, "forward"),
    list(forward),
    element("p", { class: "math-label" }, "weight update"),
    list(update, mark),
    element(
      "details",
      {},
      element("summary", {}, "What each symbol stands for, and LaTeX"),
      element(
        "dl",
        { class: "legend" },
        legend.map(({ symbol, meaning }) => [
          element("dt", {}, symbolHtml(symbol)),
          element("dd", {}, element("code", {}, meaning)),
        ]),
      ),
      latex === "" ? undefined : element("pre", { tabindex: 0 }, element("code", {}, latex)),
    ),
  );
}

/** Feature maps with their sizes, reuse and gradient paths, then weights and pairs folded away. */
export function structureTables(
  { variant, stage, scope, index, path }: StageView,
  { explain, parts }: PageContext,
): Markup {
  const { featureMaps, weights, reuse, paths, duplicates } = stage.structure;
  const base = `${slug(variant)}-${slug(stage.name)}`;
  const numeric = (text: string) => heading("col", text, { class: "n" });
  const missing = () => element("td", { class: "n" }, "–");
  return element(
    "div",
    { "data-scope": scope },
    table({
      caption: `${variant}: feature maps and gradient paths`,
      fileName: `${base}-feature-maps`,
      head: element(
        "tr",
        {},
        heading("col", "Map"),
        ["Channels", "Reuse", "Paths", "Length", "Size"].map(numeric),
        heading("col", "Side"),
      ),
      body: featureMaps.map((map) => {
        const used = reuse.find((entry) => entry.gradient === map.gradient);
        const route = paths.find((entry) => entry.featureMap === map.symbol);
        return element(
          "tr",
          { "data-in": index.gradient(map.gradient) },
          heading("row", symbolHtml(map.symbol)),
          numberCell(map.channels, counts, noGap),
          used === undefined ? missing() : numberCell(used.count, counts, noGap),
          route === undefined
            ? [missing(), missing()]
            : [
                element("td", { class: "n", "data-value": route.count }, pathCount(route.count)),
                element(
                  "td",
                  { class: "n" },
                  number(route.shortest, "count", noGap),
                  route.shortest === route.longest ? undefined : ["–", number(route.longest, "count", noGap)],
                ),
              ],
          element(
            "td",
            { class: "n" },
            number(map.height, "count", noGap),
            " × ",
            number(map.width, "count", noGap),
          ),
          element("td", {}, map.side),
        );
      }),
    }),
    foldedTable(parts, `Numbers: layers of ${variant}`, {
      caption: `${variant}: the stage's layers and what they read and write`,
      fileName: `${base}-layers`,
      head: element(
        "tr",
        {},
        ["Weight", "Module", "Reads", "Writes", "Side"].map((text) => heading("col", text)),
      ),
      body: weights.map((weight) =>
        element(
          "tr",
          {},
          heading("row", symbolHtml(weight.symbol)),
          element("td", {}, element("code", {}, weight.modulePath)),
          element("td", {}, separated(weight.sources.map(symbolHtml))),
          element("td", {}, symbolHtml(weight.output)),
          element("td", {}, weight.side),
        ),
      ),
    }),
    foldedTable(parts, `Numbers: pairs of weights of ${variant} that share a gradient`, {
      caption: `${variant}: every pair of weights that is updated with the same gradient`,
      fileName: `${base}-pairs`,
      head: element(
        "tr",
        {},
        ["Gradient", "Weights", "Across the sides"].map((text) => heading("col", text)),
      ),
      body: duplicates.pairs.map((pair) =>
        element(
          "tr",
          { class: pair.across ? "across" : undefined },
          heading("row", symbolHtml(pair.gradient)),
          element("td", {}, separated(pair.weights.map(symbolHtml))),
          element("td", {}, pair.across ? "yes" : "no"),
        ),
      ),
    }),
    stage.structure.duplicateBytes === null &&
      element("p", { class: "small" }, `Duplicate bytes: ${explain(`${path}.structure.duplicateBytes`)}.`),
  );
}

function separated(items: readonly Markup[]): Content {
  return items.map((item, i) => (i === 0 ? item : [", ", item]));
}

/** `65,536 = 2^16` with the exponent raised. */
function pathCount(digits: string): Content {
  const [value = "", power] = formatPathCount(digits).split("^");
  return power === undefined ? value : [value, element("sup", {}, power)];
}
