/** Whole networks: gradient paths, timestamps and sources, what crosses between stages, and what it costs to count. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { concat, slice, split } from "../src/autograd/index.ts";
import {
  analyzeStage,
  gradientArrivals,
  log10,
  networkStructure,
  stageStructure,
  summarizeArrivals,
} from "../src/gradflow/index.ts";
import { trace, withoutValues } from "../src/graph/index.ts";
import { createModel, cspDenseNet, densenet, type Network } from "../src/models/index.ts";
import { Conv2d, Module, Sequential } from "../src/nn/index.ts";
import { zeros } from "../src/tensor/create.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { bruteForce } from "./support/bruteForce.ts";
import { ResidualBlock } from "./support/userStages.ts";

const build = (name: string, options?: object): Network => withoutValues(() => createModel(name, options));

/**
 * Counted by another program on the Darknet files of the same networks: layers, longest path, longest shortest path,
 * mean shortest path, mean number of timestamps, of sources, log10 of the paths to the first layer, and the share of
 * sources in common (0 where there is no pair of layers to compare).
 */
const counted: readonly (readonly [name: string, options: object, ...figures: number[]])[] = [
  ["peleenet", {}, 114, 72, 8, 4.97, 30.92, 3.2, 10.32, 0.4698],
  ["speleenet", {}, 114, 72, 8, 4.97, 30.92, 2.48, 9.94, 0.3277],
  ["csp-peleenet", { fusion: "first" }, 113, 69, 8, 4.88, 29.45, 3.45, 9.9, 0.4966],
  ["csp-peleenet", { fusion: "last" }, 107, 67, 9, 5.84, 28.27, 2.95, 8.95, 0.3526],
  ["csp-peleenet", {}, 111, 70, 12, 7.13, 28.71, 2.86, 8.95, 0.3468],
  ["csp-resnet-10", {}, 29, 25, 14, 7.83, 5.24, 1.28, 1.91, 0.25],
  ["resnet-10", {}, 10, 10, 3, 2.3, 2.6, 2, 1.2, 0],
  ["resnet-50-darknet", {}, 50, 50, 4, 2.94, 8.52, 3.72, 4.82, 0.7396],
  ["csp-resnet-50", {}, 60, 56, 15, 8.83, 14.38, 1.57, 4.13, 0.2794],
  ["resnext-50-darknet", {}, 50, 50, 4, 2.94, 8.52, 3.72, 4.82, 0.7396],
  ["csp-resnext-50", {}, 60, 56, 15, 8.83, 14.38, 1.57, 4.13, 0.2794],
  ["darknet-53", {}, 53, 53, 7, 3.98, 12.51, 2.62, 6.92, 0.5],
  ["csp-darknet-53", {}, 73, 68, 17, 9.03, 23.22, 2.25, 7.23, 0.3265],
  ["densenet-201", {}, 201, 201, 6, 3.41, 49.8, 9.97, 29.5, 0.5],
];

const rows = counted.map(([name, options, ...figures]) => ({ name, options, figures }));

it.each(rows)(
  "$name $options has the gradient paths that another program counts",
  ({ name, options, figures }) => {
    const { summary } = networkStructure(build(name, options), [1, 3, 64, 64]);
    const { layers, longest, longestShortest, ...rest } = summary;
    expect([layers, longest, longestShortest]).toEqual(figures.slice(0, 3));
    const rounded = (value: number, digits: number) => Number(value.toFixed(digits));
    expect([
      rounded(rest.meanShortest, 2),
      rounded(rest.meanTimes, 2),
      rounded(rest.meanSources, 2),
      rounded(rest.log10Paths, 2),
      rounded(rest.sharedSources ?? 0, 4),
    ]).toEqual(figures.slice(3));
  },
);

describe("timestamps and sources", () => {
  const arrivalsOf = (module: Module, shape = [1, 8, 8, 8]) => {
    const stage = analyzeStage(trace(module, shape), { name: "all", paths: [""] }, { bottlenecks: false });
    return { stage, arrivals: gradientArrivals(stage) };
  };

  it("of a chain of N layers are N for the first and one source each", () => {
    const chain = new Sequential(...Array.from({ length: 5 }, () => new Conv2d(8, 8, 1)));
    const { stage, arrivals } = arrivalsOf(chain);
    expect(arrivals.map(({ times, sources, combination }) => [times, sources, combination])).toEqual([
      [[[5, 5]], [1], 0],
      [[[4, 4]], [2], 1],
      [[[3, 3]], [3], 2],
      [[[2, 2]], [4], 3],
      [[[1, 1]], [null], 4],
    ]);
    expect(summarizeArrivals(stage, arrivals)).toEqual({
      layers: 5,
      longest: 5,
      longestShortest: 5,
      meanShortest: 3,
      meanTimes: 1,
      meanSources: 1,
      log10Paths: 0,
      sharedSources: null,
    });
  });

  it("repeat every two layers in a ResNet: the last layers of its blocks have the same sources, and so learn the same", () => {
    const { arrivals } = arrivalsOf(new Sequential(...Array.from({ length: 3 }, () => new ResidualBlock(8))));
    const rows = arrivals.map(({ sources, times }) => [sources, times]);
    expect(rows).toEqual([
      [
        [1],
        [
          [2, 2],
          [4, 4],
          [6, 6],
        ]
          .slice(0, 3)
          .map(([t]) => [t, t]),
      ],
      [
        [2, 4, null],
        [
          [1, 1],
          [3, 3],
          [5, 5],
        ],
      ],
      [
        [3],
        [
          [2, 2],
          [4, 4],
        ],
      ],
      [
        [4, null],
        [
          [1, 1],
          [3, 3],
        ],
      ],
      [[5], [[2, 2]]],
      [[null], [[1, 1]]],
    ]);
    class Tail extends Module {
      readonly a = new Conv2d(8, 8, 1);
      readonly b = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        return this.a.forward(x).add(this.b.forward(x));
      }
    }
    expect(arrivalsOf(new Tail()).arrivals.map(({ combination }) => combination)).toEqual([0, 0]);
  });

  it("go on through the parts of a map: who reads a part of it sends its gradient to the layer that made all of it", () => {
    class Parted extends Module {
      readonly first = new Conv2d(8, 8, 1);
      readonly second = new Conv2d(4, 4, 1);
      readonly third = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        const [a, b] = split(this.first.forward(x), 2, 1);
        return this.third.forward(concat([a, this.second.forward(b)], 1));
      }
    }
    const { stage, arrivals } = arrivalsOf(new Parted());
    expect(arrivals.map(({ sources, times, paths }) => [sources, times, paths])).toEqual([
      [[1, 2], [[2, 3]], 2n],
      [[2], [[2, 2]], 1n],
      [[null], [[1, 1]], 1n],
    ]);
    // The input's paths lead through the first layer, whose map is read in parts alone.
    const [input] = stageStructure(stage).paths;
    expect(input).toMatchObject({ count: 2n, shortest: 2, longest: 3 });
  });

  it("have nothing for a layer that leads nowhere", () => {
    class DeadEnd extends Module {
      readonly a = new Conv2d(8, 8, 1);
      readonly dead = new Conv2d(8, 8, 1);
      override forward(x: Tensor): Tensor {
        const y = this.a.forward(x);
        this.dead.forward(y);
        return y;
      }
    }
    const { stage, arrivals } = arrivalsOf(new DeadEnd());
    expect(arrivals[0]).toMatchObject({ sources: [null], times: [[1, 1]], paths: 1n });
    expect(arrivals[1]).toMatchObject({
      sources: [],
      times: [],
      timeCount: 0,
      shortest: 0,
      longest: 0,
      paths: 0n,
    });
    expect(summarizeArrivals(stage, arrivals).layers).toBe(1);
  });
});

interface Gene {
  readonly op: "conv" | "concat" | "sum" | "slice";
  readonly reads: readonly number[];
  readonly number: number;
}

/** A random network of 3x3 convolutions, concatenations, sums, and slices of what convolutions made. */
class SlicedNetwork extends Module {
  readonly genes: readonly Gene[];
  constructor(genes: readonly Gene[]) {
    super();
    this.genes = genes;
    // The widths are those of the values, which only running it tells.
    withoutValues(() => this.run(zeros([1, 4, 2, 2]), (i, width) => this.addModule(`conv${i}`, conv(width))));
  }
  run(x: Tensor, convolution: (step: number, width: number) => Module): Tensor {
    const values = [{ value: x, isMap: true }];
    const unread = new Set([0]);
    this.genes.forEach(({ op, reads, number }, i) => {
      const chosen = reads.map((n) => n % values.length);
      const [first] = chosen;
      const width = (at: number) => values[at].value.shape[1];
      const isSlice = op === "slice" && values[first].isMap && width(first) > 1;
      const used =
        op === "sum" ? chosen.filter((at) => width(at) === width(first)) : op === "concat" ? chosen : [first];
      const read = used.map((at) => values[at].value);
      const cut = number % (isSlice ? width(first) : 1);
      const value = {
        conv: () => convolution(i, width(first)).forward(read[0]),
        concat: () => concat(read, 1),
        sum: () => read.reduce((a, b) => a.add(b)),
        slice: () => (isSlice ? slice(read[0], 1, cut, width(first)) : read[0]),
      }[op]();
      if (value === read[0]) return;
      for (const at of used) unread.delete(at);
      values.push({ value, isMap: op === "conv" || op === "slice" });
      unread.add(values.length - 1);
    });
    return concat(
      [...unread].map((at) => values[at].value),
      1,
    );
  }
  override forward(x: Tensor): Tensor {
    const convs = this.namedChildren();
    return this.run(x, (i) => convs.get(`conv${i}`) ?? this);
  }
}

const conv = (width: number) => new Conv2d(width, 4, 3, { padding: 1 });

const genes: fc.Arbitrary<Gene[]> = fc.array(
  fc.record({
    op: fc.constantFrom<Gene["op"]>("conv", "conv", "concat", "sum", "slice", "slice"),
    reads: fc.array(fc.nat(999), { minLength: 1, maxLength: 3 }),
    number: fc.nat(99),
  }),
  { minLength: 1, maxLength: 9 },
);

it("counts the gradient paths of random networks with slices as walking every one of them does", () => {
  let sliced = 0;
  fc.assert(
    fc.property(genes, (list) => {
      const network = new SlicedNetwork(list);
      const traced = trace(network, [1, 4, 2, 2]);
      const { graph, output } = traced;
      const stage = analyzeStage(traced, { name: "random", paths: [""] });
      const layers = graph.nodes.filter(({ op }) => op === "conv2d");
      const expected = bruteForce({
        graph,
        contains: () => true,
        end: output,
        maps: new Map(layers.map((node) => [node.output, node.modulePath])),
        layerOf: ({ op, modulePath }) => (op === "conv2d" ? modulePath : null),
      });
      for (const { layer, times, paths, sources } of gradientArrivals(stage)) {
        const { modulePath } = stage.layers[layer];
        const walked = expected.paths.get(modulePath);
        expect(
          times.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
        ).toEqual(walked?.lengths.map((length) => length + 1));
        expect(paths).toBe(BigInt(walked?.distinct ?? -1));
        const names = sources.map((source) => (source === null ? "end" : stage.layers[source].modulePath));
        expect(names.sort()).toEqual(expected.stops.get(modulePath));
      }
      for (const { map, count, shortest, longest } of stageStructure(stage).paths) {
        const { layer } = stage.maps[map];
        if (layer === null) continue;
        const walked = expected.paths.get(stage.layers[layer].modulePath);
        expect([count, shortest, longest]).toEqual([
          BigInt(walked?.distinct ?? -1),
          walked?.shortest,
          walked?.longest,
        ]);
      }
      sliced += stage.maps.filter(({ part }) => part && stage.maps[part.of].layer !== null).length;
    }),
    { numRuns: 200 },
  );
  expect(sliced).toBeGreaterThan(20);
});

it("takes the logarithm of integers of any size", () => {
  expect(log10(1n)).toBe(0);
  expect(log10(2n ** 64n)).toBeCloseTo(64 * Math.log10(2), 12);
  expect(log10(10n ** 400n * 3n)).toBeCloseTo(400 + Math.log10(3), 10);
  expect(() => log10(0n)).toThrow("not positive");
});

describe("stages of a network", () => {
  const sizes = {
    blocks: [2, 3],
    growthRate: 2,
    stemChannels: 8,
    stem: "small",
    inChannels: 1,
    classes: 3,
  } as const;

  it("are the network's own, or those that are given, or none", () => {
    const network = densenet(sizes);
    const own = networkStructure(network, [1, 1, 16, 16]);
    expect(own.stages.map(({ stage }) => stage.name)).toEqual(network.stages.map(({ name }) => name));
    expect(own.stages[0].equations.forward).toEqual([
      "x_1 = w_1 * x_0",
      "x_2 = w_2 * [x_0, x_1]",
      "x_T = w_T * [x_0, x_1, x_2]",
    ]);
    const [given] = networkStructure(
      network,
      [1, 1, 16, 16],
      [{ name: "head", paths: ["classifier"] }],
    ).stages;
    expect(given.equations.forward).toEqual(["x_1 = w_1 * x_0"]);
    expect(networkStructure(new Conv2d(2, 2, 1), [1, 2, 4, 4]).stages).toEqual([]);
    const missing = [{ name: "?", paths: ["features.denseblock9"] }];
    expect(() => networkStructure(network, [1, 1, 16, 16], missing)).toThrow(
      "in features there are features.conv0",
    );
  });

  it("say what crosses them: the stem's map and each transition's, read by every layer of the next block", () => {
    const { network, crossings } = networkStructure(densenet(sizes), [1, 1, 16, 16]);
    const place = (layer: number | null) => (layer === null ? "input" : network.layers[layer].modulePath);
    const rows = crossings.map(({ map, from, to, gradientBytes, paths }) => ({
      made: place(network.maps[map].layer),
      from,
      to: to.map(({ stage, layers }) => [stage, layers.length]),
      pixels: gradientBytes / 4,
      paths: paths.count,
    }));
    // 16 pixels become 8 behind the stem and 4 behind the transition, whose 12 channels are compressed to 6.
    expect(rows).toEqual([
      { made: "features.conv0", from: null, to: [["stage 1", 3]], pixels: 3 * 8 * 64, paths: 4n * 8n },
      {
        made: "features.transition1.conv",
        from: "stage 1",
        to: [
          ["stage 2", 3],
          [null, 1],
        ],
        pixels: 4 * 6 * 16,
        paths: 8n,
      },
      ...[1, 2, 3].map((layer) => ({
        made: `features.denseblock2.denselayer${layer}.conv2`,
        from: "stage 2",
        to: [[null, 1]],
        pixels: 2 * 16,
        paths: 2n ** BigInt(3 - layer),
      })),
    ]);
  });

  it.each([
    ["csp-peleenet", { fusion: "first" }, [8, 16, 32, 12]],
    ["csp-peleenet", { fusion: "last" }, [0, 0, 0, 0]],
    ["csp-peleenet", { fusion: "both" }, [0, 0, 0, 0]],
    ["peleenet", {}, [0, 0, 0, 0]],
    ["csp-densenet-201-elastic", {}, [0, 0, 0, 0]],
  ] as const)(
    "%s %o: the sides meet in the layers behind the stage as often as %j",
    (name, options, expected) => {
      const { stages } = networkStructure(build(name, options), [1, 3, 64, 64]);
      // Fusion first: the two 1x1 convolutions of the next stage read all that the 4, 8 and 16 branches made.
      expect(stages.map(({ duplicatesAcrossBehind }) => duplicatesAcrossBehind)).toEqual(expected);
    },
  );

  it("give parts of a map from the stage that made it, and pieces to the network's end too", () => {
    const { network, crossings } = networkStructure(cspDenseNet(sizes), [1, 1, 16, 16]);
    const parts = crossings.filter(({ map, from }) => network.maps[map].part && from === "stage 1");
    expect(parts.map(({ to }) => to.map(({ stage, layers }) => [stage, layers.length]))).toEqual([
      [["stage 2", 1]],
      [["stage 2", 4]],
    ]);
    class Ends extends Module {
      readonly first = new Conv2d(2, 3, 1);
      readonly second = new Conv2d(3, 4, 1);
      override forward(x: Tensor): Tensor {
        const y = this.first.forward(x);
        return concat([y, this.second.forward(y)], 1);
      }
    }
    const stages = [{ name: "first", paths: ["first"] }];
    const [, crossing] = networkStructure(new Ends(), [1, 2, 5, 5], stages).crossings;
    expect(crossing).toMatchObject({ from: "first", gradientBytes: 2 * 4 * 3 * 25 });
  });

  it("meet behind the stage only in layers that read the side that goes around", () => {
    class Stage extends Module {
      readonly inner = new Conv2d(4, 3, 3, { padding: 1 });
      override forward(x: Tensor): Tensor {
        const [around, part] = split(x, 2, 1);
        return concat([around, part, this.inner.forward(part)], 1);
      }
    }
    class Behind extends Module {
      readonly stage = new Stage();
      readonly both = new Conv2d(11, 2, 1);
      readonly denseAlone = new Conv2d(7, 2, 1);
      readonly aroundAlone = new Conv2d(4, 2, 1);
      override forward(x: Tensor): Tensor {
        const out = this.stage.forward(x);
        const [around, dense] = split(out, [4, 7], 1);
        return this.both
          .forward(out)
          .add(this.denseAlone.forward(dense))
          .add(this.aroundAlone.forward(around));
      }
    }
    const [found] = networkStructure(
      new Behind(),
      [1, 8, 4, 4],
      [{ name: "stage", paths: ["stage"] }],
    ).stages;
    expect([found.structure.duplicatesAcross, found.duplicatesAcrossBehind]).toEqual([0, 1]);
  });

  it.each([
    [4, 4, "first", 0],
    [4, 4, "last", 0],
    [5, 4, "first", 2],
    [5, 4, "last", 2],
    [5, 5, "first", 0],
    [5, 2, "last", 2],
  ])(
    "share a gradient when the parts overlap: channels 0 to %i and %i to 8, the %s go around",
    (end, start, which, across) => {
      class Overlapping extends Module {
        readonly width = which === "first" ? 8 - start : end;
        readonly dense = new Conv2d(this.width, 3, 1);
        readonly transition = new Conv2d(this.width + 3, 4, 1);
        readonly fuse = new Conv2d(12 + end - start - this.width, 8, 1);
        override forward(x: Tensor): Tensor {
          const parts = [slice(x, 1, 0, end), slice(x, 1, start, 8)];
          const [around, part] = which === "first" ? parts : parts.reverse();
          const mixed = this.transition.forward(concat([part, this.dense.forward(part)], 1));
          return this.fuse.forward(concat([around, mixed], 1));
        }
      }
      const stage = analyzeStage(trace(new Overlapping(), [1, 8, 2, 2]), { name: "stage", paths: [""] });
      expect(stage.weights.map(({ name, side }) => name + side)).toEqual(["1dense", "Tdense", "Ubypass"]);
      expect(stageStructure(stage).duplicatesAcross).toBe(across);
    },
  );

  it("count the sides of a CSPDenseNet by its fusion", () => {
    const across = (fusion: "both" | "first" | "last") =>
      networkStructure(cspDenseNet({ ...sizes, fusion }), [1, 1, 16, 16]).stages.map((stage) => [
        stage.structure.duplicatesAcross,
        stage.duplicatesAcrossBehind,
      ]);
    expect(across("both")).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(across("last")).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect(across("first")).toEqual([
      [2, 2],
      [3, 3],
    ]);
  });
});
