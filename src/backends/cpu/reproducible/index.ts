/** How the CPU backend runs ops in reproducible mode. */
import type { HostView, Shape } from "../../backend.ts";
import type { Machine } from "../../reproducible/machine.ts";
import { recipes } from "../../reproducible/recipes.ts";
import type { HostRunner } from "../backend.ts";
import { runPointwise } from "../pointwise.ts";
import { runInSingleRoundings } from "./functions.ts";
import { largest, sumOfProducts } from "./sum.ts";

function temporary(shape: Shape): HostView {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, n) => product * n, 1));
  const length = shape.reduce((product, n) => product * n, 1);
  return { data: new Float32Array(length), dtype: "f32", shape, strides, offset: 0 };
}

const machine: Machine<HostView> = {
  temporary,
  pointwise(inputs, output, expression, parameters = []) {
    const operands = [output, ...inputs];
    const isSingle = operands.some(({ dtype }) => dtype === "f32");
    const run = isSingle ? runInSingleRoundings : runPointwise;
    run(inputs, output, { expression, parameters });
  },
  sum: sumOfProducts,
  largest,
};

/** Whether recipes, which are about f32, have a say. */
function isAboutF32(inputs: readonly HostView[], output: HostView): boolean {
  const all = [output, ...inputs];
  return all.some(({ dtype }) => dtype === "f32") && all.every(({ dtype }) => dtype !== "f64");
}

/** Runs an op by its recipe, or by its ordinary kernel where that rounds nothing. */
export const runReproducibly: HostRunner = (kernel, ordinary, inputs, output, attributes) => {
  const recipe = recipes[kernel];
  if (recipe === "plain" || !isAboutF32(inputs, output)) ordinary(inputs, output, attributes);
  else recipe({ machine, inputs, output, attributes, plain: ordinary });
};
