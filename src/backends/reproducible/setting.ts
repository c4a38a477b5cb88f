/** The environment variable that asks for reproducible mode on every backend. */
import { SettingError } from "../cpu/settingError.ts";

/**
 * Whether GRADWEAVE_REPRODUCIBLE is 1.
 *
 * @throws SettingError when it is neither 0 nor 1
 */
export function isReproducibleWanted(): boolean {
  const text = typeof process === "undefined" ? undefined : process.env?.GRADWEAVE_REPRODUCIBLE;
  if (text === undefined || text === "" || text === "0") return false;
  if (text === "1") return true;
  throw new SettingError(`GRADWEAVE_REPRODUCIBLE is ${JSON.stringify(text)}; it may be 0 or 1`);
}
