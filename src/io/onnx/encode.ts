/** ONNX messages to bytes. Field numbers are those of onnx.proto. */
import type { OnnxAttribute, OnnxModelFile, OnnxNode, OnnxTensor, OnnxValueInfo } from "./model.ts";
import { WireWriter } from "./wire.ts";

const maxBytes = 2 ** 31 - 1;

/** AttributeProto.AttributeType */
const attributeTypes = {
  float: 1,
  integer: 2,
  text: 3,
  tensor: 4,
  floats: 6,
  integers: 7,
  texts: 8,
} as const;

function tensor({ name, shape, dataType, content }: OnnxTensor): WireWriter {
  const writer = new WireWriter();
  if (shape.length > 0) writer.packedIntegers(1, shape);
  writer.integer(2, dataType);
  if (name) writer.text(8, name);
  if (content.kind === "raw") return writer.bytes(9, content.bytes);
  throw new Error(`ONNX: tensor ${name} holds its elements as ${content.kind}; only raw bytes are written`);
}

function attribute(name: string, attribute: OnnxAttribute): WireWriter {
  const writer = new WireWriter().text(1, name);
  switch (attribute.kind) {
    case "float":
      writer.float(2, attribute.value);
      break;
    case "integer":
      writer.integer(3, attribute.value);
      break;
    case "text":
      writer.text(4, attribute.value);
      break;
    case "tensor":
      writer.message(5, tensor(attribute.value));
      break;
    case "floats":
      writer.packedFloats(7, attribute.value);
      break;
    case "integers":
      writer.packedIntegers(8, attribute.value);
      break;
    case "texts":
      for (const value of attribute.value) writer.text(9, value);
      break;
    case "other":
      throw new Error(`ONNX: attribute ${name} is of a kind that is not written`);
  }
  return writer.integer(20, attributeTypes[attribute.kind]);
}

function node({ name, domain, opType, inputs, outputs, attributes }: OnnxNode): WireWriter {
  const writer = new WireWriter();
  for (const input of inputs) writer.text(1, input);
  for (const output of outputs) writer.text(2, output);
  writer.text(3, name).text(4, opType);
  for (const [key, value] of attributes) writer.message(5, attribute(key, value));
  return domain ? writer.text(7, domain) : writer;
}

function valueInfo({ name, dataType, shape }: OnnxValueInfo): WireWriter {
  const dimensions = new WireWriter();
  for (const extent of shape ?? []) {
    const dimension = new WireWriter();
    if (typeof extent === "number") dimension.integer(1, extent);
    else if (extent !== null) dimension.text(2, extent);
    dimensions.message(1, dimension);
  }
  const type = new WireWriter().integer(1, dataType);
  if (shape) type.message(2, dimensions);
  return new WireWriter().text(1, name).message(2, new WireWriter().message(1, type));
}

function entry(key: string, value: string): WireWriter {
  return new WireWriter().text(1, key).text(2, value);
}

/** The bytes of an .onnx file. Throws when they exceed protobuf's 2 GiB. */
export function encodeModel({ irVersion, producer, opsets, graph, metadata }: OnnxModelFile): Uint8Array {
  const body = new WireWriter();
  for (const item of graph.nodes) body.message(1, node(item));
  body.text(2, graph.name);
  for (const item of graph.initializers) body.message(5, tensor(item));
  for (const item of graph.inputs) body.message(11, valueInfo(item));
  for (const item of graph.outputs) body.message(12, valueInfo(item));
  for (const item of graph.values) body.message(13, valueInfo(item));
  const model = new WireWriter().integer(1, irVersion).text(2, producer).message(7, body);
  for (const { domain, version } of opsets)
    model.message(8, new WireWriter().text(1, domain).integer(2, version));
  for (const [key, value] of metadata) model.message(14, entry(key, value));
  if (model.byteLength > maxBytes)
    throw new Error(
      `exportOnnx: the model takes ${model.byteLength} bytes, and an ONNX file at most ${maxBytes}; ` +
        "save the weights with saveSafetensors instead",
    );
  return model.concatenated();
}
