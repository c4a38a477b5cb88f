/**
 * What networks cost, for people: the paper's tables beside our counts, and its figures 7 and 8 for any network. May
 * import from the whole library; only commands and examples import it.
 */
export { renderCostPage } from "./costPage.ts";
export { costReport } from "./costReport.ts";
export { renderCostTable } from "./costTable.ts";
export { type CountedLayer, type CountedNetwork, countNetwork } from "./counted.ts";
export { countCfg } from "./countedCfg.ts";
export { compareWithPaper, renderMarkdown, renderPaperTables } from "./paperTables.ts";
