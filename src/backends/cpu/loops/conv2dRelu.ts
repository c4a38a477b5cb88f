/** The kernel of a convolution whose output a ReLU cuts off. */
import type { HostView } from "../../backend.ts";
import { type Conv2dAttributes, conv2d } from "./conv2d.ts";

/** x [N, C, H, W], weight [K, C/groups, R, S], optional bias [K] -> max(convolution + bias, 0) [N, K, P, Q]. */
export function conv2dRelu(
  inputs: readonly HostView[],
  output: HostView,
  attributes: Conv2dAttributes,
): void {
  conv2d(inputs, output, attributes);
  const { data, offset, strides, shape } = output;
  const [N, K, P, Q] = shape;
  for (let n = 0; n < N; n++)
    for (let k = 0; k < K; k++)
      for (let p = 0; p < P; p++) {
        let at = offset + n * strides[0] + k * strides[1] + p * strides[2];
        // Not Math.max, which is slower; NaN stays.
        for (let q = 0; q < Q; q++, at += strides[3]) if (data[at] <= 0) data[at] = 0;
      }
}
