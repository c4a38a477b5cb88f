/**
 * Automatic differentiation. Lives here: the tape, the backward engine, hooks on edges, and in `ops/` every op,
 * one a file. May import from `tensor/` and `backends/`.
 */
import "./methods.ts";

export { checkpoint, isRecomputing } from "./checkpoint.ts";
export { type CustomGradientContext, customGradient } from "./customGradient.ts";
export { alias } from "./derive.ts";
export { AnomalyError, detectAnomaly } from "./detectAnomaly.ts";
export { type BackwardOptions, backward, type GradOptions, grad } from "./engine.ts";
export { type GradcheckOptions, gradcheck, gradgradcheck } from "./gradcheck.ts";
export { type DirectionOptions, gradcheckDirections } from "./gradcheckDirections.ts";
export { GradcheckError, type GradientMismatch } from "./gradcheckError.ts";
export { clearGrad } from "./leafGradients.ts";
export { detach } from "./methods.ts";
export { currentModulePath, enableGrad, isGradEnabled, noGrad } from "./mode.ts";
export type { InputOptions, TensorFunction } from "./movableInputs.ts";
export type { Node } from "./node.ts";
export {
  type EdgeEvent,
  type EdgeListener,
  type EdgeOptions,
  hasEdgeListeners,
  hasOpListeners,
  type OpEvent,
  type OpListener,
  onEdge,
  onOp,
} from "./observers.ts";
export * from "./ops/index.ts";
