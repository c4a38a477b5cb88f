/**
 * Networks, one file a family, readable top to bottom like the paper's figure. May import from `nn/` and what is
 * below it.
 */
export { type CspOptions, CspStage, csp, type Fusion, type StageBlock, type StageDefinition } from "./csp.ts";
export { type CspDenseNetOptions, cspDenseNet, cspDenseNet121 } from "./cspDenseNet.ts";
export { DenseBlock, DenseLayer, type DenseLayerOptions, Transition } from "./denseBlock.ts";
export { DenseNet, type DenseNetOptions, type StagePaths, type Stem } from "./denseNetParts.ts";
export { densenet, densenet121 } from "./densenet.ts";
