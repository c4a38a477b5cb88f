/**
 * The example page in a headless browser: it trains on WebGPU (the browser's own software adapter) and on the CPU
 * backend, shows figures, and says nothing on the console.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { build, type PreviewServer, preview } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(
  (path) => existsSync(path),
);
if (!executablePath) console.warn("The browser page's tests are skipped: no Chromium in /usr/bin");

describe.skipIf(!executablePath)("the example page", () => {
  const folder = mkdtempSync(join(tmpdir(), "gradweave-page-"));
  let server: PreviewServer;
  let browser: Browser;

  beforeAll(async () => {
    const config = {
      configFile: fileURLToPath(new URL("../examples/browser/vite.config.ts", import.meta.url)),
      logLevel: "error",
      build: { outDir: folder, emptyOutDir: true },
      preview: { port: 0 },
    } as const;
    await build(config);
    server = await preview(config);
    browser = await chromium.launch({
      executablePath: executablePath ?? "",
      args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--disable-quic"],
    });
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each([
    ["webgpu", /on WebGPU: .*swiftshader/],
    ["cpu", /on the processor$/],
  ])(
    "trains on %s",
    async (backend, device) => {
      const page = await browser.newPage();
      const complaints: string[] = [];
      const requests: string[] = [];
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
      });
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("request", (request) => requests.push(new URL(request.url()).hostname));
      await page.goto(server.resolvedUrls?.local[0] ?? "");
      await page.selectOption("select[name=backend]", backend);
      await page.fill("input[name=steps]", "1");
      await page.fill("input[name=batchSize]", "2");
      await page.click("button[type=submit]");
      const status = page.locator("#status");
      await status.filter({ hasText: /^(Done|Failed)/ }).waitFor({ timeout: 150_000 });
      expect(await status.textContent()).toMatch(/^Done: 1 steps in /);
      expect(await status.textContent()).toMatch(device);
      expect(await page.getAttribute("#loss", "aria-label")).toMatch(
        /now DenseNet \d\.\d{3}, CSPDenseNet \d\.\d{3}$/,
      );
      const cells = await page.locator("#similarity-CSPDenseNet td").allTextContents();
      expect(cells).toHaveLength(16);
      expect(cells[0]).toBe("1.00");
      expect(complaints).toEqual([]);
      expect(new Set(requests)).toEqual(new Set(["127.0.0.1"]));
      await page.close();
    },
    180_000,
  );

  it("stops when asked to", async () => {
    const page = await browser.newPage();
    await page.goto(server.resolvedUrls?.local[0] ?? "");
    await page.selectOption("select[name=backend]", "cpu");
    await page.fill("input[name=steps]", "2000");
    await page.click("button[type=submit]");
    await page.locator("#status").filter({ hasText: /^Step/ }).waitFor();
    await page.click("#stop");
    expect(await page.textContent("#status")).toBe("Stopped.");
    expect(await page.isEnabled("button[type=submit]")).toBe(true);
    await page.close();
  });
});
