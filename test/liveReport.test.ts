/** The report while training goes on: who is answered, when reports are built, and that training does not notice. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ImageDataset } from "../src/data/index.ts";
import { unpacked } from "../src/gradflow/report/html/parts.ts";
import { type GradientReuseReport, parseReport, serializeReport } from "../src/gradflow/report/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { type CompareOptions, compareGradientFlow, LiveReport } from "../src/train/index.ts";
import { isLoopbackHost } from "../src/train/live/loopbackHost.ts";
import { findChromium, ReportBrowser } from "./support/reportBrowser.ts";
import { sampleReport } from "./support/sampleReport.ts";

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** A request with any Host header, as a page of another site can make it. */
function ask(
  address: string,
  path: string,
  options: { host?: string; method?: string } = {},
): Promise<Answer> {
  return new Promise((done, fail) => {
    const { host, method = "GET" } = options;
    const sent = request(
      address,
      { path, method, headers: host === undefined ? {} : { host } },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk) => {
          text += chunk;
        });
        response.once("end", () =>
          done({ status: response.statusCode ?? 0, type: response.headers["content-type"] ?? "", text }),
        );
      },
    );
    sent.once("error", fail);
    sent.end();
  });
}

/** A report of a training at `step`. */
function at(step: number, finished = false): GradientReuseReport {
  const report = sampleReport({ layers: 2, stages: 1, steps: 4, samples: 2 });
  report.meta.finished = finished;
  if (!finished) report.meta.stopReason = `${step} of 100 steps`;
  return report;
}

/** Offers reports as a training does, one every few milliseconds, until `until` is done. */
async function training<Result>(
  live: LiveReport,
  until: Promise<Result>,
): Promise<{ result: Result; built: number }> {
  let built = 0;
  let step = 0;
  let done = false;
  const finished = until.finally(() => {
    done = true;
  });
  while (!done) {
    step += 1;
    live.offer(() => {
      built += 1;
      return at(step);
    });
    await new Promise((next) => setTimeout(next, 2));
  }
  return { result: await finished, built };
}

describe("isLoopbackHost", () => {
  it("knows the names of this machine, with any port, and no other name", () => {
    const ports = fc.oneof(
      fc.constant(""),
      fc.integer({ min: 0, max: 65_535 }).map((port) => `:${port}`),
    );
    fc.assert(
      fc.property(fc.constantFrom("127.0.0.1", "localhost", "LOCALHOST", "[::1]"), ports, (name, port) =>
        isLoopbackHost(name + port),
      ),
    );
    fc.assert(fc.property(fc.domain(), ports, (name, port) => !isLoopbackHost(name + port)));
    for (const name of [
      "127.0.0.1.nip.io",
      "localhost.example.com",
      "0.0.0.0",
      "127.0.0.1@a.b",
      "",
      "localhost:x",
    ])
      expect(isLoopbackHost(name), name).toBe(false);
    expect(isLoopbackHost(undefined)).toBe(false);
  });
});

describe("LiveReport", () => {
  it("serves page and data to this machine, and nothing under another name, method or path", async () => {
    const live = await LiveReport.start();
    expect(live.address).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    const { result: page, built } = await training(live, ask(live.address, "/"));
    expect(built).toBe(1);
    expect(page).toMatchObject({ status: 200, type: "text/html; charset=utf-8" });
    expect(page.text).toContain("Still training");
    expect(page.text).toContain("connect-src &#39;self&#39;");
    const data = await ask(live.address, "/report.json");
    expect(JSON.parse(data.text)).toStrictEqual(unpacked(page.text, "report"));
    for (const [path, options, status] of [
      ["/", { host: "evil.example" }, 403],
      ["/report.json", { host: "evil.example:80" }, 403],
      ["/events", { host: "evil.example" }, 403],
      ["/", { method: "POST" }, 405],
      ["/../package.json", {}, 404],
      ["//", {}, 404],
    ] as const)
      expect((await ask(live.address, path, options)).status, path).toBe(status);
    await live.end(null);
    await expect(ask(live.address, "/")).rejects.toThrow();
  });

  it("builds nothing while nobody looks, and nothing after a reader has gone", async () => {
    const live = await LiveReport.start();
    const pause = () => new Promise((done) => setTimeout(done, 60));
    expect((await training(live, pause())).built).toBe(0);
    await training(live, ask(live.address, "/"));
    expect((await training(live, pause())).built).toBe(0);
    await live.end(null);
  });

  it("has readers ask again before there is anything to show", async () => {
    const live = await LiveReport.start();
    const asked = ask(live.address, "/");
    let answer: Answer | undefined;
    asked.then((given) => {
      answer = given;
    });
    while (answer === undefined) {
      live.offer(() => null);
      await new Promise((next) => setTimeout(next, 2));
    }
    expect(answer.text).toMatch(/refresh.*first finished run/s);
    await live.end(null);
  });

  it("says of a port that is taken which option to change", async () => {
    const other = createServer();
    await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
    const address = other.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    await expect(LiveReport.start({ port })).rejects.toThrow(
      `--live ${port}: 127.0.0.1:${port} cannot be listened on`,
    );
    await new Promise((done) => other.close(done));
  });
});

describe("a comparison while it runs", () => {
  const size = {
    blocks: [2],
    growthRate: 4,
    stem: "small",
    stemChannels: 8,
    inChannels: 1,
    classes: 2,
  } as const;
  const architecture = { blocks: [2], growthRate: 4 };
  const set = (count: number): ImageDataset => ({
    ...{ name: "stripes", count, channels: 1, height: 12, width: 12, classes: ["a", "b"] },
    images: Uint8Array.from({ length: count * 144 }, (_, i) => (i * 37) % 251),
    labels: Uint8Array.from({ length: count }, (_, i) => i % 2),
  });
  const options: CompareOptions = {
    variants: [
      { name: "dense", description: "", architecture, build: () => densenet(size) },
      { name: "partial", description: "", architecture, build: () => cspDenseNet(size) },
    ],
    ...{ data: { train: set(12), test: set(4) }, seeds: [1, 2], steps: 3, batchSize: 4, everySteps: 1 },
  };

  it("shows the finished runs at every step, and ends with the numbers of one that nobody watched", async () => {
    const shown: (GradientReuseReport | null)[] = [];
    const watched = await compareGradientFlow({
      ...options,
      live: { offer: (build) => shown.push(build()) },
    });
    const alone = await compareGradientFlow(options);
    const reports = shown.filter((report) => report !== null);
    for (const report of reports) parseReport(serializeReport(report));
    expect(shown[0]).toBeNull();
    expect(reports[0]?.variants.map(({ name }) => name)).toStrictEqual(["dense"]);
    expect(new Set(reports.map(({ meta }) => meta.stopReason))).toStrictEqual(
      new Set([1, 2, 3].map((runs) => `${runs} of 4 runs, shown with one seed`)),
    );
    const learnt = (report: GradientReuseReport | null) =>
      report?.variants.map(({ accuracy, curves, stages, seeds }) => ({
        ...{ accuracy, curves, stages },
        seeds: seeds?.map(({ stepMilliseconds, ...numbers }) => numbers),
      }));
    expect(learnt(watched)).toStrictEqual(learnt(alone));
    expect(watched?.variants[1]?.seeds).toHaveLength(2);
  });
});

describe("examples/gradient-reuse.ts --live", { timeout: 120_000 }, () => {
  const root = resolve(import.meta.dirname, "..");
  const script = join(root, "examples/gradient-reuse.ts");
  const small = ["--train-images", "96", "--test-images", "50", "--sample-every", "3", "--quiet", "--json"];

  /** Runs the example; `onLive` is called with the address that it prints. */
  function run(out: string, args: readonly string[], onLive?: (address: string) => void): Promise<string> {
    const all = ["--import", "tsx", script, ...small, "--out", out, ...args];
    const child = spawn(process.execPath, all, { cwd: root });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
      const address = /Live report: (\S+)\n/.exec(stderr)?.[1];
      if (address === undefined || onLive === undefined) return;
      onLive(address);
      onLive = undefined;
    });
    return new Promise((done, fail) =>
      child.once("close", (code) =>
        code === 0 ? done(stdout) : fail(new Error(`exit code ${code}: ${stderr}`)),
      ),
    );
  }

  it("shows a training that is not finished, and learns the same as without a reader", async () => {
    const folder = mkdtempSync(join(tmpdir(), "gradweave-live-"));
    let page: Promise<Answer> | undefined;
    const [watched, alone] = await Promise.all([
      run(folder, ["--live"], (address) => {
        page = ask(address, "/");
      }),
      run(folder, []),
    ]);
    rmSync(folder, { recursive: true, force: true });
    const seen = (await page)?.text ?? "";
    expect(seen).toMatch(/Still training: <\/strong>\d of 6 steps/);
    const learnt = (text: string) =>
      parseReport(text).variants.map(({ curves, accuracy, cost, stages }) => ({
        ...{ curves, accuracy, peak: cost.peakBytes, parameters: cost.parameters },
        measured: stages.map((stage) => stage.measured),
      }));
    expect(learnt(watched)).toStrictEqual(learnt(alone));
  });
});

const executablePath = findChromium();
if (executablePath === undefined)
  console.warn("live page test skipped: no Chromium found; set CHROMIUM_PATH or put `chromium` on the PATH");

describe.skipIf(executablePath === undefined)("the live page in Chromium", { timeout: 120_000 }, () => {
  let browser: ReportBrowser;
  beforeAll(async () => {
    browser = await ReportBrowser.launch(executablePath ?? "");
  }, 60_000);
  afterAll(() => browser?.close());

  it("follows the training, keeps what was opened, can be paused, and ends with the last report", async () => {
    const live = await LiveReport.start({ everyMilliseconds: 100 });
    const page = await browser.browser.newPage();
    const problems: string[] = [];
    page.on("console", (message) => problems.push(message.text()));
    page.on("pageerror", ({ message }) => problems.push(message));
    page.on("request", (sent) => sent.url().startsWith(live.address) || problems.push(sent.url()));
    const notice = page.locator(".notice");
    const look = async () => {
      await page.goto(live.address);
      await page.locator("html[data-ready]").waitFor({ state: "attached" });
      await page.locator("summary", { hasText: "training of DenseNet" }).click();
      await page.locator(".diagram .layer").first().click();
      const first = await notice.textContent();
      await expect.poll(() => notice.textContent(), { timeout: 30_000 }).not.toBe(first);
      await expect.poll(() => page.locator("details[open] tbody tr").count(), { timeout: 10_000 }).toBe(4);
      expect(await page.locator('[aria-pressed="true"]').count()).toBe(1);
      await page.getByRole("button", { name: /^Pause/ }).click();
      const held = await notice.textContent();
      await new Promise((done) => setTimeout(done, 700));
      expect(await notice.textContent()).toBe(held);
    };
    await training(live, look());
    await live.end(at(100, true));
    await page.locator(".live-bar", { hasText: "The training has ended" }).waitFor();
    expect(await notice.count()).toBe(0);
    expect(await page.locator("details[open] tbody tr").count()).toBe(4);
    await page.close();
    expect(problems).toStrictEqual([]);
  });
});
