/**
 * The page's own script, as text: vanilla JavaScript for the browser. The page's summary, tables, curves and diagrams
 * are there without it; it adds sorting, highlighting with figures, the slider over sampled steps, downloads, and the
 * parts that travel compressed. It stands here as strings because its hash is in the page's content security policy,
 * so it has to be the same to the byte wherever it is made.
 */

import { chartScript } from "./charts.ts";
import { downloadScript } from "./downloads.ts";
import { explorerScript } from "./explorer.ts";
import { heatMapScript } from "./heatMaps.ts";
import { highlightScript } from "./highlight.ts";
import { liveScript } from "./live.ts";
import { rowTableScript } from "./rowTables.ts";
import { sortingScript } from "./sorting.ts";
import { toolScript } from "./tools.ts";

const startScript = `
  // Start: whatever stands below root gets to work; parts do when they are unpacked --------------------------------
  let report = null;
  let parts = [];
  const enliven = (root) => {
    enlivenRowTables(root);
    enlivenDownloads(root);
    enlivenSorting(root);
    enlivenHighlight(root);
    enlivenHeatMaps(root);
    enlivenCharts(root);
    enlivenExplorer(root);
    for (const details of all("details[data-part]", root)) {
      details.addEventListener("toggle", () => details.open && unfold(details));
      if (details.open) unfold(details);
    }
  };
  const unfold = (details) => {
    const part = details.dataset.part;
    if (part === undefined) return;
    delete details.dataset.part;
    const template = make("template", { innerHTML: parts[Number(part)] });
    details.replaceChildren(details.querySelector("summary"), template.content);
    enliven(details);
  };
  const openTarget = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.tagName === "DETAILS") target.open = true;
  };
  const start = async () => {
    [report, parts] = await Promise.all([unpack("report"), unpack("parts")]);
    enliven(document);
    openTarget();
    enlivenLive();
    document.documentElement.dataset.ready = "";
  };
  addEventListener("hashchange", openTarget);
`;

/** The script's text; its hash stands in the page's content security policy. */
export const clientScript: string = [
  '"use strict";\n(() => {',
  toolScript,
  downloadScript,
  sortingScript,
  highlightScript,
  rowTableScript,
  heatMapScript,
  chartScript,
  explorerScript,
  liveScript,
  startScript,
  "  start();\n})();\n",
].join("");
