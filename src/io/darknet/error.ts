/** The one error of everything that reads Darknet's files: a cfg or weights file that cannot be used. */
import { FileFormatError } from "../errors.ts";

/** Where in a cfg something is wrong. */
export interface CfgPlace {
  /** Counted from 1. */
  readonly line: number;
  /** Without brackets; `null` before the first section. */
  readonly section: string | null;
}

/** Its message says the line and section of the cfg (or the weights file), the values that clash, and the remedy. */
export class DarknetError extends FileFormatError {
  /** Of the cfg; `null` for weights files. */
  readonly place: CfgPlace | null;

  constructor(message: string, place: CfgPlace | null = null) {
    const where = place
      ? `cfg line ${place.line}${place.section === null ? "" : `, [${place.section}]`}: `
      : "";
    super(where + message);
    this.place = place;
  }
}

/** Text from a file as it may stand in a message: quoted, control characters escaped, no longer than a line. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}...` : text);
}
