/** The page of a report with many networks and seeds, in a real browser; skipped, saying so, without Chromium. */

import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unpacked } from "../src/gradflow/report/html/parts.ts";
import { renderHtml } from "../src/gradflow/report/index.ts";
import { manyReport } from "./support/manyReport.ts";
import { isWellFormed } from "./support/markup.ts";
import { findChromium, ReportBrowser, seriousViolations } from "./support/reportBrowser.ts";

const executablePath = findChromium();
if (executablePath === undefined) {
  console.warn(
    "tests of the page of many networks skipped: no Chromium found; set CHROMIUM_PATH or put `chromium` on the PATH",
  );
}

const report = manyReport();

describe("page of many networks", () => {
  it("holds 15 networks x 3 seeds x 400 steps in 3 MB, data and all", () => {
    const ablation = manyReport({ variants: 15, steps: 400, samples: 16 });
    const html = renderHtml(ablation);
    expect(html.length).toBeLessThan(3e6);
    expect(unpacked(html, "report")).toStrictEqual(ablation);
  }, 60_000);

  it("is drawn without seeds, stages, samples or curves, and says what is missing", () => {
    const bare = manyReport();
    delete bare.meta.seeds;
    for (const [i, variant] of bare.variants.entries()) {
      delete variant.seeds;
      if (i < 5) variant.stages = [];
      else for (const stage of variant.stages) stage.measured = [];
      variant.curves = { step: [], loss: [], trainAccuracy: [], evaluations: [] };
    }
    for (const row of bare.comparison) row.values = row.values.map(() => null);
    const html = renderHtml(bare);
    const parts = unpacked(html, "parts");
    const shown = html.replace(/<(script|style)[^>]*>.*?<\/\1>/gs, "");
    expect(isWellFormed(html)).toBe(true);
    expect(`${shown}${JSON.stringify(parts)}`).not.toMatch(/NaN|Infinity|undefined/);
    expect(shown).toContain("not measured: no reason given");
  });
});

describe.skipIf(executablePath === undefined)(
  "page of many networks in Chromium",
  { timeout: 120_000 },
  () => {
    let browser: ReportBrowser;

    beforeAll(async () => {
      browser = await ReportBrowser.launch(executablePath ?? "");
    }, 60_000);

    afterAll(() => browser?.close());

    for (const [width, scheme] of [
      [400, "light"],
      [1280, "dark"],
      [2560, "light"],
    ] as const) {
      it(`runs clean, fits and has no serious axe-core violation at ${width} px, ${scheme}`, async () => {
        const { page, problems } = await browser.open(report, width, scheme);
        await page.locator("#variant-2 > summary").click();
        await page.locator("#variant-2 .diagram").first().waitFor();
        const overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
        const violations = await seriousViolations(page);
        await page.context().close();
        expect(problems).toStrictEqual([]);
        expect(overflow).toBeLessThanOrEqual(0);
        expect(violations).toStrictEqual([]);
      });
    }

    const column = (page: Page, n: number) =>
      page
        .locator(`table.rows >> nth=0 >> tbody tr td:nth-child(${n})`)
        .evaluateAll((cells) => cells.map((cell) => Number(cell.getAttribute("data-value") ?? Number.NaN)));

    it("has the JSON's figures in its table, in its order, and sorted", async () => {
      const { page } = await browser.open(report);
      const parameters = report.variants.map(({ cost }) => cost.parameters ?? 0);
      expect(await column(page, 3)).toStrictEqual(parameters);
      expect((await column(page, 2))[4]).toBeNaN();
      await page.locator("table.rows thead th", { hasText: "Parameters" }).locator("button").click();
      expect(await column(page, 3)).toStrictEqual([...parameters].sort((a, b) => a - b));
      await page.context().close();
    });

    it("folds a network's tables, whose sums are the JSON's, and gives them as CSV", async () => {
      const { page } = await browser.open(report);
      await page.locator("#variant-3 > summary").click();
      const folded = page.locator("#variant-3 details", { hasText: "training of network 2, seed 1" }).first();
      await folded.locator("summary").click();
      const losses = await folded
        .locator("tbody tr td:nth-child(2)")
        .evaluateAll((cells) => cells.map((cell) => Number(cell.getAttribute("data-value"))));
      const sum = (values: readonly (number | null)[]) =>
        values.reduce<number>((total, one) => total + (one ?? 0), 0);
      expect(losses).toHaveLength(100);
      expect(sum(losses)).toBe(sum(report.variants[2]?.seeds?.[1]?.curves.loss ?? []));
      const [download] = await Promise.all([page.waitForEvent("download"), folded.locator(".tool").click()]);
      const lines = readFileSync(await download.path(), "utf8")
        .trim()
        .split("\r\n");
      expect(lines[0]).toBe("Step,Loss,Training accuracy (fraction)");
      expect(sum(lines.slice(1).map((line) => Number(line.split(",")[1])))).toBe(sum(losses));
      await page.context().close();
    });

    it("shows the figures of a weight's gradients under the diagram", async () => {
      const { page } = await browser.open(report);
      await page.locator("#variant-1 .layer").nth(2).click();
      const readout = page.locator("#variant-1 .readout").first();
      const stage = report.variants[0]?.stages[0];
      const sample = stage?.measured[0]?.samples.at(-1);
      expect(await readout.locator("tbody tr").count()).toBe(3);
      expect(await readout.locator("caption").textContent()).toContain("features.stage1.layer3.conv");
      const cells = await readout.locator("tbody tr").first().locator("td").allTextContents();
      const others = [0, 1, 3, 4].map((i) => sample?.cosine[2]?.[i] ?? Number.NaN);
      const mean = others.reduce((total, one) => total + one, 0) / others.length;
      expect(cells[0]).toBe("24");
      expect(Number(cells[2])).toBeCloseTo(sample?.norms[2] ?? Number.NaN, 3);
      expect(Number(cells[3]?.replace("−", "-"))).toBeCloseTo(mean, 3);
      await page.context().close();
    });

    it("hides networks in every chart, and reads the curves by keyboard", async () => {
      const { page, problems } = await browser.open(report);
      await page.getByRole("button", { name: /^baseline only/ }).click();
      expect(await page.locator('[data-svg="training-loss"] .series:visible').count()).toBe(3);
      const rows = page.locator(".explorer-values tbody tr");
      expect(await rows.count()).toBe(1);
      await page.locator(".explorer-chart").focus();
      await page.keyboard.press("Home");
      const losses = report.variants[0]?.seeds?.map(({ curves }) => curves.loss[0] ?? Number.NaN) ?? [];
      const cells = await rows.first().locator("td").allTextContents();
      expect(cells.map(Number)).toStrictEqual(
        [losses.reduce((a, b) => a + b) / 3, Math.min(...losses), Math.max(...losses)].map((v) =>
          Number(v.toFixed(3)),
        ),
      );
      await page.context().close();
      expect(problems).toStrictEqual([]);
    });

    it("opens the network that an address names, and prints without controls", async () => {
      const { page } = await browser.open(report);
      await page.locator("table.rows a", { hasText: "network 5" }).first().click();
      const diagrams = page.locator("#variant-6 .diagram");
      // The page hears of the new address after the click.
      await diagrams.nth(1).waitFor();
      expect(await diagrams.count()).toBe(2);
      await page.emulateMedia({ media: "print" });
      expect(await page.locator(".tool:visible, #explorer:visible, .readout:visible").count()).toBe(0);
      expect(await page.locator(".variant:visible").count()).toBe(2);
      // A4 without its margins, in CSS pixels.
      await page.setViewportSize({ width: 690, height: 900 });
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(690);
      await page.context().close();
    });
  },
);
