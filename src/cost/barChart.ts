/**
 * One bar per layer, as SVG: what figures 7 and 8 of the paper draw. All charts of a figure share both scales, so
 * that networks can be compared by eye.
 */
import { element, type Markup } from "../gradflow/report/html/markup.ts";

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** Drawn as one that sticks out. */
  readonly emphasised: boolean;
}

export interface BarChart {
  /** Unique on the page. */
  readonly id: string;
  /** What the chart says, for those who cannot see it. */
  readonly title: string;
  readonly description: string;
  readonly bars: readonly Bar[];
  /** Of the shared scales: the largest value, and the most bars of any chart. */
  readonly largest: number;
  readonly most: number;
  /** How a value is written at the axis and in a bar's hint. */
  format(value: number): string;
}

const size = { width: 960, height: 180, left: 56, right: 12, top: 22, bottom: 24 };

/** Ticks at round numbers, 3 to 6 of them from 0 up. */
export function axisTicks(largest: number): number[] {
  if (!(largest > 0)) return [0];
  const rough = largest / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step =
    [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? rough;
  return Array.from({ length: Math.floor(largest / step + 1e-9) + 1 }, (_, i) => i * step);
}

const rounded = (value: number): string => String(Math.round(value * 100) / 100);

/** The chart, as wide as its place, with every bar's name and value as a hint. */
export function barChart({ id, title, description, bars, largest, most, format }: BarChart): Markup {
  const { width, height, left, right, top, bottom } = size;
  const base = height - bottom;
  const x = (position: number) => left + ((width - left - right) * position) / Math.max(1, most);
  const y = (value: number) => base - ((base - top) * value) / (largest || 1);
  const ticks = axisTicks(largest).flatMap((tick) => [
    element("line", {
      class: "rule",
      x1: left,
      x2: width - right,
      y1: rounded(y(tick)),
      y2: rounded(y(tick)),
    }),
    element(
      "text",
      { class: "tick", x: left - 6, y: rounded(y(tick) + 4), "text-anchor": "end" },
      format(tick),
    ),
  ]);
  const barWidth = Math.max(0.8, 0.8 * (x(1) - x(0)));
  const drawn = bars.map(({ name, value, emphasised }, i) =>
    element(
      "rect",
      {
        class: emphasised ? "bar high" : "bar",
        ...{
          x: rounded(x(i)),
          y: rounded(y(value)),
          width: rounded(barWidth),
          height: rounded(base - y(value)),
        },
      },
      element("title", {}, `${i}, ${name}: ${format(value)}`),
    ),
  );
  const peak = bars.reduce((best, { value }, i) => (value > (bars[best]?.value ?? 0) ? i : best), 0);
  const peakBar = bars[peak];
  const label =
    peakBar &&
    element(
      "text",
      {
        class: "peak",
        x: rounded(x(peak) + (peak > most / 2 ? barWidth : 0)),
        y: rounded(y(peakBar.value) - 6),
        "text-anchor": peak > most / 2 ? "end" : "start",
      },
      `${peakBar.name}: ${format(peakBar.value)}`,
    );
  return element(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-labelledby": `${id}-title ${id}-text`,
    },
    element("title", { id: `${id}-title` }, title),
    element("desc", { id: `${id}-text` }, description),
    ticks,
    drawn,
    element("line", { class: "axis", x1: left, x2: width - right, y1: base, y2: base }),
    label,
    element("text", { class: "tick", x: left, y: height - 6 }, "first layer"),
    element(
      "text",
      { class: "tick", x: rounded(x(most)), y: height - 6, "text-anchor": "end" },
      `layer ${most}`,
    ),
  );
}
