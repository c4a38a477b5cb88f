/** A strict reader of tags: enough to tell whether a page that should be written like XML is. */

/** Whether every tag is closed in order, attributes are quoted and unique, and no bare `<` or `&` is left. */
export function isWellFormed(html: string): boolean {
  const withoutRaw = html
    .replace(/^<!doctype html>\n/, "")
    .replace(/(<(script|style)[^>]*>).*?(<\/\2>)/gs, "$1$3");
  const open: string[] = [];
  let end = 0;
  for (const match of withoutRaw.matchAll(/<(\/?)([A-Za-z][\w-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>/g)) {
    if (!isText(withoutRaw.slice(end, match.index))) return false;
    end = match.index + match[0].length;
    const [, closing, name = "", attributes = "", empty] = match;
    const names = [...attributes.matchAll(/\s([\w:-]+)="([^"]*)"/g)];
    if (new Set(names.map(([, key]) => key)).size !== names.length) return false;
    if (names.some(([, , value]) => !isText(value ?? ""))) return false;
    if (closing === "/") {
      if (open.pop() !== name) return false;
    } else if (empty !== "/") open.push(name);
  }
  return open.length === 0 && isText(withoutRaw.slice(end));
}

function isText(text: string): boolean {
  return !text.includes("<") && !/&(?!(?:amp|lt|gt|quot|#39);)/.test(text);
}
