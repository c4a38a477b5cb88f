/**
 * Files of ours and of other frameworks. May import from `graph/`, `nn/` and what is below them.
 */
export {
  type CfgPlace,
  type DarknetCfg,
  type DarknetCosts,
  DarknetError,
  type DarknetLayerCost,
  type DarknetModelOptions,
  DarknetNetwork,
  darknetCosts,
  darknetModel,
  type LayerPlan,
  type LayerSection,
  type LayerType,
  type LoadWeightsOptions,
  loadDarknetWeights,
  type NetSection,
  type NetworkPlan,
  type PlanLimits,
  planNetwork,
  readCfg,
  type SaveWeightsOptions,
  saveDarknetWeights,
  type WeightedNetwork,
  type WeightsHeader,
  writeCfg,
} from "./darknet/index.ts";
export { FileFormatError } from "./errors.ts";
export { type ExportOnnxOptions, exportedOpset, exportOnnx, saveOnnx } from "./onnx/export/exportOnnx.ts";
export { importOnnx } from "./onnx/import/importOnnx.ts";
export type { OnnxModule } from "./onnx/import/onnxModule.ts";
export { importableOnnxOperators } from "./onnx/import/operators.ts";
export type { OnnxValueInfo } from "./onnx/model.ts";
export {
  type LoadPretrainedOptions,
  loadPretrained,
  type MisshapenTensor,
  type PretrainedReport,
} from "./pretrained/loadPretrained.ts";
export type { NamedPart, NameMapping, TensorPart } from "./pretrained/names.ts";
export { pretrainedNames } from "./pretrained/tables.ts";
export {
  openSafetensors,
  type SafetensorsDType,
  SafetensorsFile,
  type SafetensorsInfo,
  saveSafetensors,
} from "./safetensors/index.ts";
export { encodeEvents, eventFileHeader, type TensorBoardEvent } from "./tensorboard/events.ts";
export { EventWriter, eventFileName } from "./tensorboard/writer.ts";
