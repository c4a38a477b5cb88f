/**
 * `tsx peers/serve.ts LIBRARY THREADS`: the process of a JavaScript library, Gradweave among them. Answers the requests
 * of task.ts, a JSON a line. Times are taken here, around the work alone, so that the pipe costs nothing.
 */
import { createInterface } from "node:readline";
import { openGradweave } from "./gradweave.ts";
import { openJaxJs } from "./jaxJs.ts";
import type { Library, Workload } from "./library.ts";
import { openOnnxRuntime } from "./onnxRuntime.ts";
import { type Reply, Request } from "./task.ts";
import { openTfjs, openTfjsWebGpu } from "./tfjs.ts";

const libraries: Readonly<Record<string, (threads: number) => Promise<Library>>> = {
  gradweave: () => openGradweave(),
  "gradweave-webgpu": () => openGradweave("webgpu"),
  "jax-js": () => openJaxJs("wasm"),
  "jax-js-webgpu": () => openJaxJs("webgpu"),
  onnxruntime: openOnnxRuntime,
  "tfjs-cpu": () => openTfjs("cpu"),
  "tfjs-wasm": () => openTfjs("wasm"),
  "tfjs-webgpu": openTfjsWebGpu,
};

function messageOf(error: unknown): string {
  const [line = ""] = String(error instanceof Error ? error.message : error).split("\n");
  return line;
}

async function answer(library: Library, workloads: Map<number, Workload>, request: Request): Promise<Reply> {
  if ("open" in request) {
    const workload = await library.open(request.task);
    workloads.set(request.open, workload);
    return workload.parameters === undefined ? {} : { parameters: workload.parameters };
  }
  const number = "run" in request ? request.run : "check" in request ? request.check : request.close;
  const workload = workloads.get(number);
  if (!workload) throw new Error(`no workload ${number} is open`);
  if ("close" in request) {
    workload.dispose();
    workloads.delete(number);
    return {};
  }
  if ("check" in request) return { result: await workload.check() };
  const start = performance.now();
  for (let i = 0; i < request.times; i++) {
    // Awaiting what is no promise would run other tasks of the process in between.
    const pending = workload.run();
    if (pending) await pending;
  }
  const milliseconds = (performance.now() - start) / request.times;
  return { milliseconds, peakBytes: 1024 * process.resourceUsage().maxRSS };
}

async function main([name = "", threads]: readonly string[]): Promise<void> {
  const print = (reply: Reply) => console.log(JSON.stringify(reply));
  const workloads = new Map<number, Workload>();
  try {
    const open = libraries[name];
    if (!open) throw new Error(`no library ${name}, only ${Object.keys(libraries).join(", ")}`);
    const library = await open(Number(threads));
    print({ version: library.version });
    for await (const line of createInterface(process.stdin)) {
      try {
        print(await answer(library, workloads, Request.parse(JSON.parse(line))));
      } catch (error) {
        print({ error: messageOf(error) });
      }
    }
  } catch (error) {
    print({ error: messageOf(error) });
  }
  process.exit();
}

await main(process.argv.slice(2));
