/** The gradient reuse report: its JSON, its terminal form and its HTML page, seen from outside. */

import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { differenceInterval, meanCosine, wilsonInterval } from "../src/gradflow/report/derive.ts";
import {
  formatDifference,
  formatNumber,
  formatPathCount,
  formatRatio,
  formatValue,
  scaleFor,
} from "../src/gradflow/report/format.ts";
import { fitted, thinned } from "../src/gradflow/report/html/fitting.ts";
import { packedSize, unpacked } from "../src/gradflow/report/html/parts.ts";
import {
  type GradientReuseReport,
  parseReport,
  ReportError,
  renderHtml,
  renderTerminal,
  reportJsonSchema,
  serializeReport,
} from "../src/gradflow/report/index.ts";
import { displayWidth, wrapText } from "../src/text/table.ts";
import { isWellFormed } from "./support/markup.ts";
import { sampleReport } from "./support/sampleReport.ts";

const report = sampleReport();
const page = renderHtml(report);

/** The message of the `ReportError` that `action` throws; fails when it throws nothing or anything else. */
function errorOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(ReportError);
    return error instanceof ReportError ? error.message : "";
  }
  throw new Error("expected a ReportError, but nothing was thrown");
}

/** A copy of the sample with a change made to it. */
function changed(change: (copy: GradientReuseReport) => void, base = report): GradientReuseReport {
  const copy = structuredClone(base);
  change(copy);
  return copy;
}

describe("report JSON", () => {
  it("comes back as it was written", () => {
    expect(parseReport(serializeReport(report))).toStrictEqual(report);
    const fusionFirst = sampleReport({ fusion: "first", layers: 2, stages: 1, steps: 3, samples: 1 });
    expect(parseReport(serializeReport(fusionFirst))).toStrictEqual(fusionFirst);
  });

  it("has the same text whatever order the keys were set in", () => {
    const shuffled = Object.fromEntries(Object.entries(report).reverse());
    const settings = Object.fromEntries(Object.entries(report.meta.settings).reverse());
    const copy = { ...shuffled, meta: { ...report.meta, settings } } as unknown as GradientReuseReport;
    expect(serializeReport(copy)).toBe(serializeReport(report));
  });

  it("refuses NaN and infinity with the path of the number", () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = changed((copy) => {
        const row = copy.variants[0]?.stages[2]?.measured[0]?.samples[3]?.cosine[1];
        if (row !== undefined) row[2] = bad;
      });
      const message = errorOf(() => serializeReport(broken));
      expect(message).toContain(`variants[0].stages[2].measured[0].samples[3].cosine[1][2] is ${bad}`);
      expect(message).toContain("null");
    }
  });

  it("says where a malformed report is wrong", () => {
    const text = serializeReport(report).replace('"parameters": 64370', '"parameters": "many"');
    expect(errorOf(() => parseReport(text))).toContain("variants[0].cost.parameters");
    expect(errorOf(() => parseReport("{ never ended"))).toContain("not JSON");
    expect(errorOf(() => parseReport("null"))).toContain("expected object");
    const typo = serializeReport(report).replace('"peakBytes"', '"peekBytes"');
    expect(errorOf(() => parseReport(typo))).toContain("peekBytes");
  });

  it("names both versions when the report is newer or older", () => {
    const version = (other: number) =>
      serializeReport(report).replace('"schemaVersion": 2', `"schemaVersion": ${other}`);
    const message = errorOf(() => parseReport(version(3)));
    expect(message).toContain("schemaVersion 3 is newer than 2");
    expect(message).toContain("update gradweave");
    expect(message).not.toContain("\n");
    const old = errorOf(() => parseReport(version(1)));
    expect(old).toContain("schemaVersion 1 is older than 2");
    expect(old).toContain("make the report again");
    expect(old).not.toContain("\n");
  });

  it("refuses a report that contradicts itself", () => {
    const cases: [string, (copy: GradientReuseReport) => void][] = [
      [
        "not the number of weights",
        (copy) => setAt(copy, ["variants", "0", "stages", "0", "structure", "reuse", "0", "count"], 99),
      ],
      [
        "the layers that read x_0 are",
        (copy) => void copy.variants[0]?.stages[0]?.structure.reuse[0]?.weights.pop(),
      ],
      [
        '"x_9" is not declared',
        (copy) => void copy.variants[0]?.stages[0]?.structure.weights[1]?.sources.push("x_9"),
      ],
      ["one value per variant", (copy) => void copy.comparison[0]?.values.pop()],
      ["one loss per recorded step", (copy) => void copy.variants[0]?.curves.loss.pop()],
      [
        "one norm per consumer",
        (copy) => void copy.variants[0]?.stages[0]?.measured[0]?.samples[0]?.norms.pop(),
      ],
      [
        "not symmetric",
        (copy) => void copy.variants[0]?.stages[0]?.measured[0]?.samples[0]?.cosine[0]?.splice(1, 1, 0.9),
      ],
      ["appears twice", (copy) => void copy.variants.push(...copy.variants.slice(0, 1))],
    ];
    for (const [message, change] of cases)
      expect(errorOf(() => serializeReport(changed(change)))).toContain(message);
  });

  it("is described by a JSON Schema", () => {
    expect(reportJsonSchema()).toMatchObject({
      type: "object",
      required: expect.arrayContaining(["variants"]),
    });
  });
});

describe("report figures", () => {
  it("computes the intervals that Newcombe's paper computes", () => {
    const [low, high] = differenceInterval({ correct: 48, total: 80 }, { correct: 56, total: 70 });
    expect(low).toBeCloseTo(0.0524, 4);
    expect(high).toBeCloseTo(0.3339, 4);
    const [lowest, highest] = wilsonInterval(0, 10);
    expect(lowest).toBe(0);
    expect(highest).toBeCloseTo(0.2775, 4);
  });

  it("averages the cosine over distinct pairs that were measured", () => {
    const scalars = { sharedEnergy: null, firstDirectionShare: null, effectiveRank: null };
    const sample = { step: 0, norms: [], weightCka: [], ...scalars };
    const cosine = [
      [1, 0.5, null],
      [0.5, 1, -0.1],
      [null, -0.1, 1],
    ];
    expect(meanCosine({ ...sample, cosine })).toBeCloseTo(0.2, 12);
    expect(meanCosine({ ...sample, cosine: [[1]] })).toBeNull();
  });

  it("prints numbers under one unit, and never a missing one as 0", () => {
    expect(scaleFor("bytes", [57_671_702, 1024]).format(1024)).toBe("0.00");
    expect(formatValue(57_671_702, "bytes")).toBe("55.00 MiB");
    expect(formatValue(null, "bytes")).toBe("n/m");
    expect(formatValue(1_234_567, "count")).toBe("1,234,567");
    expect(formatValue(0.98765, "fraction")).toBe("98.77 %");
    expect(formatNumber(-0.00001234)).toBe("-1.234e-5");
    expect(formatRatio(-0.0001)).toBe("0.000");
    expect(formatPathCount("65536")).toBe("65,536 = 2^16");
    expect(formatPathCount(String(2n ** 80n))).toBe("1.209e+24 = 2^80");
    expect(formatPathCount("12")).toBe("12");
    expect(formatDifference(0.98, 0.97, "fraction")).toBe("-1.00 pp");
    expect(formatDifference(200, 150, "ms")).toBe("-25.0 %");
    expect(formatDifference(0, 5, "ms")).toBe("");
  });

  it("wraps and measures text by what a terminal shows", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.integer({ min: 2, max: 30 }), (text, width) => {
        const lines = wrapText(text, width);
        expect(Math.max(...lines.map(displayWidth))).toBeLessThanOrEqual(width);
        expect(lines.join("").replace(/ /g, "")).toBe(text.replace(/ /g, ""));
      }),
    );
  });
});

describe("report in the terminal", () => {
  for (const columns of [40, 80, 140]) {
    it(`fits ${columns} columns, with and without colour`, () => {
      const plain = renderTerminal(report, { columns, color: false });
      expect(Math.max(...plain.split("\n").map(displayWidth))).toBeLessThanOrEqual(columns);
      expect(plain).not.toContain("\u001b");
      const coloured = renderTerminal(report, { columns, color: true });
      expect(coloured).toContain("\u001b[");
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes start with the escape character
      expect(coloured.replace(/\u001b\[\d+m/g, "")).toBe(plain);
    });

    it(`keeps every figure of the comparison at ${columns} columns`, () => {
      const text = renderTerminal(report, { columns, color: false });
      for (const figure of [
        "98.47",
        "98.31",
        "64,370",
        "48,722",
        "15.90",
        "10.42",
        "55.00",
        "40.00",
        "n/m",
      ]) {
        expect(text).toContain(figure);
      }
    });
  }

  it("aligns numbers on the right", () => {
    const lines = renderTerminal(report, { columns: 100, color: false }).split("\n");
    const rows = lines.filter((line) => /^(Parameters|Peak memory|Test accuracy)/.test(line));
    const ends = rows.map((line) => {
      const match = /(64,370|55\.00|98\.47)/.exec(line);
      return (match?.index ?? -1) + (match?.[0].length ?? 0);
    });
    expect(rows).toHaveLength(3);
    expect(new Set(ends).size).toBe(1);
  });

  it("drops the change before it gives up columns", () => {
    const wide = renderTerminal(report, { columns: 80, color: false });
    const narrow = renderTerminal(report, { columns: 48, color: false });
    expect(wide).toContain("-24.3 %");
    expect(narrow.split("CSPDenseNet against")[0]).not.toContain("-24.3 %");
    expect(narrow).toContain("48,722");
  });

  it("sets the equations of the networks side by side where there is room", () => {
    const both = /x_2 = w_2 \* \[x_0, x_1\] +x_2 = w_2 \* \[x_0'', x_1\]/;
    expect(renderTerminal(report, { columns: 140, color: false })).toMatch(both);
    const narrow = renderTerminal(report, { columns: 40, color: false });
    expect(narrow).not.toMatch(both);
    expect(narrow).toContain("x_2 = w_2 * [x_0'', x_1]");
  });

  it("says what is missing and why, and that a run was stopped", () => {
    const stopped = changed((copy) => {
      copy.meta.finished = false;
      copy.meta.stopReason = "interrupted at step 300";
    });
    const text = renderTerminal(stopped, { columns: 80, color: false });
    expect(text).toContain("Stopped early: interrupted at step 300");
    expect(text.replace(/\s+/g, " ")).toContain(
      "not measured: Throughput, CSPDenseNet: the clock was not read",
    );
  });

  it("does not let a name move the cursor, and survives names that are wide or long", () => {
    const text = renderTerminal(
      changed((copy) => {
        const [first, second] = copy.variants;
        if (first !== undefined) first.name = "\u001b[2Jネットワーク";
        if (second !== undefined) second.name = "x".repeat(90);
      }),
      { columns: 40, color: false },
    );
    expect(text).not.toContain("\u001b");
    expect(Math.max(...text.split("\n").map(displayWidth))).toBeLessThanOrEqual(40);
  });
});

describe("report page", () => {
  it("is well-formed", () => {
    expect(isWellFormed(page)).toBe(true);
  });

  // Tables with a row per step get their rows from the page's script, and are tested in a browser.
  const perStep = (path: Path) =>
    path.includes("samples") || (path[2] === "curves" && path[3] !== "evaluations");
  const drawnNumbers = () => numbersOf(report).filter(({ path }) => !perStep(path) || path.includes("sides"));

  it("shows every number of the JSON", () => {
    const text = wholePage(page);
    const missing = drawnNumbers().filter(({ value }) => !text.includes(`"${value}"`));
    expect(drawnNumbers().length).toBeGreaterThan(300);
    expect(missing).toStrictEqual([]);
  });

  it("shows a number wherever it is changed", () => {
    // A reuse count must be the number of weights listed, so it cannot be changed alone.
    const numbers = drawnNumbers().filter(({ path }) => path.at(-1) !== "count");
    const pick = fc.constantFrom(...numbers);
    fc.assert(
      fc.property(pick, ({ path, value }) => {
        // The images of the test cannot be fewer than those that were classified correctly.
        const whole = path.at(-1) === "testImages" ? 17_717 : 7_717;
        const sentinel = Number.isInteger(value) ? whole : 0.717_717_717;
        const drawn = wholePage(renderHtml(changed((copy) => setTwin(copy, path, sentinel))));
        return drawn.includes(`"${sentinel}"`);
      }),
      { numRuns: 12 },
    );
  });

  it("holds fewer steps of a report that is too large, the last among them, and says so", () => {
    const long = sampleReport({ layers: 3, stages: 1, steps: 101, samples: 9 });
    const samples = "variants[0].stages[0].measured[1].samples";
    const gaps = [
      "variants[1].cost",
      `${samples}[4].cosine[0][1]`,
      `${samples}[5]`,
      "variants[1].curves.loss[96]",
    ];
    long.gaps = gaps.map((path) => ({ path, reason: "because" }));
    const kept = thinned(long, 4);
    expect(parseReport(serializeReport(kept))).toStrictEqual(kept);
    const steps = (one: GradientReuseReport) =>
      one.variants[0]?.stages[0]?.measured[1]?.samples.map(({ step }) => step);
    expect(steps(kept)).toStrictEqual([0, 100, 200]);
    expect(steps(long)).toHaveLength(9);
    expect(kept.variants[1]?.curves.step.at(-1)).toBe(500);
    expect(kept.gaps.map(({ path }) => path)).toStrictEqual([
      "variants[1].cost",
      `${samples}[1].cosine[0][1]`,
      "variants[1].curves.loss[24]",
    ]);
    expect(page).not.toContain("To stay small");
    const size = packedSize(long);
    expect(fitted(long, size)).toStrictEqual({ report: long, every: 1 });
    const { report: fit, every } = fitted(long, size * 0.6);
    expect(fit).toStrictEqual(thinned(long, every));
    expect(packedSize(fit)).toBeLessThanOrEqual(size * 0.6);
    expect(packedSize(thinned(long, every / 2))).toBeGreaterThan(size * 0.6);
    // What is left when nothing can be thinned any more is shown.
    expect(fitted(long, 10).report.variants[0]?.curves.step).toStrictEqual([500]);
  });

  it("marks what was not measured, with the reason, and never as 0", () => {
    expect(page).toContain('<abbr class="gap" title="not measured: the clock was not read">n/m</abbr>');
    const empty = changed((copy) => {
      for (const variant of copy.variants) {
        variant.cost.peakBytes = null;
        for (const stage of variant.stages) {
          stage.structure.duplicateBytes = null;
          for (const { samples } of stage.measured) {
            for (const sample of samples) {
              sample.cosine = sample.cosine.map((row) => row.map(() => null));
              sample.norms = sample.norms.map(() => null);
              sample.sharedEnergy = null;
              sample.firstDirectionShare = null;
              sample.effectiveRank = null;
            }
          }
        }
      }
    });
    const drawn = renderHtml(empty);
    expect(drawn).toContain("not measured: no reason given");
    expect(nonsense(drawn)).toBeNull();
    expect(isWellFormed(drawn)).toBe(true);
    expect(nonsense(renderTerminal(empty, { columns: 80, color: false }))).toBeNull();
  });

  it("draws a report of one network without samples, curves or stages", () => {
    const bare = changed((copy) => {
      copy.variants.splice(1);
      for (const row of copy.comparison) {
        row.values.splice(1);
        row.intervals?.splice(1);
      }
      for (const variant of copy.variants) {
        variant.stages = [];
        variant.curves = { step: [], loss: [], trainAccuracy: [], evaluations: [] };
      }
    });
    expect(isWellFormed(renderHtml(bare))).toBe(true);
    expect(nonsense(renderHtml(bare))).toBeNull();
    expect(nonsense(renderTerminal(bare, { columns: 80, color: false }))).toBeNull();
  });

  it("keeps hostile names inert", () => {
    const hostile = `</script><img src=x onerror="alert(1)">'&\u2028=cmd`;
    const drawn = renderHtml(withText(report, hostile));
    expect(drawn).not.toContain("<img");
    expect(drawn.match(/<script/g)).toHaveLength(4);
    expect(drawn.match(/<\/script/g)).toHaveLength(4);
    expect(isWellFormed(drawn)).toBe(true);
    for (const part of partsOf(drawn)) {
      expect(part).not.toMatch(/<img|<script/);
      expect(isWellFormed(`<div>${part}</div>`)).toBe(true);
    }
    expect(unpacked(drawn, "report")).toStrictEqual(withText(report, hostile));
  });

  it("allows exactly its own script and style", () => {
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page)?.[1] ?? "";
    const hash = (text: string) =>
      `sha256-${createHash("sha256").update(text).digest("base64")}`.replace(/'/g, "&#39;");
    const scripts = [...page.matchAll(/<script>(.*?)<\/script>/gs)].map((match) => match[1] ?? "");
    const style = /<style>(.*?)<\/style>/s.exec(page)?.[1] ?? "";
    expect(scripts).toHaveLength(2);
    expect(policy).toContain("default-src &#39;none&#39;");
    const hashes = scripts.map((script) => `&#39;${hash(script)}&#39;`).join(" ");
    expect(policy).toContain(`script-src ${hashes};`);
    expect(policy).toContain(`style-src &#39;${hash(style)}&#39;`);
    expect(page).not.toMatch(/<[^>]+ style=/);
    expect(page).not.toMatch(/<[^>]+ on[a-z]+=/);
  });

  it("refers to nothing outside itself", () => {
    const references = [...page.matchAll(/(?:src|href|action|data|srcset)="([^"]*)"/g)].map(
      (match) => match[1],
    );
    expect(references.length).toBeGreaterThan(5);
    for (const reference of references) expect(reference).toMatch(/^(#|data:,$)/);
    expect(page).not.toMatch(/url\(|@import|https?:\/\//);
  });

  it("gives ids once and links to ids that exist", () => {
    const twins = renderHtml(
      changed((copy) => {
        copy.variants.forEach(({ stages }) => {
          stages.forEach((stage, i) => {
            stage.name = "!".repeat(i + 1);
          });
        });
      }),
    );
    for (const text of [page, twins]) {
      const ids = [...text.matchAll(/ id="([^"]*)"/g)].map((match) => match[1]);
      expect(new Set(ids).size).toBe(ids.length);
      for (const match of text.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(match[1]);
    }
  });

  it("marks duplicates by colour and by pattern, and pairs across the sides only where there are any", () => {
    const first = renderHtml(sampleReport({ fusion: "first" }));
    expect(page).toMatch(/<g class="piece duplicate"/);
    expect(page).toMatch(/\.piece\.duplicate path\{[^}]*stroke-dasharray/);
    expect(page).not.toMatch(/<g class="piece across"/);
    expect(first).toMatch(/<g class="piece across"/);
    expect(first).toContain("30 pairs of weights share a gradient across the two sides of a stage");
  });

  it("grows with the stage: 16 layers and exact path counts beyond a double", () => {
    const deep = changed(
      (copy) => {
        const path = copy.variants[0]?.stages[0]?.structure.paths[0];
        if (path !== undefined) path.count = String(2n ** 80n);
      },
      sampleReport({ layers: 16, stages: 1, samples: 2, steps: 5 }),
    );
    const drawn = renderHtml(deep);
    expect(drawn).toContain(`data-value="${2n ** 80n}"`);
    expect(drawn).toContain("2<sup>80</sup>");
    expect(isWellFormed(drawn)).toBe(true);
  });
});

/** What a page shows: itself and its folded parts, without the data it carries. */
function wholePage(html: string): string {
  return html.replace(/<script.*?<\/script>/gs, "") + partsOf(html).join("");
}

function partsOf(html: string): string[] {
  const parts = unpacked(html, "parts");
  if (!Array.isArray(parts)) throw new Error("the page's parts are no list");
  return parts.map(String);
}

/** Traces of a number or a value that was not there, outside the page's own code; `null` when there are none. */
function nonsense(text: string): RegExpMatchArray | null {
  return text.replace(/<(script|style)[^>]*>.*?<\/\1>/gs, "").match(/NaN|Infinity|undefined/);
}

type Path = readonly (string | number)[];

/** Every number of a report with its path; of a symmetric matrix the upper triangle, its diagonal being 1. */
function numbersOf(value: unknown, path: Path = []): { path: Path; value: number }[] {
  if (typeof value === "number") return [{ path, value }];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const next = [...path, Array.isArray(value) ? Number(key) : key];
    const [row, column] = next.slice(-2).map(Number);
    const mirrored = next.at(-3) === "cosine" && row !== undefined && column !== undefined && row >= column;
    return mirrored || next[0] === "schemaVersion" ? [] : numbersOf(child, next);
  });
}

/** Sets the number at a path, and in a symmetric matrix its mirror image too. */
function setTwin(copy: GradientReuseReport, path: Path, value: number): void {
  const keys = path.map(String);
  setAt(copy, keys, value);
  if (keys.at(-3) === "cosine")
    setAt(copy, [...keys.slice(0, -2), keys.at(-1) ?? "", keys.at(-2) ?? ""], value);
}

function setAt(target: unknown, keys: readonly string[], value: number): void {
  const [key, ...rest] = keys;
  if (typeof target !== "object" || target === null || key === undefined) return;
  if (rest.length === 0) Reflect.set(target, key, value);
  else setAt(Reflect.get(target, key), rest, value);
}

/** The report with a hostile ending on every name that a user can choose. */
function withText(base: GradientReuseReport, text: string): GradientReuseReport {
  return changed((copy) => {
    copy.meta.title += text;
    copy.meta.command += text;
    copy.meta.dataset.name += text;
    copy.meta.settings[text] = text;
    copy.gaps.push({ path: text, reason: text });
    for (const method of copy.methods) method.definition += text;
    for (const row of copy.comparison) {
      row.measure += text;
      row.unit += text;
      row.note += text;
    }
    for (const variant of copy.variants) {
      variant.name += text;
      variant.description += text;
      for (const stage of variant.stages) {
        stage.name += text;
        stage.equations.forward.push(text);
        stage.equations.updateLatex.push(text);
        stage.equations.legend.push({ symbol: text, meaning: text });
        for (const weight of stage.structure.weights) weight.modulePath += text;
        stage.structure.featureMaps.push({
          symbol: text,
          gradient: `${text}g`,
          channels: 1,
          height: 1,
          width: 1,
          side: "main",
        });
        for (const pieces of stage.measured) pieces.consumers = pieces.consumers.map((name) => name + text);
      }
    }
  }, base);
}
