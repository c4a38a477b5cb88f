/**
 * Convolution and its two gradients as products over shifted rows (product.ts), image by image.
 *
 * An image is copied once into zeroed scratch memory with its margin, taken apart by the phases of the stride; every
 * tap of the window is then a row of the same memory at another offset. Outputs come out in rows as wide as the
 * padded image, whose surplus columns stay behind when they are copied to their place. A 1x1 convolution without
 * margin or stride reads and writes in place.
 *
 * Letters as in the op: N images, C input channels, H x W input, K output channels, R x S window, P x Q output.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import type { Conv2dAttributes } from "../../loops/conv2d.ts";
import { addressOf, type WasmRuntime } from "../runtime.ts";
import {
  ConvWorkspace,
  floatBytes,
  imageAt,
  isDense,
  type ScratchImage,
  type TapPair,
  tapsOf,
} from "./convWorkspace.ts";
import type { PlaneKernels } from "./planes.ts";
import { type ProductKernels, tileColumns } from "./product.ts";
import { type Sweep, sweeps } from "./sweep.ts";

type ConvKernel = HostKernel<Conv2dAttributes>;

export interface Conv2dKernels {
  readonly conv2d: ConvKernel;
  readonly conv2dInputGradient: ConvKernel;
  readonly conv2dWeightGradient: ConvKernel;
}

/** A 1x1 window without margin or stride on dense planes wide enough for a tile: nothing needs to be copied. */
function readsInPlace(x: HostView, [, , R, S]: readonly number[], a: Conv2dAttributes): boolean {
  const plain = a.stride.every((n) => n === 1) && a.padding.every((margin) => margin === 0);
  return R === 1 && S === 1 && plain && isDense(x) && x.shape[2] * x.shape[3] >= tileColumns;
}

const bytes = ({ strides }: HostView): number[] => strides.map((stride) => floatBytes * stride);

/** The fast kernels; what they do not take (f64, images whose pixels are not in rows) goes to `fallback`. */
export function conv2dKernels(
  runtime: WasmRuntime,
  { product, dots }: ProductKernels,
  planes: PlaneKernels,
  fallback: Conv2dKernels,
): Conv2dKernels {
  const { copyPlanes, clear, addToPlanes } = planes;
  const workspace = new ConvWorkspace(runtime, planes);
  const takes = (views: readonly HostView[], images: readonly HostView[]): boolean =>
    runtime.accepts(views) && images.every(({ shape, strides }) => !shape.includes(0) && strides[3] === 1);

  /** An input image in scratch memory, laid out in phases, and where the row of each tap begins in it. */
  function layoutOf(
    channels: number,
    [vertical, horizontal]: readonly [Sweep, Sweep],
    inPlaceChannel: number | null,
  ) {
    const plane = inPlaceChannel ?? vertical.length * horizontal.length;
    const phases = vertical.stride * horizontal.stride;
    const rowAt = (c: number, { vertical: up, horizontal: across }: TapPair): number =>
      (c * phases + up.phase * horizontal.stride + across.phase) * plane +
      up.shift * horizontal.length +
      across.shift;
    return {
      floats: channels * phases * plane,
      phaseBytes: floatBytes * plane,
      channelBytes: floatBytes * plane * phases,
      rowAt,
    };
  }

  const conv2d: ConvKernel = (inputs, y, attributes) => {
    const [x, weight, bias] = inputs;
    if (!takes([...inputs, y], [x, y])) return fallback.conv2d(inputs, y, attributes);
    const { groups } = attributes;
    const [K, perGroup] = weight.shape;
    const [N, , P, Q] = y.shape;
    const groupRows = K / groups;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [, horizontal] = both;
    const inPlace = readsInPlace(x, weight.shape, attributes);
    const direct = inPlace && isDense(y);
    const width = inPlace ? Q : horizontal.length;
    const columns = Math.max(tileColumns, (P - 1) * width + Q);
    const { floats, phaseBytes, channelBytes, rowAt } = layoutOf(
      perGroup,
      both,
      inPlace ? x.strides[1] : null,
    );
    const [w0, w1, w2, w3] = weight.strides;
    const depth = workspace.writeDepth(
      perGroup,
      tapsOf(...both),
      rowAt,
      (c, { r, s }) => c * w1 + r * w2 + s * w3,
    );
    const image: ScratchImage = {
      address: inPlace ? 0 : workspace.zeroedFloats("image", floats + columns),
      ...{ rowBytes: floatBytes * horizontal.length, phaseBytes, channelBytes },
    };
    const out = direct ? 0 : workspace.floats("rows", groupRows * columns);
    const [, toPlane, toRow, step] = bytes(y);
    for (let g = 0; g < groups; g++) {
      const panels = workspace.packPanels(groupRows, depth, weight, g * groupRows * w0, w0);
      for (let n = 0; n < N; n++) {
        const from = imageAt(x, n, g * perGroup);
        const to = imageAt(y, n, g * groupRows);
        if (!inPlace) workspace.split(x, from, perGroup, both, image);
        const right = inPlace ? from : image.address;
        if (direct) product(panels, groupRows, right, depth.offsets, depth.depth, to, toPlane, columns);
        else {
          const rowBytes = floatBytes * columns;
          product(panels, groupRows, right, depth.offsets, depth.depth, out, rowBytes, columns);
          copyPlanes(
            out,
            rowBytes,
            floatBytes * width,
            floatBytes,
            to,
            toPlane,
            toRow,
            step,
            groupRows,
            P,
            Q,
          );
        }
      }
    }
    if (bias) addBias(y, bias);
  };

  function addBias(y: HostView, bias: HostView): void {
    const [N, K, P, Q] = y.shape;
    const values = workspace.floats("bias", K);
    const copy = workspace.view(values, K);
    for (let k = 0; k < K; k++) copy[k] = bias.data[bias.offset + k * bias.strides[0]];
    const [rows, columns] = isDense(y) ? [1, P * Q] : [P, Q];
    const [, plane, row] = bytes(y);
    for (let n = 0; n < N; n++)
      for (let p = 0; p < rows; p++) addToPlanes(imageAt(y, n, 0) + p * row, plane, K, columns, values);
  }

  /**
   * Every phase of the input is the output gradient convolved with the taps of that phase: position i of the phase
   * was read by a tap at output position i − shift, so the gradient gets a margin as wide as the largest shift.
   */
  const conv2dInputGradient: ConvKernel = (inputs, x, attributes) => {
    const [gradient, weight] = inputs;
    if (!takes([...inputs, x], [gradient, x])) return fallback.conv2dInputGradient(inputs, x, attributes);
    const { groups } = attributes;
    const [N, K, P, Q] = gradient.shape;
    const [, perGroup] = weight.shape;
    const groupRows = K / groups;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [vertical, horizontal] = both;
    const inPlace = readsInPlace(gradient, weight.shape, attributes);
    const direct = inPlace && isDense(x);
    const width = inPlace ? Q : horizontal.length + horizontal.reach;
    const plane = inPlace ? gradient.strides[1] : (vertical.length + vertical.reach) * width;
    const columns = Math.max(tileColumns, (vertical.length - 1) * width + horizontal.length);
    const image = inPlace ? 0 : workspace.zeroedFloats("image", groupRows * plane + columns);
    const corner = image + floatBytes * (vertical.reach * width + horizontal.reach);
    const rows: ScratchImage = {
      address: direct ? 0 : workspace.floats("rows", perGroup * columns),
      ...{ rowBytes: floatBytes * width, phaseBytes: 0, channelBytes: floatBytes * columns },
    };
    const [w0, w1, w2, w3] = weight.strides;
    const [, fromPlane, fromRow, step] = bytes(gradient);
    const [, toPlane] = bytes(x);
    for (let a = 0; a < vertical.stride; a++)
      for (let b = 0; b < horizontal.stride; b++) {
        const taps = tapsOf(vertical, horizontal).filter(
          (t) => t.vertical.phase === a && t.horizontal.phase === b,
        );
        const depth = workspace.writeDepth(
          groupRows,
          taps,
          (k, tap) =>
            k * plane +
            (vertical.reach - tap.vertical.shift) * width +
            (horizontal.reach - tap.horizontal.shift),
          (k, { r, s }) => k * w0 + r * w2 + s * w3,
        );
        for (let g = 0; g < groups; g++) {
          const panels = workspace.packPanels(perGroup, depth, weight, g * groupRows * w0, w1);
          for (let n = 0; n < N; n++) {
            const from = imageAt(gradient, n, g * groupRows);
            const to = imageAt(x, n, g * perGroup);
            if (!inPlace)
              copyPlanes(
                from,
                fromPlane,
                fromRow,
                step,
                corner,
                floatBytes * plane,
                rows.rowBytes,
                floatBytes,
                groupRows,
                P,
                Q,
              );
            const right = inPlace ? from : image;
            const [target, rowBytes] = direct ? [to, toPlane] : [rows.address, rows.channelBytes];
            product(panels, perGroup, right, depth.offsets, depth.depth, target, rowBytes, columns);
            if (!direct) workspace.join(x, to, perGroup, both, [a, b], rows);
          }
        }
      }
  };

  /** Dot products over every image: the output gradient in rows as wide as the padded image, zero in between. */
  const conv2dWeightGradient: ConvKernel = (inputs, weight, attributes) => {
    const [x, gradient] = inputs;
    const packed = weight.strides.every(
      (stride, axis) => stride === elementsOf(weight.shape.slice(axis + 1)),
    );
    if (!packed || !takes([...inputs, weight], [x, gradient]))
      return fallback.conv2dWeightGradient(inputs, weight, attributes);
    const { groups } = attributes;
    const [K, perGroup, R, S] = weight.shape;
    const [N, , P, Q] = gradient.shape;
    const groupRows = K / groups;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [, horizontal] = both;
    const inPlace = readsInPlace(x, weight.shape, attributes) && isDense(gradient);
    const width = inPlace ? Q : horizontal.length;
    const columns = (P - 1) * width + Q;
    const { floats, phaseBytes, channelBytes, rowAt } = layoutOf(
      perGroup,
      both,
      inPlace ? x.strides[1] : null,
    );
    const { offsets, depth } = workspace.writeDepth(perGroup, tapsOf(...both), rowAt);
    const image: ScratchImage = {
      address: inPlace ? 0 : workspace.zeroedFloats("image", floats + columns),
      ...{ rowBytes: floatBytes * width, phaseBytes, channelBytes },
    };
    const rows = inPlace ? 0 : workspace.zeroedFloats("rows", groupRows * columns);
    const masks = laneMasks();
    const [, fromPlane, fromRow, step] = bytes(gradient);
    clear(addressOf(weight), floatBytes * K * perGroup * R * S);
    for (let g = 0; g < groups; g++)
      for (let n = 0; n < N; n++) {
        const source = imageAt(x, n, g * perGroup);
        const from = imageAt(gradient, n, g * groupRows);
        const to = addressOf(weight) + floatBytes * g * groupRows * depth;
        if (inPlace) dots(from, fromPlane, groupRows, source, offsets, depth, to, columns, masks);
        else {
          const rowBytes = floatBytes * columns;
          workspace.split(x, source, perGroup, both, image);
          copyPlanes(
            from,
            fromPlane,
            fromRow,
            step,
            rows,
            rowBytes,
            image.rowBytes,
            floatBytes,
            groupRows,
            P,
            Q,
          );
          dots(rows, rowBytes, groupRows, image.address, offsets, depth, to, columns, masks);
        }
      }
  };

  /** Vectors that keep the first 0, 1, 2 or 3 lanes. */
  function laneMasks(): number {
    const address = workspace.floats("masks", 16);
    const lanes = new Int32Array(runtime.memory.memory.buffer, address, 16);
    for (let i = 0; i < 16; i++) lanes[i] = i % 4 < Math.floor(i / 4) ? -1 : 0;
    return address;
  }

  return { conv2d, conv2dInputGradient, conv2dWeightGradient };
}

const elementsOf = (extents: readonly number[]): number =>
  extents.reduce((total, extent) => total * extent, 1);
