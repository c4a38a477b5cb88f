/** The activations that a cfg may name; `activations.ts` computes them. */
export const activationNames = [
  "linear",
  "logistic",
  "loggy",
  "relu",
  "relu6",
  "relie",
  "ramp",
  "leaky",
  "elu",
  "selu",
  "tanh",
  "hardtan",
  "swish",
  "mish",
  "hard_mish",
] as const;

export type ActivationName = (typeof activationNames)[number];
