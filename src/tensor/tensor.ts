/** The tensor: a layout on a storage, plus the slots in which autograd keeps what it knows of it. */
import type { Node } from "../autograd/node.ts";
import type { Backend, Buffer, Shape, View } from "../backends/backend.ts";
import { createTypedArray, type DType, type TypedArray } from "../backends/dtype.ts";
import type { MemoryCategory } from "../backends/memory.ts";
import { contiguousStrides, formatShape, isContiguous, sizeOf } from "./layout.ts";
import { formatTensor } from "./print.ts";
import { checkReadable } from "./shapesOnly.ts";
import type { Storage } from "./storage.ts";

/** Numbers nested as deep as the tensor has dimensions; a plain number for a scalar. */
export type NestedArray = number | NestedArray[];

/** Sees, and may replace, the gradient of a tensor; see `Tensor.registerHook`. */
export type GradientHook = (gradient: Tensor) => Tensor | undefined;

/** The fluent methods (`x.add(y)`); `autograd/methods.ts` adds them, so that an op is listed once. */
// biome-ignore lint/suspicious/noEmptyInterface: filled by declaration merging
export interface TensorMethods {}

export interface Tensor extends TensorMethods {}

/**
 * An n-dimensional array of one dtype on one backend. Slices, permutations and reshapes share the storage.
 * Images are `[N, C, H, W]`.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: autograd/methods.ts installs what the interface declares
export class Tensor implements View {
  readonly storage: Storage;
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
  /** The sum of gradients from all backward passes since it was cleared; only on leaves that require one. */
  grad: Tensor | null = null;
  /** The op that made this tensor, when a gradient can flow through it. */
  gradFn: Node | null = null;
  /** Set by `retainGrad()`: keep `grad` although this is not a leaf. */
  retainsGrad = false;
  private gradientWanted = false;
  private hooks: GradientHook[] | null = null;

  constructor(
    storage: Storage,
    shape: Shape,
    strides: readonly number[] = contiguousStrides(shape),
    offset = 0,
  ) {
    this.storage = storage;
    this.shape = shape;
    this.strides = strides;
    this.offset = offset;
  }

  get dtype(): DType {
    return this.storage.dtype;
  }

  get backend(): Backend {
    return this.storage.backend;
  }

  /** Number of dimensions. */
  get rank(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** With the layout, what a kernel is given to read or write this tensor. Throws when its memory was freed. */
  get buffer(): Buffer {
    return this.storage.buffer;
  }

  get isContiguous(): boolean {
    return isContiguous(this);
  }

  /** A leaf was created by the user, not by an op that autograd recorded. */
  get isLeaf(): boolean {
    return this.gradFn === null;
  }

  get requiresGrad(): boolean {
    return this.gradientWanted || this.gradFn !== null;
  }

  /** Asks for a gradient of this leaf. Throws for integer tensors and for results of recorded ops. */
  set requiresGrad(wanted: boolean) {
    if (wanted && this.dtype !== "f32" && this.dtype !== "f64")
      throw new Error(`requiresGrad: only f32 and f64 tensors have gradients, this one is ${this.dtype}`);
    if (!wanted && this.gradFn)
      throw new Error("requiresGrad: the result of a recorded op always requires grad; use detach()");
    this.gradientWanted = wanted;
  }

  /**
   * Calls `hook` with the complete gradient of this tensor in every backward pass; what it returns replaces the
   * gradient. Returns a function that removes the hook.
   */
  registerHook(hook: GradientHook): () => void {
    if (!this.requiresGrad)
      throw new Error(`registerHook: tensor ${formatShape(this.shape)} does not require grad`);
    this.hooks ??= [];
    this.hooks.push(hook);
    return () => {
      this.hooks = this.hooks?.filter((other) => other !== hook) ?? null;
    };
  }

  /** Whether a hook will see this tensor's gradient. */
  get hasHooks(): boolean {
    return (this.hooks?.length ?? 0) > 0;
  }

  /** Runs the hooks on `gradient`; the engine calls it once per backward pass. */
  applyHooks(gradient: Tensor): Tensor {
    let result = gradient;
    for (const hook of this.hooks ?? []) result = hook(result) ?? result;
    return result;
  }

  /** Keeps `grad` of this non-leaf tensor in the next backward pass. */
  retainGrad(): this {
    if (!this.requiresGrad)
      throw new Error(`retainGrad: tensor ${formatShape(this.shape)} does not require grad`);
    this.retainsGrad = true;
    return this;
  }

  /** The elements in row-major order, copied to the host. Throws where `trace` records a graph, without values. */
  data(): Promise<TypedArray> {
    if (!this.storage.freed) checkReadable(this.storage.home, this.buffer, this.shape);
    return this.readElements();
  }

  /** The synchronous twin of `data()`. Throws on backends whose memory is not the host's. */
  dataSync(): TypedArray {
    checkReadable(this.storage.home, this.buffer, this.shape);
    const { home } = this.storage;
    if (!home.readSync)
      throw new Error(`dataSync: backend ${home.name} reads asynchronously; use await tensor.data()`);
    const [start, end] = this.range();
    return this.inRowMajor(home.readSync(this.buffer, start, end), start);
  }

  /** The elements as nested arrays. */
  toArray(): Promise<NestedArray> {
    return this.data().then((values) => nest(values, this.shape));
  }

  /** The synchronous twin of `toArray()`. */
  toArraySync(): NestedArray {
    return nest(this.dataSync(), this.shape);
  }

  /** The only element. Throws unless there is exactly one. */
  item(): Promise<number> {
    return this.size === 1 ? this.data().then(([value]) => value) : Promise.reject(this.notSingle());
  }

  /** The synchronous twin of `item()`. */
  itemSync(): number {
    if (this.size !== 1) throw this.notSingle();
    return this.dataSync()[0];
  }

  /** Takes the tensor's memory out of the open scope: it lives on as long as it is reachable. */
  keep(): this {
    this.storage.moveTo(null);
    return this;
  }

  /** Frees the memory at once. Ordinary code never needs it: scopes and the garbage collector do it. */
  dispose(): void {
    this.storage.free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Counts this tensor's bytes under another class of `memoryReport()`. */
  setCategory(category: MemoryCategory): this {
    this.storage.setCategory(category);
    return this;
  }

  toString(): string {
    return formatTensor(this);
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  private async readElements(): Promise<TypedArray> {
    const [start, end] = this.range();
    return this.inRowMajor(await this.storage.home.read(this.buffer, start, end), start);
  }

  private notSingle(): Error {
    return new Error(
      `item: tensor ${formatShape(this.shape)} has ${this.size} elements, not one; use data()`,
    );
  }

  /** The stretch of the storage that holds all elements. */
  private range(): [start: number, end: number] {
    if (this.size === 0) return [0, 0];
    const reach = this.shape.reduce((sum, extent, axis) => sum + (extent - 1) * this.strides[axis], 0);
    return [this.offset, this.offset + reach + 1];
  }

  /** Puts elements read from the storage's position `start` on into row-major order. */
  private inRowMajor(stored: TypedArray, start: number): TypedArray {
    if (this.isContiguous) return stored;
    const { shape, strides, size } = this;
    const values = createTypedArray(this.dtype, size);
    const index = new Array<number>(shape.length).fill(0);
    let position = this.offset - start;
    for (let i = 0; i < size; i++) {
      values[i] = stored[position];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        position += strides[axis];
        index[axis] += 1;
        if (index[axis] < shape[axis]) break;
        position -= shape[axis] * strides[axis];
        index[axis] = 0;
      }
    }
    return values;
  }
}

function nest(data: ArrayLike<number>, shape: Shape): NestedArray {
  let position = 0;
  const build = (axis: number): NestedArray =>
    axis === shape.length ? data[position++] : Array.from({ length: shape[axis] }, () => build(axis + 1));
  return build(0);
}
