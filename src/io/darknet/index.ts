/** Darknet's files: network descriptions (.cfg) as modules, their costs, and trained weights (.weights). */
export { type DarknetCfg, readCfg, writeCfg } from "./cfg.ts";
export { type DarknetCosts, type DarknetLayerCost, darknetCosts } from "./costs.ts";
export { type CfgPlace, DarknetError } from "./error.ts";
export { type DarknetModelOptions, DarknetNetwork, darknetModel } from "./network.ts";
export { type LayerPlan, type NetworkPlan, type PlanLimits, planNetwork } from "./plan.ts";
export { type LoadWeightsOptions, loadDarknetWeights, type WeightedNetwork } from "./readWeights.ts";
export type { LayerSection, LayerType, NetSection } from "./schema.ts";
export type { WeightsHeader } from "./weightsLayout.ts";
export { type SaveWeightsOptions, saveDarknetWeights } from "./writeWeights.ts";
