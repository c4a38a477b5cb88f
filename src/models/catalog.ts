/** Every network that `createModel` knows: the families' lists one after the other. A new family adds its line here. */
import { cspPeleeNets } from "./cspPeleeNet.ts";
import { cspReferences } from "./cspReference.ts";
import { cspResNets } from "./cspResNet.ts";
import { darknet53s } from "./darknet53.ts";
import { darknetReferences } from "./darknetReference.ts";
import { denseNets } from "./denseNets.ts";
import { efficientNets } from "./efficientNet.ts";
import { elasticDenseNets } from "./elasticDenseNet.ts";
import { hardNets } from "./hardNet.ts";
import { peleeNets } from "./peleeNet.ts";
import { resNets } from "./resnet.ts";

export const catalog = [
  ...denseNets,
  ...elasticDenseNets,
  ...peleeNets,
  ...cspPeleeNets,
  ...cspReferences,
  ...resNets,
  ...cspResNets,
  ...darknet53s,
  ...darknetReferences,
  ...efficientNets,
  ...hardNets,
] as const;
