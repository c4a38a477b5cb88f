/** ONNX operators that make constants, and those that tell shapes, which stay on the host. */
import { expand } from "../../../autograd/index.ts";
import { formatShape, sizeOf } from "../../../tensor/layout.ts";
import type { HostTensor } from "../model.ts";
import type { Operator, OperatorTable } from "./node.ts";
import { integersValue, Value } from "./value.ts";

const shapeOperator: Operator = (node) => {
  const start = node.integer("start", 0);
  const end = node.has("end") ? node.integer("end") : undefined;
  return (inputs) => [integersValue(inputs.value(0).shape.slice(start, end))];
};

const constantOperator: Operator = (node) => {
  const scalar = (format: HostTensor["format"], value: number): HostTensor => ({
    format,
    shape: [],
    values: [value],
  });
  const list = (format: HostTensor["format"], values: readonly number[]): HostTensor => ({
    format,
    shape: [values.length],
    values,
  });
  const choose = (): HostTensor => {
    const tensor = node.tensor("value");
    if (tensor) return tensor;
    if (node.has("value_float")) return scalar("f32", node.float("value_float"));
    if (node.has("value_int")) return scalar("i64", node.integer("value_int"));
    const [floats, integers] = [node.floats("value_floats"), node.integers("value_ints")];
    if (floats) return list("f32", floats);
    if (integers) return list("i64", integers);
    throw node.error("has no value that is a tensor or numbers");
  };
  const value = new Value(choose());
  return () => [value];
};

const constantOfShape: Operator = (node) => {
  const value = node.tensor("value") ?? { format: "f32", shape: [1], values: [0] };
  if (value.values.length !== 1) throw node.error("has a value that is not one element");
  return (inputs) => {
    const shape = inputs.numbers(0);
    node.checkSize(shape);
    if (shape.some((extent) => extent < 0)) throw node.error(`asks for the shape ${formatShape(shape)}`);
    return [expand(new Value({ ...value, shape: [] }).tensor(), shape)];
  };
};

const sizeOperator: Operator = () => (inputs) => [integersValue([sizeOf(inputs.value(0).shape)], [])];

export const constantOperators: OperatorTable = {
  Constant: constantOperator,
  ConstantOfShape: constantOfShape,
  Shape: shapeOperator,
  Size: sizeOperator,
};
