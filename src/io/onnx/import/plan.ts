/** An ONNX graph made ready to run: checked, its operators looked up, nodes that no output needs left out. */
import { FileFormatError } from "../../errors.ts";
import type { OnnxGraph, OnnxModelFile, OnnxNode } from "../model.ts";
import { type Evaluate, NodeReader } from "./node.ts";
import { operators } from "./operators.ts";

/** One node, ready to run. */
export interface PlanStep {
  readonly reader: NodeReader;
  readonly evaluate: Evaluate;
  /** Names of values; empty for inputs that are not given. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Values that nothing reads afterwards. */
  readonly lastReads: readonly string[];
}

const error = (problem: string): FileFormatError => new FileFormatError(`ONNX: ${problem}`);

/** Opsets whose operators mean what ours do. Attributes that only old ones had are refused by name. */
const [firstOpset, lastOpset] = [1, 23];

function opsetOf({ opsets }: OnnxModelFile): number {
  const opset = opsets.find(({ domain }) => domain === "");
  if (!opset)
    throw error("the file does not say which opset of ONNX its operators belong to; is it damaged?");
  if (opset.version < firstOpset || opset.version > lastOpset)
    throw error(
      `the file uses opset ${opset.version}; ${firstOpset} to ${lastOpset} are supported, export it again with one of them`,
    );
  return opset.version;
}

/** Throws naming all nodes whose operators are none of ours, so that a user learns everything at once. */
function checkOperators(model: OnnxModelFile): void {
  const unknown = new Map<string, string>();
  for (const { domain, opType, name, outputs } of model.graph.nodes) {
    const isDefined = model.functions.includes(opType) || domain !== "" || !Object.hasOwn(operators, opType);
    if (!isDefined) continue;
    const opset = model.opsets.find((candidate) => candidate.domain === domain)?.version ?? "unknown";
    const key = `${opType} (domain ${JSON.stringify(domain || "ai.onnx")}, opset ${opset})`;
    if (!unknown.has(key)) unknown.set(key, name || (outputs[0] ?? ""));
  }
  if (unknown.size === 0) return;
  const listed = [...unknown].slice(0, 20).map(([key, node]) => `${key}, in node ${JSON.stringify(node)}`);
  throw error(
    `the file uses operators that cannot be imported:\n  ${listed.join("\n  ")}` +
      `${unknown.size > 20 ? `\n  and ${unknown.size - 20} more` : ""}\n` +
      `Known are ${Object.keys(operators).sort().join(", ")}.`,
  );
}

/** Throws unless every value is made once, and before it is read: that also rules out circles. */
function checkOrder({ nodes, outputs }: OnnxGraph, given: ReadonlySet<string>): void {
  const made = new Set(given);
  for (const { name, opType, inputs, outputs: results } of nodes) {
    const node = `${opType} node ${JSON.stringify(name || results[0])}`;
    for (const input of inputs)
      if (input !== "" && !made.has(input))
        throw error(`${node} reads ${JSON.stringify(input)}, which nothing before it makes`);
    for (const result of results) {
      if (result === "") continue;
      if (made.has(result)) throw error(`${node} makes ${JSON.stringify(result)}, which is there already`);
      made.add(result);
    }
  }
  if (outputs.length === 0) throw error("the graph has no outputs");
  for (const { name } of outputs)
    if (!made.has(name)) throw error(`nothing makes the output ${JSON.stringify(name)}`);
}

/** Nodes whose results lead to an output. */
function neededNodes({ nodes, outputs }: OnnxGraph): readonly OnnxNode[] {
  const needed = new Set(outputs.map(({ name }) => name));
  const kept: OnnxNode[] = [];
  for (const node of [...nodes].reverse()) {
    if (!node.outputs.some((name) => needed.has(name))) continue;
    for (const input of node.inputs) needed.add(input);
    kept.push(node);
  }
  return kept.reverse();
}

/**
 * The steps of a model's graph, in the order of execution. `given` are the names of inputs and initializers. Throws a
 * FileFormatError for operators, attributes and opsets that are not supported, and for graphs that cannot run.
 */
export function planGraph(model: OnnxModelFile, given: ReadonlySet<string>): PlanStep[] {
  const { graph, functions } = model;
  const opset = opsetOf(model);
  if (graph.hasSparseInitializers) throw error("the graph has sparse initializers, which are not supported");
  if (functions.includes("")) throw error("the file defines an operator without a name");
  checkOperators(model);
  checkOrder(graph, given);
  const nodes = neededNodes(graph);
  const lastReader = new Map<string, number>();
  nodes.forEach(({ inputs, outputs }, i) => {
    for (const name of [...inputs, ...outputs]) lastReader.set(name, i);
  });
  for (const { name } of graph.outputs) lastReader.delete(name);
  return nodes.map((node, i) => {
    const reader = new NodeReader(node, opset);
    const evaluate = operators[node.opType](reader);
    reader.checkAllAsked();
    const { inputs, outputs } = node;
    const lastReads = [...new Set([...inputs, ...outputs])].filter((name) => lastReader.get(name) === i);
    return { reader, evaluate, inputs, outputs, lastReads };
  });
}
