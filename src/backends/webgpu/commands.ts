/**
 * The stream of commands. Kernels are collected into one compute pass and submitted together: at the latest when
 * something is read or written from the host, and after so many that the device has work while the next are encoded.
 */

import type { Bound, Pipeline } from "./pipelines.ts";
import { groupsPerRow } from "./programs.ts";

/** One kernel launch, ready to be encoded again. */
export interface Dispatch {
  readonly pipeline: Pipeline;
  readonly group: GPUBindGroup;
  readonly parameterOffset: number;
  /** Workgroups. */
  readonly groups: number;
  /** What it reads and writes. */
  readonly buffers: readonly Bound[];
}

/** Kernels per submission: enough to make its cost small, few enough that the device starts early. */
const dispatchesPerSubmission = 128;

/** Collects kernel launches and submits them in order. */
export class CommandStream {
  readonly #device: GPUDevice;
  readonly #offsets = [0];
  /** Buffers that commands name which are not submitted yet. */
  readonly #waiting = new Set<number>();
  #encoder: GPUCommandEncoder | null = null;
  #pass: GPUComputePassEncoder | null = null;
  /** What the pass has set. */
  #pipeline: Pipeline | null = null;
  #pending = 0;
  #dispatches = 0;
  #submissions = 0;
  #recording: Dispatch[] | null = null;
  /** Wraps every kernel of a profiled run into a pass of its own, with time stamps. */
  #timed: ((label: string) => GPUComputePassTimestampWrites) | null = null;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Kernels launched so far. */
  get dispatches(): number {
    return this.#dispatches;
  }

  /** Submissions so far. */
  get submissions(): number {
    return this.#submissions;
  }

  dispatch(dispatch: Dispatch): void {
    this.#recording?.push(dispatch);
    for (const { id } of dispatch.buffers) this.#waiting.add(id);
    this.#encode(dispatch);
    if (this.#pending >= dispatchesPerSubmission) this.flush();
  }

  /** Copies out of a buffer, after the kernels before it. */
  copy(from: Bound, fromOffset: number, to: GPUBuffer, bytes: number): void {
    this.#endPass();
    this.#waiting.add(from.id);
    this.#encoderNow().copyBufferToBuffer(from.memory, fromOffset, to, 0, bytes);
  }

  /** Before the host writes into a buffer: the queue writes at once, so what waits and names the buffer goes first. */
  beforeWriting({ id }: Bound): void {
    if (this.#waiting.has(id)) this.flush();
  }

  /** Writes the time stamps of a set into a buffer. */
  resolve(queries: GPUQuerySet, count: number, to: GPUBuffer): void {
    this.#endPass();
    this.#encoderNow().resolveQuerySet(queries, 0, count, to, 0);
  }

  /** Submits what was collected. */
  flush(): void {
    if (!this.#encoder) return;
    this.#endPass();
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = null;
    this.#waiting.clear();
    this.#pending = 0;
    this.#submissions += 1;
  }

  /** Runs `body` and gives back every kernel that it launched. */
  recording<Result>(body: () => Result): { result: Result; dispatches: readonly Dispatch[] } {
    const dispatches: Dispatch[] = [];
    this.#recording = dispatches;
    try {
      return { result: body(), dispatches };
    } finally {
      this.#recording = null;
    }
  }

  /** Launches recorded kernels again, as one submission. */
  replay(dispatches: readonly Dispatch[]): void {
    for (const dispatch of dispatches) this.#encode(dispatch);
    this.flush();
  }

  /** From now on every kernel gets a pass with the time stamps that `writes` names; null ends it. */
  time(writes: ((label: string) => GPUComputePassTimestampWrites) | null): void {
    this.flush();
    this.#timed = writes;
  }

  #encode({ pipeline, group, parameterOffset, groups }: Dispatch): void {
    if (this.#timed) this.#endPass();
    this.#pass ??= this.#encoderNow().beginComputePass(
      this.#timed ? { timestampWrites: this.#timed(pipeline.label) } : undefined,
    );
    const pass = this.#pass;
    if (pipeline !== this.#pipeline) pass.setPipeline(pipeline.pipeline);
    this.#pipeline = pipeline;
    if (pipeline.layout.hasParameters) {
      this.#offsets[0] = parameterOffset;
      pass.setBindGroup(0, group, this.#offsets);
    } else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(Math.min(groups, groupsPerRow), Math.ceil(groups / groupsPerRow));
    this.#pending += 1;
    this.#dispatches += 1;
  }

  #encoderNow(): GPUCommandEncoder {
    this.#encoder ??= this.#device.createCommandEncoder();
    return this.#encoder;
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = null;
    this.#pipeline = null;
  }
}
