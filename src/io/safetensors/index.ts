/** The safetensors format: tensors by name in one file, read without running anything that is in it. */
export type { SafetensorsDType } from "./header.ts";
export { openSafetensors, SafetensorsFile, type SafetensorsInfo } from "./read.ts";
export { saveSafetensors } from "./write.ts";
