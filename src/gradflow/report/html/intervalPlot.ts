/**
 * One measure for many networks as a dot each with its confidence interval and its single seeds: what a table of
 * numbers hides, that intervals overlap, is seen at once.
 */

import { scaleFor } from "../format.ts";
import type { ReportComparisonRow } from "../schema.ts";
import { extent, niceTicks } from "./lineChart.ts";
import { element, type Markup } from "./markup.ts";
import { printed } from "./numbers.ts";

const row = 20;
const top = 26;

/** Draws the row's values, networks from top to bottom; `seeds` are each network's single runs. */
export function intervalPlot(
  { measure, unit, values, intervals }: ReportComparisonRow,
  names: readonly string[],
  seeds: readonly (readonly (number | null)[])[],
): Markup {
  const { label, format } = scaleFor(unit, values);
  const short = (name: string) => (name.length > 34 ? `${name.slice(0, 33)}…` : name);
  const left = Math.max(...names.map((name) => short(name).length)) * 7.5 + 14;
  const [width, height] = [640, top + names.length * row + 40];
  const [from, to] = [left, width - 18];
  const all = [...values, ...(intervals ?? []).flatMap((interval) => interval ?? []), ...seeds.flat()];
  const ticks = niceTicks(...extent(all), 5);
  const [low, high] = [ticks[0] ?? 0, ticks.at(-1) ?? 1];
  const toX = (value: number) => Math.round((from + ((value - low) / (high - low)) * (to - from)) * 10) / 10;
  const bottom = top + names.length * row;
  return element(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      class: "chart plot",
      role: "img",
      "aria-label": `${measure} of ${names.length} networks with 95 % intervals; the numbers stand in the comparison table.`,
    },
    ticks.map((tick) => [
      element("line", {
        class: tick === 0 ? "axis" : "rule",
        x1: toX(tick),
        x2: toX(tick),
        y1: top - 8,
        y2: bottom,
      }),
      element(
        "text",
        { class: "tick", x: toX(tick), y: bottom + 16, "text-anchor": "middle" },
        printed(format(tick)),
      ),
    ]),
    element(
      "text",
      { class: "label", x: (from + to) / 2, y: height - 6, "text-anchor": "middle" },
      label === "" ? measure : `${measure} (${label})`,
    ),
    names.map((name, i) => {
      const y = top + i * row + row / 2;
      const [value, interval] = [values[i] ?? null, intervals?.[i] ?? null];
      return element(
        "g",
        { class: `series s${i % 8}`, "data-variant": i },
        element("text", { class: "name", x: left - 10, y: y + 4, "text-anchor": "end" }, short(name)),
        interval !== null &&
          element("path", { class: "whisker", d: `M${toX(interval[0])} ${y}H${toX(interval[1])}` }),
        (seeds[i] ?? []).map((one) =>
          one === null ? undefined : element("path", { class: "seed", d: `M${toX(one)} ${y - 5}v10` }),
        ),
        value === null
          ? element("text", { class: "tick", x: from + 4, y: y + 4 }, "not measured")
          : element("circle", { cx: toX(value), cy: y, r: 4.5 }),
      );
    }),
  );
}
