/** The elements of ONNX tensors, as numbers on the host and as tensors of ours. */
import type { Shape } from "../../backends/backend.ts";
import { tensor as makeTensor } from "../../tensor/create.ts";
import { formatShape, sizeOf } from "../../tensor/layout.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { bytesPerStoredElement, decodeElements, dtypeOfStored, type ElementFormat } from "../elements.ts";
import { FileFormatError } from "../errors.ts";
import { type HostTensor, type OnnxContent, type OnnxTensor, onnxDataTypes } from "./model.ts";

const error = (what: string, problem: string): FileFormatError =>
  new FileFormatError(`ONNX: ${what} ${problem}`);

const formatsByNumber = new Map<number, ElementFormat>();
for (const [format, number] of Object.entries(onnxDataTypes))
  formatsByNumber.set(number, format as ElementFormat);

/** Our format of a number of TensorProto.DataType, or null for types that we do not hold. */
export function formatOfDataType(dataType: number): ElementFormat | null {
  return formatsByNumber.get(dataType) ?? null;
}

/** Throws unless the shape is one, and its elements are as many as are there. */
function checkedShape(what: string, shape: readonly bigint[], elements: number): Shape {
  const written = `[${shape.slice(0, 8).join(", ")}${shape.length > 8 ? ", …" : ""}]`;
  if (shape.length > 64) throw error(what, `has ${shape.length} dimensions, more than 64`);
  if (shape.some((extent) => extent < 0n))
    throw error(what, `has the shape ${written} with a negative extent`);
  const size = shape.reduce((product, extent) => product * extent, 1n);
  if (size !== BigInt(elements))
    throw error(
      what,
      `has the shape ${written} of ${size} elements and data of ${elements}; is the file complete?`,
    );
  // With a zero among them the others may be anything.
  if (shape.some((extent) => extent > BigInt(Number.MAX_SAFE_INTEGER)))
    throw error(what, `has the shape ${written}, too large for any memory`);
  return shape.map(Number);
}

/** Raw bytes as numbers; 64-bit integers as doubles. */
function rawNumbers(bytes: Uint8Array, format: ElementFormat, what: string): ArrayLike<number> {
  if (bytes.byteLength % bytesPerStoredElement(format) !== 0)
    throw error(what, `has ${bytes.byteLength} bytes, no whole number of ${format} elements`);
  if (format !== "i64" && format !== "u64" && format !== "u32")
    return decodeElements(bytes, format, `ONNX: ${what}`).values;
  const { buffer } = new Uint8Array(bytes);
  if (format === "u32") return new Uint32Array(buffer);
  const integers = format === "i64" ? new BigInt64Array(buffer) : new BigUint64Array(buffer);
  return Float64Array.from(integers, Number);
}

/** Elements from the typed fields, which hold small integers, and the bits of half precision, in 32 bits. */
function fieldNumbers(
  content: Exclude<OnnxContent, { kind: "raw" | "external" | "text" }>,
  format: ElementFormat,
  what: string,
): ArrayLike<number> {
  if (content.kind === "numbers") return content.values;
  if (format !== "f16" && format !== "bf16") return content.values.map(Number);
  const bits = Uint16Array.from(content.values, (value) => Number(BigInt.asUintN(16, value)));
  return decodeElements(new Uint8Array(bits.buffer), format, `ONNX: ${what}`).values;
}

/**
 * A tensor's elements on the host. `external` are the bytes of a tensor whose data lie in another file. Throws a
 * FileFormatError for element types that we do not hold, and when shape and data do not fit.
 */
export function hostTensor(tensor: OnnxTensor, external?: Uint8Array): HostTensor {
  const { name, dataType, shape, content } = tensor;
  const what = `tensor ${JSON.stringify(name)}`;
  const format = formatOfDataType(dataType);
  if (!format || content.kind === "text")
    throw error(
      what,
      `has elements of type ${dataType} (of TensorProto.DataType); numbers and booleans of 8 to 64 bits can be read`,
    );
  if (content.kind === "external" && !external)
    throw error(
      what,
      "has its data in another file, which bytes alone do not lead to; give importOnnx the path of the .onnx file",
    );
  const bytes = content.kind === "raw" ? content.bytes : external;
  const values =
    bytes || content.kind === "raw" || content.kind === "external"
      ? rawNumbers(bytes ?? new Uint8Array(), format, what)
      : fieldNumbers(content, format, what);
  return { format, shape: checkedShape(what, shape, values.length), values };
}

/** A tensor of ours from elements on the host. Throws a FileFormatError when an integer does not fit i32. */
export function tensorOfHost({ format, shape, values }: HostTensor, what: string): Tensor {
  const dtype = dtypeOfStored(format);
  if (dtype !== "i32")
    return makeTensor(Array.isArray(values) ? values : Float64Array.from(values), { shape, dtype });
  const integers = Int32Array.from(values);
  const at = integers.findIndex((value, i) => value !== values[i]);
  if (at >= 0) throw error(what, `holds ${values[at]}, which does not fit the i32 that integers are held in`);
  return makeTensor(integers, { shape, dtype });
}

/** A tensor of integers of 64 bits, as ONNX wants shapes and axes, ready to be written. */
export function integersTensor(
  name: string,
  values: readonly number[],
  shape: Shape = [values.length],
): OnnxTensor {
  if (sizeOf(shape) !== values.length)
    throw new Error(`ONNX: ${values.length} integers do not fill ${formatShape(shape)}`);
  const integers = BigInt64Array.from(values, BigInt);
  return {
    name,
    shape: shape.map(BigInt),
    dataType: onnxDataTypes.i64,
    content: { kind: "raw", bytes: new Uint8Array(integers.buffer) },
  };
}
