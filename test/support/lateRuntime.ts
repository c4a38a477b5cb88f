/** Kernels that come as late as they may: what does not wait for them sees it at once, and every time. */
import type { Buffer, KernelCall, KernelName } from "../../src/backends/backend.ts";
import { CpuBackend } from "../../src/backends/cpu/index.ts";
import type { RangeFunction, RangeOptions } from "../../src/backends/cpu/wasm/runtime.ts";
import { commandsUnderWay, WasmRuntime } from "../../src/backends/cpu/wasm/runtime.ts";

/** Puts every range off. */
export class LateRuntime extends WasmRuntime {
  readonly #waiting: (() => void)[] = [];

  putOff(work: () => void): void {
    this.#waiting.push(work);
    while (this.#waiting.length > commandsUnderWay - 2) this.#waiting.shift()?.();
  }

  override forRange(
    range: RangeFunction,
    items: number,
    args: readonly number[],
    options?: RangeOptions,
  ): void {
    const given = [...args];
    this.putOff(() => super.forRange(range, items, given, options));
  }

  override settle(): void {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) next();
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
