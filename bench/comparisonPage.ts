/** The comparison with other libraries: its figures, and its part of the page in bench/results/. */

interface PeerNames {
  readonly subject: string;
  readonly peer: string;
}

/** Median milliseconds, and the median and middle half of ours / theirs over the pairs: below 1, ours is faster. */
export interface Comparison extends PeerNames {
  readonly ours: number;
  readonly theirs: number;
  readonly oursOverPeer: number;
  readonly spread: readonly [low: number, high: number];
  readonly pairs: number;
}

/** A pair that has no figure, and why. */
export interface NotCompared extends PeerNames {
  readonly reason: string;
}

export interface ComparisonTable {
  readonly ours: { readonly version: string; readonly threads: number };
  readonly peers: readonly { readonly name: string; readonly version: string; readonly threads: number }[];
  readonly missing: readonly { readonly name: string; readonly reason: string }[];
  readonly figures: readonly Comparison[];
  readonly notCompared: readonly NotCompared[];
}

function threads(count: number): string {
  return `${count} thread${count === 1 ? "" : "s"}`;
}

/** A section of Markdown with a row per pair. */
export function comparisonSection({ ours, peers, missing, figures, notCompared }: ComparisonTable): string {
  const figure = (value: number) => (value < 10 ? value.toPrecision(3) : value.toFixed(value < 100 ? 1 : 0));
  const ratio = (value: number) => value.toPrecision(3).replace(/\.?0+(?=e|$)/, "");
  const rows = figures.map(
    (row) =>
      `| ${row.subject} | ${row.peer} | ${figure(row.ours)} | ${figure(row.theirs)} | ${ratio(row.oursOverPeer)} | ` +
      `${row.spread.map(ratio).join(" to ")} | ${row.pairs} |`,
  );
  const reasons = notCompared.map((row) => `| ${row.subject} | ${row.peer} | ${row.reason} |`);
  const versions = peers.map((peer) => `${peer.name} (${peer.version})`);
  return `## Beside other libraries

Gradweave ${ours.version} with ${threads(ours.threads)}, f32, beside ${versions.join(", ") || "no other library"};
one thread where the name does not say otherwise. Both run alternately on the same numbers, and their first results
are checked to be equal. Medians in milliseconds; ours / theirs is the median over the pairs, below 1 where ours is
faster, with the middle half of the pairs.

| work | peer | ours, ms | theirs, ms | ours / theirs | middle half | pairs |
|---|---|---:|---:|---:|---:|---:|
${rows.join("\n")}
${reasons.length > 0 ? `\n| not compared | peer | why |\n|---|---|---|\n${reasons.join("\n")}\n` : ""}${missing.map(({ name, reason }) => `\nWithout ${name}: ${reason}.\n`).join("")}`;
}
