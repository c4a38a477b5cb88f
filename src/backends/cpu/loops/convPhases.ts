/**
 * Which taps of a strided, dilated window reach which input pixels, along one axis.
 *
 * Output p with tap r reads input h = p * stride - padding + r * dilation. Input pixels with the same remainder
 * h mod stride ("a phase") are read by the same taps, every pixel by outputs at the same distances; the input
 * gradient of one phase is therefore a convolution with stride 1.
 */

/** The pixels h = first + i * stride, i < count, of one axis and the taps that read them. */
export interface AxisPhase {
  readonly first: number;
  readonly count: number;
  /** The taps are r = firstTap + t * tapStep, t < taps. */
  readonly firstTap: number;
  readonly tapStep: number;
  readonly taps: number;
  /** Tap t reads pixel i for output p = i + firstOutput - t * outputStep, if there is such an output. */
  readonly firstOutput: number;
  readonly outputStep: number;
}

/** The phases of an axis of `extent` pixels under a window of `size` taps that reach any pixel at all. */
export function axisPhases(
  extent: number,
  size: number,
  stride: number,
  padding: number,
  dilation: number,
): AxisPhase[] {
  const phases: AxisPhase[] = [];
  for (let first = 0; first < Math.min(stride, extent); first++) {
    const taps: number[] = [];
    for (let r = 0; r < size; r++) if ((first + padding - r * dilation) % stride === 0) taps.push(r);
    if (taps.length === 0) continue;
    const tapStep = taps.length > 1 ? taps[1] - taps[0] : 1;
    phases.push({
      first,
      count: Math.ceil((extent - first) / stride),
      firstTap: taps[0],
      tapStep,
      taps: taps.length,
      firstOutput: (first + padding - taps[0] * dilation) / stride,
      outputStep: (tapStep * dilation) / stride,
    });
  }
  return phases;
}

/** How many outputs before 0 and after `outputs - 1` the phases ask for; these do not exist and count as zero. */
export function phaseReach(phases: readonly AxisPhase[], outputs: number): [number, number] {
  let before = 0;
  let after = 0;
  for (const { count, taps, firstOutput, outputStep } of phases) {
    before = Math.max(before, (taps - 1) * outputStep - firstOutput);
    after = Math.max(after, count + firstOutput - outputs);
  }
  return [before, after];
}
