/**
 * The paper's networks cost what their configurations cost. The expected figures come from an independent counter of
 * Darknet configurations and from the totals that Darknet of November 2019 prints, not from this library.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { compareWithPaper, renderMarkdown, renderPaperTables } from "../src/cost/index.ts";
import { type Cost, cost, inputOutput, totalFlops, trace, withoutValues } from "../src/graph/index.ts";
import { createModel, type Network } from "../src/models/index.ts";

const root = path.resolve(import.meta.dirname, "..");

function count(build: () => Network): Cost {
  const network = withoutValues(build);
  return cost(trace(network, [1, ...network.defaultInput]));
}

const pelee = (fusion: "first" | "last" | "both", partialRatio: number) => () =>
  createModel("csp-peleenet", { fusion, partialRatio });

/** Convolution weights and numbers of the .weights file in millions, BFLOPs, at the network's own input. */
const counted: readonly [string, () => Network, number, number, number][] = [
  ["PeleeNet", () => createModel("peleenet"), 2.7915, 2.812, 1.0166],
  ["SPeleeNet", () => createModel("speleenet"), 2.3911, 2.4116, 0.9042],
  ["PeleeNeXt", () => createModel("peleenext"), 2.507, 2.5274, 0.8367],
  ["CSP (fusion first), 0.25", pelee("first", 0.25), 2.6116, 2.6318, 0.8614],
  ["CSP (fusion first), 0.5", pelee("first", 0.5), 2.4395, 2.4598, 0.7553],
  ["CSP (fusion first), 0.75", pelee("first", 0.75), 2.2675, 2.2878, 0.6491],
  ["CSP (fusion last), 0.25", pelee("last", 0.25), 2.8071, 2.8309, 0.9024],
  ["CSP (fusion last), 0.5", pelee("last", 0.5), 2.4866, 2.5094, 0.8045],
  ["CSP (fusion last), 0.75", pelee("last", 0.75), 2.2091, 2.231, 0.7162],
  ["CSPPeleeNet, 0.25", pelee("both", 0.25), 3.1522, 3.1797, 0.9859],
  ["CSPPeleeNet, 0.5", pelee("both", 0.5), 2.8317, 2.8582, 0.888],
  ["CSPPeleeNet, 0.75", pelee("both", 0.75), 2.5542, 2.5798, 0.7997],
  ["EfficientNet-B0", () => createModel("efficientnet-b0-darknet"), 4.8084, 4.89, 0.9149],
  ["Darknet Reference", () => createModel("darknet-reference"), 7.3144, 7.3235, 0.9667],
  ["CSPDenseNet Reference", () => createModel("csp-densenet-reference"), 3.4772, 3.4992, 0.8892],
  ["CSPDenseNetb Reference", () => createModel("csp-densenetb-reference"), 1.38, 1.3918, 0.6345],
  ["CSPPeleeNet Reference", () => createModel("csp-peleenet-reference"), 4.0989, 4.1269, 1.1051],
  ["CSPPeleeNetb Reference", () => createModel("csp-peleenetb-reference"), 2.0017, 2.0195, 0.8996],
  ["ResNet-10", () => createModel("resnet-10"), 5.24, 5.2489, 2.2733],
  ["CSPResNet-10", () => createModel("csp-resnet-10"), 2.7885, 2.8041, 1.9037],
  ["ResNeXt-50", () => createModel("resnext-50-darknet"), 22.1908, 22.3129, 10.1113],
  ["CSPResNeXt-50", () => createModel("csp-resnext-50"), 20.4991, 20.6148, 7.9303],
  ["ResNet-50", () => createModel("resnet-50-darknet"), 22.734, 22.8259, 9.7422],
  ["CSPResNet-50", () => createModel("csp-resnet-50"), 21.5667, 21.648, 8.9684],
  ["Darknet-53", () => createModel("darknet-53"), 41.5732, 41.6456, 18.5702],
  ["CSPDarknet-53", () => createModel("csp-darknet-53"), 27.6059, 27.6775, 13.0673],
];

describe("the paper's networks", () => {
  it.each(counted)("%s has its weights, stored numbers and BFLOPs", (_, build, weights, stored, bflops) => {
    const { layers, ...totals } = count(build);
    // Within half a unit of the last printed digit, which is far below the 0.1 % that is asked for.
    expect(totals.weights / 1e6).toBeCloseTo(weights, 4);
    expect(totals.storedNumbers / 1e6).toBeCloseTo(stored, 4);
    expect(totalFlops(layers, "darknet") / 1e9).toBeCloseTo(bflops, 4);
  });

  // From running the reference implementation and its counter (twice its multiply-adds).
  it.each([
    ["densenet-201-elastic", 19.4828, 19.2607, 8.7729],
    ["csp-densenet-201-elastic", 20.1838, 19.9892, 7.1378],
  ] as const)("%s counts by the rule of allenai/elastic", (name, parameters, weights, bflops) => {
    const { layers, ...totals } = count(() => createModel(name));
    expect(totals.parameters / 1e6).toBeCloseTo(parameters, 4);
    expect(totals.weights / 1e6).toBeCloseTo(weights, 4);
    // Its counter sees modules only and so misses the last ReLU, which is a function there: 0.002 %.
    expect(totalFlops(layers, "elastic") / 1e9).toBeCloseTo(bflops, 3);
  });

  it.each([
    ["ResNeXt-50", () => createModel("resnext-50-darknet"), 34.411, 32.968, "34.4"],
    ["CSPResNeXt-50", () => createModel("csp-resnext-50"), 32.642, 31.198, "32.6"],
  ] as const)("%s has the memory traffic of figure 8", (_, build, withPools, convolutions, printed) => {
    const { layers, convInputOutput } = count(build);
    const traffic = inputOutput(layers, { pools: true }) / 1e6;
    expect(traffic.toFixed(1)).toBe(printed);
    expect(traffic).toBeCloseTo(withPools, 3);
    expect(convInputOutput / 1e6).toBeCloseTo(convolutions, 3);
  });
});

describe("tables 1 and 3", () => {
  const tables = compareWithPaper();
  const [first, third] = tables;
  const rows = tables.flatMap((table) => table.rows);

  it("have every row of the paper, in its order", () => {
    expect(first.rows.map(({ model, partialRatio }) => [model, partialRatio])).toEqual([
      ...[
        ["PeleeNet", null],
        ["SPeleeNet", null],
        ["PeleeNeXt", null],
      ],
      ...["CSP (fusion first)", "CSP (fusion last)", "CSPPeleeNet"].flatMap((model) =>
        [0.75, 0.5, 0.25].map((partialRatio) => [model, partialRatio]),
      ),
    ]);
    expect(third.rows).toHaveLength(24);
  });

  it("have the printed figures of what is published or inferred from it, or say why not", () => {
    for (const { model, status, parameters, bflops, reason } of rows) {
      const same = [parameters, bflops].every((figure) => figure.same !== false);
      if (!same) expect(reason, model).toMatch(/\w{4}/);
      if (status === "exact" || status === "hits") expect(same, model).toBe(true);
    }
    // Table 1, all of it, to the digit.
    expect(first.rows.map(({ bflops }) => bflops.same)).toEqual(Array(12).fill(true));
  });

  it("miss no inferred figure by more than 0.6 %, but CSPResNet-10's parameters", () => {
    const missed = rows
      .filter(({ status }) => status !== "quoted" && status !== "public")
      .flatMap(({ model, parameters, bflops }) =>
        [parameters, bflops].map(({ difference }) => [model, Math.abs(difference ?? 0)] as const),
      )
      .filter(([, difference]) => difference > 0.006);
    expect(missed).toEqual([["CSPResNet-10", expect.closeTo(0.0214, 3)]]);
  });

  it("say what differs: figure, difference and reason", () => {
    const row = third.rows.find(({ model }) => model === "Darknet Reference");
    expect(row).toMatchObject({
      ...{ input: 256, rule: "darknet", counted: "weights", status: "public" },
      parameters: { paper: "7.31", same: true },
      bflops: {
        paper: "0.96",
        ours: expect.closeTo(0.9667, 4),
        difference: expect.closeTo(0.00695, 4),
        same: false,
      },
      reason: expect.stringContaining("0.967"),
    });
    expect(third.rows[0].reason).toBeNull();
  });

  it("print on terminals of any width", () => {
    for (const columns of [60, 80, 100, 140]) {
      const text = renderPaperTables(tables, columns);
      expect(Math.max(...text.split("\n").map((line) => [...line].length))).toBeLessThanOrEqual(columns);
      expect(text).toContain("CSPDenseNet-201-Elastic");
    }
  });

  it("stand in docs/paper-tables.md as the program prints them", () => {
    expect(readFileSync(path.join(root, "docs/paper-tables.md"), "utf8")).toBe(renderMarkdown(tables));
  });
});

describe("examples/paper-tables.ts", () => {
  const tsx = path.join(root, "node_modules/tsx/dist/cli.mjs");
  const run = (...options: string[]) =>
    promisify(execFile)(process.execPath, [tsx, "examples/paper-tables.ts", ...options], { cwd: root });

  it("prints JSON in well under 30 seconds, and writes files", async () => {
    const folder = mkdtempSync(path.join(tmpdir(), "gradweave-tables-"));
    try {
      const start = performance.now();
      const file = path.join(folder, "new", "tables.json");
      const { stdout } = await run("--format", "json", "--table", "3", "--out", file);
      expect(performance.now() - start).toBeLessThan(30_000);
      expect(stdout).toBe("");
      const { tables } = JSON.parse(readFileSync(file, "utf8"));
      expect(tables).toEqual([JSON.parse(JSON.stringify(compareWithPaper()[1]))]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses options that it has not, with exit code 2", async () => {
    await expect(run("--table", "2")).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining("--table"),
    });
  });
});
