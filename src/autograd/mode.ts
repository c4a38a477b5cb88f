/** What is going on: whether ops are recorded, whether a backward pass runs, and which module ops belong to. */

let recording = true;

/** True when ops on tensors that require grad are recorded. */
export function isGradEnabled(): boolean {
  return recording;
}

/** Throws when the body of `wrapper` gave a promise: its effect ends with the body, before the promise settles. */
export function refusePromise(wrapper: string, result: unknown): void {
  if (result instanceof Promise)
    throw new Error(
      `${wrapper}: the body returned a promise, and ${wrapper} ends before it settles; ` +
        "await data outside and compute in a synchronous body",
    );
}

function withRecording<Result>(wrapper: string, enabled: boolean, body: () => Result): Result {
  const saved = recording;
  recording = enabled;
  try {
    const result = body();
    refusePromise(wrapper, result);
    return result;
  } finally {
    recording = saved;
  }
}

/** Runs `body` without recording: its results do not require grad. Throws when it returns a promise. */
export function noGrad<Result>(body: () => Result): Result {
  return withRecording("noGrad", false, body);
}

/** Runs `body` with recording on, inside `noGrad` too. Throws when it returns a promise. */
export function enableGrad<Result>(body: () => Result): Result {
  return withRecording("enableGrad", true, body);
}

let backwardRunning = false;

/** True while a backward pass computes gradients. */
export function isBackwardRunning(): boolean {
  return backwardRunning;
}

/** Runs `body` as a backward pass. */
export function asBackward<Result>(body: () => Result): Result {
  const saved = backwardRunning;
  backwardRunning = true;
  try {
    return body();
  } finally {
    backwardRunning = saved;
  }
}

/** Where the program is among modules: the path of the running one, and the paths of all below the outermost. */
interface ModuleContext {
  readonly path: string;
  readonly paths: ReadonlyMap<object, string> | null;
}

let context: ModuleContext = { path: "", paths: null };

/** The dotted path of the module that is running (`features.denseblock1.denselayer2.conv1`), or "". */
export function currentModulePath(): string {
  return context.path;
}

/** The paths of all modules below the outermost one that is running; null when none is. */
export function currentModulePaths(): ReadonlyMap<object, string> | null {
  return context.paths;
}

function inContext<Result>(other: ModuleContext, body: () => Result): Result {
  const saved = context;
  context = other;
  try {
    return body();
  } finally {
    context = saved;
  }
}

/**
 * Runs `body` as part of the module at `path`: ops, errors and edges made in it carry the path. `paths` are those of
 * all modules below the outermost one, where they are not known yet.
 */
export function withModulePath<Result>(
  path: string,
  body: () => Result,
  paths: ReadonlyMap<object, string> | null = context.paths,
): Result {
  return inContext({ path, paths }, body);
}

/** A function that runs a body later as if it were called here, among the same modules. */
export function captureModulePath(): <Result>(body: () => Result) => Result {
  const captured = context;
  return (body) => inContext(captured, body);
}
