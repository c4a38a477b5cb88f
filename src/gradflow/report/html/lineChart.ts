/** Line charts over training as static SVG: they need no script and print as they are. */

import { type Attributes, element, fragment, type Markup } from "./markup.ts";
import { printed } from "./numbers.ts";
import { symbolPlain, symbolSvg } from "./typeset.ts";

export interface ChartPoint {
  readonly x: number;
  readonly y: number | null;
  /** Lowest and highest of the runs whose mean `y` is: drawn as a band. */
  readonly low?: number | null | undefined;
  readonly high?: number | null | undefined;
}

export interface Series {
  /** A name or a symbol such as `x_0''`, set in the legend or at the end of the line. */
  readonly label: string;
  readonly points: readonly ChartPoint[];
  /** Colour and dash pattern, counted from 0; they come again after 8. */
  readonly style: number;
  /** The network that it belongs to: series of one network are shown and hidden together. */
  readonly variant?: number | undefined;
  /** `faint` is the raw data under a smoothed line, `marks` adds a dot per point. */
  readonly kind?: "faint" | "marks" | undefined;
}

export interface LineChart {
  readonly title: string;
  readonly description: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Vertical range; by default what the points need. */
  readonly yDomain?: readonly [low: number, high: number];
  /** Names at the lines' ends instead of a legend: for short symbols. */
  readonly labelsAtEnd?: boolean;
  readonly width?: number;
  readonly height?: number;
}

/** Room for a name at the end of every line, where there are many. */
export function chartSize(many: boolean, series: number): Partial<LineChart> {
  return many ? { width: 640, height: Math.max(300, 80 + series * 14), labelsAtEnd: true } : {};
}

/** Draws a line chart with the training step on the horizontal axis; missing points break the line. */
export function lineChart(chart: LineChart): Markup {
  const { width = 400, height = 256, series, labelsAtEnd = false } = chart;
  const named = series.filter((one) => one.kind !== "faint");
  const legend = labelsAtEnd ? [] : legendRows(named, width - 60);
  const longest = Math.max(0, ...named.map(({ label }) => symbolPlain(shortLabel(label)).length));
  const frame = {
    left: 48,
    right: width - (labelsAtEnd ? Math.max(38, longest * 7.5 + 10) : 14),
    top: 30 + legend.length * 18,
    bottom: height - 38,
  };
  const points = series.flatMap((one) => one.points);
  const [x0, x1] = extent(points.map(({ x }) => x));
  const xTicks = niceTicks(x0, x1, Math.max(3, Math.round(width / 90)), true).filter(
    (x) => x >= x0 && x <= x1,
  );
  const yTicks = niceTicks(
    ...(chart.yDomain ?? extent(points.flatMap(({ y, low, high }) => [y, low ?? null, high ?? null]))),
    Math.max(3, Math.round(height / 55)),
  );
  const [y0, y1] = ends(yTicks);
  const toX = (x: number) => round(frame.left + ((x - x0) / (x1 - x0)) * (frame.right - frame.left));
  const toY = (y: number) => round(frame.bottom - ((y - y0) / (y1 - y0)) * (frame.bottom - frame.top));

  const grid = [
    ...yTicks.map((tick) =>
      fragment(
        element("line", {
          class: tick === 0 ? "axis" : "rule",
          x1: frame.left,
          x2: frame.right,
          y1: toY(tick),
          y2: toY(tick),
        }),
        element(
          "text",
          { class: "tick", x: frame.left - 6, y: toY(tick) + 4, "text-anchor": "end" },
          printed(tick.toFixed(tickDecimals(yTicks))),
        ),
      ),
    ),
    ...xTicks.map((tick) =>
      fragment(
        element("line", {
          class: "axis",
          x1: toX(tick),
          x2: toX(tick),
          y1: frame.bottom,
          y2: frame.bottom + 4,
        }),
        element(
          "text",
          { class: "tick", x: toX(tick), y: frame.bottom + 17, "text-anchor": "middle" },
          tick.toLocaleString("en-US"),
        ),
      ),
    ),
    element("line", { class: "axis", x1: frame.left, x2: frame.right, y1: frame.bottom, y2: frame.bottom }),
    element(
      "text",
      { class: "label", x: (frame.left + frame.right) / 2, y: height - 4, "text-anchor": "middle" },
      "training step",
    ),
    element("text", { class: "label", x: 2, y: 14 }, chart.yLabel),
  ];
  const lines = [
    ...series.map((one) => drawBand(one, toX, toY)),
    ...series.map((one) => drawSeries(one, toX, toY)),
  ];
  const names = labelsAtEnd ? endLabels(named, frame, toY) : drawLegend(legend);
  return element(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart",
      role: "img",
      "aria-label": `${chart.title}. ${chart.description}`,
    },
    grid,
    lines,
    names,
    points.some(({ y }) => y !== null)
      ? undefined
      : element(
          "text",
          { class: "label", x: width / 2, y: height / 2, "text-anchor": "middle" },
          "not measured",
        ),
  );
}

function groupOf({ style, variant, kind }: Series, extra = ""): Attributes {
  const names = [`series s${style % 8}`, kind === "faint" && "faint", extra].filter(Boolean).join(" ");
  return { class: names, "data-variant": variant };
}

function drawSeries(one: Series, toX: (x: number) => number, toY: (y: number) => number): Markup {
  let path = "";
  let broken = true;
  for (const { x, y } of one.points) {
    if (y !== null) path += `${broken ? "M" : "L"}${toX(x)} ${toY(y)}`;
    broken = y === null;
  }
  const present = one.points.flatMap(({ x, y }) => (y === null ? [] : [{ x, y }]));
  const dotted = one.kind === "marks" || present.length === 1;
  // A line of no length with a round end is a dot, in a fifth of a circle element's text.
  const dots = dotted ? present.map(({ x, y }) => `M${toX(x)} ${toY(y)}h0`).join("") : "";
  return element(
    "g",
    groupOf(one),
    path === "" ? undefined : element("path", { d: path }),
    dots === "" ? undefined : element("path", { class: "dots", d: dots }),
  );
}

/** The band from the lowest to the highest run; nothing where there is one run. */
function drawBand(one: Series, toX: (x: number) => number, toY: (y: number) => number): Markup | undefined {
  const spread = one.points.flatMap(({ x, low, high }) =>
    low == null || high == null ? [] : [{ x, low, high }],
  );
  if (spread.every(({ low, high }) => low === high)) return undefined;
  if (spread.length === 1) {
    const [{ x, low, high }] = spread;
    return element("g", groupOf(one), element("path", { d: `M${toX(x)} ${toY(low)}V${toY(high)}` }));
  }
  const upper = spread.map(({ x, high }) => `${toX(x)} ${toY(high)}`);
  const lower = spread.toReversed().map(({ x, low }) => `${toX(x)} ${toY(low)}`);
  return element("g", groupOf(one, "band"), element("polygon", { points: [...upper, ...lower].join(" ") }));
}

interface LegendEntry {
  readonly series: Series;
  readonly x: number;
}

/** Breaks the legend into rows; a letter is taken as 8 units, which is wide for a bold sans serif of 12. */
function legendRows(series: readonly Series[], width: number): LegendEntry[][] {
  const rows: LegendEntry[][] = [];
  let x = Number.POSITIVE_INFINITY;
  for (const one of series) {
    const needed = 48 + symbolPlain(shortLabel(one.label)).length * 8;
    if (x + needed > width) {
      rows.push([]);
      x = 0;
    }
    rows.at(-1)?.push({ series: one, x });
    x += needed;
  }
  return rows;
}

function drawLegend(rows: readonly (readonly LegendEntry[])[]): Markup[] {
  return rows.flatMap((row, index) =>
    row.map(({ series, x }) => {
      const y = 34 + index * 18;
      return element(
        "g",
        groupOf(series),
        element("path", { d: `M${48 + x} ${y - 4}h24` }),
        element("text", { class: "name", x: 48 + x + 30, y }, symbolSvg(shortLabel(series.label))),
      );
    }),
  );
}

/** As much of a name as a chart has room for. */
function shortLabel(label: string): string {
  return symbolPlain(label) === label && label.length > 40 ? `${label.slice(0, 39)}…` : label;
}

/** Names at the right ends of the lines, moved apart where they would overlap. */
function endLabels(
  series: readonly Series[],
  frame: { right: number; top: number; bottom: number },
  toY: (y: number) => number,
): Markup[] {
  const labels = series
    .flatMap((one) => {
      const last = one.points.findLast(({ y }) => y !== null);
      return last?.y == null ? [] : [{ one, y: toY(last.y) }];
    })
    .sort((a, b) => a.y - b.y);
  const spacing = 13;
  const excess = () => Math.max(0, (labels.at(-1)?.y ?? 0) - frame.bottom);
  for (let i = 1; i < labels.length; i++) {
    const [above, label] = [labels[i - 1], labels[i]];
    if (above !== undefined && label !== undefined) label.y = Math.max(label.y, above.y + spacing);
  }
  // What ran over the bottom is pushed up again from below.
  let limit = frame.bottom;
  if (excess() > 0) {
    for (const label of labels.toReversed()) {
      label.y = Math.min(label.y, limit);
      limit = label.y - spacing;
    }
  }
  return labels.map(({ one, y }) =>
    element(
      "g",
      groupOf(one),
      element(
        "text",
        { class: "name", x: frame.right + 8, y: round(y + 4) },
        symbolSvg(shortLabel(one.label)),
      ),
    ),
  );
}

/** Lowest and highest of the numbers, never the same twice; 0 to 1 when there is none. */
export function extent(values: readonly (number | null)[]): [number, number] {
  const present = values.filter((value) => value !== null);
  if (present.length === 0) return [0, 1];
  const low = present.reduce((a, b) => Math.min(a, b));
  const high = present.reduce((a, b) => Math.max(a, b));
  return low === high
    ? [low - Math.max(0.5, Math.abs(low) * 0.1), high + Math.max(0.5, Math.abs(high) * 0.1)]
    : [low, high];
}

/** As many decimals as the distance between two ticks needs. */
function tickDecimals([first = 0, second = 1]: readonly number[]): number {
  return Math.min(12, Math.max(0, -Math.floor(Math.log10(second - first) + 1e-9)));
}

/** Round numbers that cover low to high; `whole` keeps them integers. */
export function niceTicks(low: number, high: number, count: number, whole = false): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((one) => one * power >= rough * 0.999) ?? 10;
  const step = whole ? Math.max(1, factor * power) : factor * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(2, last - first + 1) }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  );
}

function ends(ticks: readonly number[]): [number, number] {
  return [ticks[0] ?? 0, ticks.at(-1) ?? 1];
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
