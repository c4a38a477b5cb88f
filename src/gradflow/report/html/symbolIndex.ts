/**
 * Short names for a stage's symbols, used in `data-in` and `data-pick`: an element is `in` every weight and
 * gradient it belongs to, and picking one of them lights all that are in it. Numbers instead of the symbols
 * themselves, so that no symbol, however it is spelled, can break a list separated by spaces.
 */

import type { ReportStructure } from "../schema.ts";

export interface SymbolIndex {
  weight(symbol: string): string;
  gradient(symbol: string): string;
}

/** Numbers the weights and gradients of one stage. */
export function indexSymbols({ weights, featureMaps }: ReportStructure): SymbolIndex {
  const weightNumbers = new Map(weights.map((weight, index) => [weight.symbol, index]));
  const gradientNumbers = new Map(featureMaps.map((map, index) => [map.gradient, index]));
  return {
    weight: (symbol) => `w${weightNumbers.get(symbol) ?? "-"}`,
    gradient: (symbol) => `g${gradientNumbers.get(symbol) ?? "-"}`,
  };
}
