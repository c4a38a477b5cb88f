/** Writes a stage's equations in the paper's notation, as text and as LaTeX. */
import type { Reading } from "./reading.ts";
import { readMaps, type Stage } from "./stage.ts";

/** How symbols, convolution and lists are written. */
interface Notation {
  symbol(letter: string, name: string, primed?: boolean): string;
  readonly convolve: string;
  concat(parts: readonly string[]): string;
  readonly signs: Readonly<Record<"+" | "⊙", string>>;
}

/** `x_0''`, `w_k' = f(w_k, g_0'', g_1)` */
const plain: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_${name}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "⊙": "⊙" },
};

/** `x_{0''}`, as the paper typesets it: the primes of a part stand in the subscript. */
const latex: Notation = {
  symbol: (letter, name, primed = false) => `${letter}_{${name}}${primed ? "'" : ""}`,
  convolve: "*",
  concat: (parts) => `[${parts.join(", ")}]`,
  signs: { "+": "+", "⊙": "\\odot" },
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
  const isConcat = reading.kind === "concat";
  const parts = reading.parts.map((part) => write(stage, part, notation, isConcat));
  if (isConcat) return notation.concat(parts);
  const text = parts.join(` ${notation.signs[reading.sign]} `);
  return isListed ? text : `(${text})`;
}

function forwardEquations(stage: Stage, notation: Notation): string[] {
  return stage.layers.map(({ name, reads, output }) => {
    const left = notation.symbol("x", stage.maps[output].name);
    return `${left} = ${notation.symbol("w", name)} ${notation.convolve} ${write(stage, reads, notation)}`;
  });
}

function updateEquations(stage: Stage, notation: Notation): string[] {
  return stage.layers.map(({ name, sources }) => {
    const gradients = sources.map((map) => notation.symbol("g", stage.maps[map].name));
    const weight = notation.symbol("w", name);
    return `${notation.symbol("w", name, true)} = f(${[weight, ...gradients].join(", ")})`;
  });
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
      ...stage.layers.map(({ name, modulePath }) => ({
        symbol: `w_${name}`,
        meaning: modulePath || "the module itself",
      })),
    ],
  };
}
