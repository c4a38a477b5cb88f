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
}

/** `x_0''`, `w_k' = f(w_k, g_0'', g_1)` */
const plain: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_${name}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "-": "-", "⊙": "⊙", "·": "·" },
  function: (name) => name,
};

/** `x_{0''}`, as the paper typesets it: the primes of a part stand in the subscript. */
const latex: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_{${name}}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "-": "-", "⊙": "\\odot", "·": "\\cdot" },
  function: (name) => `\\operatorname{${name}}`,
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

/** A sum or product stands in parentheses, except between the commas of a concatenation. */
function write(stage: Stage, reading: Reading, notation: Notation, isListed = false): string {
  if (reading.kind === "map") return notation.symbol("x", stage.maps[reading.map].name);
  if (reading.kind === "concat")
    return notation.concat(reading.parts.map((part) => write(stage, part, notation, true)));
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
    return `${notation.symbol("w", name, true)} = f(${[weight, ...gradients].join(", ")})`;
  });
}

/** Numbers in their order, parts of a map by their primes, letters last. */
function byName(a: string, b: string): number {
  const [first, second] = [a, b].map((name) => Number(/^\d+/.exec(name)?.[0] ?? Number.POSITIVE_INFINITY));
  if (first !== second) return first - second;
  return a < b ? -1 : 1;
}

/** The equations of a stage in the paper's notation. */
export function stageEquations(stage: Stage): StageEquations {
  const inputs = readMaps(stage).filter((map) => stage.maps[map].layer === null);
  return {
    forward: forwardEquations(stage, plain),
    update: updateEquations(stage, plain),
    forwardLatex: forwardEquations(stage, latex),
    updateLatex: updateEquations(stage, latex),
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
export function stageOutput(stage: Stage): { readonly text: string; readonly latex: string } | null {
  const { output } = stage;
  return output && { text: write(stage, output, plain, true), latex: write(stage, output, latex, true) };
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
