/**
 * Ctrl-C under `npx tsx`. The tsx command kills a script outright when the script does not answer a signal within 60
 * milliseconds, and while a network computes a step, longer than that, nothing in its process can answer. So the work
 * runs in a process of its own, and the one that tsx watches only passes signals on.
 */
import { fork } from "node:child_process";
import { constants } from "node:os";

/** Set in the process that does the work. */
const marker = "GRADWEAVE_OWN_PROCESS";

/** True when the `tsx` command started this process, rather than `node --import tsx` or plain `node`. */
function startedByTsx(): boolean {
  return process.execArgv.some((argument) => /[\\/]tsx[\\/].*preflight\.cjs$/.test(argument));
}

/**
 * What follows when the first process is gone: tsx kills that one too where a busy machine keeps it from answering. An
 * immediate, so that the Ctrl-C which reached this process as well is received before and is the one that counts.
 */
function endAsBySIGTERM(): void {
  setImmediate(() => {
    if (!process.emit("SIGTERM", "SIGTERM")) process.exit(128 + constants.signals.SIGTERM);
  });
}

/**
 * Runs `main`, in a second process where the `tsx` command watches this one, and ends with its exit code. `script` is
 * the file that calls this function.
 */
export async function inOwnProcess(script: string, main: () => Promise<void>): Promise<void> {
  if (process.env[marker]) {
    process.once("disconnect", endAsBySIGTERM);
    process.channel?.unref();
    return main();
  }
  if (!startedByTsx()) return main();
  const child = fork(script, process.argv.slice(2), { env: { ...process.env, [marker]: "1" } });
  for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => child.kill(name));
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
