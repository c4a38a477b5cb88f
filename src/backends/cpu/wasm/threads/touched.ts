/**
 * Which memory a command reads and writes, so that it waits for those commands alone that write what it touches or touch
 * what it writes. Of a view that is all from its first byte to its last: a slice of channels counts with what lies
 * between its images.
 */
import type { HostView, KernelName } from "../../../backend.ts";

/** Kernels that write their inputs. */
const writers: ReadonlySet<KernelName> = new Set<KernelName>(["assignAll", "runningStatistics"]);

const none: readonly HostView[] = [];

/** First byte, and the one after the last, again and again. */
type Bounds = number[];

/** To begin with everything. */
export class Touched {
  readonly #reads: Bounds = [];
  readonly #writes: Bounds = [];
  #isEverything = true;
  /** Operands that are not in the bounds yet: most kernels are done at once, and nobody asks. */
  #inputs = none;
  #output: HostView | null = null;
  #inputBounds: Bounds = this.#reads;

  setEverything(): void {
    this.#isEverything = true;
    this.#output = null;
    this.#inputs = none;
  }

  /** What a kernel touches, but for memory that `addScratch` is told of. */
  setKernel(kernel: KernelName, inputs: readonly HostView[], output: HostView): void {
    this.#isEverything = false;
    this.#reads.length = 0;
    this.#writes.length = 0;
    this.#inputs = inputs;
    this.#output = output;
    this.#inputBounds = writers.has(kernel) ? this.#writes : this.#reads;
  }

  addScratch(address: number, bytes: number): void {
    if (!this.#isEverything) this.#writes.push(address, address + bytes);
  }

  copy(other: Touched): void {
    other.#addOperands();
    this.setEverything();
    this.#isEverything = other.#isEverything;
    copyBounds(other.#reads, this.#reads);
    copyBounds(other.#writes, this.#writes);
  }

  /** Whether one of both writes what the other reads or writes. */
  clashesWith(other: Touched): boolean {
    if (this.#isEverything || other.#isEverything) return true;
    this.#addOperands();
    other.#addOperands();
    return (
      overlap(this.#writes, other.#writes) ||
      overlap(this.#writes, other.#reads) ||
      overlap(this.#reads, other.#writes)
    );
  }

  #addOperands(): void {
    if (!this.#output) return;
    addView(this.#writes, this.#output);
    for (const input of this.#inputs) addView(this.#inputBounds, input);
    this.#output = null;
  }
}

function addView(bounds: Bounds, { data, shape, strides, offset }: HostView): void {
  let [first, last] = [offset, offset];
  for (let axis = 0; axis < shape.length; axis++) {
    if (shape[axis] === 0) return;
    const span = (shape[axis] - 1) * strides[axis];
    if (span > 0) last += span;
    else first += span;
  }
  const { byteOffset, BYTES_PER_ELEMENT } = data;
  bounds.push(byteOffset + first * BYTES_PER_ELEMENT, byteOffset + (last + 1) * BYTES_PER_ELEMENT);
}

function copyBounds(from: Bounds, to: Bounds): void {
  to.length = from.length;
  for (let i = 0; i < from.length; i++) to[i] = from[i];
}

function overlap(a: Bounds, b: Bounds): boolean {
  for (let i = 0; i < a.length; i += 2)
    for (let j = 0; j < b.length; j += 2) if (a[i] < b[j + 1] && b[j] < a[i + 1]) return true;
  return false;
}
