/**
 * 3x3 convolutions and their input gradients by Winograd's F(2x2, 3x3): four outputs from a square of 4 x 4 pixels take
 * 16 multiplications and not 36. Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A, where the products of all channels are added up
 * before the last transform, so that each of the sixteen is a matrix product. (Lavin and Gray, Fast Algorithms for
 * Convolutional Neural Networks, 2016, section 4.1.)
 *
 * Channels are last while this goes on (channelsLast.ts): squares of several images follow each other without a gap.
 *
 * The error is at most (C + 16) · 2⁻²⁴ times the same expression with magnitudes instead of values and sums instead of
 * differences; the tests hold it to that. In the mean it is 0.6 times the error of the direct sum, which adds nine times
 * as many products one after the other (32 and 128 channels, 14 x 14 and 28 x 28).
 */
import type { Local, ModuleBuilder } from "../../encoder/index.ts";
import { definePutChannelsFirst, groupChannels, imageLayout, pixelBytes } from "./channelsLast.ts";
import { panelCount, panelHeight } from "./dotBlock.ts";
import { floatBytes } from "./record.ts";
import { blockFields, blockOf, type TransformGroup } from "./squareBlocks.ts";
import { squareProductLayout } from "./squareProductPlan.ts";
import { defineSquareTile, squareSteps } from "./squareTile.ts";
import { defineTransformOutputs, tileProducts } from "./squareTransforms.ts";
import { columnsOf, type TileShape, tileRows } from "./tile.ts";

/**
 * (begin, end, scratch, record, source, weights, target, coefficients): the item is a block of squares, with all
 * results. Scratch memory holds the pixels of a group of channels and later the outputs of a group of results, the
 * transformed squares of all channels, and the sums of a group of results.
 */
export function defineSquareProduct(
  module: ModuleBuilder,
  shape: TileShape,
  squareGroup: TransformGroup,
): void {
  const putChannelsFirst = definePutChannelsFirst(module);
  const transformOutputs = defineTransformOutputs(module);
  const tiles = Array.from({ length: tileRows }, (_, i) => defineSquareTile(module, shape, i + 1));
  const params = {
    ...({ begin: "i32", end: "i32", scratch: "i32", record: "i32", source: "i32" } as const),
    ...({ weights: "i32", target: "i32", coefficients: "i32" } as const),
  };
  module.func("squareProduct", { params }, (f, p) => {
    const { i32 } = f;
    const field = (name: (typeof squareProductLayout.fields)[number]) =>
      f.let(squareProductLayout.load(f, p.record, name), name);
    const [blocks, image, target] = (["blocks", "image", "target"] as const).map(field);
    const [channels, results, squareBytes] = (["channels", "results", "squareBytes"] as const).map(field);
    const [weightBytes, sumBytes] = (["weightBytes", "sumBytes"] as const).map(field);
    const [pixelsBytes, transformedBytes] = (["pixelsBytes", "transformedBytes"] as const).map(field);
    const productBytes = blockFields(f, blocks)("productBytes");
    const squareColumns = blockFields(f, blocks)("squareColumns");
    const [targetImage, targetChannel] = (["image", "channel"] as const).map((name) =>
      f.let(imageLayout.load(f, target, name)),
    );
    const rowBytes = f.let(i32.mul(imageLayout.load(f, target, "columns"), pixelBytes), "rowBytes");
    const pixels = p.scratch;
    const transformed = f.let(i32.add(pixels, pixelsBytes), "transformedPixels");
    const sums = f.let(i32.add(transformed, transformedBytes), "sums");
    const steps = f.let(i32.and(i32.add(channels, squareSteps - 1), -squareSteps), "steps");
    const names = ["block", "channel", "result", "product", "panel", "height", "imageAt"];
    const [block, channel, result, product, panel, height, imageAt] = names.map((name) =>
      f.local("i32", name),
    );
    const [a, c, left, out, packed, from, to] = ["a", "c", "left", "out", "packed", "from", "to"].map(
      (name) => f.local("i32", name),
    );
    const multiply = (squares: Local<"i32">) => {
      left.set(transformed);
      out.set(sums);
      const panels = f.let(panelCount(f, squares), "panels");
      f.forRange(product, 0, tileProducts, 1, () => {
        a.set(left);
        c.set(out);
        f.forRange(panel, 0, panels, 1, () => {
          height.set(panelHeight(f, squares, panels, panel));
          for (const [i, tile] of [...tiles.entries()].reverse())
            f.if(i32.eq(height, i + 1), () => {
              for (let column = 0; column < groupChannels; column += columnsOf(shape)) {
                const offset = floatBytes * column;
                f.call(tile, {
                  ...{ squares: a, squareBytes, steps },
                  weights: i32.add(packed, offset),
                  sums: i32.add(c, offset),
                });
              }
            });
          a.set(i32.add(a, i32.mul(height, squareBytes)));
          c.set(i32.add(c, i32.mul(height, pixelBytes)));
        });
        left.set(i32.add(left, productBytes));
        out.set(i32.add(out, sumBytes));
        packed.set(i32.add(packed, weightBytes));
      });
    };
    f.forRange(block, p.begin, p.end, 1, () => {
      const { images, rows, squares } = blockOf(f, blocks, block);
      f.forRange(channel, 0, channels, groupChannels, () =>
        f.call(squareGroup, {
          ...{ blocks, view: image, block, from: p.source, channel, pixels },
          ...{ to: i32.add(transformed, i32.shl(channel, 2)), coefficients: p.coefficients },
        }),
      );
      packed.set(p.weights);
      f.forRange(result, 0, results, groupChannels, () => {
        multiply(squares);
        f.call(transformOutputs, {
          ...{ from: sums, images: images.count, rows: rows.count, columns: squareColumns, rowBytes },
          ...{ to: pixels, squareBytes: pixelBytes, productBytes: sumBytes },
        });
        from.set(pixels);
        to.set(i32.add(p.target, i32.mul(result, targetChannel)));
        to.set(i32.add(to, i32.mul(images.first, targetImage)));
        f.forRange(imageAt, 0, images.count, 1, () => {
          f.call(putChannelsFirst, {
            ...{ view: target, to, channels: i32.sub(results, result) },
            ...{ firstRow: i32.shl(rows.first, 1), rows: i32.shl(rows.count, 1), from },
          });
          from.set(i32.add(from, i32.mul(i32.shl(rows.count, 1), rowBytes)));
          to.set(i32.add(to, targetImage));
        });
      });
    });
  });
}
