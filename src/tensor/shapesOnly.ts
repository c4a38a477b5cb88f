/**
 * Following shapes alone: inside `followShapes` ops infer the shape of what they would compute and compute nothing, so
 * that a graph of any network is recorded in milliseconds and without its memory. Tensors made before, parameters
 * among them, keep their memory untouched; what ops give out has a shape, a dtype and no values.
 *
 * Whatever is read must be known without computing: an initial parameter or a constant is, an input of the followed
 * function or the result of an op is not. Reading those is refused, because the graph would be that of one input.
 */
import type { Backend, BackendInfo, Buffer, KernelCall, KernelName, Shape } from "../backends/backend.ts";
import { bytesPerElement, type DType } from "../backends/dtype.ts";
import { MemoryAccount, type MemoryCategory, type MemoryReport } from "../backends/memory.ts";

/** What the account needs to know of memory that is not there. */
interface Noted extends Buffer {
  category: MemoryCategory;
}

/** Takes part in place of every backend: it notes what would be allocated and what would be written, and does neither. */
class ShapesOnlyBackend implements Backend {
  readonly name = "shapes only";
  private readonly unknown: WeakSet<Buffer>;
  private readonly noted = new WeakSet<Buffer>();
  private readonly account = new MemoryAccount();

  constructor(given: readonly Buffer[]) {
    this.unknown = new WeakSet(given);
  }

  /** Whether a computation, or an input of what is followed, decides what the buffer holds. */
  isUnknown(buffer: Buffer): boolean {
    return this.unknown.has(buffer);
  }

  allocate(dtype: DType, length: number, category: MemoryCategory): Buffer {
    const buffer: Noted = { dtype, length, category };
    this.unknown.add(buffer);
    this.noted.add(buffer);
    this.account.add(category, bytesOf(buffer));
    return buffer;
  }

  run<K extends KernelName>({ kernel, inputs, output }: KernelCall<K>): void {
    this.unknown.add(output.buffer);
    // The kernels that write what they read.
    if (kernel === "assignAll" || kernel === "runningStatistics")
      for (const { buffer } of inputs) this.unknown.add(buffer);
  }

  release(buffer: Buffer): void {
    if (this.isNoted(buffer)) this.account.remove(buffer.category, bytesOf(buffer));
  }

  recategorize(buffer: Buffer, category: MemoryCategory): void {
    if (!this.isNoted(buffer)) return;
    this.account.remove(buffer.category, bytesOf(buffer));
    this.account.add(category, bytesOf(buffer));
    buffer.category = category;
  }

  write(): void {
    // Values have nowhere to go; the buffer stays unknown.
  }

  read(): Promise<never> {
    return Promise.reject(new Error(noValues));
  }

  /** What would be in use, of the memory that was asked for since following began. */
  memoryReport(): MemoryReport {
    return this.account.report(0);
  }

  resetPeakMemory(): void {
    this.account.resetPeak();
  }

  private isNoted(buffer: Buffer): buffer is Noted {
    return this.noted.has(buffer);
  }

  info(): BackendInfo {
    return {
      name: this.name,
      description: "shapes without values, while a graph is recorded",
      threads: 0,
      simd: "none",
      flags: [],
      selfCheck: "none",
      memory: { liveBytes: 0, pooledBytes: 0, reservedBytes: 0, limitBytes: null },
    };
  }
}

const bytesOf = ({ dtype, length }: Buffer): number => length * bytesPerElement(dtype);

const noValues =
  "the tensor has a shape and no values: it was made while a graph was recorded, or in withoutValues(); " +
  "do not keep tensors from one forward pass for the next, or make them before trace()";

interface Following {
  readonly backend: ShapesOnlyBackend;
  /** Whether new tensors are shapes too, and not constants with values. */
  readonly makes: boolean;
  /** The error that answers a reading of values that are not known. */
  refuse(shape: Shape): Error;
}

let following: Following | null = null;

/** The backend that stands for all others while shapes alone are followed; null otherwise. */
export function shapesOnlyBackend(): Backend | null {
  return following ? following.backend : null;
}

/**
 * Runs `body`, in which ops compute nothing. What `given` holds counts as unknown; `refuse` makes the error for a
 * reading of unknown values, from the shape of what was read.
 */
export function followShapes<Result>(
  given: readonly Buffer[],
  refuse: (shape: Shape) => Error,
  body: () => Result,
): Result {
  const saved = following;
  following = { backend: new ShapesOnlyBackend(given), refuse, makes: false };
  try {
    return body();
  } finally {
    following = saved;
  }
}

/**
 * Runs `body`, in which whatever is made has a shape and no values: a network of any size is built in milliseconds
 * and takes no memory. It can be traced and counted; reading or computing values throws, now and later.
 *
 *     const network = withoutValues(() => createModel("resnet-152"));
 */
export function withoutValues<Result>(body: () => Result): Result {
  const saved = following;
  following = { backend: new ShapesOnlyBackend([]), refuse: () => new Error(noValues), makes: true };
  try {
    return body();
  } finally {
    following = saved;
  }
}

/** The backend that new tensors live on in `withoutValues`; null elsewhere. */
export function backendOfShapes(): Backend | null {
  return following?.makes ? following.backend : null;
}

/** Whether memory on `backend` can be written. */
export function holdsValues(backend: Backend): boolean {
  return !(backend instanceof ShapesOnlyBackend);
}

/** Throws when the values of `buffer`, which lives on `home`, cannot be read: shapes alone were, or are, followed. */
export function checkReadable(home: Backend, buffer: Buffer, shape: Shape): void {
  if (following?.backend.isUnknown(buffer)) throw following.refuse(shape);
  if (home instanceof ShapesOnlyBackend) throw new Error(noValues);
}
