/** Modules of the encoder as text, by wabt, and as functions, by V8. */
import wabt from "wabt";
import {
  type ModuleBuilder,
  type WasmMemory,
  webAssembly,
} from "../../src/backends/cpu/wasm/encoder/index.ts";

const features = {
  simd: true,
  relaxed_simd: true,
  threads: true,
  bulk_memory: true,
  sat_float_to_int: true,
  memory64: true,
};
const reader = wabt();

/** The module in WebAssembly's text format, with the names of its name section. Throws where types do not fit. */
export async function disassemble(bytes: Uint8Array, { folded = false } = {}): Promise<string> {
  const module = (await reader).readWasm(bytes, { readDebugNames: true, sign_extension: true, ...features });
  // wabt's types leave out what it validates with.
  const checked: { validate(options: object): void } = module;
  try {
    checked.validate({ sign_extension: true, ...features });
    module.applyNames();
    return module.toText({ foldExprs: folded, inlineExport: true });
  } finally {
    module.destroy();
  }
}

type Exported = (...given: readonly (number | bigint)[]) => unknown;

/** The module's exported functions. */
export function instantiate(module: ModuleBuilder, memory?: WasmMemory): Record<string, Exported> {
  if (!webAssembly) throw new Error("this engine has no WebAssembly");
  const { exports } = new webAssembly.Instance(new webAssembly.Module(module.encode()), { env: { memory } });
  return exports as Record<string, Exported>;
}
