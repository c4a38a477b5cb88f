/**
 * fast-check arbitraries for tensors: shapes, values, memory layouts, convolution parameters, seeds. All shrink
 * towards few axes, extent 1, the value 0 (or the simplest of the domain), and the contiguous layout.
 */
import fc from "fast-check";
import type { Domain } from "../autograd/defineOp.ts";
import type { DType } from "../backends/dtype.ts";
import { type Shape, sizeOf } from "../tensor/layout.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { contiguousPlan, drawLayout, placeValues } from "./layouts.ts";
import { choices, sampleSource } from "./sampleSource.ts";
import { largestCode, valuesOf } from "./values.ts";

export interface ShapeOptions {
  /** Default 0. */
  readonly minRank?: number;
  /** Default 4. */
  readonly maxRank?: number;
  /** Default 1; 0 draws empty tensors too. */
  readonly minExtent?: number;
  /** Default 5. */
  readonly maxExtent?: number;
}

/** Shapes. */
export function shapes({
  minRank = 0,
  maxRank = 4,
  minExtent = 1,
  maxExtent = 5,
}: ShapeOptions = {}): fc.Arbitrary<number[]> {
  return fc.array(fc.integer({ min: minExtent, max: maxExtent }), { minLength: minRank, maxLength: maxRank });
}

export interface TensorOptions {
  /** Where the values may lie. Default: any real number, between -3.3 and 3.3. */
  readonly domain?: Domain;
  /** Default "f32". */
  readonly dtype?: DType;
  /** Default false. */
  readonly requiresGrad?: boolean;
}

/** Contiguous tensors of a fixed shape, or of a shape drawn first. */
export function tensors(
  shape: Shape | fc.Arbitrary<Shape>,
  { domain = { kind: "real" }, dtype = "f32", requiresGrad = false }: TensorOptions = {},
): fc.Arbitrary<Tensor> {
  if (shape instanceof fc.Arbitrary)
    return shape.chain((drawn) => tensors(drawn, { domain, dtype, requiresGrad }));
  const size = sizeOf(shape);
  return fc.array(fc.nat(largestCode), { minLength: size, maxLength: size }).map((codes) => {
    const x = placeValues(valuesOf(codes, domain, dtype), shape, dtype, contiguousPlan(shape.length));
    if (requiresGrad) x.requiresGrad = true;
    return x;
  });
}

export interface LayoutOptions {
  /** Let some axes repeat one slice with stride 0, as after `expand`; the values then differ from x's. Default false. */
  readonly repeat?: boolean;
}

/** The tensor `x` copied into other layouts: with gaps, an offset, and axes in another order in memory. */
export function layouts(x: Tensor, { repeat = false }: LayoutOptions = {}): fc.Arbitrary<Tensor> {
  return choices().map((list) =>
    placeValues(x.dataSync(), x.shape, x.dtype, drawLayout(sampleSource(list), x.rank, repeat), x.backend),
  );
}

/** Shapes and settings for which a two-dimensional convolution has an output. */
export interface Conv2dParameters {
  /** [N, C, H, W] */
  readonly input: readonly number[];
  /** [K, C / groups, R, S] */
  readonly weight: readonly number[];
  readonly stride: readonly [vertical: number, horizontal: number];
  readonly padding: readonly [top: number, bottom: number, left: number, right: number];
  readonly dilation: readonly [vertical: number, horizontal: number];
  readonly groups: number;
}

/** Consistent convolution parameters: any stride, dilation, uneven padding and groups that fit the shapes. */
export function conv2dParameters(): fc.Arbitrary<Conv2dParameters> {
  const upTo = (max: number, min = 1) => fc.integer({ min, max });
  return fc
    .record({
      images: upTo(3),
      groups: upTo(3),
      inputChannelsPerGroup: upTo(3),
      outputChannelsPerGroup: upTo(3),
      kernel: fc.tuple(upTo(3), upTo(3)),
      stride: fc.tuple(upTo(3), upTo(3)),
      dilation: fc.tuple(upTo(2), upTo(2)),
      padding: fc.tuple(upTo(2, 0), upTo(2, 0), upTo(2, 0), upTo(2, 0)),
      // Beyond the smallest input that the window fits into.
      extraRows: upTo(5, 0),
      extraColumns: upTo(5, 0),
    })
    .map((drawn) => {
      const { images, groups, kernel, stride, dilation, padding } = drawn;
      const [top, bottom, left, right] = padding;
      const smallest = (axis: 0 | 1, margin: number) =>
        Math.max(1, dilation[axis] * (kernel[axis] - 1) + 1 - margin);
      const height = smallest(0, top + bottom) + drawn.extraRows;
      const width = smallest(1, left + right) + drawn.extraColumns;
      return {
        input: [images, groups * drawn.inputChannelsPerGroup, height, width],
        weight: [groups * drawn.outputChannelsPerGroup, drawn.inputChannelsPerGroup, ...kernel],
        stride,
        padding,
        dilation,
        groups,
      };
    });
}

/** Seeds for `manualSeed` and generators. */
export function seeds(): fc.Arbitrary<number> {
  return fc.nat(9999);
}
