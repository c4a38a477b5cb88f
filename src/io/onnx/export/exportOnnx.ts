/** Networks as ONNX files, for every runtime that reads them. */

import { concat, slice } from "../../../autograd/index.ts";
import type { Module } from "../../../nn/index.ts";
import { scope } from "../../../tensor/scope.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { writeFileAtomically } from "../../atomicFiles.ts";
import { encodeModel } from "../encode.ts";
import { type OnnxGraph, type OnnxModelFile, type OnnxValueInfo, onnxDataTypes } from "../model.ts";
import { Emitter } from "./emitter.ts";
import { emitOp } from "./operators.ts";
import { findPatterns } from "./patterns.ts";
import { type Recording, record } from "./recording.ts";

/** The version of ONNX's operators in exported files. */
export const exportedOpset = 17;
/** The version of the file format that came with it. */
const irVersion = 8;

export interface ExportOnnxOptions {
  /**
   * Leaves the size of the batch, the first axis of inputs and output, open. The module is then recorded for two
   * sizes, and refused when it does different things for them. Default false: the file takes the given input's size.
   */
  readonly dynamicBatch?: boolean;
  /** Names of the inputs; default "input", or "input0", "input1", … for several. */
  readonly inputNames?: readonly string[];
  /** Default "output". */
  readonly outputName?: string;
}

function valueInfo({ graph }: Recording, value: number, name: string, openBatch: boolean): OnnxValueInfo {
  const { shape, dtype } = graph.values[value];
  const extents: (number | string)[] = [...shape];
  if (openBatch && extents.length > 0) extents[0] = "batch";
  return { name, dataType: onnxDataTypes[dtype], shape: extents };
}

function emitGraph(
  recording: Recording,
  name: string,
  { dynamicBatch = false, inputNames, outputName = "output" }: ExportOnnxOptions,
): OnnxGraph {
  const { graph, inputs, output } = recording;
  const emitter = new Emitter(recording);
  const names = inputNames ?? (inputs.length === 1 ? ["input"] : inputs.map((_, i) => `input${i}`));
  if (names.length !== inputs.length || new Set([...names, outputName]).size !== names.length + 1)
    throw new Error(
      `exportOnnx: ${inputs.length} inputs and the output "${outputName}" need as many different names, ` +
        `got ${names.join(", ")}`,
    );
  emitter.unique(outputName);
  inputs.forEach((value, i) => void emitter.bind(value, emitter.unique(names[i])));
  const patterns = findPatterns(recording);
  const covered = new Set([...patterns.values()].flatMap(({ covers }) => covers));
  for (const node of graph.nodes) {
    if (!recording.isDependent(node.output) || covered.has(node)) continue;
    emitter.enter(node);
    const pattern = patterns.get(node.id);
    emitter.bind(node.output, pattern ? pattern.emit(emitter) : emitOp(emitter, node));
  }
  // The output gets its name from a node of its own: what it is may be an input, or read elsewhere.
  const result = emitter.operand(output);
  emitter.nodes.push({
    name: outputName,
    domain: "",
    opType: "Identity",
    inputs: [result],
    outputs: [outputName],
    attributes: new Map(),
  });
  const between = [...emitter.named].filter(
    ([value]) => recording.isDependent(value) && !inputs.includes(value),
  );
  return {
    name,
    nodes: emitter.nodes,
    initializers: emitter.initializers,
    inputs: inputs.map((value, i) => valueInfo(recording, value, names[i], dynamicBatch)),
    outputs: [valueInfo(recording, output, outputName, dynamicBatch)],
    // Shapes within a graph of an open batch are not known.
    values: dynamicBatch ? [] : between.map(([value, own]) => valueInfo(recording, value, own, false)),
    hasSparseInitializers: false,
  };
}

/** The inputs with one more image, the first one again. */
function enlarged(inputs: readonly Tensor[]): Tensor[] {
  return inputs.map((input) => concat([input, slice(input, 0, 0, 1)], 0));
}

/** Throws unless the same was recorded for another size of the batch. */
function checkSame(one: OnnxGraph, other: OnnxGraph): void {
  const describe = ({ nodes }: OnnxGraph): string[] =>
    nodes.map(({ opType, inputs, attributes }) =>
      [
        opType,
        ...inputs,
        ...[...attributes].map(([key, value]) => `${key} ${"value" in value ? value.value : ""}`),
      ].join(" "),
    );
  const [first, second] = [describe(one), describe(other)];
  const at = first.findIndex((node, i) => node !== second[i]);
  const constants = one.initializers.findIndex(({ name, shape, content }, i) => {
    const twin = other.initializers[i];
    if (twin?.name !== name || `${twin.shape}` !== `${shape}`) return true;
    if (content.kind !== "raw" || twin.content.kind !== "raw") return true;
    return Buffer.compare(content.bytes, twin.content.bytes) !== 0;
  });
  const clash = at >= 0 ? one.nodes[at].name : constants >= 0 ? one.initializers[constants].name : null;
  if (clash !== null || first.length !== second.length)
    throw new Error(
      `exportOnnx: ${clash ?? "the graph"} depends on the size of the batch, so the file cannot leave it open; ` +
        "reshape with -1 or by the batch's own extent, or export without dynamicBatch",
    );
}

function modelFile(graph: OnnxGraph): OnnxModelFile {
  return {
    irVersion,
    producer: "gradweave",
    opsets: [{ domain: "", version: exportedOpset }],
    graph,
    metadata: new Map(),
    functions: [],
  };
}

/**
 * The bytes of an ONNX file (opset 17) of what `module` computes in evaluation mode for inputs of these shapes and
 * dtypes. Parameters and buffers keep their names of `stateDict()`. The module is left as it was; its backend must read
 * synchronously. Throws when an op has no counterpart in ONNX, when what runs depends on values, and when the model
 * takes more than 2 GiB.
 *
 *     const bytes = exportOnnx(model, zeros([1, 3, 224, 224]));
 */
export function exportOnnx(
  module: Module,
  inputs: Tensor | readonly Tensor[],
  options: ExportOnnxOptions = {},
): Uint8Array {
  const list = "shape" in inputs ? [inputs] : inputs;
  const name = module.constructor.name;
  const emit = (recording: Recording): OnnxGraph => emitGraph(recording, name, options);
  const graph = record(module, list, emit);
  if (options.dynamicBatch) {
    if (list.some(({ rank, shape }) => rank === 0 || shape[0] === 0))
      throw new Error("exportOnnx: dynamicBatch needs inputs whose first axis is a batch of one or more");
    scope(() => checkSame(graph, record(module, enlarged(list), emit)));
  }
  return encodeModel(modelFile(graph));
}

/** Writes what `exportOnnx` gives; a reader finds the old file or the complete new one. Throws like it. */
export async function saveOnnx(
  path: string,
  module: Module,
  inputs: Tensor | readonly Tensor[],
  options: ExportOnnxOptions = {},
): Promise<void> {
  const bytes = exportOnnx(module, inputs, options);
  await writeFileAtomically(path, (write) => write(bytes));
}
