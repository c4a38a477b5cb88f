/**
 * What a reader may open or never look at (tables of every sampled number, the details of each of many networks) is
 * drawn here as well, but travels compressed: it repeats itself so much that the page shrinks to a fraction. The
 * page's script unpacks a part when it is opened. The report's data travel the same way.
 */

import { gunzipSync, gzipSync } from "node:zlib";
import { type Content, element, Markup, render } from "./markup.ts";

/** Collects the parts of one page. */
export class Parts {
  readonly #texts: string[] = [];

  /** A line that opens to `content`; without the script it says where the content is to be found. */
  folded(summary: Content, content: Content, attributes: { id?: string; class?: string } = {}): Markup {
    const part = this.#texts.push(render(content)) - 1;
    return element(
      "details",
      { ...attributes, "data-part": part },
      element("summary", {}, summary),
      element(
        "p",
        { class: "small" },
        "Shown by the page's script. Every number is in the report's JSON file too.",
      ),
    );
  }

  /** All parts so far, packed for the script. */
  packed(): Markup {
    return packed("parts", this.#texts);
  }
}

/** A value as compressed JSON in a script element that no browser runs. */
export function packed(id: string, value: unknown): Markup {
  const bytes = gzipSync(JSON.stringify(value), { level: 9 });
  return new Markup(`<script type="application/gzip" id="${id}">${bytes.toString("base64")}</script>`);
}

/** Bytes that a value takes when it is packed, within a few per cent. */
export function packedSize(value: unknown): number {
  return Math.ceil((gzipSync(JSON.stringify(value)).length * 4) / 3);
}

/** Reads what `packed` wrote out of a page. Throws when the page has no such element. */
export function unpacked(page: string, id: "parts" | "report"): unknown {
  const found = new RegExp(`<script type="application/gzip" id="${id}">([^<]*)</script>`).exec(page)?.[1];
  if (found === undefined) throw new Error(`report page: it has no packed "${id}"; is the file complete?`);
  return JSON.parse(gunzipSync(Buffer.from(found, "base64")).toString("utf8"));
}
