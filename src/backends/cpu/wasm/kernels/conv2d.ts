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
import type { PlaneKernels } from "./planes.ts";
import { type ProductKernels, tileColumns, tileRows } from "./product.ts";
import { type Sweep, stretchOf, sweeps, type Tap } from "./sweep.ts";

const floatBytes = 4;

type ConvKernel = HostKernel<Conv2dAttributes>;

export interface Conv2dKernels {
  readonly conv2d: ConvKernel;
  readonly conv2dInputGradient: ConvKernel;
  readonly conv2dWeightGradient: ConvKernel;
}

/** Pixels of a channel follow each other without a gap. */
const isDense = ({ shape, strides }: HostView): boolean =>
  strides[3] === 1 && (shape[2] === 1 || strides[2] === shape[3]);

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** The fast kernels; what they do not take (f64, images whose pixels are not in rows) goes to `fallback`. */
export function conv2dKernels(
  runtime: WasmRuntime,
  { product, dots }: ProductKernels,
  { copyPlanes, clear, addToPlanes }: PlaneKernels,
  fallback: Conv2dKernels,
): Conv2dKernels {
  const scratch = (name: string, floats: number): number =>
    runtime.scratch(`conv2d ${name}`, floatBytes * floats);
  const floatsAt = (address: number, length: number) =>
    new Float32Array(runtime.memory.memory.buffer, address, length);
  const imageAt = (view: HostView, n: number, channel: number): number =>
    addressOf(view) + floatBytes * (n * view.strides[0] + channel * view.strides[1]);
  const takes = (views: readonly HostView[], images: readonly HostView[]): boolean =>
    runtime.accepts(views) && images.every(({ shape, strides }) => !shape.includes(0) && strides[3] === 1);

  function writeOffsets(offsets: readonly number[]): number {
    const address = scratch("offsets", offsets.length);
    new Int32Array(runtime.memory.memory.buffer, address, offsets.length).set(offsets);
    return address;
  }

  /** Packs a matrix into panels of tileRows rows, each `[depth][rows of the panel]`. */
  function packPanels(rows: number, depth: number, value: (row: number, k: number) => number): number {
    const address = scratch("panels", rows * depth);
    const panels = floatsAt(address, rows * depth);
    let at = 0;
    for (let first = 0; first < rows; first += tileRows) {
      const height = Math.min(tileRows, rows - first);
      for (let k = 0; k < depth; k++) for (let r = 0; r < height; r++) panels[at++] = value(first + r, k);
    }
    return address;
  }

  /** Between an image and its phases: `[C][phases][length][length]` from scratch address `phases` on. */
  function movePhases(
    direction: "split" | "join",
    view: HostView,
    image: number,
    channels: number,
    [vertical, horizontal]: readonly [Sweep, Sweep],
    phases: {
      readonly address: number;
      readonly rowBytes: number;
      readonly planeBytes: number;
      readonly pitch: number;
    },
    only?: readonly [number, number],
  ): void {
    const [, plane, row, step] = view.strides.map((stride) => floatBytes * stride);
    for (const a of only ? [only[0]] : numbers(vertical.stride))
      for (const b of only ? [only[1]] : numbers(horizontal.stride)) {
        const [up, across] = [stretchOf(vertical, a), stretchOf(horizontal, b)];
        const index = only ? 0 : a * horizontal.stride + b;
        const outside = [
          image + up.first * row + across.first * step,
          plane,
          row * vertical.stride,
          step * horizontal.stride,
        ];
        const inside = [
          phases.address + index * phases.planeBytes + up.start * phases.rowBytes + across.start * floatBytes,
          phases.pitch,
          phases.rowBytes,
          floatBytes,
        ];
        const ends = direction === "split" ? [...outside, ...inside] : [...inside, ...outside];
        copyPlanes(...ends, channels, up.count, across.count);
      }
  }

  const conv2d: ConvKernel = (inputs, y, attributes) => {
    const [x, weight, bias] = inputs;
    if (!takes([...inputs, y], [x, y])) return fallback.conv2d(inputs, y, attributes);
    const { groups } = attributes;
    const [N, C] = x.shape;
    const [K, perGroup, R, S] = weight.shape;
    const [, , P, Q] = y.shape;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [vertical, horizontal] = both;
    const inPlace = readsInPlace(x, weight.shape, attributes);
    const plane = inPlace ? x.strides[1] : vertical.length * horizontal.length;
    const phases = vertical.stride * horizontal.stride;
    const columns = Math.max(tileColumns, inPlace ? P * Q : (P - 1) * horizontal.length + Q);
    const direct = inPlace && isDense(y);
    const offsets = writeOffsets(
      numbers(perGroup).flatMap((c) =>
        eachTap(vertical, horizontal).map(
          ([r, s]) =>
            floatBytes *
            ((c * phases + phaseOf(r, s, horizontal)) * plane + r.shift * horizontal.length + s.shift),
        ),
      ),
    );
    const depth = perGroup * R * S;
    const groupRows = K / groups;
    const [w0, w1, w2, w3] = weight.strides;
    const image = inPlace ? 0 : scratch("image", C * phases * plane + columns);
    if (!inPlace) clear(image, floatBytes * (C * phases * plane + columns));
    const out = direct ? 0 : scratch("rows", groupRows * columns);
    const layout = {
      address: image,
      rowBytes: floatBytes * horizontal.length,
      planeBytes: floatBytes * plane,
      pitch: floatBytes * plane * phases,
    };
    for (let g = 0; g < groups; g++) {
      const panels = packPanels(groupRows, depth, (row, k) => {
        const [c, tap] = [Math.floor(k / (R * S)), k % (R * S)];
        const at = (g * groupRows + row) * w0 + c * w1 + Math.floor(tap / S) * w2 + (tap % S) * w3;
        return weight.data[weight.offset + at];
      });
      for (let n = 0; n < N; n++) {
        if (!inPlace) movePhases("split", x, imageAt(x, n, g * perGroup), perGroup, both, layout);
        const from = inPlace ? imageAt(x, n, g * perGroup) : image;
        const to = imageAt(y, n, g * groupRows);
        if (direct) product(panels, groupRows, from, offsets, depth, to, floatBytes * y.strides[1], columns);
        else {
          product(panels, groupRows, from, offsets, depth, out, floatBytes * columns, columns);
          const width = inPlace ? Q : horizontal.length;
          const [, toPlane, toRow, step] = y.strides.map((stride) => floatBytes * stride);
          copyPlanes(
            out,
            floatBytes * columns,
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
    const values = scratch("bias", K);
    const copy = floatsAt(values, K);
    for (let k = 0; k < K; k++) copy[k] = bias.data[bias.offset + k * bias.strides[0]];
    for (let n = 0; n < N; n++)
      for (let p = 0; p < (isDense(y) ? 1 : P); p++)
        addToPlanes(
          imageAt(y, n, 0) + floatBytes * p * y.strides[2],
          floatBytes * y.strides[1],
          K,
          isDense(y) ? P * Q : Q,
          values,
        );
  }

  /**
   * Every phase of the input is the output gradient convolved with the taps of that phase: row i of the phase is
   * read by tap r at output row i − shift(r).
   */
  const conv2dInputGradient: ConvKernel = (inputs, x, attributes) => {
    const [gradient, weight] = inputs;
    if (!takes([...inputs, x], [gradient, x])) return fallback.conv2dInputGradient(inputs, x, attributes);
    const { groups } = attributes;
    const [N, K, P, Q] = gradient.shape;
    const [, perGroup] = weight.shape;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [vertical, horizontal] = both;
    const groupRows = K / groups;
    const inPlace = readsInPlace(gradient, weight.shape, attributes);
    // The gradient with a margin as wide as the largest shift, so that every i − shift exists.
    const width = horizontal.length + horizontal.reach;
    const height = vertical.length + vertical.reach;
    const plane = inPlace ? gradient.strides[1] : height * width;
    const columns = Math.max(
      tileColumns,
      inPlace ? P * Q : (vertical.length - 1) * width + horizontal.length,
    );
    const direct = inPlace && isDense(x);
    const image = inPlace ? 0 : scratch("image", groupRows * plane + columns);
    if (!inPlace) clear(image, floatBytes * (groupRows * plane + columns));
    const out = direct ? 0 : scratch("rows", perGroup * columns);
    const [w0, w1, w2, w3] = weight.strides;
    const rowsOf = (view: HostView) => view.strides.map((stride) => floatBytes * stride);
    for (let g = 0; g < groups; g++)
      for (const a of numbers(vertical.stride))
        for (const b of numbers(horizontal.stride)) {
          const taps = eachTapIndex(vertical, horizontal).filter(
            ([r, s]) => vertical.taps[r].phase === a && horizontal.taps[s].phase === b,
          );
          const depth = groupRows * taps.length;
          const offsets = writeOffsets(
            numbers(groupRows).flatMap((k) =>
              taps.map(
                ([r, s]) =>
                  floatBytes *
                  (k * plane +
                    (vertical.reach - vertical.taps[r].shift) * width +
                    horizontal.reach -
                    horizontal.taps[s].shift),
              ),
            ),
          );
          const panels = packPanels(perGroup, depth, (c, k) => {
            const [r, s] = taps[k % taps.length];
            const at = (g * groupRows + Math.floor(k / taps.length)) * w0 + c * w1 + r * w2 + s * w3;
            return weight.data[weight.offset + at];
          });
          for (let n = 0; n < N; n++) {
            const from = imageAt(gradient, n, g * groupRows);
            const to = imageAt(x, n, g * perGroup);
            if (direct) {
              product(panels, perGroup, from, offsets, depth, to, floatBytes * x.strides[1], columns);
              continue;
            }
            if (!inPlace) {
              const [, fromPlane, fromRow, step] = rowsOf(gradient);
              const corner = image + floatBytes * (vertical.reach * width + horizontal.reach);
              copyPlanes(
                from,
                fromPlane,
                fromRow,
                step,
                corner,
                floatBytes * plane,
                floatBytes * width,
                floatBytes,
                groupRows,
                P,
                Q,
              );
            }
            product(
              panels,
              perGroup,
              inPlace ? from : image,
              offsets,
              depth,
              out,
              floatBytes * columns,
              columns,
            );
            const rowBytes = floatBytes * (inPlace ? Q : width);
            const layout = { address: out, rowBytes, planeBytes: 0, pitch: floatBytes * columns };
            movePhases("join", x, to, perGroup, both, layout, [a, b]);
          }
        }
  };

  /** dots over every image: the output gradient in rows as wide as the padded image, zero in the surplus columns. */
  const conv2dWeightGradient: ConvKernel = (inputs, weight, attributes) => {
    const [x, gradient] = inputs;
    const dense = weight.strides.every(
      (stride, axis) => stride === weight.shape.slice(axis + 1).reduce((a, n) => a * n, 1),
    );
    if (!dense || !takes([...inputs, weight], [x, gradient]))
      return fallback.conv2dWeightGradient(inputs, weight, attributes);
    const { groups } = attributes;
    const [N] = x.shape;
    const [K, perGroup, R, S] = weight.shape;
    const [, , P, Q] = gradient.shape;
    const both = sweeps(x.shape, weight.shape, attributes);
    const [vertical, horizontal] = both;
    const phases = vertical.stride * horizontal.stride;
    const inPlace = readsInPlace(x, weight.shape, attributes) && isDense(gradient);
    const plane = inPlace ? x.strides[1] : vertical.length * horizontal.length;
    const columns = inPlace ? P * Q : (P - 1) * horizontal.length + Q;
    const groupRows = K / groups;
    const depth = perGroup * R * S;
    const offsets = writeOffsets(
      numbers(perGroup).flatMap((c) =>
        eachTap(vertical, horizontal).map(
          ([r, s]) =>
            floatBytes *
            ((c * phases + phaseOf(r, s, horizontal)) * plane + r.shift * horizontal.length + s.shift),
        ),
      ),
    );
    const image = inPlace ? 0 : scratch("image", perGroup * phases * plane + columns);
    if (!inPlace) clear(image, floatBytes * (perGroup * phases * plane + columns));
    const rows = inPlace ? 0 : scratch("rows", groupRows * columns);
    if (!inPlace) clear(rows, floatBytes * groupRows * columns);
    const layout = {
      address: image,
      rowBytes: floatBytes * horizontal.length,
      planeBytes: floatBytes * plane,
      pitch: floatBytes * plane * phases,
    };
    const masks = laneMasks();
    clear(addressOf(weight), floatBytes * K * depth);
    for (let g = 0; g < groups; g++)
      for (let n = 0; n < N; n++) {
        const [from, to] = [
          imageAt(gradient, n, g * groupRows),
          addressOf(weight) + floatBytes * g * groupRows * depth,
        ];
        if (inPlace) {
          dots(
            from,
            floatBytes * gradient.strides[1],
            groupRows,
            imageAt(x, n, g * perGroup),
            offsets,
            depth,
            to,
            columns,
            masks,
          );
          continue;
        }
        movePhases("split", x, imageAt(x, n, g * perGroup), perGroup, both, layout);
        const [, fromPlane, fromRow, step] = gradient.strides.map((stride) => floatBytes * stride);
        copyPlanes(
          from,
          fromPlane,
          fromRow,
          step,
          rows,
          floatBytes * columns,
          floatBytes * horizontal.length,
          floatBytes,
          groupRows,
          P,
          Q,
        );
        dots(rows, floatBytes * columns, groupRows, image, offsets, depth, to, columns, masks);
      }
  };

  /** Vectors that keep the first 0, 1, 2 or 3 lanes. */
  function laneMasks(): number {
    const address = scratch("masks", 16);
    const lanes = new Int32Array(runtime.memory.memory.buffer, address, 16);
    for (let kept = 0; kept < 4; kept++)
      for (let lane = 0; lane < 4; lane++) lanes[4 * kept + lane] = lane < kept ? -1 : 0;
    return address;
  }

  return { conv2d, conv2dInputGradient, conv2dWeightGradient };
}

const eachTapIndex = (vertical: Sweep, horizontal: Sweep): [number, number][] =>
  numbers(vertical.taps.length).flatMap((r) =>
    numbers(horizontal.taps.length).map((s): [number, number] => [r, s]),
  );

const eachTap = (vertical: Sweep, horizontal: Sweep): [Tap, Tap][] =>
  eachTapIndex(vertical, horizontal).map(([r, s]) => [vertical.taps[r], horizontal.taps[s]]);

const phaseOf = (vertical: Tap, horizontal: Tap, { stride }: Sweep): number =>
  vertical.phase * stride + horizontal.phase;

/** A 1x1 window without margin or stride on dense planes wide enough for a tile. */
function readsInPlace(x: HostView, [, , R, S]: readonly number[], a: Conv2dAttributes): boolean {
  const plain =
    R === 1 && S === 1 && a.stride.every((n) => n === 1) && a.padding.every((margin) => margin === 0);
  return plain && isDense(x) && x.shape[2] * x.shape[3] >= tileColumns;
}
