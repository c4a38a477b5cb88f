/** The trained tensors of a module. */
import { Tensor } from "../tensor/tensor.ts";

/** A tensor that training changes: it requires grad, counts as weights, and lives on when a scope ends. */
export class Parameter extends Tensor {
  constructor(initial: Tensor) {
    super(initial.storage, initial.shape, initial.strides, initial.offset);
    this.requiresGrad = true;
    this.keep();
    this.setCategory("weights");
  }
}
