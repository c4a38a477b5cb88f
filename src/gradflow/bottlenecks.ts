/**
 * Layers of several convolutions that the paper counts as one: DenseNet-BC's bottleneck (1x1, then 3x3), a gate's two
 * 1x1 convolutions, the branches of PeleeNet's two-way dense layer (1x1, 3x3 and 1x1, 3x3, 3x3).
 *
 * The rule, from the graph and the tree of modules alone: everything weighted in a module lies in chains of two or three
 * convolutions that only feed one another, all chains read the same, and each begins with a 1x1 convolution; of three,
 * the others are larger. Then each chain is one layer. A chain of 1x1 and 3x3 convolutions by turns, Darknet's say, is
 * left as it is.
 */
import { mapsOf, type Reading } from "./reading.ts";

/** What the rule needs to know of a weighted op. */
export interface ChainLink {
  readonly modulePath: string;
  readonly reads: Reading;
  /** The map it makes. */
  readonly output: number;
  /** The tensors that its weight is made of. */
  readonly weights: readonly number[];
  /** Of the filter; null for a matrix product. */
  readonly window: readonly number[] | null;
}

const isPointwise = ({ window }: ChainLink): boolean => window?.every((extent) => extent === 1) ?? false;

/** What a reading reads when it is one map as it is. */
const onlyMap = ({ reads }: ChainLink): number | null => (reads.kind === "map" ? reads.map : null);

/** The chains, as lists of indices of `links`. `leaving`: maps that leave the stage. */
function chainsIn(
  links: readonly ChainLink[],
  members: readonly number[],
  readers: readonly number[],
  leaving: ReadonlySet<number>,
): number[][] {
  const madeBy = new Map(members.map((i) => [links[i].output, i]));
  const before = (i: number): number | undefined => {
    const map = onlyMap(links[i]);
    return map === null || readers[map] !== 1 || leaving.has(map) ? undefined : madeBy.get(map);
  };
  const next = new Map(members.flatMap((i) => [[before(i), i] as const]));
  return members
    .filter((i) => before(i) === undefined)
    .map((first) => {
      const chain = [first];
      for (let at = next.get(first); at !== undefined; at = next.get(at)) chain.push(at);
      return chain;
    });
}

/** More than three convolutions make a network of their own, not a layer. */
const longest = 3;

function isOneLayer(links: readonly ChainLink[], chain: readonly number[]): boolean {
  const [first, ...others] = chain.map((i) => links[i]);
  if (others.length === 0 || chain.length > longest) return false;
  if (!isPointwise(first) || others.some(({ window }) => window === null)) return false;
  return others.length === 1 || !others.some(isPointwise);
}

/** Every module that a path lies in, but for the outermost, the innermost first. */
function modulesAround(path: string): string[] {
  const names = path.split(".");
  return names.slice(0, -1).map((_, i) => names.slice(0, names.length - 1 - i).join("."));
}

/** True when every call of the module runs each of its chains once, all on the same. */
function areParallel(links: readonly ChainLink[], chains: readonly number[][]): boolean {
  const keys = new Set(chains.map((chain) => keyOf(links, chain)));
  const byReading = new Map<string, Set<string>>();
  for (const chain of chains) {
    const reads = JSON.stringify(links[chain[0]].reads);
    byReading.set(reads, (byReading.get(reads) ?? new Set()).add(keyOf(links, chain)));
  }
  return [...byReading.values()].every(({ size }) => size === keys.size);
}

/**
 * The chains of `links` that are one layer each. `readers` says how many layers read each map, `leaving` what leaves
 * the stage. Chains with a weight that is used elsewhere, too, are left apart.
 */
export function bottleneckChains(
  links: readonly ChainLink[],
  readers: readonly number[],
  leaving: Reading | null,
): number[][] {
  const left = new Set(leaving ? mapsOf(leaving) : []);
  const below = new Map<string, number[]>();
  links.forEach(({ modulePath }, i) => {
    for (const module of modulesAround(modulePath)) below.set(module, [...(below.get(module) ?? []), i]);
  });
  const taken = new Set<number>();
  const depth = (path: string): number => path.split(".").length;
  const found: number[][] = [];
  for (const [, members] of [...below].sort(([a], [b]) => depth(b) - depth(a))) {
    if (members.some((i) => taken.has(i))) continue;
    const chains = chainsIn(links, members, readers, left);
    if (!chains.every((chain) => isOneLayer(links, chain)) || !areParallel(links, chains)) continue;
    for (const i of members) taken.add(i);
    found.push(...chains);
  }
  return keepWholeWeights(links, found);
}

const keyOf = (links: readonly ChainLink[], chain: readonly number[]): string =>
  chain.map((i) => links[i].weights.join()).join(" ");

/** Leaves out chains with a weight that is also used elsewhere. */
function keepWholeWeights(links: readonly ChainLink[], chains: readonly number[][]): number[][] {
  const usesOf = new Map<number, number>();
  for (const { weights } of links)
    for (const weight of weights) usesOf.set(weight, (usesOf.get(weight) ?? 0) + 1);
  const calls = new Map<string, number>();
  for (const chain of chains) {
    const key = keyOf(links, chain);
    calls.set(key, (calls.get(key) ?? 0) + 1);
  }
  return chains.filter((chain) =>
    chain.every((i) =>
      links[i].weights.every((weight) => usesOf.get(weight) === calls.get(keyOf(links, chain))),
    ),
  );
}

/** The innermost module that all `paths` lie in. */
export function commonModule(paths: readonly string[]): string {
  const [first, ...others] = paths.map((path) => path.split("."));
  const length = first.findIndex((name, i) => others.some((other) => other[i] !== name));
  return (length < 0 ? first : first.slice(0, length)).join(".");
}
