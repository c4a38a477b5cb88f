/** Whether ops are recorded for the backward pass, and which module they belong to. */

let recording = true;

/** True when ops on tensors that require grad are recorded. */
export function isGradEnabled(): boolean {
  return recording;
}

function withRecording<Result>(enabled: boolean, body: () => Result): Result {
  const saved = recording;
  recording = enabled;
  try {
    return body();
  } finally {
    recording = saved;
  }
}

/** Runs `body` without recording: its results do not require grad. */
export function noGrad<Result>(body: () => Result): Result {
  return withRecording(false, body);
}

/** Runs `body` with recording on, inside `noGrad` too. */
export function enableGrad<Result>(body: () => Result): Result {
  return withRecording(true, body);
}

let modulePath = "";

/** The dotted path of the module that is running (`features.denseblock1.denselayer2.conv1`), or "". */
export function currentModulePath(): string {
  return modulePath;
}

/** Runs `body` as part of the module at `path`: ops, errors and edges made in it carry the path. */
export function withModulePath<Result>(path: string, body: () => Result): Result {
  const saved = modulePath;
  modulePath = path;
  try {
    return body();
  } finally {
    modulePath = saved;
  }
}
