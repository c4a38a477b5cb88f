/** Sets the paper's notation, `x_0''` or `w_2' = f(w_2, g_0, g_1)`, in HTML and in SVG, without a library. */

import { type Content, element, fragment, type Markup } from "./markup.ts";

const symbolPattern = /([A-Za-z])_(?:\{([^{}]+)\}|([A-Za-z0-9]+))('*)/g;
const primes = ["", "′", "″", "‴"];

interface SymbolParts {
  readonly letter: string;
  readonly index: string;
  readonly primes: string;
}

/** Splits `x_0''` into letter, index and primes; `undefined` for any other text. */
function symbolParts(symbol: string): SymbolParts | undefined {
  const match = new RegExp(`^${symbolPattern.source}$`).exec(symbol);
  return match === null ? undefined : partsOf(match);
}

function partsOf(match: RegExpMatchArray): SymbolParts {
  const count = (match[4] ?? "").length;
  return {
    letter: match[1] ?? "",
    index: match[2] ?? match[3] ?? "",
    primes: primes[count] ?? "′".repeat(count),
  };
}

/** A symbol in HTML: italic letter, index below, primes above it. Other text comes out as it is. */
export function symbolHtml(symbol: string): Markup {
  const parts = symbolParts(symbol);
  return parts === undefined ? fragment(symbol) : partsHtml(parts);
}

function partsHtml({ letter, index, primes: marks }: SymbolParts): Markup {
  // The index stands under the primes, as in print: the style sheet moves it back by their width.
  const count = marks === "" ? 0 : Math.max(1, primes.indexOf(marks));
  const above = count > 0 && element("sup", {}, marks);
  return element(
    "span",
    { class: count > 0 ? `symbol primes-${count}` : "symbol" },
    element("var", {}, letter),
    above,
    element("sub", {}, index),
  );
}

/** A symbol as the content of an SVG text element. */
export function symbolSvg(symbol: string): Content {
  const parts = symbolParts(symbol);
  if (parts === undefined) return symbol;
  // The index goes back under the primes, which already sit high on their own.
  const back = { "": 0, "′": -0.3, "″": -0.5, "‴": -0.7 }[parts.primes] ?? -0.7;
  return fragment(
    element("tspan", { class: "letter" }, parts.letter),
    parts.primes,
    element("tspan", { class: "index", dy: "0.35em", dx: back === 0 ? undefined : `${back}em` }, parts.index),
  );
}

/** A symbol in plain words for screen readers and file names: `x0″`. */
export function symbolPlain(symbol: string): string {
  const parts = symbolParts(symbol);
  return parts === undefined ? symbol : `${parts.letter}${parts.index}${parts.primes}`;
}

/**
 * An equation in HTML.
 * @param decorate wraps a symbol of the equation, for instance to mark gradients that are used again
 */
export function equationHtml(
  equation: string,
  decorate: (symbol: string, set: Markup) => Markup = (_, set) => set,
): Markup {
  const parts: Content[] = [];
  let end = 0;
  for (const match of equation.matchAll(symbolPattern)) {
    parts.push(operators(equation.slice(end, match.index)), decorate(match[0], partsHtml(partsOf(match))));
    end = match.index + match[0].length;
  }
  parts.push(operators(equation.slice(end)));
  return fragment(parts);
}

/** The text between symbols: the convolution sign and the dots as in print. */
function operators(text: string): Content {
  const printed = text.replace(/\.\.\./g, "…").replace(/\*/g, "∗");
  return printed.split(/(\bf\b)/).map((part) => (part === "f" ? element("var", {}, part) : part));
}
