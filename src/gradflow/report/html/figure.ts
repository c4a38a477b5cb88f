/** The frames that figures and tables stand in: caption, toolbar (filled with buttons by the script), numbers. */

import { type Attributes, type Content, element, type Markup } from "./markup.ts";
import type { Parts } from "./parts.ts";

/** A figure with its caption below, downloadable as SVG under `fileName`. */
export function svgFigure(
  fileName: string,
  caption: Content,
  svg: Markup,
  attributes: Attributes = {},
  after?: Content,
): Markup {
  return element(
    "figure",
    { ...attributes, "data-svg": fileName },
    element(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": "Figure; scrolls sideways if narrow" },
      svg,
    ),
    element("figcaption", {}, caption),
    after,
  );
}

export interface TableFrame {
  readonly caption: Content;
  /** Name of the CSV file, without its ending. */
  readonly fileName: string;
  readonly head: Content;
  readonly body: Content;
  readonly attributes?: Attributes;
}

/** A table that scrolls inside its own box when the page is narrow. */
export function table({ caption, fileName, head, body, attributes = {} }: TableFrame): Markup {
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table; scrolls sideways if narrow" },
    element(
      "table",
      { ...attributes, "data-csv": fileName },
      element("caption", {}, caption),
      element("thead", {}, head),
      element("tbody", {}, body),
    ),
  );
}

/** A table folded away under a line that opens it. */
export function foldedTable(parts: Parts, summary: Content, frame: TableFrame): Markup {
  return parts.folded(summary, table(frame));
}

/** A header cell of a column or a row. */
export function heading(scope: "col" | "row", content: Content, attributes: Attributes = {}): Markup {
  return element("th", { scope, ...attributes }, content);
}

/** Letters, digits and dashes only, for element ids and file names. */
export function slug(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return plain === "" ? "unnamed" : plain.slice(0, 60);
}
