/**
 * The options `--backend` and `--reproducible` of commands: where the networks compute, and a line that says which device
 * that is.
 */
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

/** `--reproducible`, for a command. */
export function reproducibleOption(): Option {
  return new Option("--reproducible", "the same bits on every backend, at several times the cost");
}

/**
 * Makes `name` the backend of new tensors, in reproducible mode where that is asked for; for WebGPU `note` is told which
 * adapter computes.
 */
export async function useBackend(
  name: BackendName,
  note: (line: string) => void,
  reproducible?: boolean,
): Promise<Backend> {
  const backend = await setBackend(name, reproducible === undefined ? {} : { reproducible });
  if (name === "webgpu") note(`Computing on WebGPU: ${backend.info().description}\n`);
  return backend;
}
