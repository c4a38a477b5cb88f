/** A cost run as its users meet it: cfg files counted, figures as one page, a table, and a program with exit codes. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { axisTicks } from "../src/cost/barChart.ts";
import {
  type CountedNetwork,
  costReport,
  countCfg,
  countNetwork,
  renderCostPage,
  renderCostTable,
} from "../src/cost/index.ts";
import { createModel } from "../src/models/index.ts";
import { displayWidth } from "../src/text/table.ts";
import { isWellFormed } from "./support/markup.ts";

const cfg = `[net]
width=8
height=6
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=1
pad=1
activation=leaky
[maxpool]
size=2
stride=2
[convolutional]
filters=2
size=1
stride=1
activation=linear
[avgpool]
[softmax]
`;

const network = (name: string, flops: readonly number[]): CountedNetwork => ({
  ...{ name, inputShape: [3, 8, 8], rule: "darknet", weights: 1e6, parameters: 1e6 },
  flops: flops.reduce((sum, cost) => sum + cost, 0),
  ...{ convInputOutput: 2e6, inputOutput: 3e6 },
  layers: flops.map((cost, i) => ({
    ...{ name: `conv${i}`, kind: "convolution", outputShape: [1, 2, 3], flops: cost, inputOutput: 1000 },
  })),
});

describe("countCfg", () => {
  it("counts by hand's figures, at the size of [net] or another", () => {
    const counted = countCfg("small", cfg);
    expect(counted).toMatchObject({
      name: "small",
      inputShape: [3, 6, 8],
      rule: "darknet",
      weights: 4 * 27 + 8,
    });
    const layers = [
      {
        name: "0 convolutional",
        kind: "convolution",
        outputShape: [4, 6, 8],
        flops: 2 * 108 * 48,
        inputOutput: 7 * 48,
      },
      { name: "1 maxpool", kind: "maxPool", outputShape: [4, 3, 4], flops: 4 * 4 * 12, inputOutput: 4 * 60 },
      {
        name: "2 convolutional",
        kind: "convolution",
        outputShape: [2, 3, 4],
        flops: 2 * 8 * 12,
        inputOutput: 6 * 12,
      },
      { name: "3 avgpool", kind: "globalPool", outputShape: [2, 1, 1], flops: 0, inputOutput: 2 * 12 + 2 },
    ];
    expect(counted.layers.map((layer) => ({ ...layer, flops: Math.round(layer.flops) }))).toEqual(layers);
    expect(counted.inputOutput).toBe(layers.reduce((sum, layer) => sum + layer.inputOutput, 0));
    expect(countCfg("large", cfg, { size: 16 })).toMatchObject({
      inputShape: [3, 16, 16],
      weights: counted.weights,
    });
    expect(() => countCfg("none", "[net]\nwidth=8")).toThrow(/layers/);
  });
});

describe("costReport", () => {
  it("profiles every network and compares all with the first", () => {
    const report = costReport([network("a", [4, 4, 40]), network("b", [6, 6, 12])]);
    expect(report.networks[0].flopsProfile).toMatchObject({
      layers: 3,
      largest: { name: "conv2", cost: 40 },
    });
    expect(report.comparisons).toEqual([
      { from: "a", to: "b", totalChange: 24 / 48 - 1, largestChange: 12 / 40 - 1, trafficChange: 0 },
    ]);
    expect(() => costReport([])).toThrow("at least one");
  });
});

describe("renderCostPage", () => {
  const pair = [
    countCfg("cfg", cfg),
    countNetwork("csp-peleenet", () => createModel("csp-peleenet"), { size: 64 }),
  ];
  const page = renderCostPage(costReport(pair));

  it("is one well-formed page that asks for nothing", () => {
    expect(isWellFormed(page)).toBe(true);
    expect(page).not.toMatch(/https?:|<script|url\(|@import/);
    expect(page).toContain("prefers-color-scheme:dark");
  });

  it("draws a bar for every layer that costs something, in both figures, and lists all layers", () => {
    const bars = pair.flatMap(({ layers }) => [
      layers.filter(({ flops }) => flops > 0).length,
      layers.filter(({ inputOutput }) => inputOutput > 0).length,
    ]);
    expect(page.match(/<rect class="bar/g)).toHaveLength(bars.reduce((sum, count) => sum + count, 0));
    expect(page.match(/role="img" aria-labelledby="(\S+) \S+"/g)).toHaveLength(4);
    expect(page.match(/<details>/g)).toHaveLength(2);
    expect(page.match(/<tr>/g)).toHaveLength(1 + 2 + 2 + pair[0].layers.length + pair[1].layers.length);
  });

  it("scales all bars of a figure alike: the largest fills the height", () => {
    const heights = (name: string, flops: readonly number[]) => {
      const html = renderCostPage(costReport([network("first", [100]), network(name, flops)]));
      const figure = html.slice(html.indexOf(`<h3>${name}`));
      return [...figure.slice(0, figure.indexOf("</svg>")).matchAll(/<rect[^>]*height="([\d.]+)"/g)].map(
        ([, h]) => Number(h),
      );
    };
    const [full, half] = heights("second", [100, 50]);
    expect(half).toBeCloseTo(full / 2, 1);
    expect(heights("third", [25])[0]).toBeCloseTo(full / 4, 1);
  });

  it("writes names as text, whatever they hold", () => {
    const page = renderCostPage(costReport([network('<img src=x onerror="1">&', [1])]));
    expect(isWellFormed(page)).toBe(true);
    expect(page).not.toContain("<img");
  });

  it("has round ticks from 0 to the largest value", () => {
    fc.assert(
      fc.property(fc.double({ min: 1e-6, max: 1e12, noNaN: true }), (largest) => {
        const ticks = axisTicks(largest);
        expect(ticks[0]).toBe(0);
        expect(ticks.length).toBeGreaterThanOrEqual(3);
        expect(ticks.length).toBeLessThanOrEqual(6);
        expect(ticks.at(-1)).toBeLessThanOrEqual(largest * (1 + 1e-9));
      }),
    );
    expect(axisTicks(1)).toEqual([0, 0.25, 0.5, 0.75, 1]);
    expect(axisTicks(0)).toEqual([0]);
  });
});

describe("renderCostTable", () => {
  it("fits terminals of any width", () => {
    const report = costReport([
      network("a network with a long name", [4e9, 4e9, 400e9, 1e9, 1e9, 1e9, 1e9]),
      network("b", [6e9]),
    ]);
    for (const width of [40, 60, 80, 120]) {
      const text = renderCostTable(report, width);
      for (const line of text.split("\n")) expect(displayWidth(line), line).toBeLessThanOrEqual(width);
      expect(text).toContain("- conv2: 400.000 BFLOPs");
    }
    expect(renderCostTable(report, 120)).toContain(
      "b against a network with a long name: its largest layer costs 98.5\u00a0% less",
    );
  });
});

describe("examples/cost.ts", () => {
  const root = path.resolve(import.meta.dirname, "..");
  const folder = mkdtempSync(path.join(tmpdir(), "gradweave-cost-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const tsx = path.join(root, "node_modules/tsx/dist/cli.mjs");
  const run = (...options: string[]) =>
    promisify(execFile)(process.execPath, [tsx, "examples/cost.ts", "--out", folder, ...options], {
      cwd: root,
    });

  it("counts models and cfg files together, and writes page and data", async () => {
    const file = path.join(folder, "small.cfg");
    writeFileSync(file, cfg);
    const { stdout, stderr } = await run(
      "--model",
      `resnext-50-darknet,csp-resnext-50,${file}`,
      "--json",
      "--modules",
      "1",
    );
    const report = JSON.parse(stdout);
    expect(readFileSync(path.join(folder, "cost.json"), "utf8")).toBe(stdout);
    expect(report.networks.map(({ name }: CountedNetwork) => name)).toEqual([
      ...["resnext-50-darknet", "csp-resnext-50", "small"],
    ]);
    // figure 8
    const traffic = report.networks.map(({ inputOutput }: CountedNetwork) => (inputOutput / 1e6).toFixed(1));
    expect(traffic.slice(0, 2)).toEqual(["34.4", "32.6"]);
    expect(stderr).toContain("csp-resnext-50 against resnext-50-darknet");
    expect(stderr).toMatch(/Network on \[1, 3, 256, 256\]\n.*\n.*\nfeatures +Sequential +\[1, 2048, 8, 8\]/);
    expect(isWellFormed(readFileSync(path.join(folder, "cost.html"), "utf8"))).toBe(true);
  });

  it("names what it cannot use: a model, a file", async () => {
    const broken = path.join(folder, "broken.cfg");
    writeFileSync(broken, "[net]\nwidth=8\nheight=8\nchannels=3\n[warp]\n");
    const results = await Promise.all(
      [
        ["--model", "peleenett"],
        ["--model", broken],
      ].map((options) => run(...options).catch((error: { code: number; stderr: string }) => error)),
    );
    expect(results.map((result) => ("code" in result ? result.code : 0))).toEqual([2, 3]);
    const texts = results.map(({ stderr }) => stderr);
    expect(texts[0]).toContain('no model "peleenett"; the nearest are peleenet');
    expect(texts[1]).toMatch(/broken\.cfg: .*line 5.*warp/s);
  });
});
