/**
 * The report as one HTML file that needs nothing else: no request leaves it, and its content security policy
 * allows only the one script and the one style sheet written here, by their hashes.
 */

import { createHash } from "node:crypto";
import { serializeReport } from "../json.ts";
import type { GradientReuseReport } from "../schema.ts";
import { clientScript } from "./client.ts";
import { comparisonSection } from "./comparison.ts";
import { element, fragment, Markup, render } from "./markup.ts";
import { methodsSection } from "./methods.ts";
import { explainGaps } from "./numbers.ts";
import { pageHeader, summarySection } from "./overview.ts";
import { stageNames, stageSection } from "./stage.ts";
import { styleSheet } from "./style.ts";
import { trainingSection } from "./training.ts";

/**
 * Draws a report as a self-contained HTML page.
 * @throws {ReportError} when the report cannot be written as JSON: the page carries its own data
 */
export function renderHtml(report: GradientReuseReport): string {
  const explain = explainGaps(report);
  const names = stageNames(report);
  const policy = [
    "default-src 'none'",
    `script-src '${sha256(clientScript)}'`,
    `style-src '${sha256(styleSheet)}'`,
    "img-src data:",
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
    new Markup(`<style>${styleSheet}</style>`),
  );
  const body = element(
    "body",
    {},
    pageHeader(report, names),
    element(
      "main",
      {},
      summarySection(report, names),
      comparisonSection(report, explain),
      trainingSection(report, explain),
      names.map((name) => stageSection(report, name, explain)),
      methodsSection(report, explain),
    ),
    element("footer", {}, "Made by gradweave. This page holds its own data and makes no network request."),
    new Markup(`<script type="application/json" id="report">${inertJson(serializeReport(report))}</script>`),
    new Markup(`<script>${clientScript}</script>`),
  );
  return `<!doctype html>\n${render(element("html", { lang: "en" }, fragment(head, body)))}\n`;
}

function sha256(text: string): string {
  return `sha256-${createHash("sha256").update(text, "utf8").digest("base64")}`;
}

/** JSON that cannot end the script element it stands in, nor start a comment there. */
function inertJson(json: string): string {
  return json.replace(
    /[<>&\u2028\u2029]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
