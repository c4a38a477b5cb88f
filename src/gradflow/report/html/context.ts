/** What every section of a page needs to be drawn. */

import type { GradientReuseReport } from "../schema.ts";
import { type Explain, explainGaps } from "./numbers.ts";
import { Parts } from "./parts.ts";

export interface PageContext {
  readonly report: GradientReuseReport;
  /** Why a number is missing. */
  readonly explain: Explain;
  readonly parts: Parts;
}

/** A fresh page for a report. */
export function pageContext(report: GradientReuseReport): PageContext {
  return { report, explain: explainGaps(report), parts: new Parts() };
}

/** Whether there are too many networks for a column each: then they are rows, and each has its own section. */
export function isMany({ variants }: Pick<GradientReuseReport, "variants">): boolean {
  return variants.length > 3;
}
