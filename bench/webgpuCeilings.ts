/**
 * What a WebGPU adapter reaches in this run: multiply-adds between registers, and a copy in device memory. On a
 * software adapter that is the processor through an emulated GPU.
 */
import type { GpuRuntime } from "../src/backends/webgpu/runtime.ts";

export interface WebGpuCeiling {
  /** Multiply-adds of f32 as 2 operations each, in GFLOP/s. */
  readonly multiplyAdd: number;
  /** Bytes read and written by a copy, in GB/s. */
  readonly copy: number;
}

const repetitions = 5;

async function seconds(runtime: GpuRuntime, body: () => void): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i <= repetitions; i++) {
    const start = performance.now();
    body();
    runtime.commands.flush();
    await runtime.device.queue.onSubmittedWorkDone();
    // The first run compiles.
    if (i > 0) best = Math.min(best, performance.now() - start);
  }
  return best / 1000;
}

/** Measures both; `software` asks for so much less work. */
export async function measureWebGpuCeiling(runtime: GpuRuntime, software: boolean): Promise<WebGpuCeiling> {
  const threads = software ? 1024 : 2 ** 20;
  // On a software adapter variables that change in a loop are dear and registers few: numbers instead of vectors, and
  // many multiply-adds a round, reach four times as much.
  const type = software ? "f32" : "vec4<f32>";
  const rounds = software ? 500 : 32;
  const unrolled = Array.from({ length: 16 }, (_, i) => i);
  const result = runtime.memory.allocate("f32", threads, "workspace");
  const lanes = [0, 1, 2, 3, 4, 5, 6, 7];
  const arithmetic = await seconds(runtime, () =>
    runtime.launch({
      label: "multiplyAddCeiling",
      operands: [{ name: "y", buffer: result, access: "write" }],
      numbers: { rounds },
      threads,
      shader: () => ({
        body: `
  let factor = ${type}(f32(id & 3) * 1e-6 + 0.999);
${lanes.map((lane) => `  var a${lane} = ${type}(f32(id + ${lane}));`).join("\n")}
  for (var i = 0; i < p.rounds; i++) {
${unrolled.flatMap(() => lanes.map((lane) => `    a${lane} = fma(a${lane}, factor, factor);`)).join("\n")}
  }
  let sum = ${lanes.map((lane) => `a${lane}`).join(" + ")};
  y_set(id, ${software ? "sum" : "dot(sum, vec4<f32>(1.0))"});`,
      }),
    }),
  );
  runtime.memory.release(result);
  const length = software ? 2 ** 20 : 2 ** 26;
  const [from, to] = [0, 1].map(() => runtime.memory.allocate("f32", length, "workspace"));
  const copying = await seconds(runtime, () =>
    runtime.launch({
      label: "copyCeiling",
      operands: [
        { name: "x", buffer: from, access: "read", vector: true },
        { name: "y", buffer: to, access: "write", vector: true },
      ],
      threads: length / 4,
      shader: () => ({ body: "  y_set4(id * 4, x_get4(id * 4));" }),
    }),
  );
  for (const buffer of [from, to]) runtime.memory.release(buffer);
  return {
    multiplyAdd:
      (2 * (software ? 1 : 4) * lanes.length * unrolled.length * rounds * threads) / arithmetic / 1e9,
    copy: (8 * length) / copying / 1e9,
  };
}
