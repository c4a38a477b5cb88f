/**
 * Find a gradient bug in a layer of your own.
 *
 *     npx tsx examples/property-test-layer.ts
 *
 * A channel gate learns which channels matter: y = x · s with s = sigmoid(w), one weight w per channel. Its backward
 * pass is written by hand, and the first version has a mistake that training hides: the loss still falls.
 */
import { customGradient, mul, reshape, sigmoid, sub, sum, type Tensor, zeros } from "../src/index.ts";
import { Module, Parameter } from "../src/nn/index.ts";
import { checkLayer } from "../src/testing/index.ts";

/** [C] as [1, C, 1, 1], to broadcast over images [N, C, H, W]. */
const perChannel = (w: Tensor): Tensor => reshape(w, [1, w.size, 1, 1]);

/** The gate as a function of x and w; `slope` is the derivative of s = sigmoid(w), given s. */
const gateWith = (slope: (s: Tensor) => Tensor) =>
  customGradient(
    "channelGate",
    (x: Tensor, w: Tensor) => mul(x, perChannel(sigmoid(w))),
    ({ gradient, input }) => {
      const [x, s] = [input(0), sigmoid(input(1))];
      // One gradient per input: ∂L/∂x, then ∂L/∂w.
      return [mul(gradient, perChannel(s)), mul(sum(mul(gradient, x), [0, 2, 3]), slope(s))];
    },
  );

class ChannelGate extends Module {
  weight: Parameter;
  private readonly gate: ReturnType<typeof gateWith>;

  constructor(channels: number, slope: (s: Tensor) => Tensor) {
    super();
    this.weight = new Parameter(zeros([channels]));
    this.gate = gateWith(slope);
  }

  override forward(x: Tensor): Tensor {
    return this.gate(x, this.weight);
  }
}

// Three channels, images from 1 x 1 to 5 x 5. fast-check draws the sizes, the batch, the parameters and the input.
const options = {
  inputShape: [3, [1, 5], [1, 5]],
  outputShape: (input: readonly number[]) => input,
} as const;

console.log("With the derivative of the sigmoid taken to be s:\n");
try {
  checkLayer(() => new ChannelGate(3, (s) => s), options);
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}

console.log("\nWith s · (1 - s), which it is:\n");
checkLayer(() => new ChannelGate(3, (s) => mul(s, sub(1, s))), options);
console.log("ChannelGate has every property that checkLayer knows.");
