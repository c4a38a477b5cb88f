/**
 * `npx tsx scripts/reportScreenshots.ts reports/ablation.html docs`: a report at three widths in both themes, as small
 * PNG files: its head in the light theme, a stage with a weight picked in the dark one. Prints how long the page took to
 * open. Needs Chromium (/usr/bin/chromium, or where CHROMIUM_PATH says) and sharp.
 */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium, type Page } from "playwright-core";
import sharp from "sharp";

const sizes = [
  { width: 400, height: 1100 },
  { width: 1280, height: 1400 },
  { width: 2560, height: 1800 },
];

/** Scrolls to the first stage diagram and picks its third layer. */
async function pickWeight(page: Page): Promise<void> {
  await page.locator(".diagram .layer").nth(2).click();
  await page.evaluate(
    `document.querySelector(".diagram").closest("figure").scrollIntoView({ block: "start", behavior: "instant" })`,
  );
  await page.evaluate("scrollBy({ top: -80, behavior: 'instant' })");
}

const [report, folder] = process.argv.slice(2);
if (report === undefined || folder === undefined)
  throw new Error("reportScreenshots: give a report page and a folder, such as reports/ablation.html docs");
mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_PATH || "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
try {
  for (const viewport of sizes)
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await browser.newPage({ viewport, colorScheme });
      const start = performance.now();
      await page.goto(pathToFileURL(report).href);
      await page.locator("html[data-ready]").waitFor({ state: "attached" });
      const opened = performance.now() - start;
      if (colorScheme === "dark") await pickWeight(page);
      const file = path.join(folder, `report-${viewport.width}-${colorScheme}.png`);
      const image = await sharp(await page.screenshot())
        .png({ palette: true, colours: 48, effort: 10, compressionLevel: 9 })
        .toFile(file);
      console.log(`${file}: ${Math.round(image.size / 1024)} KiB, opened in ${Math.round(opened)} ms`);
      await page.close();
    }
} finally {
  await browser.close();
}
