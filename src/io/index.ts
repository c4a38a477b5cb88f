/**
 * Files of ours and of other frameworks. May import from `graph/`, `nn/` and what is below them.
 */
export { FileFormatError } from "./errors.ts";
export {
  openSafetensors,
  type SafetensorsDType,
  SafetensorsFile,
  type SafetensorsInfo,
  saveSafetensors,
} from "./safetensors/index.ts";
