/** Writing safetensors files, one tensor at a time. */
import type { Tensor } from "../../tensor/tensor.ts";
import { writeFileAtomically } from "../atomicFiles.ts";
import { bytesOf } from "../elements.ts";
import { writeHeader } from "./header.ts";

/**
 * Writes tensors by name, a module's `stateDict()` say, with texts for the file's `__metadata__`. A reader finds the
 * old file or the complete new one, never half of it, and no more than one tensor is copied at a time. Tensors are
 * aligned for mapping. Throws the file system's error, and for a tensor called `__metadata__`.
 *
 *     await saveSafetensors("model.safetensors", model.stateDict(), { format: "pt" });
 */
export async function saveSafetensors(
  path: string,
  state: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const header = writeHeader(state, new Map(Object.entries(metadata)));
  await writeFileAtomically(path, async (write) => {
    await write(header.bytes);
    for (const name of header.order) {
      const tensor = state.get(name);
      if (tensor) await write(bytesOf(await tensor.data()));
    }
  });
}
