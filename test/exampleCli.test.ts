/** The main example as its users meet it: a process with options, output, files, signals and exit codes. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseReport } from "../src/gradflow/index.ts";

const root = resolve(import.meta.dirname, "..");
const script = join(root, "examples/gradient-reuse.ts");
const node = [process.execPath, "--import", "tsx", script];
const tsx = [process.execPath, join(root, "node_modules/tsx/dist/cli.mjs"), script];

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-example-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface RunOptions {
  /** Beside this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly command?: readonly string[];
  /** Called once stderr contains `when`. */
  readonly when?: string;
  readonly act?: (child: ChildProcess) => void;
}

function start(
  args: readonly string[],
  { command = node, environment = {}, when, act }: RunOptions = {},
): Promise<Result> {
  const [program = "", ...before] = command;
  // A process group of its own, as a shell gives to a command: what the terminal sends goes to the whole group.
  const child = spawn(program, [...before, ...args], {
    cwd: root,
    detached: true,
    env: { ...process.env, ...environment },
  });
  let [stdout, stderr] = ["", ""];
  let waiting = when;
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
    if (waiting === undefined || !stderr.includes(waiting)) return;
    waiting = undefined;
    act?.(child);
  });
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done({ code, stdout, stderr }));
  });
}

const newFolder = (): string => mkdtempSync(join(folder, "run-"));
const files = ["gradient-reuse.html", "gradient-reuse.json"];
const readReport = (out: string) => parseReport(readFileSync(join(out, "gradient-reuse.json"), "utf8"));

const hasProc = existsSync("/proc/self/stat");
if (!hasProc)
  console.warn("skipped: Ctrl-C which tsx ends by killing, because there is no /proc to find processes in");

/** The process that started another, as Linux shows it; null when that one has ended. */
const parentOf = (pid: number): number | null => {
  try {
    return Number(/\) \S (\d+) /.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1]);
  } catch {
    return null;
  }
};
const childrenOf = (parent: number): number[] =>
  readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && parentOf(pid) === parent);

/** What Ctrl-C in a terminal does: SIGINT to every process of the group. */
const pressCtrlC = ({ pid }: ChildProcess): void => {
  if (pid) process.kill(-pid, "SIGINT");
};

/** Ctrl-C on a machine so busy that the script's first process does not come to answer tsx, which then kills it. */
const pressCtrlCUnanswered = (tsxCommand: ChildProcess): void => {
  for (const pid of childrenOf(tsxCommand.pid ?? 0)) process.kill(pid, "SIGSTOP");
  pressCtrlC(tsxCommand);
};

describe("examples/gradient-reuse.ts", () => {
  it("compares both networks, writes the report and says where", async () => {
    const out = newFolder();
    const { code, stdout, stderr } = await start(["--quick", "--out", out]);
    expect({ code, internal: stderr.includes("error") }, stderr).toEqual({ code: 0, internal: false });
    expect(readdirSync(out).sort()).toEqual(files);
    const report = readReport(out);
    expect(report.meta).toMatchObject({
      finished: true,
      seed: 0,
      dataset: { name: "MNIST", trainImages: 160, testImages: 250 },
      sampling: { everySteps: 5 },
    });
    expect(report.variants.map(({ name }) => name)).toEqual(["DenseNet", "CSPDenseNet"]);
    for (const { curves, accuracy, stages, cost } of report.variants) {
      expect(curves.loss.length).toBeGreaterThanOrEqual(10);
      expect(accuracy).toMatchObject({ testImages: 250 });
      expect(cost.peakBytes).toBeGreaterThan(0);
      expect(cost.stepMilliseconds).toBeGreaterThan(0);
      for (const { measured } of stages) expect(measured[0]?.samples.length).toBeGreaterThanOrEqual(2);
    }
    expect(stdout).toContain("Comparison");
    expect(stdout).toContain(join(out, "gradient-reuse.html"));
    expect(stderr).toMatch(/^epoch 1\/1, \d+ % \| DenseNet loss .* \| time left/);
    expect(stderr).toContain("100 % | ");
  });

  it("gives programs JSON and nothing else", async () => {
    const out = newFolder();
    const { code, stdout, stderr } = await start([
      "--quick",
      "--json",
      "--quiet",
      "--seed",
      "3",
      "--out",
      out,
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe(readFileSync(join(out, "gradient-reuse.json"), "utf8"));
    expect(parseReport(stdout).meta.seed).toBe(3);
  });

  it("explains its options", async () => {
    const { code, stdout } = await start(["--help"]);
    expect(code).toBe(0);
    for (const text of ["--epochs <count>", "(default: 1)", "--partial-ratio", "Examples:", "Exit codes:"])
      expect(stdout).toContain(text);
  });
});

describe("an interrupted run", () => {
  type Act = (child: ChildProcess) => void;
  const keepsWhatWasMeasured = async (command: string[], act: Act, code: number, signal: string) => {
    const out = newFolder();
    const result = await start(["--out", out], { command, when: "epoch 1/1", act });
    expect(result.code, result.stderr).toBe(code);
    expect(result.stderr).toContain("Stopping after this batch");
    expect(readdirSync(out).sort()).toEqual(files);
    const { meta, variants } = readReport(out);
    expect(meta.finished).toBe(false);
    expect(meta.stopReason).toMatch(new RegExp(`^${signal} after \\d+ of \\d+ steps$`));
    expect(new Set(variants.map(({ curves }) => curves.loss.length)).size).toBe(1);
    expect(variants[0].curves.loss.length).toBeGreaterThanOrEqual(1);
    expect(variants[0].accuracy.test).toBeNull();
    expect(result.stdout).toContain("Stopped early");
  };

  it("keeps what was measured: Ctrl-C under the tsx command", () =>
    keepsWhatWasMeasured(tsx, pressCtrlC, 130, "SIGINT"));
  it("keeps what was measured: SIGTERM under plain node", () =>
    keepsWhatWasMeasured(node, (child) => child.kill("SIGTERM"), 143, "SIGTERM"));
  it.skipIf(!hasProc)("keeps what was measured: Ctrl-C which the tsx command ends by killing", () =>
    keepsWhatWasMeasured(tsx, pressCtrlCUnanswered, 130, "SIGINT"),
  );

  it("keeps the accuracy on the images tested until then", async () => {
    const out = newFolder();
    const args = ["--out", out, "--train-images", "64", "--sample-every", "1"];
    const { code, stderr } = await start(args, { when: "testing", act: pressCtrlC });
    expect(code, stderr).toBe(130);
    const { meta, variants } = readReport(out);
    expect(meta.finished).toBe(false);
    const tested = variants.map(({ accuracy }) => accuracy.testImages);
    expect(tested[0]).toBeGreaterThanOrEqual(250);
    expect(tested[0]).toBeLessThan(10_000);
    expect(tested[1]).toBe(0);
    expect(variants[1].accuracy.test).toBeNull();
  });
});

describe("what cannot be done ends in one error", () => {
  const missing = () => join(folder, "no-such-data");
  const aFile = () => {
    const path = join(folder, "a-file");
    writeFileSync(path, "");
    return path;
  };
  /** The four files of MNIST, of which the training images end too soon. */
  const truncated = () => {
    const path = join(folder, "truncated");
    mkdirSync(path, { recursive: true });
    const names = ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"];
    const header = Buffer.from([0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28]);
    for (const name of names) writeFileSync(join(path, `${name}-ubyte`), header);
    return path;
  };

  it.concurrent.each<[string, () => string[], number, (RegExp | string)[]]>([
    ["--epochs=-1", () => ["--epochs=-1"], 2, ["--epochs <count>", "-1", "whole number at least 1"]],
    ["--lr fast", () => ["--lr", "fast"], 2, ["--lr <rate>", "fast", "number above 0"]],
    ["--blocks 4,0", () => ["--blocks", "4,0"], 2, ["--blocks <layers>", "4,0", "whole numbers at least 1"]],
    ["--fusion middle", () => ["--fusion", "middle"], 2, ["--fusion <kind>", "middle", "both, first, last"]],
    ["--epoch 2", () => ["--epoch", "2"], 2, ["--epoch", "Did you mean --epochs?"]],
    ["a stray word", () => ["fast"], 2, ["too many arguments"]],
    ["too many images", () => ["--train-images", "70000"], 2, ["--train-images 70000", "60000"]],
    [
      "a large batch",
      () => ["--batch-size", "99", "--quick", "--train-images", "98"],
      2,
      ["--batch-size 99", "98"],
    ],
    ["no channel to bypass", () => ["--partial-ratio", "0.01"], 2, ["partialRatio 0.01", "at least one"]],
    ["too many stages", () => ["--blocks", "1,1,1,1,1,1,1"], 2, ["cannot be built"]],
    ["--out a file", () => ["--out", aFile()], 2, ["--out", "a-file", "give a folder"]],
    ["no data", () => ["--data", missing()], 3, ["no-such-data", "does not exist", "check the spelling"]],
    ["truncated data", () => ["--data", truncated()], 3, ["train-images-idx3-ubyte"]],
  ])("%s", async (_, args, expected, parts) => {
    const out = join(newFolder(), "out");
    const given = args();
    const { code, stdout, stderr } = await start(given.includes("--out") ? given : [...given, "--out", out]);
    expect({ code, stdout }, stderr).toEqual({ code: expected, stdout: "" });
    expect(stderr.match(/error/gi)).toHaveLength(1);
    expect(stderr).toMatch(/^error: /);
    for (const part of parts) expect(stderr).toContain(part);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(existsSync(out)).toBe(false);
  });

  it("takes no environment variable that it cannot meet", async () => {
    const { code, stdout, stderr } = await start(["--quick"], { environment: { GRADWEAVE_THREADS: "many" } });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^error: cpu: GRADWEAVE_THREADS is "many", .*\n$/);
  });
});
