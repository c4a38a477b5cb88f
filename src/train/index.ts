/**
 * Running a training: networks side by side, evaluation, progress for people, a clean end on Ctrl-C, and the exit codes
 * and options that all commands share. May import from the whole library; only commands and examples import it.
 */
export { checkAtMost, decimalNumber, prepareFolder, wholeNumber, wholeNumbers } from "./arguments.ts";
export { type BackendName, backendOption, reproducibleOption, useBackend } from "./backendOption.ts";
export {
  type CropEvaluation,
  classifyPhotographs,
  evaluateCrops,
  topClasses,
} from "./classify.ts";
export { compareGradientFlow } from "./compare/compareGradientFlow.ts";
export type { ComparedVariant, CompareOptions, CompareProgress } from "./compare/options.ts";
export { evaluate } from "./evaluate.ts";
export { asUsage, describeError, exitCodeOf, runCommand, UsageError } from "./exitCodes.ts";
export { samplingShare, stepTiming, trainingFigures, trainingGaps } from "./figures.ts";
export { Interrupt, type InterruptTarget } from "./interrupt.ts";
export { LiveReport } from "./live/liveReport.ts";
export {
  buildModel,
  describeWeights,
  type GivenOptions,
  loadWeights,
  modelOptionsArgument,
  modelsHelp,
  weightsMetadata,
} from "./modelOptions.ts";
export { inOwnProcess } from "./ownProcess.ts";
export { checkProfile, profileOption, profileSteps, renderProfile } from "./profileSteps.ts";
export { formatDuration, Progress } from "./progress.ts";
export { environment, publishReport } from "./publishReport.ts";
export { paperRecipe } from "./recipe.ts";
export { trainSideBySide } from "./sideBySide.ts";
export { writeTensorBoard } from "./tensorBoard.ts";
export { DivergedError, type StepRecord, TrainingRun } from "./trainingRun.ts";
export { findTraining, type SettingValue, saveTraining } from "./trainingState.ts";
export { trainSteps } from "./trainSteps.ts";
