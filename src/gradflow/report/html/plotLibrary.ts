/** uPlot (MIT), which draws the curves that a reader zooms into: read from its package and carried by the page. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

const read = (path: string): string => readFileSync(path, "utf8").trim();

export interface PlotLibrary {
  readonly script: string;
  readonly style: string;
}

let library: PlotLibrary | undefined;

/** Its script, which defines `uPlot`, and its style sheet; read when the first page is drawn. */
export function plotLibrary(): PlotLibrary {
  if (library !== undefined) return library;
  // Every copy has to carry it.
  const licence = `/* uPlot. ${read(require.resolve("uplot/LICENSE"))} */\n`;
  const script = read(require.resolve("uplot/dist/uPlot.iife.min.js")).replace(/^\/\*!.*?\*\//s, "");
  library = { script: licence + script, style: licence + read(require.resolve("uplot/dist/uPlot.min.css")) };
  return library;
}
