/** How many threads to use: the option, the environment variable, or as many as the machine has. */

import { SettingError } from "../../settingError.ts";

/** More than that would leave less than two chunks of a command to each. */
const maxThreads = 128;

function checked(given: number, text: string, from: string): number {
  if (Number.isInteger(given) && given >= 1 && given <= maxThreads) return given;
  throw new SettingError(
    `cpu: ${from} is ${text}, but threads are counted from 1 to ${maxThreads}; ` +
      "leave it out for as many as the machine runs at once",
  );
}

/** In a browser the threads of a page cannot wait for each other as these do, so there it is one. */
function available(): number {
  if (typeof process === "undefined") return 1;
  return process.getBuiltinModule?.("node:os").availableParallelism() ?? 2;
}

/**
 * @param option what the caller asked for; then GRADWEAVE_THREADS counts, then the available parallelism
 * @throws SettingError when the one that counts is not an integer from 1 to 128
 */
export function threadCount(option?: number): number {
  if (option !== undefined) return checked(option, String(option), "the option threads");
  const text = typeof process === "undefined" ? undefined : process.env?.GRADWEAVE_THREADS;
  if (text !== undefined && text !== "")
    return checked(Number(text), JSON.stringify(text), "GRADWEAVE_THREADS");
  return Math.min(available(), maxThreads);
}
