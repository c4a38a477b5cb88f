/**
 * The page's colours, light and dark. Chosen to stay apart for the common forms of colour blindness, and never
 * alone: duplicates are dashed as well, sides are named, lines have dash patterns, cells carry signs.
 */

import { heatSteps } from "./heatMap.ts";

type Colours = Readonly<Record<string, string>>;

const light: Colours = {
  page: "#ffffff",
  raised: "#f6f7f9",
  ink: "#1b1f26",
  soft: "#545c68",
  rule: "#d5d9df",
  grid: "#e6e9ed",
  link: "#1f5fa8",
  first: "#3d5a80",
  forward: "#9aa2ad",
  duplicate: "#b83c0a",
  across: "#a3157a",
  "duplicate-tint": "#fdeadf",
  "across-tint": "#f8dff0",
  "single-tint": "#e4ecf6",
  "dense-fill": "#dbe8f6",
  "dense-line": "#1f5fa8",
  "bypass-fill": "#f5ecd0",
  "bypass-line": "#8a6500",
  "main-fill": "#eceff2",
  "main-line": "#5b6470",
  notice: "#fff3d6",
  s0: "#1f5fa8",
  s1: "#9a6700",
  s2: "#00785a",
  s3: "#7b3fa0",
  s4: "#0b7285",
  s5: "#b02a5b",
  s6: "#5b6470",
  s7: "#6b7300",
};

const dark: Colours = {
  page: "#14171c",
  raised: "#1d2128",
  ink: "#e6e9ee",
  soft: "#a7b0bc",
  rule: "#3a414c",
  grid: "#2a3039",
  link: "#8ab8f0",
  first: "#8fb1dc",
  forward: "#6c7683",
  duplicate: "#ff9466",
  across: "#f08ad0",
  "duplicate-tint": "#45261a",
  "across-tint": "#442038",
  "single-tint": "#213044",
  "dense-fill": "#1d3350",
  "dense-line": "#7fb0ea",
  "bypass-fill": "#3d3418",
  "bypass-line": "#d9b65a",
  "main-fill": "#2a3039",
  "main-line": "#9aa4b1",
  notice: "#41361a",
  s0: "#7fb0ea",
  s1: "#e0b04c",
  s2: "#5cc9a7",
  s3: "#c79ae6",
  s4: "#62c4d6",
  s5: "#f08aaf",
  s6: "#a7b0bc",
  s7: "#c3cc5a",
};

/** The colours of one theme as CSS custom properties. */
function properties(colours: Colours, negative: Rgb, middle: Rgb, positive: Rgb): string {
  const heat = Array.from({ length: 2 * heatSteps + 1 }, (_, i) => {
    const value = i / heatSteps - 1;
    const colour = mix(middle, value < 0 ? negative : positive, Math.abs(value) ** 0.85);
    return `--q${i}:${hex(colour)};--t${i}:${luminance(colour) > 0.19 ? "#111418" : "#ffffff"};`;
  });
  const named = Object.entries(colours).map(([name, value]) => `--${name}:${value};`);
  return [...named, ...heat].join("");
}

/** Rules that define the colours: light by default and on paper, dark where the reader's system asks for it. */
export function paletteRules(): string {
  const lightRules = properties(light, [160, 82, 10], [247, 247, 246], [18, 60, 130]);
  const darkRules = properties(dark, [236, 164, 82], [42, 47, 56], [130, 180, 245]);
  return `:root{color-scheme:light dark;${lightRules}}
@media screen and (prefers-color-scheme:dark){:root:not(.paper){${darkRules}}}
${Array.from({ length: 2 * heatSteps + 1 }, (_, i) => `.q${i} rect{fill:var(--q${i})}.q${i} text{fill:var(--t${i})}`).join("\n")}
${Array.from({ length: 8 }, (_, i) => `.s${i}{--line:var(--s${i})}`).join("\n")}`;
}

type Rgb = readonly [red: number, green: number, blue: number];

function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const channel = (a: number, b: number) => Math.round(a + (b - a) * share);
  return [channel(from[0], to[0]), channel(from[1], to[1]), channel(from[2], to[2])];
}

function hex(colour: Rgb): string {
  return `#${colour.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

/** Relative luminance after WCAG 2: 0 black, 1 white; 0.18 reads equally well in black and in white. */
function luminance(colour: Rgb): number {
  const [red = 0, green = 0, blue = 0] = colour.map((channel) => {
    const share = channel / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
