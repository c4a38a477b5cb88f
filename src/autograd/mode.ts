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

/** Where the program is among modules. Few ask for the path, so it may be worked out when they do. */
export interface Place {
  /** Dotted, `features.denseblock1.denselayer2.conv1`; "" outside of modules and in the outermost one. */
  readonly path: string;
}

let place: Place = { path: "" };

/** Where the program is now. */
export function currentPlace(): Place {
  return place;
}

/** The dotted path of the module that is running (`features.denseblock1.denselayer2.conv1`), or "". */
export function currentModulePath(): string {
  return place.path;
}

/** Runs `body` as part of the module at `other`: ops, errors and edges made in it carry its path. */
export function atPlace<Result>(other: Place, body: () => Result): Result {
  const saved = place;
  place = other;
  try {
    return body();
  } finally {
    place = saved;
  }
}
