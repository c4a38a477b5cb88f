/** The error for data that cannot be used: a missing, unreadable, damaged or inconsistent file or dataset. */

/** Its message names the file or dataset, what is wrong with it, and what to do. */
export class DataError extends Error {
  override readonly name = "DataError";
}
