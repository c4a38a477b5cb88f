/** Networks from ONNX files of any exporter. */
import { readFile, stat } from "node:fs/promises";
import { FileFormatError } from "../../errors.ts";
import { decodeModel } from "../decode.ts";
import { readExternalData } from "../external.ts";
import { OnnxModule } from "./onnxModule.ts";

/** Protobuf's own bound. */
const maxBytes = 2 ** 31 - 1;

async function readModelFile(path: string): Promise<Uint8Array> {
  const { size, ...stats } = await stat(path).then((found) => ({ size: found.size, isFile: found.isFile() }));
  if (!stats.isFile)
    throw new FileFormatError("is a directory or a device, not an ONNX file; name the file in it");
  if (size > maxBytes)
    throw new FileFormatError(`takes ${size} bytes, and an ONNX file at most ${maxBytes}; is it one?`);
  return readFile(path);
}

/**
 * A module that computes what an ONNX file says, given by its path or its bytes; its evaluation needs a backend that
 * reads synchronously. Data in other files are read when they lie in the folder of the path. Throws a FileFormatError
 * that names what is wrong: broken files, operators and attributes that are not supported, graphs that cannot run.
 *
 *     const model = await importOnnx("resnet50.onnx");
 *     const logits = noGrad(() => model.forward(images));
 */
export async function importOnnx(source: string | Uint8Array): Promise<OnnxModule> {
  if (typeof source !== "string") return new OnnxModule(decodeModel(source), new Map()).eval();
  try {
    const model = decodeModel(await readModelFile(source));
    return new OnnxModule(model, await readExternalData(model, source)).eval();
  } catch (error) {
    if (error instanceof FileFormatError) error.message = `${source}: ${error.message}`;
    throw error;
  }
}
