/**
 * The names of torchvision's and timm's checkpoints (timm's models/cspnet.py and efficientnet.py, torchvision's
 * models/densenet.py). Our DenseNet, ResNet, ResNeXt, Res2Net and EfficientNet have torchvision's names themselves.
 */
import { type NamedPart, type NameMapping, type Renaming, renamings } from "./names.ts";

const rule = (from: RegExp, to: Renaming["to"]): Renaming => ({ from, to });
const text = (from: RegExp, to: string): Renaming => ({ from, to: () => to });

/** A stage of timm counts from 0, ours from 1. */
const stage = (number: string): string => `features.stage${Number(number) + 1}.`;

/** What the trainers of other projects put before every name. */
const wrappers = text(/^(?:module\.|model\.|state_dict\.|_orig_mod\.)+/, "");

/** torchvision's of today, which is ours. */
const own = renamings("torchvision", [wrappers]);

/** torchvision's DenseNets before 0.3, whose names have a dot more: `denselayer1.norm.1.weight`. */
const oldDenseNet = renamings("torchvision's old DenseNets", [
  wrappers,
  rule(/(denselayer\d+\.(?:norm|conv))\.([12])\./, (layer, number) => `${layer}${number}.`),
]);

/**
 * timm makes both sides of a stage by one convolution, `conv_exp`, whose first half of channels bypasses the blocks;
 * and concatenates the bypass first, where Darknet's configurations, and so our stages, have the blocks' side first.
 */
const crossStages: readonly Renaming[] = [
  wrappers,
  text(/^stem\.conv1\./, "features.stem."),
  text(/^head\.fc\./, "classifier."),
  rule(/^stages\.(\d+)\.conv_down\./, (number) => `${stage(number)}down.`),
  rule(/^stages\.(\d+)\.conv_exp\./, (number): readonly NamedPart[] => [
    { name: `${stage(number)}csp.splitBypass.`, part: "first rows" },
    { name: `${stage(number)}csp.splitBlock.`, part: "last rows" },
  ]),
  rule(/^stages\.(\d+)\.conv_transition_b\./, (number) => `${stage(number)}csp.transitionT.`),
  rule(/^stages\.(\d+)\.conv_transition\.conv\./, (number): readonly NamedPart[] => [
    { name: `${stage(number)}csp.transitionU.conv.`, part: "columns exchanged" },
  ]),
  rule(/^stages\.(\d+)\.conv_transition\./, (number) => `${stage(number)}csp.transitionU.`),
];

const cspResNet = renamings("timm's CSPResNet and CSPResNeXt", [
  ...crossStages,
  rule(/^stages\.(\d+)\.blocks\./, (number) => `${stage(number)}csp.block.`),
  // Residual blocks have torchvision's names, everything else is a convolution and its norm.
  rule(/(\.block\.\d+)\.conv(\d)\.conv\./, (block, layer) => `${block}.conv${layer}.`),
  rule(/(\.block\.\d+)\.conv(\d)\.bn\./, (block, layer) => `${block}.bn${layer}.`),
  text(/\.bn\./, ".norm."),
]);

const cspDarknet = renamings("timm's CSPDarknet", [
  ...crossStages,
  rule(/^stages\.(\d+)\.blocks\./, (number) => `${stage(number)}csp.block.`),
  text(/\.bn\./, ".norm."),
]);

const darknet = renamings("timm's Darknet", [
  ...crossStages,
  rule(/^stages\.(\d+)\.blocks\./, (number) => `${stage(number)}blocks.`),
  text(/\.bn\./, ".norm."),
]);

/** Layers of timm's blocks by their place in torchvision's; blocks of the first stage have no first convolution. */
const firstBlock: Readonly<Record<string, string>> = {
  conv_dw: "0.0",
  bn1: "0.1",
  "se.conv_reduce": "1.fc1",
  "se.conv_expand": "1.fc2",
  conv_pw: "2.0",
  bn2: "2.1",
};
const laterBlock: Readonly<Record<string, string>> = {
  conv_pw: "0.0",
  bn1: "0.1",
  conv_dw: "1.0",
  bn2: "1.1",
  "se.conv_reduce": "2.fc1",
  "se.conv_expand": "2.fc2",
  conv_pwl: "3.0",
  bn3: "3.1",
};

const efficientNet = renamings("timm's EfficientNet", [
  wrappers,
  text(/^conv_stem\./, "features.0.0."),
  text(/^bn1\./, "features.0.1."),
  text(/^conv_head\./, "features.8.0."),
  text(/^bn2\./, "features.8.1."),
  text(/^classifier\./, "classifier.1."),
  rule(/^blocks\.(\d+)\.(\d+)\.((?:se\.)?[a-z]+_?[a-z]*\d?)\./, (row, block, layer) => {
    const place = (row === "0" ? firstBlock : laterBlock)[layer] ?? layer;
    return `features.${Number(row) + 1}.${block}.block.${place}.`;
  }),
]);

/** The mappings that `loadPretrained` tries when it is given none. */
export const pretrainedNames = {
  torchvision: own,
  oldTorchvisionDenseNet: oldDenseNet,
  timmCspResNet: cspResNet,
  timmCspDarknet: cspDarknet,
  timmDarknet: darknet,
  timmEfficientNet: efficientNet,
} as const satisfies Readonly<Record<string, NameMapping>>;
