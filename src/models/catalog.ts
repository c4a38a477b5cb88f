/** Every network that `createModel` knows: the families' lists one after the other. A new family adds its line here. */
import { denseNets } from "./denseNets.ts";

export const catalog = [...denseNets] as const;
