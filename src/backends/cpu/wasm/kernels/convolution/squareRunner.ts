/** Runs 3x3 convolutions by squares: keeps their module, and deals blocks and items out to threads. */
import type { HostView } from "../../../../backend.ts";
import { ModuleBuilder } from "../../encoder/index.ts";
import { addressOf, grainOf, type WasmFunction, type WasmRuntime } from "../../runtime.ts";
import { definePutChannelsLast, groupChannels } from "./channelsLast.ts";
import { defineTransformGroup, groupsOf } from "./squareBlocks.ts";
import { definePackSquares } from "./squarePanels.ts";
import { defineSquareProduct } from "./squareProduct.ts";
import type { SquareProductPlan } from "./squareProductPlan.ts";
import { defineTransformPixels, tileProducts } from "./squareTransforms.ts";
import { defineSquareWeights } from "./squareWeights.ts";
import type { SquareWeightsPlan } from "./squareWeightsPlan.ts";
import type { TileShape } from "./tile.ts";
import { alignedBytes, defineAddParts, inParts } from "./weightParts.ts";

/** One multiply-add, and one transformed float, of one thread at its best: for telling what is worth sharing. */
const [multiplyNanoseconds, transformNanoseconds] = [0.02, 0.2];

export class SquareRunner {
  readonly #runtime: WasmRuntime;
  readonly #shape: TileShape;
  #compiled: Readonly<Record<string, WasmFunction>> | undefined;

  constructor(runtime: WasmRuntime, shape: TileShape) {
    this.#runtime = runtime;
    this.#shape = shape;
  }

  #functions(): Readonly<Record<string, WasmFunction>> {
    if (this.#compiled) return this.#compiled;
    const module = new ModuleBuilder("convolution by squares");
    this.#runtime.importMemory(module);
    const putChannelsLast = definePutChannelsLast(module, this.#shape);
    const transformPixels = defineTransformPixels(module);
    const squareGroup = defineTransformGroup(
      ...([module, "squareGroup", { side: 2, margin: 2 }, putChannelsLast, transformPixels] as const),
    );
    defineSquareWeights(module, this.#shape, putChannelsLast, squareGroup);
    defineAddParts(module);
    definePackSquares(module);
    defineSquareProduct(module, this.#shape, squareGroup);
    this.#compiled = this.#runtime.instantiate(module);
    return this.#compiled;
  }

  /** Writes a product to `target`, whose results' weights lie `resultBytes` apart. */
  multiply(
    plan: SquareProductPlan,
    source: HostView,
    weight: HostView,
    resultBytes: number,
    target: number,
    coefficients: number,
  ): void {
    const { record, channels, results, weightBytes, channelBytes, isTurned } = plan;
    const { blocks, squares } = plan.blocks;
    const { packSquares, squareProduct } = this.#functions();
    const groups = groupsOf(results);
    const packed = this.#runtime.scratch("conv2d panels", groups * tileProducts * weightBytes);
    this.#runtime.forRange(
      packSquares,
      groups * groupsOf(channels),
      [record, addressOf(weight), resultBytes, channelBytes, isTurned ? 1 : 0, packed],
      { grain: grainOf(transformNanoseconds * groupChannels ** 2 * tileProducts) },
    );
    this.#runtime.forRange(squareProduct, blocks, [record, addressOf(source), packed, target, coefficients], {
      scratchBytes: plan.scratchBytes,
      grain: grainOf(multiplyNanoseconds * squares * channels * results * tileProducts),
    });
  }

  /** Writes the gradient of the weight for `x`, or what `coefficients` make of it. */
  weightGradient(
    plan: SquareWeightsPlan,
    x: HostView,
    gradient: HostView,
    weight: HostView,
    coefficients: number,
  ): void {
    const { record, blocksAtOnce, filterGroups, slotBytes, parts } = plan;
    const { blocks, squares } = plan.blocks;
    const { transformGradients, squareWeights, squareWeightParts, addParts } = this.#functions();
    if (parts > 1) {
      const [sumBytes, transformedBytes] = [plan.sumsBytes, slotBytes].map(alignedBytes);
      inParts(this.#runtime, addParts, parts, weight, (weights, partBytes) => {
        const images = [plan.image, plan.gradient, addressOf(x), addressOf(gradient)];
        const sizes = [plan.items, blocks, plan.stepsPerPart, sumBytes, transformedBytes, partBytes];
        const itemBytes = Math.max(plan.scratchBytes, plan.gradientScratchBytes);
        this.#runtime.forRange(
          squareWeightParts,
          parts,
          [record, ...images, weights, coefficients, ...sizes],
          {
            scratchBytes: sumBytes + transformedBytes + itemBytes,
          },
        );
      });
      return;
    }
    const transformed = this.#runtime.scratch("conv2d gradient", blocksAtOnce * slotBytes);
    const sums = this.#runtime.scratch("conv2d sums", plan.sumsBytes);
    const operands = [record, plan.image, addressOf(x), transformed, sums, addressOf(weight), coefficients];
    const ofBlock = groupChannels * squares * plan.products;
    const multiplies = (groupChannels * ofBlock * filterGroups * plan.channelGroups) / plan.items;
    for (let first = 0; first < blocks; first += blocksAtOnce) {
      const last = Math.min(blocks, first + blocksAtOnce);
      this.#runtime.forRange(
        transformGradients,
        (last - first) * filterGroups,
        [record, plan.gradient, addressOf(gradient), transformed, first],
        { scratchBytes: plan.gradientScratchBytes, grain: grainOf(transformNanoseconds * ofBlock) },
      );
      this.#runtime.forRange(squareWeights, plan.items, [...operands, first, last, 0, blocks], {
        scratchBytes: plan.scratchBytes,
        grain: grainOf(multiplyNanoseconds * multiplies * (last - first)),
      });
    }
  }
}
