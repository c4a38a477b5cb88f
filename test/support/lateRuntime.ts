/**
 * Kernels that come as late as they may, and before any that they need not wait for: what does not wait for them sees it
 * at once, and every time.
 */
import type { Buffer, KernelCall, KernelName } from "../../src/backends/backend.ts";
import { CpuBackend } from "../../src/backends/cpu/index.ts";
import type { RangeFunction, RangeOptions } from "../../src/backends/cpu/wasm/runtime.ts";
import { commandsUnderWay, WasmRuntime } from "../../src/backends/cpu/wasm/runtime.ts";
import { Touched } from "../../src/backends/cpu/wasm/threads/touched.ts";

/** Puts every range off. */
export class LateRuntime extends WasmRuntime {
  readonly #waiting: { readonly work: () => void; readonly touched: Touched }[] = [];

  /** Does the work later, before all that touches the same memory; without `touched` before all that comes after. */
  putOff(work: () => void, touched = new Touched()): void {
    this.#waiting.push({ work, touched });
    const [oldest] = this.#waiting;
    while (this.#waiting.length >= commandsUnderWay && this.#waiting[0] === oldest) this.#doNewest();
  }

  /** What was put off last of all that need not wait for another. */
  #doNewest(): void {
    const isFirst = (at: number) =>
      this.#waiting.slice(0, at).every(({ touched }) => !touched.clashesWith(this.#waiting[at].touched));
    const at = this.#waiting.findLastIndex((_, i) => isFirst(i));
    for (const { work } of this.#waiting.splice(at, 1)) work();
  }

  override forRange(
    range: RangeFunction,
    items: number,
    args: readonly number[],
    options?: RangeOptions,
  ): void {
    const given = [...args];
    const touched = new Touched();
    touched.copy(this.touched);
    this.putOff(() => super.forRange(range, items, given, options), touched);
  }

  override settle(): void {
    while (this.#waiting.length > 0) this.#doNewest();
  }
}

/** Before every kernel, puts off what makes its operands: they hold nonsense until someone waits. */
export class LateOperandsBackend extends CpuBackend {
  readonly #runtime: LateRuntime;

  constructor(runtime: LateRuntime, options: ConstructorParameters<typeof CpuBackend>[0]) {
    super(options);
    this.#runtime = runtime;
  }

  override run<K extends KernelName>(call: KernelCall<K>): void {
    const { inputs, output } = call;
    const buffers = new Set<Buffer>([...inputs, output].map(({ buffer }) => buffer));
    const operands = [...buffers].map((buffer) => {
      const data = this.memoryOf(buffer);
      const values = data.slice();
      data.fill(data instanceof Float32Array ? Number.NaN : 0x55);
      const size = output.shape.reduce((product, extent) => product * extent, 1);
      const isNew = buffer === output.buffer && size === buffer.length;
      if (isNew && inputs.every((input) => input.buffer !== buffer)) values.set(data);
      return { data, values };
    });
    this.#runtime.putOff(() => {
      for (const { data, values } of operands) data.set(values);
    });
    super.run(call);
  }
}
