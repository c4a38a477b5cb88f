/** The option `--backend` of commands: where the networks compute, and a line that says which device that is. */
import { Option } from "commander";
import type { Backend } from "../backends/backend.ts";
import { setBackend } from "../tensor/index.ts";

export type BackendName = "cpu" | "webgpu";

/** `--backend cpu|webgpu`, for a command. */
export function backendOption(): Option {
  return new Option("--backend <name>", "where the networks compute; webgpu runs without a GPU too, slowly")
    .choices(["cpu", "webgpu"])
    .default("cpu" satisfies BackendName);
}

/** Makes `name` the backend of new tensors; for WebGPU `note` is told which adapter computes. */
export async function useBackend(name: BackendName, note: (line: string) => void): Promise<Backend> {
  const backend = await setBackend(name);
  if (name === "webgpu") note(`Computing on WebGPU: ${backend.info().description}\n`);
  return backend;
}
