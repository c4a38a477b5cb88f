/** A runtime that puts off ranges for as long as it may: what does not wait for them sees it at once, and every time. */
import type { RangeFunction, RangeOptions } from "../../src/backends/cpu/wasm/runtime.ts";
import { commandsUnderWay, WasmRuntime } from "../../src/backends/cpu/wasm/runtime.ts";

export class LateRuntime extends WasmRuntime {
  readonly #waiting: (() => void)[] = [];

  override forRange(
    range: RangeFunction,
    items: number,
    args: readonly number[],
    options?: RangeOptions,
  ): void {
    const given = [...args];
    this.#waiting.push(() => super.forRange(range, items, given, options));
    while (this.#waiting.length > commandsUnderWay - 2) this.#waiting.shift()?.();
  }

  override settle(): void {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) next();
  }
}
