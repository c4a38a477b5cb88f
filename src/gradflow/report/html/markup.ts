/**
 * Builds HTML and SVG as text. Strings are escaped and only `Markup` is not, so a name out of the report, whatever
 * it holds, stays text. Everything is written as well-formed XML: closed tags, quoted attributes.
 */

/** Text that is already markup and is not escaped again. */
export class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** What may stand inside an element; `undefined` and `false` leave nothing. */
export type Content = Markup | string | number | undefined | false | readonly Content[];

/** `undefined` and `false` leave the attribute out, `true` writes it with an empty value. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

const emptyElements = new Set(["meta", "link", "br", "input", "hr"]);

/** An element; attribute values and string children are escaped. */
export function element(name: string, attributes: Attributes = {}, ...children: Content[]): Markup {
  const written = Object.entries(attributes).map(([key, value]) => {
    if (value === undefined || value === false) return "";
    return ` ${key}="${value === true ? "" : escapeText(String(value))}"`;
  });
  const inner = render(children);
  const isEmpty = emptyElements.has(name) || (inner === "" && svgShapes.has(name));
  if (isEmpty) return new Markup(`<${name}${written.join("")}/>`);
  return new Markup(`<${name}${written.join("")}>${inner}</${name}>`);
}

/** SVG shapes that are written without an end tag when they hold nothing. */
const svgShapes = new Set(["path", "rect", "circle", "line", "polygon", "polyline"]);

/** Content as text, escaped where it is not markup yet. */
export function render(content: Content): string {
  if (content === undefined || content === false) return "";
  if (content instanceof Markup) return content.text;
  if (typeof content === "string") return escapeText(content);
  if (typeof content === "number") return String(content);
  return content.map(render).join("");
}

/** Several pieces of content as one. */
export function fragment(...content: Content[]): Markup {
  return new Markup(render(content));
}

/** Escapes text for element content and for attribute values; what XML forbids becomes a replacement sign. */
function escapeText(text: string): string {
  return text
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;")
    .replace(/'/g, "&#39;")
    .replace(forbidden, "\ufffd");
}

const forbidden = /(?![\t\n\r])\p{Cc}|[\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu;
