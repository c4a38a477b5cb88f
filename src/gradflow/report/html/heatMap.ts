/**
 * Heat maps of cosine similarity. A cell's colour is one of 21 classes, so that light, dark and print each have
 * their own palette and the script that moves the slider only changes class names.
 */

import { formatRatio } from "../format.ts";
import type { ReportMeasuredPieces } from "../schema.ts";
import { element, type Markup } from "./markup.ts";
import { printed } from "./numbers.ts";
import { symbolPlain, symbolSvg } from "./typeset.ts";

/** Classes on either side of 0: `q0` is -1, `q10` is 0, `q20` is +1. */
export const heatSteps = 10;

/** The class of a cell; `qx` marks one that was not measured. The client script has the same rule. */
function heatClass(value: number | null): string {
  if (value === null) return "qx";
  return `q${Math.round((Math.min(1, Math.max(-1, value)) + 1) * heatSteps)}`;
}

/** The matrix of one feature map at one sampled step; `address` tells the script where its samples are. */
export function heatMap(pieces: ReportMeasuredPieces, sampleIndex: number, address: string): Markup {
  const n = pieces.consumers.length;
  const cell = n <= 8 ? 36 : n <= 24 ? 17 : 10;
  const margin = { left: 34, top: 24 };
  const sample = pieces.samples[sampleIndex];
  // Row after row, so that the script knows a cell's place by counting.
  const drawn = pieces.consumers.flatMap((_, r) =>
    pieces.consumers.map((__, c) => {
      const value = sample?.cosine[r]?.[c] ?? null;
      const [x, y] = [margin.left + c * cell, margin.top + r * cell];
      return element(
        "g",
        { class: `cell ${heatClass(value)}` },
        element("rect", { x, y, width: cell, height: cell }),
        element(
          "text",
          { x: x + cell / 2, y: y + cell / 2 + 4, "text-anchor": "middle" },
          printed(cellText(value)),
        ),
      );
    }),
  );
  // Hundreds of cells without numbers in them are left to the script: in a deep stage they would be half of the page.
  const cells = n <= 8 ? drawn : element("g", { "data-cells": `${n} ${cell} ${margin.left} ${margin.top}` });
  const every = Math.ceil(14 / cell);
  const names = pieces.consumers.flatMap((name, i) => {
    if (i % every !== 0) return [];
    const middle = i * cell + cell / 2;
    return [
      element(
        "text",
        { class: "name", x: margin.left - 6, y: margin.top + middle + 4, "text-anchor": "end" },
        symbolSvg(name),
      ),
      element(
        "text",
        { class: "name", x: margin.left + middle, y: margin.top - 8, "text-anchor": "middle" },
        symbolSvg(name),
      ),
    ];
  });
  const [width, height] = [margin.left + n * cell + 2, margin.top + n * cell + 2];
  const label = `Cosine similarity of the ${n} gradient pieces at ${symbolPlain(pieces.featureMap)}`;
  return element(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      class: "heat",
      role: "img",
      "aria-label": label,
      "data-heat": address,
    },
    names,
    cells,
  );
}

/** Two decimals without the leading 0, as matrices are printed: `.87`, `−.12`, `1`. */
function cellText(value: number | null): string {
  if (value === null) return "n/m";
  const text = value.toFixed(2).replace(/^(-?)0\./, "$1.");
  return text === "1.00" ? "1" : text === "-.00" ? ".00" : text.replace("-", "−");
}

/** The colours from -1 to +1 with their values, to stand beside a group of heat maps. */
export function heatLegend(): Markup {
  const count = 2 * heatSteps + 1;
  const cells = Array.from({ length: count }, (_, i) => {
    return element(
      "g",
      { class: `cell q${i}` },
      element("rect", { x: 20 + i * 9, y: 2, width: 9, height: 12 }),
    );
  });
  const marks = [-1, -0.5, 0, 0.5, 1].map((value) =>
    element(
      "text",
      { class: "tick", x: 24.5 + (value + 1) * heatSteps * 9, y: 28, "text-anchor": "middle" },
      printed(formatRatio(value).replace(/\.?0+$/, "") || "0"),
    ),
  );
  return element(
    "svg",
    {
      viewBox: "0 0 230 32",
      width: 230,
      height: 32,
      class: "heat legend",
      role: "img",
      "aria-label": "Colour scale of the cosine, from -1 to 1",
    },
    cells,
    marks,
  );
}
