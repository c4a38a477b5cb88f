/**
 * `npx tsx scripts/ablationFigure.ts reports/ablation.json docs/ablation.svg`: two measures of an ablation report as a
 * dot plot, one variant a line, with the 95 % interval over seeds.
 */
import { readFileSync } from "node:fs";
import { type GradientReuseReport, parseReport } from "../src/gradflow/index.ts";
import { writeFilesAtomically } from "../src/io/atomicFiles.ts";

interface Panel {
  readonly measure: string;
  readonly title: string;
  /** What a printed unit is of the report's. */
  readonly scale: number;
}

const panels: readonly Panel[] = [
  { measure: "Test accuracy", title: "test accuracy (%)", scale: 100 },
  { measure: "CKA between the sides", title: "CKA between the sides' gradients", scale: 1 },
];

const [line, top, labels, width, gap] = [22, 56, 220, 300, 40];

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** Round numbers between two, five or so. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function panel(report: GradientReuseReport, { measure, title, scale }: Panel, left: number): string[] {
  const row = report.comparison.find((one) => one.measure === measure);
  if (!row)
    throw new Error(`ablationFigure: the report has no row "${measure}"; was it made by the ablation?`);
  const dots = row.values.map((value, i) => {
    const [low, high] = row.intervals?.[i] ?? [value ?? 0, value ?? 0];
    return { value: value === null ? null : value * scale, low: low * scale, high: high * scale };
  });
  const shown = dots.filter(({ value }) => value !== null);
  const [low, high] = [Math.min(...shown.map((dot) => dot.low)), Math.max(...shown.map((dot) => dot.high))];
  const x = (value: number): number => Math.round(left + ((value - low) / (high - low || 1)) * width);
  const bottom = top + line * report.variants.length;
  return [
    `<text x="${left}" y="18" class="title">${escaped(title)}</text>`,
    ...ticks(low, high).flatMap((tick) => [
      `<line x1="${x(tick)}" x2="${x(tick)}" y1="${top - 10}" y2="${bottom}" class="grid"/>`,
      `<text x="${x(tick)}" y="${top - 14}" class="tick">${Number(tick.toPrecision(6))}</text>`,
    ]),
    ...dots.flatMap((dot, i) => {
      if (dot.value === null) return [];
      const y = top + line * i + line / 2;
      return [
        `<line x1="${x(dot.low)}" x2="${x(dot.high)}" y1="${y}" y2="${y}" class="interval"/>`,
        `<circle cx="${x(dot.value)}" cy="${y}" r="4"/>`,
      ];
    }),
  ];
}

function figure(report: GradientReuseReport): string {
  const total = labels + panels.length * (width + gap);
  const height = top + line * report.variants.length + 8;
  const style =
    "text{font:13px sans-serif;fill:#1a1a1a}.title{font-weight:bold}.tick{font-size:11px;text-anchor:middle;fill:#555}" +
    ".grid{stroke:#ddd}.interval{stroke:#1f5f99;stroke-width:2}circle{fill:#1f5f99}";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${total}" height="${height}" viewBox="0 0 ${total} ${height}" role="img">`,
    `<title>${escaped(report.meta.title)}</title><style>${style}</style><rect width="100%" height="100%" fill="#fff"/>`,
    ...report.variants.map(
      ({ name }, i) => `<text x="8" y="${top + line * i + line / 2 + 4}">${escaped(name)}</text>`,
    ),
    ...panels.flatMap((one, i) => panel(report, one, labels + i * (width + gap))),
    "</svg>\n",
  ].join("\n");
}

const [source, target] = process.argv.slice(2);
if (source === undefined || target === undefined) {
  console.error(
    "ablationFigure: give the report and the file to write, such as reports/ablation.json docs/ablation.svg",
  );
  process.exitCode = 2;
} else {
  const text = figure(parseReport(readFileSync(source, "utf8")));
  await writeFilesAtomically(new Map([[target, text]]));
}
