/**
 * The page of a cost run: figures 7 and 8 of the paper for any networks, the numbers behind them, and what sticks out.
 * One HTML file that needs nothing else: no script, no request; light and dark.
 */
import { createHash } from "node:crypto";
import { type Content, element, fragment, Markup, render } from "../gradflow/report/html/markup.ts";
import { type Bar, barChart } from "./barChart.ts";
import {
  billions,
  bottleneckText,
  type CostReport,
  comparisonSentence,
  millions,
  type ProfiledNetwork,
} from "./costReport.ts";
import type { CountedLayer } from "./counted.ts";

const style = `
:root{color-scheme:light dark;--page:#fff;--raised:#f6f7f9;--ink:#1b1f26;--soft:#545c68;--rule:#d5d9df;--bar:#1f5fa8;--high:#b83c0a}
@media screen and (prefers-color-scheme:dark){:root{--page:#14171c;--raised:#1d2128;--ink:#e6e9ee;--soft:#a7b0bc;--rule:#3a414c;--bar:#7fb0ea;--high:#ff9466}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px clamp(14px,3vw,48px) 48px}
h1{font-size:clamp(1.4rem,1.1rem + 1.5vw,2.1rem);line-height:1.2}
h1,h2,h3,li,p{overflow-wrap:anywhere}
h2{margin-top:2em;font-size:1.35rem}
h3{margin:1.4em 0 .2em;font-size:1.05rem}
p,li{max-width:80ch}
.soft,caption,figcaption{color:var(--soft);font-size:.92rem}
.scroll{overflow-x:auto}
.scroll:focus-visible,summary:focus-visible{outline:2px solid var(--bar);outline-offset:2px}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:8px}
th,td{padding:5px 14px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
td,th.n{white-space:nowrap}
td.n,th.n{text-align:right}
figure{margin:0}
.chart{display:block;width:100%;min-width:560px;height:auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--ink)}
svg .tick{fill:var(--soft);font-size:11px}
svg .rule{stroke:var(--rule)}
svg .axis{stroke:var(--soft)}
svg .bar{fill:var(--bar)}
svg .high{fill:var(--high)}
svg .peak{font-weight:600}
summary{cursor:pointer;color:var(--bar)}
.layers{max-height:420px;overflow:auto}
@media print{details{display:none}.chart{min-width:0}}
`;

const cell = (content: Content) => element("td", { class: "n" }, content);
const head = (content: Content, attributes = {}) => element("th", { scope: "col", ...attributes }, content);

function scrolling(label: string, ...content: Content[]): Markup {
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": `${label}; scrolls sideways` },
    ...content,
  );
}

function totals({ networks }: CostReport): Markup {
  const columns = [
    "Input",
    "Weights (M)",
    "BFLOPs",
    "CIO (M)",
    "with pools",
    "Layers",
    "Largest layer",
    "Balance",
  ];
  const rows = networks.map((network) => {
    const { name, inputShape, weights, flops, convInputOutput, inputOutput, flopsProfile } = network;
    const { largest, layers, balance } = flopsProfile;
    const cells = [
      ...[inputShape.join(" x "), millions(weights), billions(flops)],
      ...[millions(convInputOutput), millions(inputOutput), layers],
      ...[largest ? billions(largest.cost) : "-", balance.toFixed(3)],
    ];
    return element("tr", {}, element("th", { scope: "row" }, name), cells.map(cell));
  });
  return scrolling(
    "Totals",
    element(
      "table",
      {},
      element(
        "caption",
        {},
        "Per image. Balance is the mean layer over the largest: 1 when all cost the same.",
      ),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          head("Network"),
          columns.map((column) => head(column, { class: "n" })),
        ),
      ),
      element("tbody", {}, rows),
    ),
  );
}

interface Figure {
  readonly id: string;
  readonly what: string;
  /** Which of a layer's costs is drawn. */
  of(layer: CountedLayer): number;
  format(value: number): string;
  /** Positions among the drawn layers that stick out. */
  high(network: ProfiledNetwork): ReadonlySet<number>;
  total(network: ProfiledNetwork): string;
}

const figures: readonly Figure[] = [
  {
    id: "flops",
    what: "BFLOPs of every layer",
    of: ({ flops }) => flops,
    format: billions,
    high: ({ flopsProfile }) => new Set(flopsProfile.bottlenecks.map(({ position }) => position)),
    total: ({ flops }) => `${billions(flops)} BFLOPs`,
  },
  {
    id: "cio",
    what: "elements that every layer reads and writes, in millions",
    of: ({ inputOutput }) => inputOutput,
    format: (value) => millions(value),
    high: ({ trafficProfile }) => new Set(trafficProfile.bottlenecks.map(({ position }) => position)),
    total: ({ inputOutput }) => `CIO ${millions(inputOutput, 1)} M with pools`,
  },
];

function charts(report: CostReport, { id, what, of, format, high, total }: Figure): Markup[] {
  const barsOf = (network: ProfiledNetwork): Bar[] => {
    const emphasised = high(network);
    return network.layers
      .map((layer, i) => ({ name: layer.name, value: of(layer), emphasised: emphasised.has(i) }))
      .filter(({ value }) => value > 0);
  };
  const all = report.networks.map(barsOf);
  const largest = Math.max(...all.flat().map(({ value }) => value));
  const most = Math.max(...all.map(({ length }) => length));
  return report.networks.map((network, i) => {
    const bars = all[i];
    const peak = bars.reduce((best, bar) => (bar.value > best.value ? bar : best), bars[0]);
    const description =
      `${bars.length} bars, ${total(network)} together; the largest is ${peak.name} with ${format(peak.value)}. ` +
      "The table of layers below has all values.";
    return element(
      "figure",
      {},
      element("h3", {}, `${network.name}: ${total(network)}`),
      scrolling(
        `${what} of ${network.name}`,
        barChart({
          id: `${id}-${i}`,
          title: `${network.name}: ${what}`,
          description,
          bars,
          largest,
          most,
          format,
        }),
      ),
    );
  });
}

function findings({ networks, comparisons }: CostReport): Markup[] {
  const lists = networks.map(({ name, flopsProfile: { bottlenecks: found } }) =>
    fragment(
      element("h3", {}, name),
      found.length === 0
        ? element("p", {}, "No layer costs more than 5 times the mean layer.")
        : element(
            "ul",
            {},
            found.map((layer) => element("li", {}, bottleneckText(layer))),
          ),
    ),
  );
  return [...comparisons.map((comparison) => element("p", {}, comparisonSentence(comparison))), ...lists];
}

function layerTable({ name, layers }: ProfiledNetwork): Markup {
  const rows = layers.map(({ name: layer, kind, outputShape, flops, inputOutput }, i) =>
    element(
      "tr",
      {},
      cell(i),
      element("th", { scope: "row" }, layer),
      element("td", {}, kind),
      element("td", {}, outputShape.join(" x ")),
      cell((flops / 1e9).toFixed(5)),
      cell(millions(inputOutput, 4)),
    ),
  );
  const columns = element(
    "tr",
    {},
    head("", { class: "n", "aria-label": "position" }),
    [head("Layer"), head("Kind"), head("Output")],
    [head("BFLOPs", { class: "n" }), head("Elements moved (M)", { class: "n" })],
  );
  return element(
    "details",
    {},
    element("summary", {}, `All ${layers.length} layers of ${name}`),
    element(
      "div",
      { class: "scroll layers", tabindex: 0, role: "group", "aria-label": `Layers of ${name}` },
      element("table", {}, element("thead", {}, columns), element("tbody", {}, rows)),
    ),
  );
}

const ruleTexts = {
  darknet:
    "BFLOPs by Darknet's rule, the paper's: 2 x weights x output positions of every convolution, and k x k x outputs " +
    "of every max pool.",
  elastic:
    "BFLOPs as twice what the counter of allenai/elastic gives: convolutions, norms, activations and pools.",
  macs: "BFLOPs as twice the multiply-adds of convolutions and matrix products, nothing else.",
};

/** Draws a report of at least one network as a page. */
export function renderCostPage(report: CostReport): string {
  const [{ rule }] = report.networks;
  const title = `What ${report.networks.map(({ name }) => name).join(", ")} cost${report.networks.length === 1 ? "s" : ""}`;
  const hash = createHash("sha256").update(style, "utf8").digest("base64");
  const policy = `default-src 'none'; style-src 'sha256-${hash}'; img-src data:; base-uri 'none'; form-action 'none'`;
  const [operations, traffic] = figures;
  const page = fragment(
    element(
      "head",
      {},
      element("meta", { charset: "utf-8" }),
      element("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
      element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
      element("link", { rel: "icon", href: "data:," }),
      element("title", {}, title),
      new Markup(`<style>${style}</style>`),
    ),
    element(
      "body",
      {},
      element(
        "main",
        {},
        element("h1", {}, title),
        element(
          "p",
          { class: "soft" },
          `${ruleTexts[rule]} CIO: elements in and out of convolutions (HarDNet, section 3.1).`,
        ),
        totals(report),
        element("h2", {}, "Operations, layer by layer"),
        element(
          "p",
          { class: "soft" },
          "As figure 7 of the CSPNet paper: all networks on one scale, layers in the order of execution; layers that cost more than 5 times the mean stand out.",
        ),
        charts(report, operations),
        element("h2", {}, "Memory traffic, layer by layer"),
        element("p", { class: "soft" }, "As figure 8: what convolutions and pools read and write."),
        charts(report, traffic),
        element("h2", {}, "What sticks out"),
        findings(report),
        element("h2", {}, "Layers"),
        report.networks.map(layerTable),
        element("p", { class: "soft" }, "Made by gradweave. This page makes no network request."),
      ),
    ),
  );
  return `<!doctype html>\n${render(element("html", { lang: "en" }, page))}\n`;
}
