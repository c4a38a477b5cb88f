/** The page: starts and stops the worker that trains, and shows what it tells. */
import { LossChart, showSimilarity } from "./charts.ts";
import type { News, Start } from "./messages.ts";

function element<Kind extends Element>(selector: string, kind: new () => Kind): Kind {
  const found = document.querySelector(selector);
  if (!(found instanceof kind)) throw new Error(`the page has no ${selector}`);
  return found;
}

const form = element("#controls", HTMLFormElement);
const stop = element("#stop", HTMLButtonElement);
const start = element("#controls button[type=submit]", HTMLButtonElement);
const status = element("#status", HTMLElement);
const lossFigure = element("#loss", SVGElement);
const similarity = element("#similarity", HTMLElement);

let worker: Worker | null = null;

/** 2,000 digits: so many labels, then the images, as the development server hands them out. */
async function loadDigits(): Promise<Pick<Start, "images" | "labels">> {
  const response = await fetch("./digits.bin");
  if (!response.ok)
    throw new Error(`the digits could not be loaded: ${response.status} ${response.statusText}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const count = bytes.length / (1 + 28 * 28);
  return { labels: bytes.subarray(0, count), images: bytes.subarray(count) };
}

function finish(text: string): void {
  worker?.terminate();
  worker = null;
  start.disabled = false;
  stop.disabled = true;
  status.textContent = text;
}

async function train(): Promise<void> {
  const values = new FormData(form);
  const settings = {
    backend: values.get("backend") === "cpu" ? "cpu" : "webgpu",
    steps: Number(values.get("steps")),
    batchSize: Number(values.get("batchSize")),
    seed: Number(values.get("seed")),
  } as const;
  start.disabled = true;
  stop.disabled = false;
  status.textContent = "Loading …";
  const digits = await loadDigits();
  const chart = new LossChart(lossFigure, settings.steps);
  similarity.replaceChildren();
  let device = "";
  worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  worker.addEventListener("error", ({ message }) => finish(`The worker failed: ${message}`));
  worker.addEventListener("message", ({ data: news }: MessageEvent<News>) => {
    switch (news.kind) {
      case "device":
        device = news.text;
        break;
      case "step":
        chart.add(news.network, news.loss);
        status.textContent = `Step ${news.step + 1} of ${settings.steps}, on ${device}`;
        break;
      case "similarity":
        showSimilarity(similarity, news.network, news.step, news.maps);
        break;
      case "done":
        finish(`Done: ${settings.steps} steps in ${(news.milliseconds / 1000).toFixed(1)} s, on ${device}`);
        break;
      case "failed":
        finish(`Failed: ${news.text}`);
    }
  });
  worker.postMessage({ ...settings, ...digits } satisfies Start);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  train().catch((error: unknown) =>
    finish(`Failed: ${error instanceof Error ? error.message : String(error)}`),
  );
});
stop.addEventListener("click", () => finish("Stopped."));
