/**
 * `npx tsx bench/replay.ts [--replays 15]`: what replaying a recorded training step of DenseNet-121 takes JavaScript's
 * thread, in Node and, where Chromium is installed (CHROMIUM_PATH, else /usr/bin/chromium), in a page.
 *
 * In Node Dawn is called in this very thread, where a browser hands commands to its GPU process: V8's sampling profiler
 * tells the time inside of Dawn's functions from that of JavaScript.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type Profiler, Session } from "node:inspector/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";
import { build, preview } from "vite";
import { quantile } from "./paired.ts";
import { recordDenseNet121 } from "./recordedStep.ts";

/** The share of Dawn's functions, which have no address, in what the profiler saw in the stream of commands. */
function shareOfDawn({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): number {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const inside = new Set<number>();
  const enter = (id: number): void => {
    inside.add(id);
    for (const child of byId.get(id)?.children ?? []) enter(child);
  };
  for (const { id, callFrame } of nodes) if (callFrame.url.endsWith("webgpu/commands.ts")) enter(id);
  let [dawn, all] = [0, 0];
  for (const [i, id] of samples.entries()) {
    if (!inside.has(id)) continue;
    all += timeDeltas[i] ?? 0;
    if (byId.get(id)?.callFrame.url === "") dawn += timeDeltas[i] ?? 0;
  }
  return dawn / all;
}

/** Of a function that is run under the profiler, the share of Dawn's functions. */
async function profiled(run: () => Promise<unknown>): Promise<number> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.setSamplingInterval", { interval: 100 });
  await session.post("Profiler.start");
  await run();
  const { profile } = await session.post("Profiler.stop");
  session.disconnect();
  return shareOfDawn(profile);
}

interface PageReplays {
  readonly adapter: string;
  readonly times: readonly number[];
}

async function inChromium(executablePath: string, replays: number): Promise<PageReplays> {
  const folder = mkdtempSync(join(tmpdir(), "gradweave-replay-"));
  const config = {
    configFile: false,
    root: fileURLToPath(new URL("replayPage", import.meta.url)),
    logLevel: "error",
    build: { target: "es2022", outDir: folder, emptyOutDir: true },
    preview: { port: 0, host: "127.0.0.1" },
  } as const;
  await build(config);
  const server = await preview(config);
  const adapter = process.env.GRADWEAVE_WEBGPU_ADAPTER ?? "swiftshader";
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--enable-unsafe-webgpu", `--use-webgpu-adapter=${adapter}`, "--disable-quic"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(server.resolvedUrls?.local[0] ?? "");
    await page.waitForFunction("globalThis.timeReplays");
    return await page.evaluate<PageReplays>(`timeReplays(${replays})`);
  } finally {
    await browser.close();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const { values } = parseArgs({ options: { replays: { type: "string", default: "15" } } });
const replays = Number(values.replays);
if (!Number.isInteger(replays) || replays < 1) {
  console.error(`bench: --replays is ${values.replays}; it is an integer of 1 or more`);
  process.exit(2);
}

const spread = (milliseconds: readonly number[], factor = 1): string =>
  [0.5, 0.25, 0.75].map((part) => (factor * quantile([...milliseconds], part)).toFixed(2)).join(" | ");

const recorded = await recordDenseNet121();
const times = await recorded.time(replays);
const dawn = await profiled(() => recorded.time(replays));
console.log(`DenseNet-121, ${recorded.kernels} kernels, ${replays} replays; Node ${process.version}, ${recorded.adapter}

| milliseconds of JavaScript's thread | median | first quarter | third quarter |
|---|---:|---:|---:|
| Node, all | ${spread(times)} |
| of it inside of Dawn's functions (${(100 * dawn).toFixed(0)} %) | ${spread(times, dawn)} |
| of it JavaScript | ${spread(times, 1 - dawn)} |`);
const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
if (existsSync(executablePath)) {
  const page = await inChromium(executablePath, replays);
  console.log(`| Chromium, all (${page.adapter}) | ${spread(page.times)} |`);
} else console.log(`Chromium: not measured, there is none at ${executablePath} (CHROMIUM_PATH names it)`);
process.exit(0);
