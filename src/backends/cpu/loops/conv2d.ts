/**
 * Two-dimensional convolution and its two gradients, each as matrix products over offset tables.
 *
 * The usual im2col matrix is never written: the table of window positions plus the table of taps address the (padded)
 * images directly, and gemm.ts copies four columns at a time while it multiplies. Letters as in the op: N images,
 * C input channels, H x W input, K output channels, R x S taps, P x Q output.
 *
 * Padding holds zeros that take part in the product, so an infinite weight over padding gives NaN. In the input
 * gradient the same is true of the outputs that pixels near the edge would have had.
 *
 * Measured on Node 20, one thread, f32, batch 32 of 14 x 14: 1 x 1 of 16 to 48 channels to 16, and 3 x 3 of 16 or 32
 * to 8, run at 3.6 to 4.5 GFLOP/s in all three kernels; depthwise 3 x 3, which has no product to speak of, at 1.0
 * (0.5 before rows had a loop of their own). Padding into doubles instead of the input's dtype gained nothing.
 */
import type { HostView } from "../../backend.ts";
import type { TypedArray } from "../../dtype.ts";
import { type AxisPhase, axisPhases, phaseReach } from "./convPhases.ts";
import { multiply, packPanels, panelLength, type TableMatrix, zeros } from "./gemm.ts";
import { stripLength } from "./gemmTile.ts";
import { fillOffsets } from "./offsets.ts";
import { padImages } from "./padImages.ts";
import { createWorkspace } from "./workspace.ts";

export interface Conv2dAttributes {
  readonly stride: readonly [number, number];
  /** Rows and columns of zeros at the top, bottom, left, right. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

/**
 * Columns of a product worth having: images are taken together until there are as many. Small maps would otherwise
 * spend their time on the margins of tiles, large blocks of images on second-level cache misses.
 */
const columnsPerBlock = 512;

const panelWorkspace = createWorkspace((length) => new Float64Array(length));
const sumWorkspace = createWorkspace((length) => new Float64Array(length));
const tables = Array.from({ length: 6 }, () => createWorkspace((length) => new Int32Array(length)));

function table(slot: number, shape: readonly number[], strides: readonly number[], base = 0): Int32Array {
  const filled = tables[slot](shape.reduce((product, extent) => product * extent, 1) || 1);
  fillOffsets(filled, base, shape, strides);
  return filled;
}

function matrix(data: TypedArray, offset: number, rows: Int32Array, columns: Int32Array): TableMatrix {
  return { data, offset, rows, columns };
}

function imagesPerBlock(images: number, columnsPerImage: number): number {
  return Math.max(1, Math.min(images, Math.ceil(columnsPerBlock / Math.max(1, columnsPerImage))));
}

/** Sets [N, C, H, W] `view` to `values[c]`, or to zero. */
function fillChannels({ data, shape, strides, offset }: HostView, values?: HostView): void {
  const [N, C, H, W] = shape;
  for (let n = 0; n < N; n++) {
    for (let c = 0; c < C; c++) {
      const value = values ? values.data[values.offset + c * values.strides[0]] : 0;
      const plane = offset + n * strides[0] + c * strides[1];
      for (let h = 0; h < H; h++) {
        for (let w = 0, at = plane + h * strides[2]; w < W; w++, at += strides[3]) data[at] = value;
      }
    }
  }
}

function biasOf({ data, offset, strides }: HostView, first: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => data[offset + (first + i) * strides[0]]);
}

/** x [N, C, H, W], weight [K, C/groups, R, S], optional bias [K] -> [N, K, P, Q]. */
export function conv2d(inputs: readonly HostView[], output: HostView, attributes: Conv2dAttributes): void {
  const [x, weight] = inputs;
  const bias = inputs.length > 2 ? inputs[2] : undefined;
  const { stride, padding, dilation, groups } = attributes;
  const [N, K, P, Q] = output.shape;
  const [, groupChannels, R, S] = weight.shape;
  const rows = K / groups;
  const depth = groupChannels * R * S;
  if (N * K * P * Q === 0) return;
  if (depth === 0) {
    fillChannels(output, bias);
    return;
  }

  const panelSize = panelLength(rows, depth);
  const panels = panelWorkspace(stripLength + panelSize * groups);
  const [wK, wC, wR, wS] = weight.strides;
  const weightRows = table(0, [rows], [wK]);
  const weightColumns = table(1, [groupChannels, R, S], [wC, wR, wS]);
  for (let g = 0; g < groups; g++) {
    const a = matrix(weight.data, weight.offset + g * rows * wK, weightRows, weightColumns);
    packPanels(panels, stripLength + g * panelSize, a, rows, depth);
  }

  const block = imagesPerBlock(N, P * Q);
  const source = padImages(x, padding, block);
  const [sN, sC, sH, sW] = source.strides;
  const [oN, oK, oP, oQ] = output.strides;
  const taps = table(2, [groupChannels, R, S], [sC, dilation[0] * sH, dilation[1] * sW]);
  const windows = table(3, [block, P, Q], [sN, stride[0] * sH, stride[1] * sW]);
  const outputRows = table(4, [rows], [oK]);
  const outputColumns = table(5, [block, P, Q], [oN, oP, oQ]);
  const initial = Array.from({ length: groups }, (_, g) =>
    bias ? biasOf(bias, g * rows, rows) : zeros(rows),
  );
  for (let n = 0; n < N; n += block) {
    const images = Math.min(block, N - n);
    const sourceOffset = source.load(n, images);
    for (let g = 0; g < groups; g++) {
      const b = matrix(source.data, sourceOffset + g * groupChannels * sC, taps, windows);
      const c = matrix(output.data, output.offset + n * oN + g * rows * oK, outputRows, outputColumns);
      multiply(panels, stripLength + g * panelSize, b, c, rows, images * P * Q, depth, initial[g]);
    }
  }
}

/**
 * grad [N, K, P, Q], weight [K, C/groups, R, S] -> [N, C, H, W].
 *
 * Pixels are split into stride[0] x stride[1] phases (see convPhases.ts): all pixels of one phase meet the same taps,
 * so each phase is a dense convolution of the output gradient and no multiplication by an inserted zero is done.
 */
export function conv2dInputGradient(
  inputs: readonly HostView[],
  output: HostView,
  attributes: Conv2dAttributes,
): void {
  const [grad, weight] = inputs;
  const { stride, padding, dilation, groups } = attributes;
  const [N, C, H, W] = output.shape;
  const [, K, P, Q] = grad.shape;
  const [, , R, S] = weight.shape;
  const rows = C / groups;
  const groupOutputs = K / groups;
  if (N * C * H * W === 0) return;
  const rowPhases = axisPhases(H, R, stride[0], padding[0], dilation[0]);
  const columnPhases = axisPhases(W, S, stride[1], padding[2], dilation[1]);
  const pairs = rowPhases.flatMap((row) =>
    columnPhases.map((column) => ({ row, column, start: 0, size: 0 })),
  );
  // Pixels that no window reaches belong to no phase.
  const complete = K * P * Q > 0 && pairs.length === Math.min(stride[0], H) * Math.min(stride[1], W);
  if (!complete) fillChannels(output);
  if (K * P * Q === 0) return;
  let panelsEnd = stripLength;
  for (const pair of pairs) {
    pair.start = panelsEnd;
    pair.size = panelLength(rows, groupOutputs * pair.row.taps * pair.column.taps);
    panelsEnd += pair.size * groups;
  }
  const panels = panelWorkspace(panelsEnd);
  const [wK, wC, wR, wS] = weight.strides;
  const weightRows = table(0, [rows], [wC]);
  for (const { row, column, start, size } of pairs) {
    const shape = [groupOutputs, row.taps, column.taps];
    const base = row.firstTap * wR + column.firstTap * wS;
    const weightColumns = table(1, shape, [wK, row.tapStep * wR, column.tapStep * wS], base);
    for (let g = 0; g < groups; g++) {
      const a = matrix(weight.data, weight.offset + g * groupOutputs * wK, weightRows, weightColumns);
      packPanels(panels, start + g * size, a, rows, shape[0] * shape[1] * shape[2]);
    }
  }

  const block = imagesPerBlock(N, Math.ceil(H / stride[0]) * Math.ceil(W / stride[1]));
  const [top, bottom] = phaseReach(rowPhases, P);
  const [left, right] = phaseReach(columnPhases, Q);
  const source = padImages(grad, [top, bottom, left, right], block);
  const [sN, sK, sP, sQ] = source.strides;
  const [oN, oC, oH, oW] = output.strides;
  const outputRows = table(4, [rows], [oC]);
  for (let n = 0; n < N; n += block) {
    const images = Math.min(block, N - n);
    const sourceOffset = source.load(n, images) + top * sP + left * sQ;
    for (const { row, column, start, size } of pairs) {
      const taps = phaseTaps(row, column, groupOutputs, sK, sP, sQ);
      const pixels = [images, row.count, column.count];
      const sourceColumns = table(3, pixels, [sN, sP, sQ]);
      const outputColumns = table(5, pixels, [oN, stride[0] * oH, stride[1] * oW]);
      const outputOffset = output.offset + n * oN + row.first * oH + column.first * oW;
      const depth = groupOutputs * row.taps * column.taps;
      for (let g = 0; g < groups; g++) {
        const b = matrix(source.data, sourceOffset + g * groupOutputs * sK, taps, sourceColumns);
        const c = matrix(output.data, outputOffset + g * rows * oC, outputRows, outputColumns);
        multiply(panels, start + g * size, b, c, rows, images * row.count * column.count, depth, zeros(rows));
      }
    }
  }
}

function phaseTaps(
  row: AxisPhase,
  column: AxisPhase,
  channels: number,
  channelStride: number,
  rowStride: number,
  columnStride: number,
): Int32Array {
  const shape = [channels, row.taps, column.taps];
  const base = row.firstOutput * rowStride + column.firstOutput * columnStride;
  return table(
    2,
    shape,
    [channelStride, -row.outputStep * rowStride, -column.outputStep * columnStride],
    base,
  );
}

/**
 * x [N, C, H, W], grad [N, K, P, Q] -> [K, C/groups, R, S].
 * Sums over the batch are carried in double precision and rounded once.
 */
export function conv2dWeightGradient(
  inputs: readonly HostView[],
  output: HostView,
  attributes: Conv2dAttributes,
): void {
  const [x, grad] = inputs;
  const { stride, padding, dilation, groups } = attributes;
  const [N, K, P, Q] = grad.shape;
  const [, groupChannels, R, S] = output.shape;
  const rows = K / groups;
  const columns = groupChannels * R * S;
  if (K * columns === 0) return;
  const sums = sumWorkspace(K * columns);
  sums.fill(0, 0, K * columns);

  const block = imagesPerBlock(N, P * Q);
  const source = padImages(x, padding, block);
  const [sN, sC, sH, sW] = source.strides;
  const [gN, gK, gP, gQ] = grad.strides;
  const gradRows = table(0, [rows], [gK]);
  const gradColumns = table(1, [block, P, Q], [gN, gP, gQ]);
  const windows = table(2, [block, P, Q], [sN, stride[0] * sH, stride[1] * sW]);
  const taps = table(3, [groupChannels, R, S], [sC, dilation[0] * sH, dilation[1] * sW]);
  const sumRows = table(4, [rows], [columns]);
  const sumColumns = table(5, [columns], [1]);
  const panels = panelWorkspace(stripLength + panelLength(rows, block * P * Q));
  for (let n = 0; n < N && P * Q > 0; n += block) {
    const images = Math.min(block, N - n);
    const depth = images * P * Q;
    const sourceOffset = source.load(n, images);
    for (let g = 0; g < groups; g++) {
      const a = matrix(grad.data, grad.offset + n * gN + g * rows * gK, gradRows, gradColumns);
      const b = matrix(source.data, sourceOffset + g * groupChannels * sC, windows, taps);
      const c = matrix(sums, g * rows * columns, sumRows, sumColumns);
      packPanels(panels, stripLength, a, rows, depth);
      multiply(panels, stripLength, b, c, rows, columns, depth);
    }
  }

  const [oK, oC, oR, oS] = output.strides;
  const outputColumns = table(3, [groupChannels, R, S], [oC, oR, oS]);
  for (let k = 0; k < K; k++) {
    const at = output.offset + k * oK;
    for (let i = 0; i < columns; i++) output.data[at + outputColumns[i]] = sums[k * columns + i];
  }
}
