/** All pooling kernels under one roof; max and average pooling share nothing but their windows. */
export { type AvgPool2dAttributes, avgPool2d, avgPool2dInputGradient } from "./avgPool.ts";
export { maxPool2d, maxPool2dInputGradient, maxPool2dPick } from "./maxPool.ts";
export type { Pool2dAttributes } from "./poolWindows.ts";
