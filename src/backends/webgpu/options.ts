/** What can be asked of a WebGPU device. Free of WebGPU's own types, because users see it. */

export interface DeviceOptions {
  /**
   * Which adapter computes:
   * - `"default"`: the system's GPU; in Node, where there is none, the software adapter, with one line that says so;
   * - `"software"`: a processor pretending to be a GPU: right, slow, the same everywhere (see softwareAdapter.ts);
   * - anything else: the GPU whose name contains this text, such as `"NVIDIA"`.
   *
   * Default: the environment variable GRADWEAVE_WEBGPU_ADAPTER, or `"default"`.
   */
  readonly adapter?: string;
  /** Which GPU of several: the fast one (the default here) or the one that saves the battery. */
  readonly powerPreference?: "high-performance" | "low-power";
  /**
   * Stores the feature maps that a forward pass keeps for its backward pass in half precision: half their memory, values
   * rounded by 2^-11 of their size, infinite beyond 65504. Kernels compute in f32; weights, gradients, optimizers,
   * statistics and whatever is no map `[N, C, H, W]` stay f32. It takes the feature `shader-f16`; where the adapter lacks
   * it: one warning, and f32.
   *
   * Default: whether the environment variable GRADWEAVE_WEBGPU_F16 is 1.
   */
  readonly f16?: boolean;
  /**
   * Whether shaders check their indices, which Dawn in Node lets one choose (a browser always checks).
   * Default: true on a GPU, where a wrong index could end the driver; false on the software adapter, where the
   * checks cost a factor of 1.3 to 2.6 and a wrong index should show instead of being clamped into a plausible number.
   */
  readonly robustness?: boolean;
  /**
   * Whether convolutions and matrix products run in kernels that are made for software adapters, where four threads
   * are one vector of the processor. Default: where that is so. `false` runs the kernels of GPUs there, to try them.
   */
  readonly quads?: boolean;
  /**
   * Computes every op with the same bits as any other backend in this mode, the CPU's included: sums are exact and
   * rounded once, all else is rounded function by function, and numbers below 2^-126 are 0. Several times as slow. The
   * adapter must keep IEEE arithmetic, which is checked first; half precision is refused.
   *
   * Default: whether the environment variable GRADWEAVE_REPRODUCIBLE is 1.
   */
  readonly reproducible?: boolean;
}
