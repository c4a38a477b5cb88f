/** What is counted on a stage equals what walking every path of its raw graph finds, and the closed forms. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { add, avgPool2d, concat } from "../src/autograd/index.ts";
import {
  analyzeStage,
  duplicatePairs,
  gradientArrivals,
  type Stage,
  stageStructure,
} from "../src/gradflow/index.ts";
import { type Trace, trace } from "../src/graph/index.ts";
import { cspDenseNet, densenet, type Fusion } from "../src/models/index.ts";
import { Conv2d, Module } from "../src/nn/index.ts";
import { zeros } from "../src/tensor/create.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { bruteForce, type RawStage, sharedPairs } from "./support/bruteForce.ts";

/** How the test calls the maps and layers of an analysed stage. */
interface Names {
  map(index: number): string;
  layer(index: number): string;
}

const paperNames = (stage: Stage): Names => ({
  map: (index) => stage.maps[index].name,
  layer: (index) => stage.layers[index].name,
});

const bySize = (a: string, b: string) => a.localeCompare(b, "en", { numeric: true });

const numbersBetween = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Compares every count of the structure with enumeration. `sideOf` says on which side of the stage a layer is. */
function expectBruteForce(
  stage: Stage,
  raw: RawStage,
  { map, layer }: Names,
  sideOf: (layer: string) => string,
): void {
  const structure = stageStructure(stage);
  const expected = bruteForce(raw);
  const sources = stage.layers.map((entry, i) => [layer(i), entry.sources.map(map).sort(bySize)] as const);
  expect(new Map(sources)).toEqual(
    new Map([...expected.sources].map(([name, list]) => [name, list.sort(bySize)])),
  );
  expect(structure.paths.map((path) => map(path.map)).sort(bySize)).toEqual(
    [...expected.paths.keys()].sort(bySize),
  );
  for (const { map: index, count, shortest, longest } of structure.paths)
    expect({ map: map(index), count, shortest, longest }).toEqual({
      map: map(index),
      count: BigInt(expected.paths.get(map(index))?.distinct ?? -1),
      shortest: expected.paths.get(map(index))?.shortest,
      longest: expected.paths.get(map(index))?.longest,
    });

  for (const arrival of gradientArrivals(stage)) {
    const made = map(stage.layers[arrival.layer].output);
    const lengths = expected.paths.get(made)?.lengths ?? [];
    // What a layer makes is one layer nearer to the end than the layer.
    expect(arrival.times.flatMap(([from, to]) => numbersBetween(from, to))).toEqual(
      lengths.map((n) => n + 1),
    );
    expect(arrival.timeCount).toBe(lengths.length);
    expect([arrival.shortest, arrival.longest]).toEqual([lengths[0] + 1, lengths[lengths.length - 1] + 1]);
    expect(arrival.paths).toBe(BigInt(expected.paths.get(made)?.distinct ?? -1));
    const sources = arrival.sources.map((source) => (source === null ? "end" : layer(source)));
    expect(sources.sort()).toEqual(expected.stops.get(made));
  }

  const reach = (name: string) =>
    [...expected.sources].filter(([, list]) => list.includes(name)).map(([l]) => l);
  for (const { map: index, layers, weights } of structure.reuse) {
    expect(layers.map(layer).sort(bySize)).toEqual(reach(map(index)).sort(bySize));
    // Where no weight is used twice, its layers are as many as it.
    expect(weights.flatMap((weight) => stage.weights[weight].layers)).toEqual(layers);
  }
  const pairs = sharedPairs(expected);
  const text = (shared: { map: string; layers: readonly string[] }) =>
    `${shared.map}: ${shared.layers.join()}`;
  expect(
    duplicatePairs(stage, structure.reuse)
      .map(({ map: index, weights }) =>
        text({
          map: map(index),
          layers: weights.map((weight) => layer(stage.weights[weight].layers[0])).sort(),
        }),
      )
      .sort(),
  ).toEqual(pairs.map(text).sort());
  const across = pairs.filter(({ layers: [a, b] }) => sideOf(a) !== sideOf(b));
  const distinct = (list: typeof pairs) => new Set(list.map(({ layers }) => layers.join())).size;
  expect([structure.duplicatesWithin, structure.duplicatesAcross]).toEqual([
    distinct(pairs) - distinct(across),
    distinct(across),
  ]);

  const again = [...raw.maps].map(([value, name]) => {
    const { shape } = raw.graph.values[value];
    const weights = reach(name).length;
    const pieces = weights + (expected.leaving.includes(name) ? 1 : 0);
    const elements = shape.slice(1).reduce((product, n) => product * n, 1);
    return [
      Math.max(0, weights - 1),
      Math.max(0, weights - 1) * shape[1],
      4 * elements * Math.max(0, pieces - 1),
    ];
  });
  const total = (column: number) => again.reduce((sum, row) => sum + row[column], 0);
  expect([structure.duplicates, structure.duplicatesByChannels, structure.duplicateBytes]).toEqual(
    [0, 1, 2].map(total),
  );
}

/** The raw stage of a DenseNet or CSPDenseNet, found by module paths. */
function rawStage({ graph }: Trace, paths: readonly string[]): RawStage {
  const contains = ({ modulePath }: { modulePath: string }) =>
    paths.some((path) => modulePath === path || modulePath.startsWith(`${path}.`));
  const nodes = graph.nodes.filter(contains);
  const layerOf = ({ op, modulePath }: { op: string; modulePath: string }) => {
    if (op !== "conv2d") return null;
    return (
      /denselayer(\d+)\.conv[12]$/.exec(modulePath)?.[1] ?? (modulePath.includes("transitionU") ? "U" : "T")
    );
  };
  const maps = new Map<number, string>();
  for (const node of nodes) {
    const layer = layerOf(node);
    // The first half of a bottleneck makes nothing that a map is named after.
    if (layer !== null && !node.modulePath.endsWith("conv1")) maps.set(node.output, layer);
    if (node.op === "slice") maps.set(node.output, [...maps.values()].includes("0'") ? "0''" : "0'");
  }
  const inputOf = nodes[0].inputs[0];
  if (nodes[0].op !== "slice") maps.set(inputOf, "0");
  // What the last transition makes is read by nobody inside: it is the stage's result, not one of its sources.
  const end = nodes[nodes.length - 1].output;
  return { graph, contains, end, maps, layerOf };
}

const sizes = {
  growthRate: 3,
  bottleneckWidth: 2,
  stem: "small",
  stemChannels: 8,
  inChannels: 1,
  classes: 3,
} as const;
const image = () => zeros([1, 1, 12, 20]);
const layerCounts = [1, 2, 3, 4, 5, 6];

describe.each(layerCounts)("k = %i", (k) => {
  const pathsTo = (stage: Stage, name: string) => {
    const found = stageStructure(stage).paths.find(({ map }) => stage.maps[map].name === name);
    return found && [found.count, found.shortest, found.longest];
  };

  it("DenseNet, with and without a transition", () => {
    const network = densenet({ ...sizes, blocks: [k, k] });
    const traced = trace(network, image());
    const [first, last] = network.stages.map((selection) => analyzeStage(traced, selection));
    network.stages.forEach(({ paths }, i) => {
      const stage = [first, last][i];
      const raw = rawStage(traced, paths);
      expectBruteForce(stage, raw, paperNames(stage), () => "main");
      for (const { all, distinct } of bruteForce(raw).paths.values()) expect(all).toBe(distinct);
    });
    const structure = stageStructure(first);
    expect(structure.duplicates).toBe((k * (k + 1)) / 2);
    expect(structure.duplicatesByChannels).toBe(8 * k + (3 * k * (k - 1)) / 2);
    expect(structure.duplicateBytes).toBe(4 * 6 * 10 * (8 * k + (3 * k * (k - 1)) / 2));
    expect(structure.reuse.map(({ layers }) => layers.length)).toEqual(
      expect.arrayContaining([k + 1, ...Array.from({ length: k }, (_, j) => k - j)]),
    );
    expect(pathsTo(first, "0")).toEqual([2n ** BigInt(k), 1, k + 1]);
    expect(stageStructure(last).duplicates).toBe((k * (k - 1)) / 2);
    expect(pathsTo(last, "0")).toEqual([2n ** BigInt(k), 0, k]);
  });

  it.each([
    ["both", [2, k + 2], [1, 1], 0],
    ["first", [1, k + 1], [1, 1], k],
    ["last", [1, k + 1], [0, 0], 0],
  ] as const)("CSPDenseNet, fusion %s", (fusion: Fusion, dense, bypass, across) => {
    const network = cspDenseNet({ ...sizes, blocks: [k, k], fusion, partialRatio: 0.25 });
    const traced = trace(network, image());
    for (const selection of network.stages) {
      const stage = analyzeStage(traced, selection);
      const sideOf = (layer: string) => (layer === "U" ? "bypass" : "dense");
      expectBruteForce(stage, rawStage(traced, selection.paths), paperNames(stage), sideOf);
      expect(stageStructure(stage).duplicatesAcross).toBe(across);
      expect(stageStructure(stage).duplicates).toBe((k * (k + 1)) / 2);
      expect(pathsTo(stage, "0''")).toEqual([2n ** BigInt(k), ...dense]);
      expect(pathsTo(stage, "0'")).toEqual([1n, ...bypass]);
    }
    const first = stageStructure(analyzeStage(traced, network.stages[0]));
    expect(first.duplicatesByChannels).toBe(6 * k + (3 * k * (k - 1)) / 2);
    expect(first.duplicateBytes).toBe(4 * 6 * 10 * (6 * k + (3 * k * (k - 1)) / 2));
  });
});

it("counts the paths of 90 layers, 2^90 to the input, at once", () => {
  const stage = analyzeStage(
    trace(densenet({ ...sizes, blocks: [90], growthRate: 1 }), zeros([1, 1, 2, 2])),
    {
      name: "deep",
      paths: ["features.denseblock1"],
    },
  );
  expect(stageStructure(stage).paths[0].count).toBe(2n ** 90n);
});

it("leaves out layers that lead nowhere, and takes a map before the pool of the only layer that reads it", () => {
  class WithDeadEnd extends Module {
    readonly dead = new Conv2d(2, 2, 1);
    readonly first = new Conv2d(2, 3, 1);
    readonly second = new Conv2d(3, 2, 1);
    override forward(x: Tensor): Tensor {
      this.dead.forward(x);
      return this.second.forward(avgPool2d(this.first.forward(x), { kernelSize: 2 }));
    }
  }
  const stage = analyzeStage(trace(new WithDeadEnd(), zeros([1, 2, 4, 6])), {
    name: "dead end",
    paths: [""],
  });
  expect(
    stageStructure(stage).paths.map(({ count, shortest, longest }) => [count, shortest, longest]),
  ).toEqual([
    [1n, 2, 2],
    [1n, 1, 1],
    [1n, 0, 0],
  ]);
  expect(stage.maps.map(({ shape }) => shape)).toEqual([
    [1, 2, 4, 6],
    [1, 2, 4, 6],
    [1, 3, 4, 6],
    [1, 2, 2, 3],
  ]);
});

/** One op of a random network: what it reads is chosen among the values before it. */
interface Gene {
  readonly op: "conv" | "concat" | "sum";
  readonly reads: readonly number[];
}

const genes: fc.Arbitrary<Gene[]> = fc.array(
  fc.record({
    op: fc.constantFrom("conv", "conv", "concat", "sum"),
    reads: fc.array(fc.nat(999), { minLength: 1, maxLength: 3 }),
  }),
  { minLength: 1, maxLength: 9 },
);

/** A network of 3x3 convolutions, concatenations and sums; its output joins every value that nothing else reads. */
class RandomNetwork extends Module {
  readonly steps: readonly { op: Gene["op"]; reads: number[]; conv: Conv2d | null }[];
  readonly ends: readonly number[];

  constructor(list: readonly Gene[]) {
    super();
    const widths = [2];
    const unread = new Set([0]);
    this.steps = list.map(({ op, reads }, i) => {
      const chosen = reads.map((n) => n % widths.length);
      const fits = op === "sum" ? chosen.filter((value) => widths[value] === widths[chosen[0]]) : chosen;
      const used = op === "conv" ? fits.slice(0, 1) : fits;
      for (const value of used) unread.delete(value);
      const width = used.reduce((sum, value) => sum + widths[value], 0);
      const conv = op === "conv" ? new Conv2d(width, 2, 3, { padding: 1 }) : null;
      if (conv) this.addModule(`conv${i}`, conv);
      widths.push(op === "conv" ? 2 : op === "sum" ? widths[used[0]] : width);
      unread.add(widths.length - 1);
      return { op, reads: used, conv };
    });
    this.ends = [...unread];
  }

  override forward(x: Tensor): Tensor {
    const values = [x];
    for (const { op, reads, conv } of this.steps) {
      const read = reads.map((i) => values[i]);
      if (conv) values.push(conv.forward(read[0]));
      else values.push(op === "concat" ? concat(read, 1) : read.reduce((a, b) => add(a, b)));
    }
    return concat(
      this.ends.map((i) => values[i]),
      1,
    );
  }
}

it("counts random networks of convolutions, concatenations and sums right", () => {
  fc.assert(
    fc.property(genes, (list) => {
      const traced = trace(new RandomNetwork(list), zeros([1, 2, 2, 3]));
      const { graph, inputs, output } = traced;
      const convs = graph.nodes.filter(({ op }) => op === "conv2d");
      const stage = analyzeStage(traced, { name: "random", paths: [""] });
      const raw: RawStage = {
        graph,
        contains: () => true,
        end: output,
        maps: new Map([
          [inputs[0], "input"],
          ...convs.map((node) => [node.output, node.modulePath] as const),
        ]),
        layerOf: ({ op, modulePath }) => (op === "conv2d" ? modulePath : null),
      };
      const layer = (index: number) => stage.layers[index].modulePath;
      const madeBy = (index: number) => stage.maps[index].layer;
      const names: Names = {
        layer,
        map: (index) => (madeBy(index) === null ? "input" : layer(madeBy(index) ?? -1)),
      };
      expectBruteForce(stage, raw, names, () => "main");
    }),
    { numRuns: 300 },
  );
});
