/** The members of `tf` that the benchmark calls, and tensors in its layout: [N, H, W, C] and [R, S, C, K]. */
import { initialWeight } from "./task.ts";

export interface TfTensor {
  dataSync(): ArrayLike<number>;
  data(): Promise<ArrayLike<number>>;
  dispose(): void;
}

/** The members of `tf` that the benchmark calls. */
export interface Tf {
  setBackend(name: string): Promise<boolean>;
  enableProdMode(): void;
  removeBackend(name: string): void;
  registerBackend(name: string, make: () => object): boolean;
  keep<T extends TfTensor>(tensor: T): T;
  tidy<T>(run: () => T): T;
  tensor4d(values: Float32Array, shape: readonly number[]): TfTensor;
  tensor2d(values: Float32Array, shape: readonly number[]): TfTensor;
  zeros(shape: readonly number[]): TfTensor;
  transpose(tensor: TfTensor, axes: readonly number[]): TfTensor;
  relu(x: TfTensor): TfTensor;
  add(x: TfTensor, y: TfTensor): TfTensor;
  maxPool(x: TfTensor, kernelSize: number, stride: number, padding: number): TfTensor;
  avgPool(x: TfTensor, kernelSize: number, stride: number, padding: number): TfTensor;
  conv2d(x: TfTensor, weight: TfTensor, stride: number, padding: number): TfTensor;
  grads(
    run: (x: TfTensor, weight: TfTensor) => TfTensor,
  ): (inputs: readonly TfTensor[], gradient: TfTensor) => TfTensor[];
}

/** [N, C, H, W] values as an [N, H, W, C] tensor. */
export function image(tf: Tf, values: Float32Array, shape: readonly number[]): TfTensor {
  return tf.tidy(() => tf.transpose(tf.tensor4d(values, shape), [0, 2, 3, 1]));
}

/** [K, C, R, S] values as an [R, S, C, K] tensor. */
export function kernel(tf: Tf, shape: readonly number[], seed = 0): TfTensor {
  return tf.tidy(() => tf.transpose(tf.tensor4d(initialWeight(shape, seed), shape), [2, 3, 1, 0]));
}
