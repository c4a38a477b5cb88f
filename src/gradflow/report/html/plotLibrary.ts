/** uPlot (MIT), which draws the curves that a reader zooms into: read from its package and carried by the page. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

function read(file: string): string {
  return readFileSync(require.resolve(`uplot/${file}`), "utf8").trim();
}

/** Every copy has to carry it. */
const licence = `/* uPlot. ${read("LICENSE")} */\n`;

/** Its script, which defines `uPlot`, and its style sheet. */
export const plotLibrary: { readonly script: string; readonly style: string } = {
  script: licence + read("dist/uPlot.iife.min.js").replace(/^\/\*!.*?\*\//s, ""),
  style: licence + read("dist/uPlot.min.css"),
};
