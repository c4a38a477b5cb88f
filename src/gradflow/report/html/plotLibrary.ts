/** uPlot (MIT), which draws the curves that a reader zooms into: read from its package and carried by the page. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

const read = (path: string): string => readFileSync(path, "utf8").trim();

/** Every copy has to carry it. */
const licence = `/* uPlot. ${read(require.resolve("uplot/LICENSE"))} */\n`;

/** Its script, which defines `uPlot`, and its style sheet. */
export const plotLibrary: { readonly script: string; readonly style: string } = {
  script: licence + read(require.resolve("uplot/dist/uPlot.iife.min.js")).replace(/^\/\*!.*?\*\//s, ""),
  style: licence + read(require.resolve("uplot/dist/uPlot.min.css")),
};
