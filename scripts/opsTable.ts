/** `npm run docs:ops`: writes docs/ops.md, the table of every op, from the registry. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import "../src/autograd/index.ts";
import { type RegisteredOp, registeredOps } from "../src/autograd/defineOp.ts";
import { loops } from "../src/backends/cpu/loops/index.ts";
import { createWasmSupport } from "../src/backends/cpu/wasm/index.ts";
import { kernels as webgpu } from "../src/backends/webgpu/kernels/index.ts";

export const opsTablePath = path.resolve(import.meta.dirname, "../docs/ops.md");

/** Ops with a WebAssembly kernel. */
const simd: object = createWasmSupport()?.kernels ?? {};

const cell = (text: string): string => text.replaceAll("|", "\\|");

/** The kernel that computes the op; pointwise ops share one, into which their expressions are printed. */
function kernelOf({
  name,
  kind,
  samples,
}: RegisteredOp): { readonly name: string; readonly isPrinted: boolean } | null {
  if (kind === "view") return null;
  const [sample] = samples();
  const isPrinted =
    !(name in webgpu) &&
    typeof sample?.attributes === "object" &&
    sample.attributes !== null &&
    "expression" in sample.attributes;
  return { name: isPrinted ? "pointwise" : name, isPrinted };
}

/** Typed-array loops, for machines without WebAssembly. */
function cpuKernel(op: RegisteredOp): string {
  const kernel = kernelOf(op);
  if (!kernel) return "view";
  if (kernel.isPrinted) return "loop, printed";
  return kernel.name in loops ? "loop" : "reference";
}

/** WebAssembly, with SIMD. */
function wasmKernel(op: RegisteredOp): string {
  const kernel = kernelOf(op);
  if (!kernel) return "view";
  if (kernel.isPrinted) return "SIMD, printed";
  return kernel.name in simd ? "SIMD" : `as CPU: ${cpuKernel(op)}`;
}

function webgpuKernel(op: RegisteredOp): string {
  const kernel = kernelOf(op);
  if (!kernel) return "view";
  if (!(kernel.name in webgpu)) throw new Error(`docs:ops: ${op.name} has no WebGPU kernel ${kernel.name}`);
  return kernel.isPrinted ? "WGSL, printed" : "WGSL";
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
    (op) =>
      `| \`${op.name}\` | ${cell(op.summary)} | ${gradient(op)} | ${cpuKernel(op)} | ${wasmKernel(op)} | ${webgpuKernel(op)} |`,
  );
  return `# Every op

Generated from the registry by \`npm run docs:ops\`; a test keeps it up to date.

Every gradient is written with other ops of this table, so it can be differentiated again. On the CPU an op is a
blocked typed-array *loop* or the plain *reference* loop of its file, and a *SIMD* kernel where there is WebAssembly;
on WebGPU it is a shader in *WGSL*. Pointwise ops are *printed* from their expressions on every backend, and a *view*
moves no data.

| op | what it computes | gradient flows to | CPU | WebAssembly | WebGPU |
|---|---|---|---|---|---|
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
