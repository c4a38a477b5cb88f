/**
 * `gradweave/testing`: property tests for ops and layers, on fast-check, which the user installs. Lives here:
 * arbitraries for tensors, `checkOp` and `checkLayer`. May import from `nn/` and what lies below it.
 */
export { type Domain, type RegisteredOp, registeredOps, type SampleSource } from "../autograd/defineOp.ts";
export {
  type Conv2dParameters,
  conv2dParameters,
  type LayoutOptions,
  layouts,
  type ShapeOptions,
  seeds,
  shapes,
  type TensorOptions,
  tensors,
} from "./arbitraries.ts";
export { type CheckLayerOptions, checkLayer, type Extent } from "./checkLayer.ts";
export { checkOp } from "./checkOp.ts";
export { PropertyError, type PropertyOptions } from "./property.ts";
export { type Choices, choices, sampleSource } from "./sampleSource.ts";
