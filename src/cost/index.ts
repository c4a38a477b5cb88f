/**
 * What networks cost, for people: the paper's tables beside our counts, and its figures 7 and 8 for any network. May
 * import from the whole library; only commands and examples import it.
 */
export { compareWithPaper, renderMarkdown, renderPaperTables } from "./paperTables.ts";
