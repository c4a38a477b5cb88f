/** What surrounds a training for the person who started it: progress, interruption, options, exit codes, files. */
import { EventEmitter } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommanderError, InvalidArgumentError } from "commander";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DataError } from "../src/data/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";
import {
  checkAtMost,
  DivergedError,
  decimalNumber,
  describeError,
  exitCodeOf,
  formatDuration,
  Interrupt,
  type InterruptTarget,
  Progress,
  prepareFolder,
  UsageError,
  wholeNumber,
  wholeNumbers,
} from "../src/train/index.ts";

const escapeCode = "\x1b";
/** Control sequences and single characters. */
const tokens = new RegExp(`${escapeCode}\\[\\d*[A-Za-z]|[\\s\\S]`, "g");
const cursorUp = new RegExp(`^${escapeCode}\\[(\\d+)A$`);

/** A terminal, or a pipe, that shows what is on it: understands what Progress writes, and nothing else. */
class Screen {
  readonly isTTY: boolean;
  readonly columns: number;
  text = "";
  writes = 0;
  #rows = [""];
  #row = 0;
  #column = 0;

  constructor({ isTTY, columns = 80 }: { isTTY: boolean; columns?: number }) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  get rows(): readonly string[] {
    return this.#rows.map((row) => row.trimEnd());
  }

  write(text: string): void {
    this.text += text;
    this.writes += 1;
    for (const token of text.match(tokens) ?? []) this.#apply(token);
  }

  #apply(token: string): void {
    const up = cursorUp.exec(token);
    if (up) this.#row -= Number(up[1]);
    else if (token === `${escapeCode}[J`) {
      this.#rows = this.#rows.slice(0, this.#row + 1);
      this.#rows[this.#row] = this.#rows[this.#row].slice(0, this.#column);
    } else if (token === "\r") this.#column = 0;
    else if (token === "\n") {
      this.#row += 1;
      this.#column = 0;
      this.#rows[this.#row] ??= "";
    } else if (!token.startsWith(escapeCode)) {
      const row = this.#rows[this.#row].padEnd(this.#column);
      this.#rows[this.#row] = row.slice(0, this.#column) + token + row.slice(this.#column + 1);
      this.#column += 1;
    }
  }
}

function setUp(options: { isTTY: boolean; columns?: number; env?: Record<string, string> }) {
  const screen = new Screen(options);
  const clock = { time: 0 };
  const progress = new Progress({
    stream: screen,
    trainImages: 2 * 400,
    testImages: 2 * 100,
    env: options.env ?? {},
    now: () => clock.time,
  });
  /** Step `step` of both networks, 4 images in 100 ms each. */
  const train = (step: number, loss = 1) => {
    for (const name of ["DenseNet", "CSPDenseNet"]) {
      clock.time += 100;
      const record = { step, loss, accuracy: 0.75, milliseconds: 100, images: 4, learningRate: 0.1 };
      progress.trained(name, record, "epoch 1/1");
    }
  };
  return { screen, clock, progress, train };
}

describe("Progress on a terminal", () => {
  it("redraws its lines in place, with loss, accuracy, speed and time left", () => {
    const { screen, progress, train } = setUp({ isTTY: true });
    for (let step = 0; step < 50; step++) train(step);
    expect(screen.rows).toHaveLength(3);
    // 100 of 200 steps are done, 10 s since the first: 10 s for the rest and 3.3 s for testing 200 images.
    expect(screen.rows[0]).toMatch(/^epoch 1\/1 +#{11,12}-{12,13} 46 % {2}1[23] s left$/);
    expect(screen.rows[1]).toBe("  DenseNet     loss 1.0000, accuracy 75.0 %, 40 images/s");
    expect(screen.rows[2]).toBe("  CSPDenseNet  loss 1.0000, accuracy 75.0 %, 40 images/s");
    for (let step = 50; step < 100; step++) train(step);
    progress.evaluated("DenseNet", 50, 100);
    progress.evaluated("DenseNet", 100, 100);
    progress.evaluated("CSPDenseNet", 100, 100);
    progress.finish();
    expect(screen.rows).toHaveLength(4);
    expect(screen.rows[0]).toMatch(/^testing +#{24} 100 % {2}0 s left$/);
    expect(screen.rows[2]).toMatch(/tested 100\/100$/);
  });

  it("redraws ten times a second at most", () => {
    const { screen, clock, progress } = setUp({ isTTY: true });
    const before = screen.writes;
    for (let done = 1; done <= 100; done++) {
      clock.time += 5;
      progress.evaluated("DenseNet", done, 100);
    }
    // Half a second: the first line and five more; each takes an erasing and a drawing write at most.
    expect(screen.writes - before).toBeLessThanOrEqual(12);
    expect(screen.writes - before).toBeGreaterThanOrEqual(5);
  });

  it("follows the loss, and starts from the plain average", () => {
    const { screen, train } = setUp({ isTTY: true });
    for (const [step, loss] of [4, 2, 3].entries()) train(step, loss);
    expect(screen.rows[1]).toContain("loss 3.0000");
    for (let step = 3; step < 90; step++) train(step, 0.5);
    expect(Number(/loss ([\d.]+)/.exec(screen.rows[1])?.[1])).toBeLessThan(0.6);
  });

  it("writes notes above, and what follows it below", () => {
    const { screen, progress, train } = setUp({ isTTY: true });
    train(0);
    progress.note("stopping");
    train(1);
    progress.finish();
    screen.write("after");
    expect(screen.rows[0]).toBe("stopping");
    expect(screen.rows).toHaveLength(5);
    expect(screen.rows[4]).toBe("after");
  });

  it("cuts lines that would wrap", () => {
    const { screen, train } = setUp({ isTTY: true, columns: 30 });
    train(0);
    expect(Math.max(...screen.rows.map((row) => row.length))).toBe(29);
  });

  it("does not believe a terminal that says it has no columns", () => {
    const { screen, train } = setUp({ isTTY: true, columns: 0 });
    train(0);
    expect(screen.rows[1]).toMatch(/images\/s$/);
  });

  it("uses colour unless NO_COLOR is set", () => {
    const coloured = setUp({ isTTY: true });
    const plain = setUp({ isTTY: true, env: { NO_COLOR: "1" } });
    for (const { train } of [coloured, plain]) for (let step = 0; step < 50; step++) train(step);
    expect(coloured.screen.text).toContain("\x1b[32m#");
    expect(plain.screen.text).not.toContain("\x1b[32m");
    expect(coloured.screen.rows).toEqual(plain.screen.rows);
  });
});

describe("Progress elsewhere", () => {
  it.each([
    ["a pipe", { isTTY: false }],
    ["CI", { isTTY: true, env: { CI: "true" } }],
    ["a dumb terminal", { isTTY: true, env: { TERM: "dumb" } }],
  ])("%s gets a plain line every ten seconds", (_, options) => {
    const { screen, progress, train } = setUp(options);
    for (let step = 0; step < 100; step++) train(step);
    progress.finish();
    expect(screen.text).not.toContain(escapeCode);
    // 20 s of training: at the start, after 10 s, and at the end.
    expect(screen.text.trimEnd().split("\n")).toHaveLength(3);
    expect(screen.rows[1]).toMatch(
      /^epoch 1\/1, 4\d % \| DenseNet loss 1\.0000, accuracy 75\.0 %, 40 images\/s \| CSPDenseNet .* \| 1\d s left$/,
    );
  });

  it("is silent when nothing happened", () => {
    const { screen, progress } = setUp({ isTTY: false });
    progress.finish();
    expect(screen.text).toBe("");
  });
});

it("writes durations as people say them", () => {
  const texts = [0.4, 59.4, 59.6, 125, 3599.6, 3600, 7384].map(formatDuration);
  expect(texts).toEqual([
    "0 s",
    "59 s",
    "1 min 00 s",
    "2 min 05 s",
    "1 h 00 min",
    "1 h 00 min",
    "2 h 03 min",
  ]);
});

class FakeProcess extends EventEmitter implements InterruptTarget {
  readonly exits: number[] = [];
  exit(code: number): void {
    this.exits.push(code);
  }
}

describe("Interrupt", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("the first %s asks for a clean end, the second one ends at once", (name, code) => {
    const target = new FakeProcess();
    const told: string[] = [];
    using interrupt = new Interrupt((signal) => told.push(signal), target);
    expect([interrupt.signal.aborted, interrupt.exitCode, interrupt.received]).toEqual([false, 0, null]);
    target.emit(name);
    expect([interrupt.signal.aborted, interrupt.exitCode, interrupt.received]).toEqual([true, code, name]);
    vi.advanceTimersByTime(1000);
    expect(target.exits).toEqual([]);
    target.emit("SIGINT");
    expect(target.exits).toEqual([130]);
    expect(told).toEqual([name]);
  });

  it("takes the copies of one key press, passed on by npx and tsx, for one", () => {
    const target = new FakeProcess();
    using interrupt = new Interrupt(undefined, target);
    for (const wait of [0, 0, 30, 60]) {
      vi.advanceTimersByTime(wait);
      target.emit("SIGINT");
    }
    expect(interrupt.signal.aborted).toBe(true);
    expect(target.exits).toEqual([]);
  });

  it("takes the end of the process that passes signals on for the same key press, after a long computation too", () => {
    const target = new FakeProcess();
    using interrupt = new Interrupt(undefined, target);
    target.emit("SIGINT");
    // What an event loop sees at last that was kept from looking for longer than the pause.
    setTimeout(() => setImmediate(() => target.emit("SIGTERM")), 500);
    vi.advanceTimersByTime(1000);
    expect([interrupt.received, target.exits]).toEqual(["SIGINT", []]);
  });

  it("stops listening when it is disposed", () => {
    const target = new FakeProcess();
    new Interrupt(undefined, target)[Symbol.dispose]();
    expect(target.listenerCount("SIGINT") + target.listenerCount("SIGTERM")).toBe(0);
  });
});

describe("option values", () => {
  it("accepts the numbers in the range and nothing else", () => {
    const parse = wholeNumber({ least: 1, most: 1000, example: 2 });
    fc.assert(
      fc.property(fc.integer({ min: -2000, max: 2000 }), (value) => {
        if (value >= 1 && value <= 1000) expect(parse(String(value))).toBe(value);
        else
          expect(() => parse(String(value))).toThrow(
            "Give a whole number at least 1 and at most 1000, such as 2.",
          );
      }),
    );
  });

  it.each(["", " ", "x", "1.5", "1e3", "0x10", "NaN", "Infinity", "1,2", "99999999999999999999", "٣"])(
    "refuses %j as a whole number",
    (text) => {
      expect(() => wholeNumber({ least: 0, example: 2 })(text)).toThrow(InvalidArgumentError);
    },
  );

  it("reads decimals and lists", () => {
    const share = decimalNumber({ above: 0, below: 1, example: 0.5 });
    expect([share("0.25"), share(".5"), share("1e-3")]).toEqual([0.25, 0.5, 0.001]);
    for (const text of ["0", "1", "-0.5", "", "1e-999", "0,5", "half"])
      expect(() => share(text)).toThrow("Give a number above 0 and below 1, such as 0.5.");
    const layers = wholeNumbers({ least: 1, example: 4 });
    expect(layers("4")).toEqual([4]);
    expect(layers("6,12, 24")).toEqual([6, 12, 24]);
    for (const text of ["", ",", "4,", "4,0", "4;4"])
      expect(() => layers(text)).toThrow("Give whole numbers at least 1, separated by commas, such as 4,4.");
  });

  it("names option, value and limit", () => {
    expect(() => checkAtMost("--train-images", 70000, 60000, "images in MNIST")).toThrow(
      new UsageError("--train-images 70000: there are 60000 images in MNIST; give at most so many"),
    );
    checkAtMost("--train-images", 60000, 60000, "images");
  });
});

describe("exit codes", () => {
  it.each([
    [new UsageError("x"), 2],
    [new CommanderError(1, "commander.unknownOption", "x"), 2],
    [new CommanderError(0, "commander.helpDisplayed", "x"), 0],
    [new DataError("x"), 3],
    [new DivergedError("x"), 4],
    [new RangeError("Array buffer allocation failed"), 5],
    [Object.assign(new Error("x"), { code: "ENOSPC" }), 5],
    [new RangeError("x"), 1],
    [Object.assign(new Error("x"), { code: "ENOENT" }), 1],
    ["text", 1],
  ])("%s is %i", (error, code) => {
    expect(exitCodeOf(error)).toBe(code);
  });

  it("shows the stack of our own errors only", () => {
    expect(describeError(new UsageError("--out x: no"))).toBe("error: --out x: no");
    expect(describeError(new TypeError("oops"))).toMatch(
      /^internal error, please report[\s\S]*TypeError: oops\n +at /,
    );
    expect(describeError("oops")).toContain("oops");
  });
});

describe("files", () => {
  let folder = "";
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "gradweave-"));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it("replaces all files or none, and leaves nothing else behind", async () => {
    const [a, b] = [join(folder, "a.json"), join(folder, "missing", "b.html")];
    writeFileSync(a, "old");
    await expect(
      writeFilesAtomically(
        new Map([
          [a, "new"],
          [b, "new"],
        ]),
      ),
    ).rejects.toThrow("ENOENT");
    expect(readFileSync(a, "utf8")).toBe("old");
    expect(readdirSync(folder)).toEqual(["a.json"]);
    mkdirSync(join(folder, "missing"));
    await writeFilesAtomically(
      new Map<string, string | Uint8Array>([
        [a, "new"],
        [b, new Uint8Array([104, 105])],
      ]),
    );
    expect(readFileSync(a, "utf8")).toBe("new");
    expect(readFileSync(b, "utf8")).toBe("hi");
    expect(readdirSync(folder)).toEqual(["a.json", "missing"]);
    expect(readdirSync(join(folder, "missing"))).toEqual(["b.html"]);
  });

  it("prepares a folder, or says which option has to change", async () => {
    await prepareFolder("--out", join(folder, "x", "y"));
    expect(readdirSync(join(folder, "x"))).toEqual(["y"]);
    writeFileSync(join(folder, "file"), "");
    for (const path of [join(folder, "file"), join(folder, "file", "below")])
      await expect(prepareFolder("--out", path)).rejects.toThrow(
        new UsageError(`--out ${path}: is a file or lies below one; give a folder that can be written to`),
      );
  });

  it.runIf(process.platform === "linux")("gives up on a folder that cannot hold another", async () => {
    await expect(prepareFolder("--out", "/proc/none/below")).rejects.toThrow(
      /^--out \/proc\/none\/below: .*give a folder/,
    );
  });
});
