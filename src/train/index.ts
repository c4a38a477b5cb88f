/**
 * Running a training: networks side by side, evaluation, progress for people, a clean end on Ctrl-C, and the exit codes
 * and options that all commands share. May import from the whole library; only commands and examples import it.
 */
export {
  checkAtMost,
  decimalNumber,
  type NumberRange,
  prepareFolder,
  wholeNumber,
  wholeNumbers,
} from "./arguments.ts";
export { type EvaluateOptions, type Evaluation, evaluate } from "./evaluate.ts";
export { describeError, exitCodeOf, exitCodes, runCommand, UsageError } from "./exitCodes.ts";
export { type StepTiming, stepTiming, trainingFigures, trainingGaps } from "./figures.ts";
export { Interrupt, type InterruptSignal, type InterruptTarget } from "./interrupt.ts";
export { inOwnProcess } from "./ownProcess.ts";
export { formatDuration, Progress, type ProgressOptions, type ProgressStream } from "./progress.ts";
export { environment, type PublishOptions, publishReport } from "./publishReport.ts";
export { type SideBySideOptions, trainSideBySide } from "./sideBySide.ts";
export {
  DivergedError,
  type Instrument,
  type StepRecord,
  TrainingRun,
  type TrainingRunOptions,
} from "./trainingRun.ts";
