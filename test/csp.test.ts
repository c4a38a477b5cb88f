/** The general cross-stage-partial form beyond slices: sides by convolution, pooling within, transitions left out. */
import { describe, expect, it } from "vitest";
import { avgPool2d, concat, maxPool2d } from "../src/autograd/index.ts";
import { noGrad, randn, type Tensor } from "../src/index.ts";
import { type CspOptions, type CspStage, csp, type StageDefinition } from "../src/models/index.ts";
import { AvgPool2d, Conv2d, MaxPool2d, Module, Sequential } from "../src/nn/index.ts";
import { Generator } from "../src/tensor/generator.ts";

const images = (shape: readonly number[]) => randn(shape, { generator: new Generator(5) });

/** Adds three channels. */
class Grow extends Module {
  readonly outChannels: number;
  readonly conv: Conv2d;

  constructor(inChannels: number) {
    super();
    this.outChannels = inChannels + 3;
    this.conv = new Conv2d(inChannels, 3, 3, { padding: 1 });
  }

  override forward(x: Tensor): Tensor {
    return concat([x, this.conv.forward(x)], 1);
  }
}

const conv1x1 = (from: number, to: number) => new Conv2d(from, to, 1);

const make = (definition: Partial<StageDefinition>, options: CspOptions = {}): CspStage =>
  csp(
    { inChannels: 8, block: (channels) => new Grow(channels), transition: conv1x1, ...definition },
    options,
  );

/** What the stage's modules compute one after the other, written out plainly. */
function expected(
  stage: CspStage,
  x: Tensor,
  pools: Partial<Record<"sides" | "fused", (map: Tensor) => Tensor>>,
) {
  const apply = (module: Module | null, map: Tensor) => (module ? module.forward(map) : map);
  const same = (map: Tensor) => map;
  const { sides = same, fused = same } = pools;
  const [width] = stage.parts;
  const bypass = stage.splitBypass ? stage.splitBypass.forward(x) : x.slice(1, 0, width);
  const part = stage.splitBlock ? stage.splitBlock.forward(x) : x.slice(1, width);
  const computed = apply(stage.transitionT, sides(stage.block.forward(part)));
  const joined = [sides(bypass), computed];
  return apply(stage.transitionU, fused(concat(stage.leading === "bypass" ? joined : joined.reverse(), 1)));
}

const x = images([2, 8, 6, 4]);

describe("csp in general", () => {
  it.each(["both", "first", "last"] as const)(
    "makes the sides by convolutions of the whole input, fusion %s",
    (fusion) => {
      const stage = make({ split: conv1x1 }, { partialRatio: 0.25, fusion, compression: 1 });
      expect(stage.parts).toEqual([2, 6]);
      expect(stage.splitBypass?.namedParameters().get("weight")?.shape).toEqual([2, 8, 1, 1]);
      expect(stage.splitBlock?.namedParameters().get("weight")?.shape).toEqual([6, 8, 1, 1]);
      const y = stage.forward(x);
      expect(y.shape).toEqual([2, stage.outChannels, 6, 4]);
      expect(stage.outChannels).toBe(2 + 6 + 3);
      expect(y.toArraySync()).toEqual(expected(stage, x, {}).toArraySync());
      y.sum().backward();
      for (const [name, { grad }] of stage.namedParameters()) expect(grad, name).not.toBeNull();
    },
  );

  it("tells the split's builder which side it is for", () => {
    const stage = make({
      split: (from, to, side) =>
        side === "bypass"
          ? new Sequential(new MaxPool2d(2), conv1x1(from, to))
          : new Sequential(conv1x1(from, to), new MaxPool2d(2)),
    });
    const y = noGrad(() => stage.forward(x));
    expect(y.shape).toEqual([2, stage.outChannels, 3, 2]);
    expect(y.toArraySync()).toEqual(noGrad(() => expected(stage, x, {})).toArraySync());
  });

  it("takes any widths of the sides where convolutions make them", () => {
    const stage = make({ split: conv1x1, parts: [8, 5] }, { compression: 1 });
    expect([stage.parts, stage.outChannels]).toEqual([[8, 5], 8 + 5 + 3]);
    expect(() => make({ split: conv1x1, parts: [8, 0] })).toThrow(
      "csp: parts [8, 0] must be positive integers",
    );
    expect(make({ parts: [3, 5] }).forward(x).shape[1]).toBe(3 + 4);
    expect(() => make({ parts: [8, 5] })).toThrow(
      "csp: parts [8, 5] must be positive integers that add up to the 8 channels of the input",
    );
  });

  it("pools between concatenation and U, or both sides before T", () => {
    const halve = (map: Tensor) => maxPool2d(map, { kernelSize: 2 });
    const fused = make({ pool: { place: "fused", build: () => new MaxPool2d(2) } });
    expect(fused.forward(x).toArraySync()).toEqual(expected(fused, x, { fused: halve }).toArraySync());
    const average = (map: Tensor) => avgPool2d(map, { kernelSize: 2 });
    const sides = make({ pool: { place: "sides", build: () => new AvgPool2d(2) } }, { fusion: "last" });
    expect(sides.forward(x).toArraySync()).toEqual(expected(sides, x, { sides: average }).toArraySync());
    expect([fused, sides].map((stage) => stage.forward(x).shape.slice(2))).toEqual([
      [3, 2],
      [3, 2],
    ]);
  });

  it("leaves out transitions that a network has not, and gives others the channels it says", () => {
    const without = make({ transition: () => null }, { fusion: "first", compression: 0.5 });
    expect([without.transitionU, without.outChannels]).toEqual([null, 8 + 3]);
    const places: string[] = [];
    const given = make({
      transition: (from, to, place) => {
        places.push(`${place} ${from} ${to}`);
        return conv1x1(from, to);
      },
      transitionChannels: { T: 5, U: 20 },
    });
    expect(places).toEqual(["T 7 5", "U 9 20"]);
    expect([given.mergedChannels, given.outChannels, given.forward(x).shape[1]]).toEqual([9, 20, 20]);
  });

  it("puts the block's side first where the network has it so", () => {
    const stage = make({ leading: "block" }, { fusion: "last" });
    const y = stage.forward(x);
    expect(y.slice(1, stage.outChannels - 4).toArraySync()).toEqual(x.slice(1, 0, 4).toArraySync());
    expect(y.toArraySync()).toEqual(expected(stage, x, {}).toArraySync());
  });

  it("shows its widest map as the output of a module", () => {
    const stage = make({ pool: { place: "fused", build: () => new MaxPool2d(2) } });
    const seen: (readonly number[])[] = [];
    stage.merge.registerForwardHook((_, __, output) => void seen.push(output.shape));
    stage.forward(x);
    expect(seen).toEqual([[2, stage.mergedChannels, 6, 4]]);
    expect([...stage.stateDict().keys()].some((name) => name.startsWith("merge"))).toBe(false);
  });
});
