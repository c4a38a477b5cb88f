/** An ONNX graph as a module. */
import { isFloat } from "../../../backends/dtype.ts";
import { Module } from "../../../nn/index.ts";
import { formatShape } from "../../../tensor/layout.ts";
import { Tensor } from "../../../tensor/tensor.ts";
import { dtypeOfStored } from "../../elements.ts";
import { FileFormatError } from "../../errors.ts";
import type { HostTensor, OnnxModelFile, OnnxValueInfo } from "../model.ts";
import { formatOfDataType, hostTensor } from "../tensors.ts";
import { NodeInputs, type NodeReader } from "./node.ts";
import { type PlanStep, planGraph } from "./plan.ts";
import { isState, operandNames, StateBuilder, trainedNames } from "./state.ts";
import { Value } from "./value.ts";

/**
 * A network read from an ONNX file. Weights are parameters, statistics buffers, by their names in the file. It
 * computes what the file says, in training mode too: batch norms use the statistics of the file, dropout passes on.
 */
export class OnnxModule extends Module {
  /** What `forward` takes, in this order. */
  readonly graphInputs: readonly OnnxValueInfo[];
  /** What `forwardAll` gives, in this order. */
  readonly graphOutputs: readonly OnnxValueInfo[];
  private readonly steps: readonly PlanStep[];
  private readonly constants: ReadonlyMap<string, HostTensor>;
  /** State paths by ONNX name. */
  private readonly paths: ReadonlyMap<string, string>;

  /** Use `importOnnx`. `external` are the data of initializers that lie in other files. */
  constructor(model: OnnxModelFile, external: ReadonlyMap<string, Uint8Array>) {
    super();
    const { graph } = model;
    const initializers = new Map(
      graph.initializers.map((tensor) => [tensor.name, hostTensor(tensor, external.get(tensor.name))]),
    );
    this.graphInputs = graph.inputs.filter(({ name }) => !initializers.has(name));
    this.graphOutputs = graph.outputs;
    const given = new Set([...initializers.keys(), ...this.graphInputs.map(({ name }) => name)]);
    this.steps = planGraph(model, given);
    const constants = new Map<string, HostTensor>();
    const paths = new Map<string, string>();
    const [trained, operands] = [trainedNames(graph.nodes), operandNames(graph.nodes)];
    const state = new StateBuilder(this);
    for (const [name, host] of initializers) {
      if (operands.has(name) && isState(host)) paths.set(name, state.add(name, host, trained.has(name)));
      else constants.set(name, host);
    }
    this.constants = constants;
    this.paths = paths;
  }

  /**
   * Runs the graph; inputs in the order of `graphInputs`. Throws when their number or shapes do not fit, and when the
   * graph has several outputs.
   */
  override forward(...inputs: Tensor[]): Tensor {
    if (this.graphOutputs.length !== 1)
      throw new Error(
        `OnnxModule: the graph has ${this.graphOutputs.length} outputs, ` +
          `${this.graphOutputs.map(({ name }) => name).join(", ")}; call forwardAll for all of them`,
      );
    return this.forwardAll(...inputs)[0];
  }

  /** Runs the graph and gives every output, in the order of `graphOutputs`. Throws like `forward`. */
  forwardAll(...inputs: Tensor[]): Tensor[] {
    const values = this.initialValues(inputs);
    const read = (name: string): Value => {
      const value = values.get(name);
      if (!value) throw new Error(`OnnxModule: ${JSON.stringify(name)} was not computed`);
      return value;
    };
    for (const { reader, evaluate, inputs: names, outputs, lastReads } of this.steps) {
      const given = names.map((name) => (name === "" ? null : read(name)));
      const results = located(reader, () => evaluate(new NodeInputs(reader, given)));
      outputs.forEach((name, i) => {
        const result = results[i];
        if (name !== "" && result) values.set(name, result instanceof Tensor ? new Value(result) : result);
      });
      for (const name of lastReads) values.delete(name);
    }
    return this.graphOutputs.map(({ name }) => read(name).tensor());
  }

  override describe(): string {
    return `${this.steps.length} nodes`;
  }

  private initialValues(inputs: readonly Tensor[]): Map<string, Value> {
    const { graphInputs } = this;
    if (inputs.length !== graphInputs.length)
      throw new Error(
        `OnnxModule: ${inputs.length} inputs were given, the graph has ${graphInputs.length}: ` +
          `${graphInputs.map(({ name }) => name).join(", ")}`,
      );
    const values = new Map<string, Value>();
    graphInputs.forEach((info, i) => {
      checkInput(info, inputs[i]);
      values.set(info.name, new Value(inputs[i]));
    });
    for (const [name, host] of this.constants) values.set(name, new Value(host));
    const state = this.stateDict();
    for (const [name, path] of this.paths) {
      const tensor = state.get(path);
      if (tensor) values.set(name, new Value(tensor));
    }
    return values;
  }
}

/** Errors of ops say which node they come from. */
function located<Result>(node: NodeReader, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error && !(error instanceof FileFormatError))
      error.message = `${node.title}: ${error.message}`;
    throw error;
  }
}

function checkInput({ name, shape, dataType }: OnnxValueInfo, x: Tensor): void {
  const fits =
    !shape ||
    (shape.length === x.rank &&
      shape.every((extent, axis) => typeof extent !== "number" || extent === x.shape[axis]));
  if (!fits)
    throw new Error(
      `OnnxModule: input ${name} is ${formatShape(x.shape)}, the graph expects [${shape.map((n) => n ?? "?").join(", ")}]`,
    );
  const format = formatOfDataType(dataType);
  const expected = format && dtypeOfStored(format);
  if (expected && expected !== x.dtype && !(isFloat(expected) && isFloat(x.dtype)))
    throw new Error(
      `OnnxModule: input ${name} is ${x.dtype}, the graph expects ${expected}; convert it with to("${expected}")`,
    );
}
