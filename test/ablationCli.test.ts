/** The ablation as its users meet it: killed at any moment and started again, it ends with the same numbers. */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablationVariants } from "../examples/ablation/variants.ts";
import { type GradientReuseReport, parseReport } from "../src/gradflow/index.ts";

const root = resolve(import.meta.dirname, "..");
const script = join(root, "examples/ablation.ts");

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-ablation-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const newFolder = (): string => mkdtempSync(join(folder, "out-"));

interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the example; once stderr contains `when`, it is sent `signal`. */
function start(args: readonly string[], when?: string, signal?: NodeJS.Signals): Promise<Result> {
  const child = spawn(process.execPath, ["--import", "tsx", script, ...args], { cwd: root });
  let [stdout, stderr, sent] = ["", "", false];
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
    if (sent || when === undefined || signal === undefined || !stderr.includes(when)) return;
    sent = true;
    child.kill(signal);
  });
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (code, by) => done({ code, signal: by, stdout, stderr }));
  });
}

const small = [
  "--train-images",
  "64",
  "--batch-size",
  "16",
  "--test-images",
  "50",
  "--seeds",
  "0,1",
  "--only",
  "last γ=0.5",
];

const timed = new Set(["createdAt", "command", "stepMilliseconds", "imagesPerSecond", "overheadFraction"]);
function withoutTimes(report: GradientReuseReport): unknown {
  return JSON.parse(
    JSON.stringify({
      ...report,
      comparison: report.comparison.filter(({ unit }) => unit !== "ms" && unit !== "images/s"),
    }),
    (key, value) => (timed.has(key) ? null : value),
  );
}
const reportIn = (out: string) => parseReport(readFileSync(join(out, "ablation.json"), "utf8"));

describe("examples/ablation.ts", () => {
  it("killed and started again, ends with the numbers of a run that nothing disturbed", async () => {
    const [undisturbed, disturbed] = [newFolder(), newFolder()];
    const whole = await start([...small, "--out", undisturbed]);
    expect(whole, whole.stderr).toMatchObject({ code: 0 });
    expect(whole.stderr).toContain("run 4/4: CSP last γ=0.5, seed 1: accuracy");
    expect(whole.stdout).toMatch(/^DenseNet +\d/m);
    expect(readdirSync(undisturbed).sort()).toEqual([
      "ablation-runs",
      "ablation.html",
      "ablation.json",
      "ablation.md",
    ]);

    const killed = await start([...small, "--out", disturbed], "run 2/4", "SIGKILL");
    expect(killed.signal).toBe("SIGKILL");
    expect(readdirSync(disturbed)).toEqual(["ablation-runs"]);
    // Now Ctrl-C: what is finished is reported, and nothing else.
    const stopped = await start([...small, "--out", disturbed], "run 3/4", "SIGINT");
    expect([0, 130], stopped.stderr).toContain(stopped.code);
    const resumed = await start([...small, "--out", disturbed, "--json"]);
    expect(resumed.code, resumed.stderr).toBe(0);
    expect(resumed.stderr).toContain("run 2/4: CSP last γ=0.5, seed 0: taken from the last time");
    expect(withoutTimes(reportIn(disturbed))).toEqual(withoutTimes(reportIn(undisturbed)));
    expect(parseReport(resumed.stdout)).toEqual(reportIn(disturbed));
    expect(reportIn(disturbed).meta).toMatchObject({ seeds: [0, 1], finished: true });
  }, 120_000);

  it("says what is wrong with an option", async () => {
    const unknown = await start(["--only", "resnet", "--out", newFolder()]);
    expect(unknown).toMatchObject({ code: 2, stdout: "" });
    expect(unknown.stderr).toContain(
      "--only resnet: no variant is named like that; there are DenseNet, sparse",
    );
    const twice = await start(["--seeds", "1,1", "--out", newFolder()]);
    expect(twice).toMatchObject({ code: 2 });
    expect(twice.stderr).toContain("--seeds 1,1: give each seed once");
  }, 60_000);
});

describe("the variants", () => {
  const size = { blocks: [4, 4], growthRate: 8, stemChannels: 16, inChannels: 1, classes: 10 };

  it("are those of the paper's table, and counterfactuals of two of them", () => {
    const names = ablationVariants(size).map(({ name }) => name);
    const partial = ["first", "last", "both"].flatMap((fusion) =>
      [0.25, 0.5, 0.75].map((ratio) => `CSP ${fusion} γ=${ratio}`),
    );
    expect(names.slice(0, 12)).toEqual(["DenseNet", "sparse", "grouped", ...partial]);
    expect(names.length).toBe(15);
  });

  it("cost less with a larger γ, and less sparse or grouped", () => {
    const parameters = new Map(
      ablationVariants(size).map(({ name, build }) => [name, build().parameterCount()]),
    );
    const of = (name: string) => parameters.get(name) ?? NaN;
    for (const fusion of ["first", "last", "both"])
      expect(of(`CSP ${fusion} γ=0.75`)).toBeLessThan(of(`CSP ${fusion} γ=0.25`));
    expect(of("sparse")).toBeLessThan(of("DenseNet"));
    expect(of("grouped")).toBeLessThan(of("DenseNet"));
    expect(of("DenseNet, duplicates cut")).toBe(of("DenseNet"));
  });
});
