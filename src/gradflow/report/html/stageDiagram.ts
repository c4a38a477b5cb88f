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
  /** The layers that write the map, usually one, with the horizontal centres of their circles. */
  readonly writers: readonly { readonly weight: ReportWeight; readonly x: number }[];
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

/** What diagrams that stand side by side share, so that one can be laid over the other. */
export interface DiagramScale {
  readonly width: number;
  readonly longest: number;
  readonly mostChannels: number;
}

/** The common scale of several stages. */
export function diagramScale(structures: readonly ReportStructure[]): DiagramScale {
  const stages = structures.map((structure) => ({ structure, placed: place(structure) }));
  const ends = stages.map(({ placed }) => (placed.at(-1)?.left ?? 0) + box.width + margin);
  const spans = stages.flatMap(({ structure, placed }) =>
    gradientPieces(structure).map((piece) => span(piece, placed)),
  );
  const channels = structures.flatMap(({ featureMaps }) => featureMaps.map((map) => map.channels));
  return {
    width: Math.max(320, ...ends),
    longest: Math.max(1, ...spans),
    mostChannels: Math.max(1, ...channels),
  };
}

/** Whether a stage is too long to be shrunk into half a page: then it is drawn at a fixed size and scrolls. */
export function isWide({ width }: Pick<DiagramScale, "width">): boolean {
  return width > 760;
}

/** Draws the stage; `index` names its symbols for highlighting. */
export function stageDiagram(
  name: string,
  structure: ReportStructure,
  index: SymbolIndex,
  { width, longest, mostChannels }: DiagramScale,
): Markup {
  const placed = place(structure);
  const pieces = gradientPieces(structure);
  const reach = Math.min(200, 34 + longest * 0.2);
  const top = margin + reach;
  const middle = top + box.height / 2;
  const bottom = top + box.height;
  const legendY = bottom + reach + 22;
  const legend = diagramLegend(pieces, structure.featureMaps, legendY, width);

  const arcs = pieces.flatMap((piece) => {
    const from = placed.find(({ map }) => map.symbol === piece.map.symbol);
    const to = circleOf(piece.weight, placed);
    if (from === undefined || to === undefined) return [];
    // Arcs to further layers leave further left, so that the arcs of one map do not cross.
    const circles = pieces
      .filter(({ map }) => map === piece.map)
      .map(({ weight }) => circleOf(weight, placed) ?? 0);
    const slot = (circles.filter((circle) => circle > to).length + 1) / (circles.length + 1);
    const x = from.left + box.width * slot;
    const height = (reach - 4) * (span(piece, placed) / longest) ** 0.75;
    const stroke = r(
      (1 + 2.2 * Math.sqrt(piece.map.channels / mostChannels)) * (pieces.length > 40 ? 0.6 : 1),
    );
    const marks = { "data-in": `${index.gradient(piece.map.gradient)} ${index.weight(piece.weight.symbol)}` };
    const names = `${symbolPlain(piece.map.gradient)} updates ${symbolPlain(piece.weight.symbol)}`;
    const circleTop = middle - radius;
    const circleBottom = middle + radius;
    return [
      element("path", {
        class: "forward",
        ...marks,
        d: `M${r(x)} ${top}C${r(x)} ${r(top - height * 1.3)} ${to} ${r(top - height * 1.3)} ${to} ${circleTop}`,
      }),
      element(
        "g",
        { class: `piece ${piece.kind}`, ...marks },
        element("title", {}, `${names} (${pieceWords[piece.kind]}, ${piece.map.channels} channels)`),
        element("path", {
          "stroke-width": stroke,
          d: `M${to} ${circleBottom}C${to} ${r(bottom + height * 1.3)} ${r(x)} ${r(bottom + height * 1.3)} ${r(x)} ${bottom + 6}`,
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
      ...(isWide({ width }) ? { width: Math.round(width * 0.85), "data-size": "fixed" } : {}),
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
    const writers = weights
      .filter((weight) => weight.output === map.symbol)
      .map((weight, i) => ({ weight, x: x + radius + i * (radius * 2 + 4) }));
    if (writers.length > 0) x += writers.length * (radius * 2 + 4) + 8;
    const left = x;
    x += box.width + space;
    return { map, left, writers };
  });
}

function span({ map, weight }: Piece, placed: readonly Placed[]): number {
  const from = placed.find((one) => one.map === map);
  const to = circleOf(weight, placed);
  return from === undefined || to === undefined ? 0 : Math.abs(to - from.left - box.width / 2);
}

function circleOf(weight: ReportWeight, placed: readonly Placed[]): number | undefined {
  return placed.flatMap((one) => one.writers).find((writer) => writer.weight === weight)?.x;
}

function drawNode(
  { map, left, writers }: Placed,
  top: number,
  middle: number,
  index: SymbolIndex,
  { weights }: ReportStructure,
): Content {
  const readers = weights.filter((weight) => weight.sources.includes(map.symbol));
  const memberships = [index.gradient(map.gradient), ...readers.map((weight) => index.weight(weight.symbol))];
  const size = `${map.channels} × ${map.height} × ${map.width}`;
  const first = writers[0];
  const link =
    first !== undefined &&
    element("line", { class: "axis", x1: first.x + radius, x2: left, y1: middle, y2: middle });
  const layers = writers.map(({ weight: writer, x }) =>
    element(
      "g",
      {
        class: "layer",
        "data-in": index.weight(writer.symbol),
        "data-pick": index.weight(writer.symbol),
        "aria-label": `Layer ${symbolPlain(writer.symbol)}: show the gradients that update it`,
      },
      element("title", {}, `${symbolPlain(writer.symbol)} = ${writer.modulePath}`),
      element("circle", { cx: x, cy: middle, r: radius }),
      element("text", { x, y: middle + 3.5, "text-anchor": "middle" }, symbolSvg(writer.symbol)),
    ),
  );
  return [
    link,
    layers,
    element(
      "g",
      {
        class: `map ${map.side}`,
        "data-in": memberships.join(" "),
        "data-pick": index.gradient(map.gradient),
      },
      element(
        "title",
        {},
        `Feature map ${symbolPlain(map.symbol)}: ${size} (channels × height × width), ${map.side} side`,
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

const sideWords = { dense: "dense side", bypass: "bypass side", shared: "both sides" } as const;

/** Keys under the diagram for what occurs in it: kinds of pieces, then sides of feature maps. */
function diagramLegend(
  pieces: readonly Piece[],
  maps: readonly ReportFeatureMap[],
  top: number,
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
  const sides = (["dense", "bypass", "shared"] as const).filter((side) =>
    maps.some((map) => map.side === side),
  );
  let x = 2;
  let y = top;
  const key = (name: string, text: string, draw: (x: number, y: number) => Markup): Markup => {
    const needed = 46 + text.length * 6.9;
    if (x > 2 && x + needed > width) {
      x = 2;
      y += 18;
    }
    const drawn = element(
      "g",
      { class: name },
      draw(x, y),
      element("text", { class: "label", x: x + 34, y }, text),
    );
    x += needed;
    return drawn;
  };
  const pieceKeys = kinds.map((kind) =>
    key(`piece ${kind}`, words[kind], (left, base) =>
      element("path", { "stroke-width": 2.4, d: `M${left} ${base - 4}h28` }),
    ),
  );
  if (sides.length > 0 && kinds.length > 0) {
    x = 2;
    y += 18;
  }
  const sideKeys = sides.map((side) =>
    key(`map ${side}`, sideWords[side], (left, base) =>
      element("rect", { x: left + 4, y: base - 11, width: 20, height: 13, rx: 3 }),
    ),
  );
  return { content: [pieceKeys, sideKeys], height: y - top + 8 };
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
