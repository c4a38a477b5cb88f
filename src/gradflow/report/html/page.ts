/**
 * The report as one HTML file that needs nothing else: no request leaves it, and its content security policy
 * allows only the scripts and the one style sheet written here, by their hashes.
 */

import { createHash } from "node:crypto";
import { serializeReport } from "../json.ts";
import type { GradientReuseReport } from "../schema.ts";
import { clientScript } from "./client/index.ts";
import { comparisonSection } from "./comparison.ts";
import { isMany, pageContext } from "./context.ts";
import { fitted } from "./fitting.ts";
import { element, fragment, Markup, render } from "./markup.ts";
import { methodsSection } from "./methods.ts";
import { pageHeader, summarySection } from "./overview.ts";
import { packed } from "./parts.ts";
import { plotLibrary } from "./plotLibrary.ts";
import { stageNames, stageSection } from "./stage.ts";
import { styleSheet } from "./style.ts";
import { trainingSection } from "./training.ts";
import { variantsSection } from "./variants.ts";
import { variantsComparison } from "./variantTable.ts";

export interface PageOptions {
  /** A page that is served while the training runs: it asks where it comes from for newer reports. Default: no. */
  readonly live?: "running" | "ended";
}

/**
 * Draws a report as a self-contained HTML page.
 * @throws {ReportError} when the report cannot be written as JSON: the page carries its own data
 */
export function renderHtml(whole: GradientReuseReport, { live }: PageOptions = {}): string {
  const { report, every } = fitted(whole);
  // Refuses a report that breaks its schema before anything of it is drawn.
  const data: unknown = JSON.parse(serializeReport(report));
  const page = pageContext(report);
  const names = stageNames(report);
  const main = [
    summarySection(report, names),
    isMany(report) ? variantsComparison(page) : comparisonSection(page),
    trainingSection(page),
    explorerSection(),
    isMany(report) ? variantsSection(page) : names.map((name) => stageSection(page, name)),
    methodsSection(report, page.explain),
  ];
  const plots = plotLibrary();
  const style = `${plots.style}\n${styleSheet}`;
  const policy = [
    "default-src 'none'",
    `script-src '${sha256(plots.script)}' '${sha256(clientScript)}'`,
    `style-src '${sha256(style)}'`,
    "img-src data:",
    ...(live === undefined ? [] : ["connect-src 'self'"]),
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const head = element(
    "head",
    {},
    element("meta", { charset: "utf-8" }),
    element("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    element("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    element("meta", { name: "color-scheme", content: "light dark" }),
    element("link", { rel: "icon", href: "data:," }),
    element("title", {}, report.meta.title),
    new Markup(`<style>${style}</style>`),
  );
  const body = element(
    "body",
    {},
    pageHeader(report, names, { isRunning: live === "running", every }),
    element("main", {}, main),
    element(
      "footer",
      {},
      live === undefined
        ? "Made by gradweave. This page holds its own data and makes no network request."
        : "Made by gradweave, and served by the training itself on this machine.",
    ),
    packed("report", data),
    page.parts.packed(),
    new Markup(`<script>${plots.script}</script>`),
    new Markup(`<script>${clientScript}</script>`),
  );
  return `<!doctype html>\n${render(element("html", { lang: "en", "data-live": live }, fragment(head, body)))}\n`;
}

/** The place for curves that can be zoomed into; the script fills and shows it. */
function explorerSection(): Markup {
  return element(
    "section",
    { id: "explorer", hidden: true },
    element("h2", {}, "Explore the curves"),
    element(
      "p",
      { class: "how" },
      "Any measured curve of all networks: line, the mean of the seeds; band, from the lowest to the highest. Drag over " +
        "the chart to zoom in, point or use the arrow keys to read values.",
    ),
    element("div", { class: "explorer" }),
  );
}

function sha256(text: string): string {
  return `sha256-${createHash("sha256").update(text, "utf8").digest("base64")}`;
}
