/** The inference table: DenseNet-121 on one image. PyTorch writes the ONNX file that the others read. */
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { alternate, type Comparison } from "./alternate.ts";
import { cspDenseNet121, denseNet121 } from "./networks.ts";
import { PeerSet } from "./peerSet.ts";

export interface InferenceFigure extends Comparison {
  readonly network: string;
  readonly threads: number;
}

export async function benchInference(
  threadCounts: readonly number[],
  quick: boolean,
): Promise<InferenceFigure[]> {
  const networks = [
    { name: "DenseNet-121, batch 1, 224 x 224", size: denseNet121 },
    { name: "CSPDenseNet-121, batch 1, 224 x 224", size: cspDenseNet121 },
  ];
  const figures: InferenceFigure[] = [];
  const folder = mkdtempSync(path.join(os.tmpdir(), "gradweave-bench-"));
  try {
    for (const { name, size } of quick ? networks.slice(0, 1) : networks)
      for (const threads of quick ? threadCounts.slice(-1) : threadCounts) {
        const peers = new PeerSet();
        try {
          // The order in which they make ready: PyTorch before those that read what it writes.
          const opened = await peers.all(["Gradweave", "PyTorch", "onnxruntime-node", "OpenCV DNN"], threads);
          const onnx = path.join(folder, `${figures.length}.onnx`);
          const subject = `${name}, ${threads} thread${threads === 1 ? "" : "s"}`;
          const how = { rounds: quick ? 5 : 21, budget: 6000 };
          const task = { ...size, batch: 1, kind: "inference", onnx } as const;
          figures.push({ network: name, threads, ...(await alternate(subject, task, opened, how)) });
        } finally {
          await peers.close();
        }
      }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return figures;
}
