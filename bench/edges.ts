/**
 * What the edges cost when nobody listens: the backward pass of the engine as it is, against the same engine with
 * the lines that announce a piece taken out. Tiny tensors, so that the engine itself is most of the time.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { backward, crossEntropy, randint, randn, scope } from "../src/index.ts";
import { densenet } from "../src/models/index.ts";
import { type PairedResult, paired } from "./paired.ts";

const engineFile = path.resolve(import.meta.dirname, "../src/autograd/engine.ts");

/** The engine's source without edges, its imports pointing at the real files. */
function withoutEdges(): string {
  const cut = (source: string, from: string, to: string): string => {
    if (!source.includes(from)) throw new Error(`bench/edges: engine.ts no longer contains ${from}`);
    return source.replace(from, to);
  };
  let source = readFileSync(engineFile, "utf8");
  source = cut(source, "const watched = hasEdgeListeners();", "");
  source = cut(
    source,
    "piece && watched ? emitEdge({ from: node, to, slot, gradient: piece }, hold) : piece",
    "piece",
  );
  const base = pathToFileURL(path.dirname(engineFile));
  return source.replaceAll(/from "(\.[^"]*)"/g, (_, relative) => `from "${new URL(relative, `${base}/`)}"`);
}

/** Runs the comparison; `ratio` is the real engine over the one without edges. */
export async function benchEdges(pairs: number): Promise<PairedResult> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "gradweave-bench-"));
  try {
    const file = path.join(folder, "engine.mts");
    writeFileSync(file, withoutEdges());
    const stripped: { backward: typeof backward } = await import(pathToFileURL(file).href);
    const model = densenet({
      blocks: [6, 6],
      growthRate: 2,
      bottleneckWidth: 1,
      stemChannels: 4,
      stem: "small",
      inChannels: 1,
      classes: 10,
    });
    const images = randn([2, 1, 8, 8]);
    const labels = randint(0, 10, [2]);
    const run = (engine: typeof backward) => () =>
      scope(() => {
        model.zeroGrad();
        engine(crossEntropy(model.forward(images), labels));
      });
    return paired(run(stripped.backward), run(backward), pairs, 50);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
