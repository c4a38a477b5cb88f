/**
 * The report page in a real browser, opened from disk without a network: it must run clean, fit its window, and its
 * sorting, highlighting, slider and downloads must work. Skipped, saying so, where there is no Chromium.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type GradientReuseReport, renderHtml } from "../src/gradflow/report/index.ts";
import { isWellFormed } from "./support/markup.ts";
import { findChromium, ReportBrowser, seriousViolations } from "./support/reportBrowser.ts";
import { sampleReport } from "./support/sampleReport.ts";

const executablePath = findChromium();
if (executablePath === undefined) {
  console.warn(
    "report page tests skipped: no Chromium found; set CHROMIUM_PATH or put `chromium` on the PATH",
  );
}

describe.skipIf(executablePath === undefined)("report page in Chromium", { timeout: 120_000 }, () => {
  const report = sampleReport();
  let browser: ReportBrowser;

  beforeAll(async () => {
    browser = await ReportBrowser.launch(executablePath ?? "");
  }, 60_000);

  afterAll(() => browser?.close());

  const open = (shown: GradientReuseReport, width?: number, scheme?: "light" | "dark") =>
    browser.open(shown, width, scheme);

  async function downloaded(page: Page, selector: string): Promise<string> {
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.locator(selector).first().click(),
    ]);
    return readFileSync(await download.path(), "utf8");
  }

  for (const width of [400, 1280, 2560]) {
    for (const scheme of ["light", "dark"] as const) {
      it(`runs clean and does not scroll sideways at ${width} px, ${scheme}`, async () => {
        const { page, problems } = await open(report, width, scheme);
        const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        const background = await page.evaluate("getComputedStyle(document.body).backgroundColor");
        await page.context().close();
        expect(problems).toStrictEqual([]);
        expect(overflow).toBeLessThanOrEqual(0);
        expect(background === "rgb(255, 255, 255)").toBe(scheme === "light");
      });
    }
  }

  it("has text that can be read on its background, light and dark", async () => {
    for (const scheme of ["light", "dark"] as const) {
      const { page } = await open(report, 1280, scheme);
      const low = await page.evaluate(contrastScript);
      await page.context().close();
      expect(low).toStrictEqual([]);
    }
  });

  it("has no serious or critical violation that axe-core finds, light and dark", async () => {
    for (const scheme of ["light", "dark"] as const) {
      const { page } = await open(report, 1280, scheme);
      await page.locator(".diagram .layer").first().click();
      const violations = await seriousViolations(page);
      await page.context().close();
      expect(violations).toStrictEqual([]);
    }
  });

  it("stays inert with hostile names and very long ones", async () => {
    const hostile = `</script><img src=x onerror="alert(1)"><svg onload=alert(2)>${"long".repeat(60)}`;
    const renamed = sampleReport({ stages: 1, samples: 2, steps: 3 });
    renamed.meta.title += hostile;
    for (const variant of renamed.variants) {
      variant.name += hostile;
      for (const stage of variant.stages) stage.name += hostile;
    }
    for (const row of renamed.comparison) row.measure += hostile;
    const { page, problems } = await open(renamed, 400);
    const images = await page.locator("img").count();
    const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
    await page.context().close();
    expect(problems).toStrictEqual([]);
    expect(images).toBe(0);
    expect(overflow).toBeLessThanOrEqual(0);
  });

  it("sorts the comparison by a column, up, down, and back", async () => {
    const { page } = await open(report);
    const header = page.locator(".comparison thead th", { hasText: "Change" });
    const values = () =>
      page
        .locator(".comparison tbody tr td:nth-child(4)")
        .evaluateAll((cells) => cells.map((cell) => Number(cell.getAttribute("data-value") ?? Number.NaN)));
    const before = await values();
    await header.locator("button").click();
    const ascending = (await values()).filter((value) => !Number.isNaN(value));
    expect(await header.getAttribute("aria-sort")).toBe("ascending");
    await header.locator("button").press("Enter");
    const descending = (await values()).filter((value) => !Number.isNaN(value));
    await header.locator("button").click();
    const after = await values();
    await page.context().close();
    expect(ascending.length).toBeGreaterThan(5);
    expect(ascending).toStrictEqual([...ascending].sort((a, b) => a - b));
    expect(descending).toStrictEqual([...ascending].reverse());
    expect(after).toStrictEqual(before);
  });

  it("lights the gradients of a layer by mouse, by tap and by keyboard", async () => {
    const { page } = await open(report);
    const diagram = page.locator('figure[data-scope="0 0"]');
    const layer = diagram.locator(".layer").nth(2);
    const lit = () => diagram.locator(".piece.lit").count();
    await layer.hover();
    expect(await lit()).toBe(3);
    expect(await page.locator('[data-scope="1 0"] .lit').count()).toBe(0);
    await page.mouse.move(2, 2);
    expect(await lit()).toBe(0);
    await layer.focus();
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Tab");
    expect(await lit()).toBe(3);
    await page.keyboard.press("Enter");
    expect(await lit()).toBe(3);
    expect(await layer.getAttribute("aria-pressed")).toBe("true");
    await page.keyboard.press("Escape");
    expect(await lit()).toBe(0);
    await page.locator('[data-scope="0 0"] .matrix thead button').first().click();
    expect(await lit()).toBe(5);
    await page.context().close();
  });

  it("moves the heat maps to the chosen step", async () => {
    const { page } = await open(report);
    const map = page.locator('svg[data-heat="0 0 0"]');
    const cell = map.locator(".cell").nth(1);
    const samples = report.variants[0]?.stages[0]?.measured[0]?.samples ?? [];
    const shown = async () => {
      await cell.hover();
      const text = await page.locator(".heat-value").first().textContent();
      return Number(text?.split(": ")[1]?.replace("−", "-"));
    };
    expect(await shown()).toBeCloseTo(samples.at(-1)?.cosine[0]?.[1] ?? Number.NaN, 4);
    const slider = page.locator("input[data-steps]").first();
    await slider.focus();
    await page.keyboard.press("Home");
    const first = samples[0]?.cosine[0]?.[1] ?? Number.NaN;
    expect(await shown()).toBeCloseTo(first, 4);
    expect(await cell.getAttribute("class")).toBe(`cell q${Math.round((first + 1) * 10)}`);
    expect(await page.locator("output").first().textContent()).toBe("0");
    await page.context().close();
  });

  it("fills large heat maps by script, and moves them too", async () => {
    const deep = sampleReport({ layers: 9, stages: 1, steps: 3, samples: 3 });
    const { page, problems } = await open(deep);
    const cells = page.locator('svg[data-heat="0 0 0"] .cell');
    const classes = () => cells.evaluateAll((list) => list.map((cell) => cell.getAttribute("class")));
    const samples = deep.variants[0]?.stages[0]?.measured[0]?.samples ?? [];
    const expected = (at: number) =>
      samples
        .at(at)
        ?.cosine.flatMap((row) => row.map((value) => `cell q${Math.round(((value ?? 0) + 1) * 10)}`));
    expect(await classes()).toStrictEqual(expected(-1));
    expect(await cells.count()).toBe(100);
    await page.locator("input[data-steps]").first().focus();
    await page.keyboard.press("Home");
    expect(await classes()).toStrictEqual(expected(0));
    await page.context().close();
    expect(problems).toStrictEqual([]);
  });

  it("has every recorded step in its folded table, and a gap where one is missing", async () => {
    const gappy = sampleReport();
    const curves = gappy.variants[1]?.curves;
    curves?.loss.splice(5, 1, null);
    const { page } = await open(gappy);
    const folded = page.locator("details", { hasText: "training of CSPDenseNet" });
    await folded.locator("summary").click();
    const cells = await folded
      .locator("tbody td")
      .evaluateAll((list) => list.map((cell) => cell.getAttribute("data-value")));
    const gap = await folded.locator("tbody .gap").getAttribute("title");
    await page.context().close();
    const expected = curves?.step.flatMap((step, i) => [step, curves.loss[i], curves.trainAccuracy[i]]);
    expect(cells).toStrictEqual(expected?.map((value) => (value === null ? null : String(value))));
    expect(gap).toContain("not measured");
  });

  it("has every sampled number in its folded tables: their sums are the JSON's", async () => {
    const { page } = await open(report);
    const sums = await page.evaluate(sumsScript);
    await page.context().close();
    const total = (values: readonly (number | null)[]) =>
      values.reduce<number>((sum, one) => sum + (one ?? 0), 0);
    const expected = report.variants.flatMap(({ stages }) =>
      stages.flatMap(({ measured }) =>
        measured.map(({ samples }) =>
          total(
            samples.flatMap(({ step, norms, cosine, sharedEnergy, firstDirectionShare, effectiveRank }) => [
              ...[step, ...norms, ...cosine.flatMap((row, r) => row.slice(r + 1))],
              ...[sharedEnergy, firstDirectionShare, effectiveRank],
            ]),
          ),
        ),
      ),
    );
    expect(expected.length).toBeGreaterThan(20);
    // On the page stage by stage, in the report network by network.
    expect(new Set(Array.isArray(sums) ? sums : [])).toStrictEqual(new Set(expected));
  });

  it("gives tables as CSV, figures as SVG and everything as JSON", async () => {
    const formula = sampleReport();
    const row = formula.comparison[0];
    if (row !== undefined) row.note = '=HYPERLINK("x", 1)';
    const { page, problems } = await open(formula, 1280, "dark");
    const csv = await downloaded(page, '[data-csv="comparison"] .tool');
    const svg = await downloaded(page, 'figure[data-svg="densenet-stage-1-diagram"] .tool');
    const json = await downloaded(page, "footer .tool");
    await page.context().close();
    expect(problems).toStrictEqual([]);
    expect(csv.split("\r\n")[0]).toBe("Measure,DenseNet,CSPDenseNet,Change,Note");
    expect(csv).toContain("Parameters,64370,48722,");
    // Exact values stand under the plain unit, and a number that was not measured leaves its cell empty.
    expect(csv).toContain("Peak memory (bytes),57671702,41943111,");
    expect(csv).toMatch(/Throughput \(images\/s\),571\.\d+,,/);
    expect(csv).toContain(`"'=HYPERLINK(""x"", 1)"`);
    expect(isWellFormed(svg)).toBe(true);
    expect(svg).toContain('xmlns="http://www.w3.org/2000/svg"');
    // In the light palette, though the screen is dark.
    expect(svg).toContain('stroke="rgb(184, 60, 10)"');
    expect(svg).not.toMatch(/class=|data-/);
    expect(JSON.parse(json)).toStrictEqual(formula);
  });

  it("prints in the light palette without controls", async () => {
    const { page } = await open(report, 1280, "dark");
    await page.emulateMedia({ media: "print", colorScheme: "dark" });
    expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(255, 255, 255)");
    expect(await page.locator(".tool:visible").count()).toBe(0);
    await page.context().close();
  });

  it("is complete without its script", async () => {
    const file = join(browser.folder, "plain.html");
    writeFileSync(file, renderHtml(report));
    const context = await browser.browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(pathToFileURL(file).href);
    expect(await page.locator("svg.diagram").count()).toBe(6);
    expect(await page.locator("svg.heat .cell").count()).toBeGreaterThan(200);
    expect(await page.locator(".slider:visible").count()).toBe(0);
    expect(await page.locator(".shown-step:visible").count()).toBe(3);
    await context.close();
  });
});

/** Runs in the page: opens what is folded, and adds up the numbers of every table of pieces. */
const sumsScript = `(async () => {
  for (const details of document.querySelectorAll("main details")) details.open = true;
  await new Promise((done) => setTimeout(done, 200));
  return [...document.querySelectorAll('table[data-rows^="pieces"]')].map((table) =>
    [...table.querySelectorAll("tbody td")].reduce((sum, cell) => sum + Number(cell.dataset.value ?? 0), 0));
})()`;

/** Runs in the page: texts whose contrast with what lies behind them is under 4.5 (WCAG AA), with both colours. */
const contrastScript = `(() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const cell = one.classList.contains("cell") || one.classList.contains("map") || one.classList.contains("layer");
      const shape = cell && one.querySelector("rect, circle");
      const fill = shape ? getComputedStyle(shape).fill : "none";
      if (fill !== "none") return fill;
      const colour = getComputedStyle(one).backgroundColor;
      if (channels(colour)[3] !== 0) return colour;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  const low = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() === "" || node.closest("title, script")) continue;
    const style = getComputedStyle(node);
    const front = node.closest("svg") ? style.fill : style.color;
    const [a, b] = [luminance(channels(front)), luminance(channels(behind(node)))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) low.add(front + " on " + behind(node) + " " + ratio.toFixed(2) + " " + node.tagName + "." + node.parentElement.getAttribute("class"));
  }
  return [...low];
})()`;
