/** Writes a stage's equations in the paper's notation, as text and as LaTeX. */
import type { Reading } from "./reading.ts";
import { readMaps, type Stage, type Weight } from "./stage.ts";

/** How symbols, convolution and lists are written. */
interface Notation {
  symbol(letter: string, name: string, primed?: boolean): string;
  readonly convolve: string;
  concat(parts: readonly string[]): string;
  /** Signs between operands; what is not listed is written as a function. */
  readonly signs: Readonly<Record<string, string>>;
  function(name: string): string;
  /** Stands for the middle of a run; null where every map is written. */
  readonly dots: string | null;
}

export interface NotationOptions {
  /** Writes x_1, …, x_47 for a run of four or more, as the paper does. Default false: every map is named. */
  readonly abbreviate?: boolean;
}

/** `x_0''`, `w_k' = f(w_k, g_0'', g_1)` */
const plain: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_${name}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "-": "-", "⊙": "⊙", "·": "·" },
  function: (name) => name,
  dots: "…",
};

/** `x_{0''}`, as the paper typesets it: the primes of a part stand in the subscript. */
const latex: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_{${name}}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "-": "-", "⊙": "\\odot", "·": "\\cdot" },
  function: (name) => `\\operatorname{${name}}`,
  dots: "\\ldots",
};

/** The equations of one stage, line by line. */
export interface StageEquations {
  /** Feed-forward, the paper's (1) and (3): `x_2 = w_2 * [x_0, x_1]`. */
  readonly forward: readonly string[];
  /** Weight update, the paper's (2) and (4): `w_2' = f(w_2, g_0, g_1)`. */
  readonly update: readonly string[];
  readonly forwardLatex: readonly string[];
  readonly updateLatex: readonly string[];
  /** Which module each weight stands for. */
  readonly legend: readonly { readonly symbol: string; readonly meaning: string }[];
}

/** A run of so many maps numbered one after the other is worth dots. */
const shortestRun = 4;

/**
 * Writes entries one by one, or the middle of runs x_1, x_2, …, x_k as dots; x_0 stands before a run. `names` are those
 * of the maps among them, null for other entries.
 */
function writeRuns(
  names: readonly (string | null)[],
  texts: readonly string[],
  { dots }: Notation,
): string[] {
  if (dots === null) return [...texts];
  const isNext = (i: number): boolean => {
    const [before, name] = [names[i - 1], names[i]];
    return !!before && !!name && /^[1-9]\d*$/.test(before) && name === String(Number(before) + 1);
  };
  const written: string[] = [];
  for (let start = 0; start < texts.length; ) {
    let end = start + 1;
    while (end < texts.length && isNext(end)) end += 1;
    const run = texts.slice(start, end);
    written.push(...(run.length < shortestRun ? run : [run[0], dots, run[run.length - 1]]));
    start = end;
  }
  return written;
}

/** A sum or product stands in parentheses, except between the commas of a concatenation. */
function write(stage: Stage, reading: Reading, notation: Notation, isListed = false): string {
  if (reading.kind === "map") return notation.symbol("x", stage.maps[reading.map].name);
  if (reading.kind === "concat") {
    const names = reading.parts.map((part) => (part.kind === "map" ? stage.maps[part.map].name : null));
    const texts = reading.parts.map((part) => write(stage, part, notation, true));
    return notation.concat(writeRuns(names, texts, notation));
  }
  const sign = notation.signs[reading.sign];
  const parts = reading.parts.map((part) => write(stage, part, notation, sign === undefined));
  if (sign === undefined) return `${notation.function(reading.sign)}(${parts.join(", ")})`;
  const text = parts.join(` ${sign} `);
  return isListed ? text : `(${text})`;
}

function forwardEquations(stage: Stage, notation: Notation): string[] {
  return stage.layers.map(({ name, reads, output }) => {
    const left = notation.symbol("x", stage.maps[output].name);
    return `${left} = ${notation.symbol("w", name)} ${notation.convolve} ${write(stage, reads, notation)}`;
  });
}

/** One a weight, with the gradients of its set in the order of their names: g_0', g_0'', g_1, …, g_T. */
function updateEquations(stage: Stage, notation: Notation): string[] {
  return stage.weights.map(({ name, sources }) => {
    const names = sources.map((map) => stage.maps[map].name).sort(byName);
    const gradients = names.map((source) => notation.symbol("g", source));
    const weight = notation.symbol("w", name);
    return `${notation.symbol("w", name, true)} = f(${[weight, ...writeRuns(names, gradients, notation)].join(", ")})`;
  });
}

/** Numbers in their order, parts of a map by their primes, letters last. */
function byName(a: string, b: string): number {
  const [first, second] = [a, b].map((name) => Number(/^\d+/.exec(name)?.[0] ?? Number.POSITIVE_INFINITY));
  if (first !== second) return first - second;
  return a < b ? -1 : 1;
}

/** As text and as LaTeX. */
const notations = (abbreviate: boolean): [Notation, Notation] =>
  abbreviate
    ? [plain, latex]
    : [
        { ...plain, dots: null },
        { ...latex, dots: null },
      ];

/** The equations of a stage in the paper's notation. */
export function stageEquations(stage: Stage, { abbreviate = false }: NotationOptions = {}): StageEquations {
  const [text, typeset] = notations(abbreviate);
  const inputs = readMaps(stage).filter((map) => stage.maps[map].layer === null);
  return {
    forward: forwardEquations(stage, text),
    update: updateEquations(stage, text),
    forwardLatex: forwardEquations(stage, typeset),
    updateLatex: updateEquations(stage, typeset),
    legend: [
      ...inputs.map((map) => {
        const { name, shape } = stage.maps[map];
        const part = name.endsWith("'")
          ? `part ${name.length - name.indexOf("'")} of the input of`
          : "input of";
        return { symbol: `x_${name}`, meaning: `${part} ${stage.name}, ${shape[1]} channels` };
      }),
      ...stage.weights.map((weight) => ({ symbol: `w_${weight.name}`, meaning: placeOf(stage, weight) })),
    ],
  };
}

/** What leaves a stage: `x_U`, `[x_0', x_T]` with fusion last, `x_0 + x_2` of a residual block; null when nothing does. */
export function stageOutput(
  stage: Stage,
  { abbreviate = false }: NotationOptions = {},
): { readonly text: string; readonly latex: string } | null {
  const { output } = stage;
  const [text, typeset] = notations(abbreviate).map(
    (notation) => output && write(stage, output, notation, true),
  );
  return text && typeset ? { text, latex: typeset } : null;
}

/** The module of a weight; which parameters of it, where it has weights besides; and how often it is used. */
function placeOf(stage: Stage, { modulePath, parameters, layers }: Weight): string {
  const isAlone = stage.weights.filter((other) => other.modulePath === modulePath).length === 1;
  const module = modulePath || "the module itself";
  const inside = parameters.map((path) => withinModule(path, modulePath).replace(/\.weight$/, ""));
  const place =
    isAlone && (modulePath !== "" || parameters.length === 1) ? module : `${module}: ${inside.join(", ")}`;
  if (layers.length === 1) return place;
  const made = layers.map((layer) => `x_${stage.maps[stage.layers[layer].output].name}`);
  return `${place}, used ${layers.length} times: ${made.join(", ")}`;
}

const withinModule = (path: string, module: string): string =>
  module !== "" && path.startsWith(`${module}.`) ? path.slice(module.length + 1) : path;
