/** What a command tells the shell and the user when it ends, well or badly. */
import { CommanderError } from "commander";
import { SettingError } from "../backends/cpu/settingError.ts";
import { DeviceLostError, WebGpuUnavailableError } from "../backends/webgpu/errors.ts";
import { DataError } from "../data/index.ts";
import { FileFormatError } from "../io/index.ts";
import { DivergedError } from "./trainingRun.ts";

/** The exit codes of every command; 130 and 143 are those of an interrupted one, see interrupt.ts. */
const exitCodes = { ok: 0, internal: 1, usage: 2, data: 3, diverged: 4, resources: 5 } as const;

/** What the user asked for cannot be done; the message names option, value and remedy. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Runs `action`; any error it throws is the fault of what the user asked for, and becomes a UsageError. */
export function asUsage<Result>(what: string, action: () => Result): Result {
  try {
    return action();
  } catch (cause) {
    throw new UsageError(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Codes of the file system that mean that the machine has no more of something. */
const scarce = new Set(["ENOSPC", "EDQUOT", "ENOMEM", "EMFILE", "ENFILE", "EROFS"]);

function isScarcity(error: unknown): boolean {
  if (error instanceof WebGpuUnavailableError || error instanceof DeviceLostError) return true;
  if (error instanceof RangeError)
    return /allocation failed|Invalid (typed )?array length/i.test(error.message);
  return error instanceof Error && "code" in error && scarce.has(String(error.code));
}

/** The exit code that fits an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  if (error instanceof UsageError || error instanceof SettingError) return exitCodes.usage;
  if (error instanceof DataError || error instanceof FileFormatError) return exitCodes.data;
  if (error instanceof DivergedError) return exitCodes.diverged;
  return isScarcity(error) ? exitCodes.resources : exitCodes.internal;
}

/** An error for people: one line for what they can change, the stack for what only we can. */
export function describeError(error: unknown): string {
  if (exitCodeOf(error) !== exitCodes.internal)
    return `error: ${error instanceof Error ? error.message : String(error)}`;
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `internal error, please report it with these lines:\n${stack}`;
}

/**
 * Runs a command to its end: sets the exit code, and prints one error at most. What commander throws it has printed
 * already.
 */
export async function runCommand(main: () => Promise<number>): Promise<void> {
  // A reader that closes the pipe early, as `head` does, has seen what it wanted.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof CommanderError)) console.error(describeError(error));
    process.exitCode = exitCodeOf(error);
  }
}
