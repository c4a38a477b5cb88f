/** Packs the weights of a product by squares: transforms each window of nine, and puts sixteen results side by side. */
import type { Local, ModuleBuilder } from "../../encoder/index.ts";
import { groupChannels, pixelBytes, transpose } from "./channelsLast.ts";
import { floatBytes } from "./record.ts";
import { squareProductLayout } from "./squareProductPlan.ts";
import { squareSteps } from "./squareTile.ts";
import { bothWays, tileProducts } from "./squareTransforms.ts";

/**
 * (begin, end, scratch, record, weights, resultBytes, channelBytes, isTurned, to): the item is a group of results and
 * one of channels. Windows of nine weights lie `resultBytes` and `channelBytes` apart, and are read from the last to the
 * first with `isTurned`. Packed weights are `[group of results][product][channel][result]`, where channels missing to a
 * multiple of `squareSteps` are zeros.
 */
export function definePackSquares(module: ModuleBuilder): void {
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", record: "i32", weights: "i32" } as const),
    ...({ resultBytes: "i32", channelBytes: "i32", isTurned: "i32", to: "i32" } as const),
  };
  module.func("packSquares", { params }, (f, p) => {
    const { i32, v128, f32x4 } = f;
    const field = (name: (typeof squareProductLayout.fields)[number]) =>
      f.let(squareProductLayout.load(f, p.record, name), name);
    const [channels, results, weightBytes] = (["channels", "results", "weightBytes"] as const).map(field);
    const names = ["item", "channel", "lastChannel", "result", "from", "to", "at"];
    const [item, channel, lastChannel, result, from, to, at] = names.map((name) => f.local("i32", name));
    const froms = [0, 1, 2, 3].map((i) => f.local("i32", `from${i}`));
    const lastResult = f.let(i32.sub(results, 1), "lastResult");
    const channelGroups = f.let(i32.div_u(i32.add(channels, groupChannels - 1), groupChannels));
    const allSteps = f.let(i32.and(i32.add(channels, squareSteps - 1), -squareSteps), "allSteps");
    const half = f.let(f32x4.splat(0.5), "half");
    const transform = ([a, b, c]: readonly Local<"v128">[]) => {
      const outer = f.let(f32x4.mul(f.let(f32x4.add(a, c)), half));
      const inner = f.let(f32x4.mul(b, half));
      return [a, f.let(f32x4.add(outer, inner)), f.let(f32x4.sub(outer, inner)), c];
    };
    const putAll = (values: readonly Local<"v128">[]) => {
      at.set(to);
      for (const value of values) {
        v128.store(at, value);
        at.set(i32.add(at, weightBytes));
      }
    };
    f.forRange(item, p.begin, p.end, 1, () => {
      const group = f.let(i32.div_u(item, channelGroups));
      const first = f.let(i32.mul(i32.rem_u(item, channelGroups), groupChannels));
      lastChannel.set(i32.add(first, groupChannels));
      lastChannel.set(f.select(lastChannel, allSteps, i32.lt_s(lastChannel, allSteps)));
      const place = f.let(
        i32.add(i32.mul(group, i32.mul(weightBytes, tileProducts)), i32.mul(first, pixelBytes)),
      );
      f.forRange(result, 0, groupChannels, 4, () => {
        for (const [i, pointer] of froms.entries()) {
          const member = f.let(i32.add(i32.add(i32.mul(group, groupChannels), result), i));
          const known = f.let(f.select(member, lastResult, i32.lt_s(member, lastResult)));
          pointer.set(i32.add(i32.mul(known, p.resultBytes), i32.mul(first, p.channelBytes)));
          pointer.set(i32.add(p.weights, pointer));
        }
        to.set(i32.add(i32.add(p.to, place), i32.shl(result, 2)));
        from.set(0);
        f.forRange(channel, first, lastChannel, 1, () => {
          f.if(
            i32.lt_s(channel, channels),
            () => {
              const windows = froms.map((pointer) => f.let(i32.add(pointer, from)));
              const quads = [0, 16].map((offset) =>
                transpose(
                  f,
                  windows.map((window) => f.let(v128.load(window, offset))),
                ),
              );
              const lasts = windows.map((window) => f.let(v128.load32_zero(window, 8 * floatBytes)));
              const nine = [...quads.flat(), transpose(f, lasts)[0]];
              const packed = (order: readonly Local<"v128">[]) =>
                putAll(bothWays([order.slice(0, 3), order.slice(3, 6), order.slice(6)], transform).flat());
              f.if(
                p.isTurned,
                () => packed([...nine].reverse()),
                () => packed(nine),
              );
            },
            () => {
              const zero = f.let(f32x4.splat(0));
              putAll(Array.from({ length: tileProducts }, () => zero));
            },
          );
          from.set(i32.add(from, p.channelBytes));
          to.set(i32.add(to, pixelBytes));
        });
      });
    });
  });
}
