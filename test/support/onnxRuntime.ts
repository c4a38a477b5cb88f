/** onnxruntime-node, where it is installed (`npm ci --prefix bench --ignore-scripts`): the judge of exported files. */
import { createRequire } from "node:module";
import path from "node:path";
import type { DType, Tensor } from "../../src/index.ts";

/** Runs a model on inputs in the order of the graph and gives its only output. */
export type OnnxRuntime = (
  model: Uint8Array,
  inputs: readonly Tensor[],
) => Promise<{ readonly shape: readonly number[]; readonly data: ArrayLike<number> }>;

/** What we use of the package, which is not there for the type checker. */
interface Package {
  readonly Tensor: new (type: string, data: unknown, shape: readonly number[]) => unknown;
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: object,
    ): Promise<{
      readonly inputNames: readonly string[];
      readonly outputNames: readonly string[];
      run(
        feeds: Record<string, unknown>,
      ): Promise<Record<string, { readonly dims: readonly number[]; readonly data: ArrayLike<number> }>>;
    }>;
  };
}

const types: Readonly<Record<DType, string>> = {
  f32: "float32",
  f64: "float64",
  i32: "int32",
  u8: "uint8",
  bool: "bool",
};

/** Installed under bench/, not among the project's own packages. */
const packageName = "onnxruntime-node";

/** Null, with a line that says so, where the package is not installed. */
export function loadOnnxRuntime(): OnnxRuntime | null {
  const require = createRequire(path.resolve(import.meta.dirname, "../../bench/package.json"));
  let runtime: Package;
  try {
    runtime = require(packageName);
  } catch {
    console.log(`${packageName} is not installed under bench/: exported files are read by ourselves alone`);
    return null;
  }
  return async (model, inputs) => {
    // Errors alone: warnings about unused outputs are for others.
    const inference = await runtime.InferenceSession.create(model, { logSeverityLevel: 3 });
    const feeds = inference.inputNames.map((name, i) => {
      const { dtype, shape } = inputs[i];
      return [name, new runtime.Tensor(types[dtype], inputs[i].dataSync(), shape)];
    });
    const results = await inference.run(Object.fromEntries(feeds));
    const { dims, data } = results[inference.outputNames[0]];
    return { shape: dims, data };
  };
}
