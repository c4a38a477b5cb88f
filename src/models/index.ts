/**
 * Networks, one file a family, readable top to bottom like the paper's figure. May import from `nn/` and what is
 * below it.
 */
export {
  type ActivationName,
  activationLayer,
  ConvNormActivation,
  type ConvNormActivationOptions,
} from "./convNormActivation.ts";
export { type CspOptions, CspStage, csp, type Fusion, type StageBlock, type StageDefinition } from "./csp.ts";
export { type CspDenseNetOptions, cspDenseNet, cspDenseNet121 } from "./cspDenseNet.ts";
export { type CspPeleeNetOptions, cspPeleeNet } from "./cspPeleeNet.ts";
export { type CspResNetOptions, type CspResNetStage, cspResNet } from "./cspResNet.ts";
export { type Darknet53Options, type DarknetStage, darknet53 } from "./darknet53.ts";
export { type DarknetReferenceOptions, darknetReference } from "./darknetReference.ts";
export { DenseBlock, DenseLayer, type DenseLayerOptions, Transition } from "./denseBlock.ts";
export { DenseNet, type DenseNetOptions, type Stem } from "./denseNetParts.ts";
export { densenet, densenet121 } from "./densenet.ts";
export { EfficientNet, type EfficientNetOptions, type MobileBlock } from "./efficientNet.ts";
export {
  type CspElasticDenseNetOptions,
  cspElasticDenseNet,
  type ElasticDenseNetOptions,
  elasticDenseNet,
} from "./elasticDenseNet.ts";
export { FeatureNetwork, type FeatureNetworkOptions } from "./featureNetwork.ts";
export { type HarDNetOptions, type HarDNetStage, HarmonicBlock, hardNet } from "./hardNet.ts";
export { type CommonOptions, defineModel, type ModelDefinition, type ModelEntry } from "./modelEntry.ts";
export {
  darknetPreprocessing,
  type FeatureInfo,
  type ImageShape,
  imagenetPreprocessing,
  initialise,
  Network,
  type NetworkDescription,
  type Preprocessing,
  pooledFeatures,
  type StagePaths,
} from "./network.ts";
export { type PeleeNetOptions, peleeNet } from "./peleeNet.ts";
export { createModel, listModels, type ModelName, type ModelOptions, modelEntry } from "./registry.ts";
export { Res2NetBlock, type Res2NetBlockOptions } from "./res2netBlock.ts";
export { BasicBlock, Bottleneck, PartialShortcut, type ResidualBlockOptions } from "./residualBlocks.ts";
export { ResNet, type ResNetOptions } from "./resnet.ts";
