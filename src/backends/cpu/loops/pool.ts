/** All pooling kernels under one roof; max and average pooling share nothing but their windows. */
export { avgPool2d, avgPool2dInputGradient } from "./avgPool.ts";
export { maxPool2d, maxPool2dInputGradient, maxPool2dPick } from "./maxPool.ts";
