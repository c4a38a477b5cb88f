/** Darknet Reference (Redmon, pjreddie.com/darknet/imagenet): convolutions and max pools alone. */
import { MaxPool2d, type Module } from "../nn/index.ts";
import { type ActivationName, ConvNormActivation } from "./convNormActivation.ts";
import { FeatureNetwork } from "./featureNetwork.ts";
import { type CommonOptions, defineModel } from "./modelEntry.ts";
import { darknetPreprocessing, type ImageShape } from "./network.ts";

export interface DarknetReferenceOptions extends CommonOptions {
  /** Channels of the 3x3 convolutions; a 2x2 max pool halves the resolution after each but the last. */
  readonly widths: readonly number[];
  readonly activation: ActivationName;
}

/** Builds the network. Throws when a size is out of range, and for an unknown activation. */
export function darknetReference({
  widths,
  activation,
  classes,
  inChannels,
}: DarknetReferenceOptions): FeatureNetwork {
  if (widths.length === 0)
    throw new Error("darknetReference: widths is empty; give the channels of each convolution");
  const features: Record<string, Module> = {};
  widths.forEach((width, i) => {
    const before = i === 0 ? inChannels : widths[i - 1];
    features[`conv${i + 1}`] = new ConvNormActivation(before, width, { kernelSize: 3, activation });
    if (i < widths.length - 1) features[`pool${i + 1}`] = new MaxPool2d(2);
  });
  const defaultInput: ImageShape = [inChannels, 256, 256];
  const paths = widths.map((_, i) => `features.conv${i + 1}`);
  return new FeatureNetwork(
    features,
    widths[widths.length - 1],
    { classes },
    {
      stages: paths.map((path, i) => ({ name: `stage ${i + 1}`, paths: [path] })),
      featureInfo: paths.map((path, i) => ({ path, channels: widths[i], reduction: 2 ** i })),
      defaultInput,
      preprocessing: darknetPreprocessing(defaultInput),
    },
  );
}

const defaults: DarknetReferenceOptions = {
  widths: [16, 32, 64, 128, 256, 512, 1024],
  activation: "leaky",
  classes: 1000,
  inChannels: 3,
};

export const darknetReferences = [
  defineModel({
    name: "darknet-reference",
    summary: "Darknet Reference: seven 3x3 convolutions with max pools between them",
    paperRow: "Table 3: Darknet Reference",
    defaults,
    build: darknetReference,
  }),
] as const;
