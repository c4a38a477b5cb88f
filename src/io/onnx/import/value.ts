/**
 * What flows between the nodes of an imported graph: tensors, and the small integer lists (shapes, axes, bounds) that
 * exporters compute with, which stay on the host.
 */
import type { Shape } from "../../../backends/backend.ts";
import { Tensor } from "../../../tensor/tensor.ts";
import type { HostTensor } from "../model.ts";
import { tensorOfHost } from "../tensors.ts";

/** A tensor, on the backend or on the host, given out in the form that an operator asks for. */
export class Value {
  private readonly stored: Tensor | HostTensor;
  private made: Tensor | null = null;

  constructor(stored: Tensor | HostTensor) {
    this.stored = stored;
  }

  get shape(): Shape {
    return this.stored.shape;
  }

  /** On the backend. Throws when integers on the host do not fit i32. */
  tensor(): Tensor {
    if (this.stored instanceof Tensor) return this.stored;
    this.made ??= tensorOfHost(this.stored, "a constant");
    return this.made;
  }

  /** On the host, in row-major order. Throws on backends that read asynchronously. */
  numbers(): readonly number[] {
    return Array.from(this.stored instanceof Tensor ? this.stored.dataSync() : this.stored.values);
  }
}

/** A list of integers on the host, as shapes are. */
export function integersValue(values: readonly number[], shape: Shape = [values.length]): Value {
  return new Value({ format: "i64", shape, values });
}
