/** A headless Chromium that opens reports from disk, offline, and notes whatever should not happen. */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { type GradientReuseReport, renderHtml } from "../../src/gradflow/report/index.ts";

/** Chromium from CHROMIUM_PATH, else from the PATH; `undefined` when there is none. */
export function findChromium(): string | undefined {
  const set = process.env.CHROMIUM_PATH;
  if (set !== undefined && set !== "") return set;
  try {
    return execFileSync("sh", ["-c", "command -v chromium || command -v chromium-browser"], {
      encoding: "utf8",
    }).trim();
  } catch {
    return undefined;
  }
}

export class ReportBrowser {
  readonly browser: Browser;
  /** Removed by `close`. */
  readonly folder: string;

  private constructor(browser: Browser, folder: string) {
    this.browser = browser;
    this.folder = folder;
  }

  static async launch(executablePath: string): Promise<ReportBrowser> {
    const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
    return new ReportBrowser(browser, mkdtempSync(join(tmpdir(), "gradweave-report-")));
  }

  /** Opens a report and waits for its script; `problems` collects console messages, exceptions, and requests. */
  async open(
    shown: GradientReuseReport,
    width = 1280,
    colorScheme: "light" | "dark" = "light",
  ): Promise<{ page: Page; problems: string[] }> {
    const file = join(this.folder, "report.html");
    writeFileSync(file, renderHtml(shown));
    const context = await this.browser.newContext({
      viewport: { width, height: 900 },
      colorScheme,
      offline: true,
    });
    const page = await context.newPage();
    const problems: string[] = [];
    const address = pathToFileURL(file).href;
    page.on("console", (message) => problems.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
    page.on("request", (request) => request.url() !== address && problems.push(`request: ${request.url()}`));
    page.on("dialog", (dialog) => problems.push(`dialog: ${dialog.message()}`));
    await page.goto(address);
    await page.locator("html[data-ready]").waitFor({ state: "attached" });
    return { page, problems };
  }

  async close(): Promise<void> {
    await this.browser.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const require = createRequire(import.meta.url);
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** What axe-core finds that keeps somebody from using the page, as `rule: element`. */
export async function seriousViolations(page: Page): Promise<string[]> {
  // Evaluated by the debugger, which the page's content security policy does not concern.
  await page.evaluate(axe);
  const found: unknown =
    await page.evaluate(`axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
    violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .flatMap(({ id, nodes }) => nodes.map((node) => id + ": " + node.html.slice(0, 160))))`);
  return Array.isArray(found) ? found.map(String) : [`axe-core gave no list: ${String(found)}`];
}
