/**
 * The rows of the CSPNet paper's tables 1 and 3 (Wang et al. 2019, arXiv 1911.11929), as printed, with the network of
 * ours that stands for each and, where the two differ, the reason.
 */

import type { CountingRule } from "../graph/index.ts";
import { createModel, type Network } from "../models/index.ts";

/** How well a row's architecture is known. */
export type RowStatus =
  /** The authors published its configuration, or it is a public network that they took as it is. */
  | "public"
  /** Nobody published it whole; its published figures fix it. */
  | "exact"
  /** Inferred, and every figure that the paper prints of it comes out. */
  | "hits"
  /** Inferred; a figure that the paper prints is missed by little. */
  | "near"
  /** The paper takes the row's figures from another paper; ours is that paper's public network. */
  | "quoted";

export interface PaperRow {
  readonly model: string;
  /** The share γ of channels that bypasses a stage's block. */
  readonly partialRatio?: number;
  /** As printed, in millions. */
  readonly parameters?: string;
  /** As printed, for one image (the paper prints "8.4 x 10" for ten crops). */
  readonly bflops?: string;
  /** Per cent, as printed: the paper's accuracy, not ours. */
  readonly top1: string;
  readonly top5?: string;
  readonly status: RowStatus;
  /** null: there is nothing to count. */
  readonly build: (() => Network) | null;
  /** Default "darknet". */
  readonly rule?: CountingRule;
  /** Count all trained numbers; default: weights alone, as the paper does for its own networks. */
  readonly allParameters?: boolean;
  /** Why our figure is another than the paper's. */
  readonly reason?: string;
}

const fusionRows = (model: string, fusion: "first" | "last", figures: readonly [number, string, string][]) =>
  figures.map(
    ([partialRatio, top1, bflops]): PaperRow => ({
      ...{ model, partialRatio, top1, bflops, status: "hits" },
      build: () => createModel("csp-peleenet", { partialRatio, fusion }),
    }),
  );

/** Table 1: the ablation of CSPNet on ImageNet. */
export const table1: readonly PaperRow[] = [
  {
    model: "PeleeNet",
    top1: "70.7",
    bflops: "1.017",
    status: "public",
    build: () => createModel("peleenet"),
  },
  {
    model: "SPeleeNet",
    top1: "69.6",
    bflops: "0.904",
    status: "hits",
    build: () => createModel("speleenet"),
  },
  {
    model: "PeleeNeXt",
    top1: "68.9",
    bflops: "0.837",
    status: "hits",
    build: () => createModel("peleenext"),
  },
  ...fusionRows("CSP (fusion first)", "first", [
    [0.75, "68.4", "0.649"],
    [0.5, "69.2", "0.755"],
    [0.25, "70.0", "0.861"],
  ]),
  ...fusionRows("CSP (fusion last)", "last", [
    [0.75, "69.2", "0.716"],
    [0.5, "70.6", "0.804"],
    [0.25, "70.8", "0.902"],
  ]),
  ...(
    [
      [0.75, "70.4", "0.800"],
      [0.5, "70.9", "0.888"],
      [0.25, "71.5", "0.986"],
    ] as const
  ).map(
    ([partialRatio, top1, bflops]): PaperRow => ({
      ...{
        model: "CSPPeleeNet",
        partialRatio,
        top1,
        bflops,
        status: partialRatio === 0.5 ? "exact" : "hits",
      },
      build: () => createModel("csp-peleenet", { partialRatio }),
    }),
  ),
];

/** Table 3: ImageNet classification beside the state of the art. */
export const table3: readonly PaperRow[] = [
  {
    ...{ model: "PeleeNet", parameters: "2.79", bflops: "1.017", top1: "70.7", top5: "90.0" },
    ...{ status: "public", build: () => createModel("peleenet") },
  },
  {
    ...{ model: "PeleeNet-swish", parameters: "2.79", bflops: "1.017", top1: "71.5", top5: "90.7" },
    ...{ status: "public", build: () => createModel("peleenet-swish") },
  },
  {
    ...{ model: "SEPeleeNet-swish", parameters: "2.81", bflops: "1.017", top1: "72.1", top5: "91.0" },
    ...{ status: "hits", build: () => createModel("se-peleenet-swish") },
  },
  {
    ...{ model: "CSPPeleeNet", parameters: "2.83", bflops: "0.888", top1: "70.9", top5: "90.2" },
    ...{ status: "exact", build: () => createModel("csp-peleenet") },
  },
  {
    ...{ model: "CSPPeleeNet-swish", parameters: "2.83", bflops: "0.888", top1: "71.7", top5: "90.8" },
    ...{ status: "exact", build: () => createModel("csp-peleenet-swish") },
  },
  {
    ...{ model: "SECSPPeleeNet-swish", parameters: "2.85", bflops: "0.888", top1: "72.4", top5: "91.0" },
    ...{ status: "hits", build: () => createModel("se-csp-peleenet-swish") },
  },
  {
    ...{ model: "SparsePeleeNet", parameters: "2.39", bflops: "0.904", top1: "69.6", top5: "89.3" },
    ...{ status: "hits", build: () => createModel("speleenet") },
  },
  {
    ...{
      model: "EfficientNet-B0 (Darknet)",
      parameters: "4.81",
      bflops: "0.915",
      top1: "71.3",
      top5: "90.4",
    },
    ...{ status: "public", build: () => createModel("efficientnet-b0-darknet") },
  },
  {
    ...{
      model: "EfficientNet-B0 (official code)",
      top1: "70.0",
      top5: "88.9",
      status: "quoted",
      build: null,
    },
    reason: "The paper prints no cost: the official code, trained with batches of 256.",
  },
  {
    ...{ model: "Darknet Reference", parameters: "7.31", bflops: "0.96", top1: "61.1", top5: "83.0" },
    ...{ status: "public", build: () => createModel("darknet-reference") },
    reason: "Darknet prints 0.967 for this network; the paper cut the last digit instead of rounding.",
  },
  {
    ...{ model: "CSPDenseNet Reference", parameters: "3.48", bflops: "0.886", top1: "65.7", top5: "86.6" },
    ...{ status: "near", build: () => createModel("csp-densenet-reference") },
    reason:
      "Only its counts are published. They fix the input of 224, about 512 last channels, 2.1 M weights that run on " +
      "the 7x7 map alone, and a classifier that runs on that map before the average pool; widths and depths in between " +
      "are inferred.",
  },
  {
    ...{ model: "CSPPeleeNet Reference", parameters: "4.10", bflops: "1.103", top1: "68.9", top5: "88.7" },
    ...{ status: "near", build: () => createModel("csp-peleenet-reference") },
    reason: "Only its counts are published; as CSPDenseNet Reference, with PeleeNet's two-way layers.",
  },
  {
    ...{ model: "ResNet-10", parameters: "5.24", bflops: "2.273", top1: "63.5", top5: "85.0" },
    ...{ status: "public", build: () => createModel("resnet-10") },
  },
  {
    ...{ model: "CSPResNet-10", parameters: "2.73", bflops: "1.905", top1: "65.3", top5: "86.5" },
    ...{ status: "near", build: () => createModel("csp-resnet-10") },
    reason:
      "No source but the two figures. Of some 30,000 arrangements of CSPResNet's parts none hits both; ours is nearest " +
      "in operations.",
  },
  {
    ...{ model: "ResNeXt-50", parameters: "22.19", bflops: "10.11", top1: "77.8", top5: "94.2" },
    ...{ status: "public", build: () => createModel("resnext-50-darknet") },
  },
  {
    ...{ model: "CSPResNeXt-50", parameters: "20.50", bflops: "7.93", top1: "77.9", top5: "94.0" },
    ...{ status: "public", build: () => createModel("csp-resnext-50") },
  },
  {
    ...{ model: "HarDNet-138s", parameters: "35.5", bflops: "13.4", top1: "77.8", allParameters: true },
    ...{ status: "hits", build: () => createModel("hardnet-138s"), rule: "macs" },
  },
  {
    ...{ model: "DenseNet-264-32", parameters: "27.21", bflops: "11.03", top1: "77.8", top5: "93.9" },
    ...{ status: "quoted", build: () => createModel("densenet-264"), rule: "macs", allParameters: true },
    reason:
      "The paper cites Huang et al., whose DenseNet-264 of growth rate 32 (their table 1) has 33.34 M parameters; where " +
      "27.21 M and 11.03 come from is not known.",
  },
  {
    ...{ model: "ResNet-152", parameters: "60.2", bflops: "22.6", top1: "77.8", top5: "93.6" },
    ...{ status: "quoted", build: () => createModel("resnet-152"), rule: "macs", allParameters: true },
    reason:
      "Twice the 11.3 billion of He et al., table 1, who have the stride in the first 1x1 convolution of a block; ours, " +
      "as torchvision, has it in the 3x3.",
  },
  {
    ...{ model: "DenseNet-201-Elastic", parameters: "19.48", bflops: "8.77", top1: "77.9", top5: "94.0" },
    ...{
      status: "public",
      build: () => createModel("densenet-201-elastic"),
      rule: "elastic",
      allParameters: true,
    },
  },
  {
    ...{ model: "CSPDenseNet-201-Elastic", parameters: "20.17", bflops: "7.13", top1: "77.9", top5: "94.0" },
    ...{
      status: "near",
      build: () => createModel("csp-densenet-201-elastic"),
      rule: "elastic",
      allParameters: true,
    },
    reason: "Only the two figures are published; which transitions follow the pools is inferred.",
  },
  {
    ...{ model: "Res2Net-50 (10 crops)", parameters: "25.29", bflops: "8.4", top1: "78.0", top5: "93.8" },
    ...{ status: "quoted", build: () => createModel("res2net-50"), rule: "macs", allParameters: true },
    reason: "From Res2Net's paper; the authors' public code (26w x 4s), which ours follows, counts this.",
  },
  {
    ...{ model: "Res2NeXt-50 (10 crops)", parameters: "24.27", bflops: "8.4", top1: "78.2", top5: "93.9" },
    ...{ status: "quoted", build: () => createModel("res2next-50"), rule: "macs", allParameters: true },
    reason: "From Res2Net's paper; the authors' public code, which ours follows, counts this.",
  },
  {
    ...{ model: "CSPResNeXt-50 (10 crops)", parameters: "20.50", bflops: "7.9", top1: "78.2", top5: "94.3" },
    ...{ status: "public", build: () => createModel("csp-resnext-50") },
  },
];
