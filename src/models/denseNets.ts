/** The DenseNets of the catalog, and the cross-stage-partial form of the first. */
import type { CspOptions } from "./csp.ts";
import { cspDenseNet121 } from "./cspDenseNet.ts";
import type { DenseNetOptions } from "./denseNetParts.ts";
import { densenet } from "./densenet.ts";
import { defineModel } from "./modelEntry.ts";

type CatalogOptions = Pick<Required<DenseNetOptions>, "dropout" | "inChannels" | "classes">;

const defaults: CatalogOptions = { dropout: 0, inChannels: 3, classes: 1000 };

const cspDefaults: CatalogOptions & Required<Pick<CspOptions, "partialRatio" | "fusion">> = {
  ...defaults,
  partialRatio: 0.5,
  fusion: "both",
};

/** DenseNet-BC with growth rate 32 for ImageNet, by the number of layers in each stage (Huang et al. 2017, table 1). */
function denseNet<const Name extends string>(name: Name, blocks: readonly number[], paperRow?: string) {
  return defineModel({
    name,
    summary: `DenseNet-BC with ${blocks.join(", ")} layers of 32 channels (Huang et al. 2017)`,
    ...(paperRow === undefined ? {} : { paperRow }),
    defaults,
    build: (options) => densenet({ ...options, blocks, growthRate: 32, stemChannels: 64 }),
  });
}

export const denseNets = [
  denseNet("densenet-121", [6, 12, 24, 16]),
  denseNet("densenet-169", [6, 12, 32, 32]),
  denseNet("densenet-201", [6, 12, 48, 32]),
  denseNet("densenet-264", [6, 12, 64, 48], "Table 3: DenseNet-264-32"),
  defineModel({
    name: "csp-densenet-121",
    summary: "DenseNet-121 with cross-stage-partial stages, figure 2 (b) of the CSPNet paper",
    defaults: cspDefaults,
    build: cspDenseNet121,
  }),
] as const;
