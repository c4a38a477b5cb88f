/**
 * Public Darknet configurations: they are read, written, built and counted as an independent counter did. They are not
 * ours to ship: GRADWEAVE_DARKNET_CFGS names a folder of cfg files, and the `numbers.json` of their counts lies in it
 * or beside it.
 */
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { cost, trace } from "../src/graph/index.ts";
import { darknetCosts, darknetModel, planNetwork, readCfg, writeCfg } from "../src/io/index.ts";

/** One network of numbers.json; bflops and cio are of convolutions alone. */
interface Counted {
  readonly cfg: string;
  readonly input: readonly [width: number, height: number, channels: number];
  readonly n_layers: number;
  readonly n_conv: number;
  readonly bflops: number;
  /** Weights; with biases; with norms' scales; with running statistics. */
  readonly P0: number;
  readonly P1: number;
  readonly P2: number;
  readonly P4: number;
  readonly cio: number;
  readonly max_layer_bflops: number;
  readonly max_layer: number;
}

const folder = process.env.GRADWEAVE_DARKNET_CFGS;
const numbersFile = ["numbers.json", "../numbers.json"]
  .map((name) => path.join(folder ?? "", name))
  .find((file) => folder !== undefined && existsSync(file));
const numbers: readonly Counted[] = numbersFile ? JSON.parse(readFileSync(numbersFile, "utf8")) : [];
if (numbers.length === 0)
  console.log("Darknet's public cfgs are not tested: set GRADWEAVE_DARKNET_CFGS to their folder");

const read = (name: string) => readCfg(readFileSync(path.join(folder ?? "", name), "utf8"));

/** Networks that are built and traced; the others take seconds to fill with random numbers. */
const largestTraced = 6e6;

describe.skipIf(numbers.length === 0)("public cfgs (GRADWEAVE_DARKNET_CFGS)", () => {
  it.each(numbers.map((counted) => [counted.cfg, counted] as const))("%s", (name, counted) => {
    const cfg = read(name);
    const plan = planNetwork(cfg);
    const [width, height, channels] = counted.input;
    expect(plan.inputShape).toEqual([channels, height, width]);
    const costs = darknetCosts(plan);
    const convolutions = costs.layers.filter(({ kind }) => kind === "convolutional");
    const largest = Math.max(...convolutions.map(({ bflops }) => bflops));
    const sum = (of: (layer: (typeof convolutions)[number]) => number) =>
      convolutions.reduce((total, layer) => total + of(layer), 0);
    expect(costs.layers).toHaveLength(counted.n_layers);
    expect(convolutions).toHaveLength(counted.n_conv);
    expect(costs.convBflops).toBeCloseTo(counted.bflops, 9);
    expect(costs.weights).toBe(counted.P0);
    expect(sum(({ weights, biases }) => weights + biases)).toBe(counted.P1);
    expect(costs.trained).toBe(counted.P2);
    expect(costs.floats).toBe(counted.P4);
    expect(costs.convInputOutput).toBe(counted.cio);
    expect(largest).toBeCloseTo(counted.max_layer_bflops, 9);
    expect(convolutions.find(({ bflops }) => bflops === largest)?.index).toBe(counted.max_layer);

    const again = readCfg(writeCfg(cfg));
    expect(darknetCosts(again)).toEqual(costs);
    expect(writeCfg(again)).toBe(writeCfg(cfg));
    expect(again.layers.map(({ line: _, ...section }) => section)).toEqual(
      cfg.layers.map(({ line: _, ...section }) => section),
    );
    if (counted.P0 > largestTraced) return;
    const traced = cost(trace(darknetModel(cfg), [1, ...plan.inputShape]));
    expect(traced.parameters).toBe(counted.P2);
    expect(traced.flopsPerImage / 1e9).toBeCloseTo(counted.bflops, 9);
    expect(traced.convInputOutput).toBe(counted.cio);
  });

  // BFLOPs with max pools and CIO with pools, as the CSPNet paper prints them.
  it.each([
    ["csp/resnext50.cfg", "10.11", "34.4"],
    ["csp/csresnext50.cfg", "7.93", "32.6"],
    ["derived/peleenet.cfg", "1.02", "10.9"],
    ["derived/csppeleenet-050.cfg", "0.89", "9.8"],
  ])("%s: %s BFLOPs, CIO %s M", (name, bflops, inputOutput) => {
    const costs = darknetCosts(read(name));
    expect(costs.bflops.toFixed(2)).toBe(bflops);
    expect((costs.inputOutput / 1e6).toFixed(1)).toBe(inputOutput);
  });
});
