/** The comparison of several networks and seeds: same numbers however it was interrupted, and no figure without a run. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ImageDataset } from "../src/data/index.ts";
import {
  duplicatedPaths,
  type GradientReuseReport,
  parseReport,
  renderMarkdown,
  renderVariantTable,
  serializeReport,
  summarize,
  truncate,
} from "../src/gradflow/index.ts";
import { cspDenseNet, densenet } from "../src/models/index.ts";
import { Generator } from "../src/tensor/generator.ts";
import { type ComparedVariant, type CompareOptions, compareGradientFlow } from "../src/train/index.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-compare-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const newFolder = (): string => mkdtempSync(join(folder, "runs-"));

/** Noise with labels: what is learned does not matter. */
function noise(name: string, count: number, seed: number): ImageDataset {
  const pixels = new Int32Array(count * 144);
  new Generator(seed).integers(pixels, 0, 256);
  const labels = Uint8Array.from({ length: count }, (_, i) => i % 3);
  return {
    ...{ name, count, labels, images: Uint8Array.from(pixels) },
    ...{ channels: 1, height: 12, width: 12, classes: ["a", "b", "c"] },
  };
}

const size = {
  blocks: [3],
  growthRate: 4,
  stem: "small",
  stemChannels: 8,
  inChannels: 1,
  classes: 3,
} as const;
const architecture = { blocks: [3], growthRate: 4 };
const dense: ComparedVariant = {
  ...{ name: "dense", description: "a dense stage", architecture },
  build: () => densenet(size),
};
const partial: ComparedVariant = {
  name: "partial",
  description: "its partial form",
  architecture: { ...architecture, partialRatio: 0.5, fusion: "both" },
  build: () => cspDenseNet(size),
};
const cut: ComparedVariant = {
  ...dense,
  name: "dense, cut",
  counterfactual: { of: "dense", edit: "truncate(duplicates)", edits: [truncate(duplicatedPaths())] },
};

const options: CompareOptions = {
  variants: [dense, partial, cut],
  data: { train: noise("noise train", 24, 1), test: noise("noise test", 10, 2) },
  seeds: [3, 5],
  steps: 7,
  batchSize: 4,
  everySteps: 2,
};

/** Everything but what a clock says, or the command line. */
function withoutTimes(report: GradientReuseReport | null): unknown {
  const timed = new Set(["createdAt", "command", "stepMilliseconds", "imagesPerSecond", "overheadFraction"]);
  const kept = JSON.parse(JSON.stringify(report), (key, value) => (timed.has(key) ? null : value));
  return {
    ...kept,
    comparison: report?.comparison.filter(({ unit }) => unit !== "ms" && unit !== "images/s"),
    // Gaps name rows by their number.
    gaps: report?.gaps.filter(({ path }) => !path.startsWith("comparison")),
  };
}

async function whole(changes: Partial<CompareOptions> = {}): Promise<GradientReuseReport> {
  const report = await compareGradientFlow({ ...options, ...changes });
  if (!report) throw new Error("the comparison was not finished");
  return report;
}

describe("compareGradientFlow", async () => {
  const report = await whole();

  it("reports every variant over all seeds, with intervals over seeds", () => {
    expect(parseReport(serializeReport(report))).toEqual(report);
    expect(report.meta).toMatchObject({ seed: 3, seeds: [3, 5], finished: true });
    expect(report.variants.map(({ name }) => name)).toEqual(["dense", "partial", "dense, cut"]);
    const accuracy = report.comparison.find(({ measure }) => measure === "Test accuracy");
    const cosine = report.comparison.find(({ measure }) => measure === "Cosine between pieces");
    report.variants.forEach(({ seeds = [], accuracy: pooled, stages }, i) => {
      expect(seeds.map(({ seed }) => seed)).toEqual([3, 5]);
      const expected = summarize(seeds.map((run) => run.accuracy.test));
      expect(accuracy?.values[i]).toBeCloseTo(expected.mean ?? NaN, 12);
      expect(accuracy?.intervals?.[i]).toEqual(expected.interval);
      expect(pooled).toMatchObject({
        testImages: 20,
        correct: seeds.reduce((sum, run) => sum + (run.accuracy.correct ?? NaN), 0),
      });
      for (const run of seeds) {
        expect(run.curves.loss.length).toBe(7);
        expect(run.stages[0].samples.map(({ step }) => step)).toEqual([0, 2, 4, 6]);
      }
      // Of the first seed, in full.
      expect(stages[0].samples).toEqual(seeds[0].stages[0].samples);
    });
    const [first] = report.variants;
    const means = (first.seeds ?? []).map(({ stages }) => {
      const values = stages.flatMap(({ samples }) => samples.map((sample) => sample.cosine ?? NaN));
      return values.reduce((sum, value) => sum + value, 0) / values.length;
    });
    expect(cosine?.values[0]).toBeCloseTo((means[0] + means[1]) / 2, 12);
    expect(cosine?.note).toContain("mean of 2 seeds");
    expect(cosine?.note).not.toContain("too narrow");
  });

  // x_0 is read by three layers and leaves the stage: four pieces, of which three are cut.
  it("trains the counterfactual from the same start on the same images, other gradients apart", () => {
    const [original, , edited] = report.variants;
    expect(edited.counterfactual).toEqual({
      of: "dense",
      edit: "truncate(duplicates)",
      pieces: 3 + 2 + 1,
    });
    const losses = [original, edited].map(({ seeds }) => seeds?.map(({ curves }) => curves.loss) ?? []);
    losses[0].forEach((loss, seed) => {
      expect(losses[1][seed][0]).toBe(loss[0]);
      expect(losses[1][seed][6]).not.toBe(loss[6]);
    });
    expect(edited.cost).toMatchObject({ peakBytes: null, stepMilliseconds: null });
    const share = report.comparison.findIndex(({ measure }) => measure === "Duplicate share");
    expect(report.comparison[share].values[0]).toBeGreaterThan(0);
    expect(report.comparison[share].values[2]).toBeNull();
    const reasons = report.gaps.filter(({ path }) => path === `comparison[${share}].values[2]`);
    expect(reasons.map(({ reason }) => reason)).toEqual([
      "its gradient paths were edited: those of dense are counted there",
    ]);
  });

  it("goes on where it was stopped, with the same numbers", async () => {
    const stateFolder = newFolder();
    const stop = new AbortController();
    let steps = 0;
    const stopped = await compareGradientFlow({
      ...{ ...options, stateFolder, signal: stop.signal },
      onProgress: () => {
        steps += 1;
        // In the middle of the fifth run: four are finished.
        if (steps === 4 * 8 + 3) stop.abort();
      },
    });
    expect(readdirSync(stateFolder).length).toBe(4);
    expect(stopped?.variants.map(({ name }) => name)).toEqual(["dense"]);
    expect(stopped?.meta).toMatchObject({
      finished: false,
      stopReason: "2 of 3 variants are not trained with every seed yet",
    });
    const restored: boolean[] = [];
    const resumed = await whole({
      stateFolder,
      onProgress: ({ finished }) => void (finished && restored.push(finished.restored)),
    });
    expect(restored).toEqual([true, true, true, true, false, false]);
    expect(withoutTimes(resumed)).toEqual(withoutTimes(report));

    // A damaged file is a run that has to be made again.
    const [first] = readdirSync(stateFolder);
    writeFileSync(join(stateFolder, first), readFileSync(join(stateFolder, first), "utf8").slice(0, 500));
    expect(withoutTimes(await whole({ stateFolder }))).toEqual(withoutTimes(report));
  });

  it("takes no run that was made under other settings", async () => {
    const stateFolder = newFolder();
    const short = { variants: [dense], seeds: [3], stateFolder };
    await whole(short);
    const taken = async (changes: Partial<CompareOptions>) => {
      const restored: boolean[] = [];
      await whole({
        ...{ ...short, ...changes },
        onProgress: ({ finished }) => void (finished && restored.push(finished.restored)),
      });
      return restored[0];
    };
    expect(await taken({})).toBe(true);
    expect(await taken({ steps: 6 })).toBe(false);
    expect(await taken({ learningRate: 0.05 })).toBe(false);
    expect(await taken({ seeds: [4] })).toBe(false);
    for (const train of [noise("noise train", 20, 1), noise("noise train", 24, 9)])
      expect(await taken({ data: { ...options.data, train } })).toBe(false);
    expect(
      await taken({ variants: [{ ...dense, build: () => densenet({ ...size, stemChannels: 12 }) }] }),
    ).toBe(false);
    expect(await taken({ variants: [{ ...dense, architecture: { blocks: [2], growthRate: 4 } }] })).toBe(
      false,
    );
  });

  it("has nothing to report when it is stopped at once", async () => {
    expect(await compareGradientFlow({ ...options, signal: AbortSignal.abort() })).toBeNull();
  });

  it("refuses what cannot be compared", async () => {
    const refused = (changes: Partial<CompareOptions>) =>
      expect(compareGradientFlow({ ...options, ...changes })).rejects;
    await refused({ variants: [] }).toThrow("there is no variant to train");
    await refused({ seeds: [] }).toThrow("there is no seed to train with");
    await refused({ seeds: [1, 1] }).toThrow("seeds [1, 1] repeat one");
    for (const steps of [0, -1, 1.5, NaN])
      await refused({ steps }).toThrow(`steps ${steps} must be a positive integer`);
    await refused({ batchSize: 25 }).toThrow("batchSize 25 is more than the 24 images of noise train");
    await refused({ variants: [dense, dense] }).toThrow('two variants are named "dense"');
    await refused({ variants: [cut] }).toThrow('counterfactual of "dense", which is not among the variants');
    await refused({ data: { ...options.data, test: noise("noise test", 0, 1) } }).toThrow(
      "noise test has no images",
    );
    const nowhere = { of: "dense", edit: "nowhere", edits: [truncate({ map: "17" })] };
    await refused({ variants: [dense, { ...cut, counterfactual: nowhere }] }).toThrow(
      'no gradient path has map "17"',
    );
  });

  it("prints one variant a row, for terminals and for a README", () => {
    const table = renderVariantTable(report, { width: 200 });
    for (const { name } of report.variants) expect(table).toContain(name);
    expect(table).toMatch(/^dense +\d/m);
    expect(table).toContain("±");
    expect(table).toContain("n/m");
    for (const width of [60, 100]) {
      const lines = renderVariantTable(report, { width }).split("\n");
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
    }
    const [first, ...others] = report.variants;
    const markdown = renderMarkdown({ ...report, variants: [{ ...first, name: "a|b*c" }, ...others] });
    const rows = markdown.split("\n").filter((line) => line.startsWith("|"));
    // Columns are as many in every row: a bar in a name is escaped.
    const cells = rows.map((line) => line.replaceAll("\\|", "").split("|").length);
    expect(new Set(cells).size).toBe(1);
    expect(rows.length).toBe(2 + report.variants.length);
    expect(markdown).toContain("a\\|b\\*c");
    expect(markdown).toContain("2 seeds: intervals over seeds");
  });
});
