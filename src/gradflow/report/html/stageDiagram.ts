/**
 * One stage as an arc diagram in layer order. Above the line: which feature maps each layer reads. Below it: the
 * gradient pieces that each layer sends back. Layout by a general graph program would not help: a dense block is
 * nearly a complete graph, and only its order carries meaning.
 */

import type { ReportFeatureMap, ReportStructure, ReportWeight } from "../schema.ts";
import { type Content, element, type Markup } from "./markup.ts";
import type { SymbolIndex } from "./symbolIndex.ts";
import { symbolPlain, symbolSvg } from "./typeset.ts";

const box = { width: 46, height: 38 };
const radius = 11;
const space = 16;
const margin = 14;

interface Placed {
  readonly map: ReportFeatureMap;
  readonly left: number;
  readonly writer: ReportWeight | undefined;
  /** Horizontal centre of the writer's circle. */
  readonly writerX: number;
}

interface Piece {
  readonly map: ReportFeatureMap;
  readonly weight: ReportWeight;
  readonly kind: "first" | "duplicate" | "across";
}

/** Which piece of a feature map's gradient is the first, which are duplicates, and which cross the sides. */
function gradientPieces({ featureMaps, weights, duplicates }: ReportStructure): Piece[] {
  const order = new Map(featureMaps.map((map, index) => [map.symbol, index]));
  return featureMaps.flatMap((map) => {
    const at = order.get(map.symbol) ?? 0;
    const distance = (weight: ReportWeight) => Math.abs((order.get(weight.output) ?? 0) - at);
    const readers = weights.filter((weight) => weight.sources.includes(map.symbol));
    readers.sort((a, b) => distance(a) - distance(b));
    return readers.map((weight, rank): Piece => {
      const across = duplicates.pairs.some(
        (pair) => pair.across && pair.gradient === map.gradient && pair.weights.includes(weight.symbol),
      );
      return { map, weight, kind: across ? "across" : rank === 0 ? "first" : "duplicate" };
    });
  });
}

/** Draws the stage; `index` names its symbols for highlighting. */
export function stageDiagram(name: string, structure: ReportStructure, index: SymbolIndex): Markup {
  const placed = place(structure);
  const pieces = gradientPieces(structure);
  const width = Math.max(margin * 2 + 300, (placed.at(-1)?.left ?? 0) + box.width + margin);
  const longest = Math.max(1, ...pieces.map((piece) => span(piece, placed)));
  const reach = Math.min(150, 34 + longest * 0.2);
  const top = margin + reach;
  const middle = top + box.height / 2;
  const bottom = top + box.height;
  const legendY = bottom + reach + 22;
  const legend = diagramLegend(pieces, legendY, width);
  const mostChannels = Math.max(1, ...structure.featureMaps.map((map) => map.channels));

  const arcs = pieces.flatMap((piece) => {
    const from = placed.find(({ map }) => map.symbol === piece.map.symbol);
    const to = placed.find(({ map }) => map.symbol === piece.weight.output);
    if (from === undefined || to === undefined) return [];
    const siblings = pieces.filter(({ map }) => map === piece.map);
    const order = siblings
      .map((one) => placed.findIndex(({ map }) => map.symbol === one.weight.output))
      .sort((a, b) => b - a);
    const slot = (order.indexOf(placed.indexOf(to)) + 1) / (siblings.length + 1);
    const x = from.left + box.width * slot;
    const height = (reach - 4) * (span(piece, placed) / longest) ** 0.75;
    const stroke = Math.round((1 + 2.2 * Math.sqrt(piece.map.channels / mostChannels)) * 10) / 10;
    const marks = { "data-in": `${index.gradient(piece.map.gradient)} ${index.weight(piece.weight.symbol)}` };
    const names = `${symbolPlain(piece.map.gradient)} updates ${symbolPlain(piece.weight.symbol)}`;
    const circleTop = middle - radius;
    const circleBottom = middle + radius;
    return [
      element("path", {
        class: "forward",
        ...marks,
        d: `M${r(x)} ${top}C${r(x)} ${r(top - height * 1.3)} ${to.writerX} ${r(top - height * 1.3)} ${to.writerX} ${circleTop}`,
      }),
      element(
        "g",
        { class: `piece ${piece.kind}`, ...marks },
        element("title", {}, `${names} (${pieceWords[piece.kind]}, ${piece.map.channels} channels)`),
        element("path", {
          "stroke-width": stroke,
          d: `M${to.writerX} ${circleBottom}C${to.writerX} ${r(bottom + height * 1.3)} ${r(x)} ${r(bottom + height * 1.3)} ${r(x)} ${bottom + 6}`,
        }),
        element("polygon", {
          points: `${r(x)},${bottom + 1} ${r(x - 3.6)},${bottom + 8} ${r(x + 3.6)},${bottom + 8}`,
        }),
      ),
    ];
  });
  const nodes = placed.map((one) => drawNode(one, top, middle, index, structure));
  return element(
    "svg",
    {
      viewBox: `0 0 ${width} ${legendY + legend.height}`,
      class: "diagram",
      role: "group",
      "aria-label": `${name}: ${describe(structure, pieces)}`,
      "data-min": width > 460 ? "wide" : undefined,
    },
    element("text", { class: "label", x: 2, y: 12 }, "forward"),
    element("text", { class: "label", x: 2, y: bottom + reach + 2 }, "gradient"),
    arcs,
    nodes,
    legend.content,
  );
}

const pieceWords = {
  first: "nearest layer",
  duplicate: "duplicate",
  across: "duplicate across the sides",
} as const;

/** Boxes from left to right in layer order, each behind the circle of the layer that writes it. */
function place({ featureMaps, weights }: ReportStructure): Placed[] {
  let x = margin;
  return featureMaps.map((map) => {
    const writer = weights.find((weight) => weight.output === map.symbol);
    const writerX = x + radius;
    if (writer !== undefined) x += radius * 2 + 12;
    const left = x;
    x += box.width + space;
    return { map, left, writer, writerX };
  });
}

function span({ map, weight }: Piece, placed: readonly Placed[]): number {
  const from = placed.find((one) => one.map === map);
  const to = placed.find((one) => one.writer === weight);
  return from === undefined || to === undefined ? 0 : Math.abs(to.writerX - from.left - box.width / 2);
}

function drawNode(
  { map, left, writer, writerX }: Placed,
  top: number,
  middle: number,
  index: SymbolIndex,
  { weights }: ReportStructure,
): Content {
  const readers = weights.filter((weight) => weight.sources.includes(map.symbol));
  const memberships = [index.gradient(map.gradient), ...readers.map((weight) => index.weight(weight.symbol))];
  const size = `${map.channels} × ${map.height} × ${map.width}`;
  const layer = writer !== undefined && [
    element("line", { class: "axis", x1: writerX + radius, x2: left, y1: middle, y2: middle }),
    element(
      "g",
      {
        class: "layer",
        "data-in": index.weight(writer.symbol),
        "data-pick": index.weight(writer.symbol),
        "aria-label": `Layer ${symbolPlain(writer.symbol)}: show the gradients that update it`,
      },
      element("title", {}, `${symbolPlain(writer.symbol)} = ${writer.modulePath}`),
      element("circle", { cx: writerX, cy: middle, r: radius }),
      element("text", { x: writerX, y: middle + 3.5, "text-anchor": "middle" }, symbolSvg(writer.symbol)),
    ),
  ];
  return [
    layer,
    element(
      "g",
      {
        class: `map ${map.side}`,
        "data-in": memberships.join(" "),
        "data-pick": index.gradient(map.gradient),
        "aria-label": `Feature map ${symbolPlain(map.symbol)}: show the weights that its gradient updates`,
      },
      element(
        "title",
        {},
        `${symbolPlain(map.symbol)}: ${size} (channels × height × width), ${map.side} side`,
      ),
      element("rect", { x: left, y: top, width: box.width, height: box.height, rx: 4 }),
      element(
        "text",
        { x: left + box.width / 2, y: top + 17, "text-anchor": "middle" },
        symbolSvg(map.symbol),
      ),
      element(
        "text",
        { class: "size", x: left + box.width / 2, y: top + 31, "text-anchor": "middle" },
        map.channels,
      ),
    ),
  ];
}

function diagramLegend(
  pieces: readonly Piece[],
  y: number,
  width: number,
): { content: Content; height: number } {
  const kinds = (["first", "duplicate", "across"] as const).filter((kind) =>
    pieces.some((piece) => piece.kind === kind),
  );
  const words = {
    first: "first piece (nearest layer)",
    duplicate: "duplicate: same gradient, further layer",
    across: "duplicate across the two sides",
  };
  let x = 2;
  let row = 0;
  const entries = kinds.map((kind) => {
    const needed = 44 + words[kind].length * 6.3;
    if (x > 2 && x + needed > width) {
      x = 2;
      row += 1;
    }
    const entry = element(
      "g",
      { class: `piece ${kind}` },
      element("path", { "stroke-width": 2.4, d: `M${x} ${y + row * 17 - 4}h28` }),
      element("text", { class: "label", x: x + 34, y: y + row * 17 }, words[kind]),
    );
    x += needed;
    return entry;
  });
  return { content: entries, height: row * 17 + 8 };
}

function describe({ featureMaps, weights, duplicates }: ReportStructure, pieces: readonly Piece[]): string {
  const across =
    duplicates.acrossSides === 0
      ? "none across the sides"
      : `${duplicates.acrossSides} pairs across the sides`;
  return (
    `${featureMaps.length} feature maps and ${weights.length} layers, ${pieces.length} gradient pieces, ` +
    `${duplicates.total} of them duplicates, ${across}`
  );
}

function r(value: number): number {
  return Math.round(value * 10) / 10;
}
