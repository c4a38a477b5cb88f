/** Broken Darknet files end in one kind of error, in bounded time and memory; what is accepted does what it says. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { noGrad } from "../src/autograd/index.ts";
import {
  DarknetError,
  darknetCosts,
  darknetModel,
  loadDarknetWeights,
  planNetwork,
  readCfg,
  saveDarknetWeights,
  writeCfg,
} from "../src/io/index.ts";
import { zeros } from "../src/tensor/create.ts";
import { memoryReport } from "../src/tensor/runtime.ts";
import { scope } from "../src/tensor/scope.ts";
import { mutatedBytes, mutatedCfg } from "./support/darknetMutations.ts";

const folder = mkdtempSync(path.join(tmpdir(), "darknet-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true }));

const cfgText = (name: string) =>
  readFileSync(path.join(import.meta.dirname, `fixtures/darknet/${name}.cfg`), "utf8");

/** What `read` gives, or null where it refused with a DarknetError; anything else fails the test. */
function accepted<Result>(read: () => Result): Result | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof DarknetError) return null;
    throw error;
  }
}

describe("mutated cfgs", () => {
  // Networks small enough to run, so that what was accepted can be held to its plan.
  const limits = { featureMap: 2 ** 14, weights: 2 ** 14 };

  it.each(["every-section", "blocks", "detector", "shortcuts"])("%s.cfg", (name) => {
    let [runs, built] = [0, 0];
    fc.assert(
      fc.property(mutatedCfg(cfgText(name)), (text) => {
        runs += 1;
        const cfg = accepted(() => readCfg(text));
        if (!cfg) return;
        expect(writeCfg(readCfg(writeCfg(cfg)))).toBe(writeCfg(cfg));
        accepted(() => darknetCosts(cfg));
        const plan = accepted(() => planNetwork(cfg, limits));
        if (!plan) return;
        built += 1;
        const model = darknetModel(cfg, { limits }).eval();
        const indices = plan.layers.map(({ index }) => index);
        const shapes = scope(() =>
          noGrad(() => model.featureMaps(zeros([1, ...plan.inputShape]), indices).map(({ shape }) => shape)),
        );
        expect(shapes).toEqual(plan.layers.map(({ outputShape }) => [1, ...outputShape]));
      }),
      { numRuns: 150, interruptAfterTimeLimit: 8000 },
    );
    expect(built).toBeGreaterThan(runs / 100);
  });
});

describe("mutated weights files", () => {
  it("load completely or not at all", async () => {
    const model = darknetModel(readCfg(cfgText("detector"))).eval();
    const file = path.join(folder, "net.weights");
    await saveDarknetWeights(model, file);
    const bytes = new Uint8Array(readFileSync(file));
    const state = () => [...model.stateDict().values()].map((values) => Array.from(values.dataSync()));
    const outcomes = { loaded: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(mutatedBytes(bytes), async (broken) => {
        writeFileSync(file, broken);
        const before = state();
        const live = memoryReport().liveBytes;
        try {
          await loadDarknetWeights(model, file);
          outcomes.loaded += 1;
        } catch (error) {
          expect(error).toBeInstanceOf(DarknetError);
          expect(state()).toEqual(before);
          outcomes.refused += 1;
        }
        expect(memoryReport().liveBytes).toBe(live);
      }),
      { numRuns: 60, interruptAfterTimeLimit: 8000 },
    );
    expect(outcomes.loaded).toBeGreaterThan(0);
    expect(outcomes.refused).toBeGreaterThan(0);
  });
});
