/** The error for a file that is not what its format says, or holds what we cannot represent. */

/** Its message names the file or the part of it, what is wrong, and what to do. */
export class FileFormatError extends Error {
  override readonly name = "FileFormatError";
}
