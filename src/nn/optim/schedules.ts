/** Learning rates over time: functions of the step, counted from 0, and a small driver that sets an optimizer's. */
import type { Optimizer } from "./optimizer.ts";

/** Learning rate as a multiple of the base rate, at a step counted from 0. */
export type Schedule = (step: number) => number;

function checkPositive(schedule: string, setting: string, value: number): void {
  if (!(value > 0 && Number.isFinite(value)))
    throw new Error(`${schedule}: ${setting} ${value} must be a positive number`);
}

/**
 * (1 − step / maxSteps) ** power, 0 from `maxSteps` on: the paper's schedule (section 4, power 4), with Darknet's
 * burn-in (step / burnIn) ** burnInPower before it when `burnIn` is given.
 */
export function polynomial(options: {
  readonly maxSteps: number;
  /** Default 4. */
  readonly power?: number;
  /** Steps over which the rate rises from 0; default 0. */
  readonly burnIn?: number;
  /** Default 4. */
  readonly burnInPower?: number;
}): Schedule {
  const { maxSteps, power = 4, burnIn = 0, burnInPower = 4 } = options;
  checkPositive("polynomial", "maxSteps", maxSteps);
  return (step) =>
    step < burnIn ? (step / burnIn) ** burnInPower : (1 - Math.min(step, maxSteps) / maxSteps) ** power;
}

/** gamma ** ⌊step / stepSize⌋ */
export function stepDecay({
  stepSize,
  gamma = 0.1,
}: {
  readonly stepSize: number;
  readonly gamma?: number;
}): Schedule {
  checkPositive("stepDecay", "stepSize", stepSize);
  checkPositive("stepDecay", "gamma", gamma);
  return (step) => gamma ** Math.floor(step / stepSize);
}

/** Half a cosine from 1 down to `floor` (default 0) over `maxSteps`, then level. */
export function cosine({
  maxSteps,
  floor = 0,
}: {
  readonly maxSteps: number;
  readonly floor?: number;
}): Schedule {
  checkPositive("cosine", "maxSteps", maxSteps);
  return (step) =>
    floor + ((1 - floor) * (1 + Math.cos((Math.PI * Math.min(step, maxSteps)) / maxSteps))) / 2;
}

/** Rises linearly from `start` (default 0) to 1 over `steps`, then follows `next` (default: stays at 1), counted anew. */
export function linearWarmup({
  steps,
  start = 0,
  next = () => 1,
}: {
  readonly steps: number;
  readonly start?: number;
  readonly next?: Schedule;
}): Schedule {
  checkPositive("linearWarmup", "steps", steps);
  return (step) => (step < steps ? start + ((1 - start) * step) / steps : next(step - steps));
}

/** Sets an optimizer's learning rate from a schedule; call `step()` after each optimizer step. */
export class LearningRateScheduler {
  readonly optimizer: Optimizer;
  readonly schedule: Schedule;
  readonly baseLr: number;
  /** Steps taken so far. */
  count: number;

  /** `count` is not 0 where a training goes on; the optimizer has its base rate in any case. */
  constructor(optimizer: Optimizer, schedule: Schedule, count = 0) {
    this.optimizer = optimizer;
    this.schedule = schedule;
    this.baseLr = optimizer.lr;
    this.count = count;
    optimizer.lr = this.baseLr * schedule(count);
  }

  step(): void {
    this.count += 1;
    this.optimizer.lr = this.baseLr * this.schedule(this.count);
  }
}
