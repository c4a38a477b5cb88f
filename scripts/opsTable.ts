/** `npm run docs:ops`: writes docs/ops.md, the table of every op, from the registry. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import "../src/autograd/index.ts";
import { type RegisteredOp, registeredOps } from "../src/autograd/defineOp.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { createWasmSupport } from "../src/backends/cpu/wasm/index.ts";

export const opsTablePath = path.resolve(import.meta.dirname, "../docs/ops.md");

/** Ops with a WebAssembly kernel. */
const simd: object = createWasmSupport()?.kernels ?? {};

const cell = (text: string): string => text.replaceAll("|", "\\|");

function cpuKernel({ name, kind, samples }: RegisteredOp): string {
  if (kind === "view") return "view";
  if (name in simd) return "SIMD";
  if (name in loops) return "loop";
  const [sample] = samples();
  const isPointwise =
    typeof sample?.attributes === "object" && sample.attributes && "expression" in sample.attributes;
  return isPointwise ? "SIMD, printed" : "reference";
}

function gradient({ differentiable }: RegisteredOp): string {
  if (!differentiable.includes(true)) return "none";
  if (!differentiable.includes(false)) return "every input";
  const inputs = differentiable.flatMap((flows, i) => (flows ? [i + 1] : []));
  return `input ${inputs.join(", ")}`;
}

/** The page as Markdown. */
export function renderOpsTable(): string {
  const ops = [...registeredOps().values()].sort((a, b) => a.name.localeCompare(b.name));
  const rows = ops.map(
    (op) => `| \`${op.name}\` | ${cell(op.summary)} | ${gradient(op)} | ${cpuKernel(op)} |`,
  );
  return `# Every op

Generated from the registry by \`npm run docs:ops\`; a test keeps it up to date.

Every gradient is written with other ops of this table, so it can be differentiated again. On the CPU an op is a
*SIMD* kernel in WebAssembly (*printed* from its expression for pointwise ops), a blocked typed-array *loop*, the plain
*reference* loop of its file, or a *view* that moves no data.

| op | what it computes | gradient flows to | CPU |
|---|---|---|---|
${rows.join("\n")}

${ops.length} ops. Functions made of them, without kernels of their own: \`mean\`, \`variance\`, \`min\`,
\`crossEntropy\`, \`dropout\`, \`channelMaxout\`, \`globalAvgPool2d\`, \`batchNormWith\`, \`relu6\`, \`hardTanh\`,
\`stack\`, \`split\`, \`select\`, \`flatten\`, \`transpose\`, \`mseLoss\`, \`l1Loss\`.
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync(opsTablePath, renderOpsTable());
  console.error(`wrote ${path.relative(process.cwd(), opsTablePath)}`);
}
