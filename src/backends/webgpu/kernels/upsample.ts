/**
 * upsample and its gradient. Coordinates are fractions of integers, so that a pixel on the edge between two is chosen
 * as on the CPU, where a division in f32 could land on either side. A scale that is no fraction of small integers is
 * replaced by the nearest one, which moves coordinates by less than a millionth of a pixel or so.
 */
import type { KernelAttributes } from "../../backend.ts";
import type { GpuKernel, GpuView } from "../runtime.ts";
import { launchImages } from "./images.ts";

type Attributes = KernelAttributes["upsample"];

/** The fraction nearest to `value` with numerator and denominator up to `limit`, by continued fractions. */
function nearestFraction(value: number, limit: number): readonly [numerator: number, denominator: number] {
  let [before, now]: [readonly [number, number], readonly [number, number]] = [
    [0, 1],
    [1, 0],
  ];
  let rest = value;
  for (;;) {
    const whole = Math.floor(rest);
    const next = [whole * now[0] + before[0], whole * now[1] + before[1]] as const;
    if (next[0] > limit || next[1] > limit) return now[1] === 0 ? [Math.min(whole, limit), 1] : now;
    [before, now] = [now, next];
    if (Math.abs(now[0] / now[1] - value) < 1e-13 * value || rest === whole) return now;
    rest = 1 / (rest - whole);
  }
}

/** The coordinate in the input of output i: max(0, (slope · i + start) / under). */
interface Coordinates {
  readonly slope: number;
  readonly start: number;
  readonly under: number;
}

function coordinates(
  extent: number,
  outputs: number,
  axis: 0 | 1,
  { mode, alignCorners, scale }: Attributes,
): Coordinates {
  if (mode === "bilinear" && alignCorners)
    return { slope: extent - 1, start: 0, under: Math.max(1, outputs - 1) };
  const largest = 2 ** 30;
  const [slope, under] = scale
    ? nearestFraction(1 / scale[axis], Math.floor(largest / (2 * Math.max(outputs, extent) + 2)))
    : [extent, outputs];
  // Pixel centres lie at halves: (i + 1/2) · slope / under - 1/2.
  return mode === "nearest"
    ? { slope, start: 0, under }
    : { slope: 2 * slope, start: slope - under, under: 2 * under };
}

function numbersOf(image: GpuView, resized: GpuView, attributes: Attributes): Record<string, number> {
  const rows = coordinates(image.shape[2], resized.shape[2], 0, attributes);
  const columns = coordinates(image.shape[3], resized.shape[3], 1, attributes);
  return {
    image_h: image.shape[2],
    image_w: image.shape[3],
    resized_h: resized.shape[2],
    resized_w: resized.shape[3],
    slope_h: rows.slope,
    start_h: rows.start,
    under_h: rows.under,
    slope_w: columns.slope,
    start_w: columns.start,
    under_w: columns.under,
  };
}

/** The two taps of output i along an axis, and the share of the second. */
const taps = (mode: Attributes["mode"]): string => `
struct Taps { first: i32, second: i32, share: f32 }
fn taps_of(i: i32, slope: i32, start: i32, under: i32, extent: i32) -> Taps {
  let over = max(0, slope * i + start);
  let first = min(over / under, extent - 1);
  ${
    mode === "nearest"
      ? "return Taps(first, first, 0.0);"
      : "return Taps(first, min(first + 1, extent - 1), f32(over - first * under) / f32(under));"
  }
}
fn rows_of(i: i32) -> Taps { return taps_of(i, p.slope_h, p.start_h, p.under_h, p.image_h); }
fn columns_of(i: i32) -> Taps { return taps_of(i, p.slope_w, p.start_w, p.under_w, p.image_w); }
`;

export const upsample: GpuKernel<Attributes> = (runtime, [x], output, attributes) =>
  launchImages(runtime, {
    label: "upsample",
    variant: attributes.mode,
    inputs: { x },
    output,
    numbers: numbersOf(x, output, attributes),
    declarations: taps(attributes.mode),
    body:
      attributes.mode === "nearest"
        ? "  result = x_at(n, c, rows_of(h).first, columns_of(w).first);"
        : `  let rows = rows_of(h);
  let columns = columns_of(w);
  let upper = x_at(n, c, rows.first, columns.first) * (1.0 - columns.share) + x_at(n, c, rows.first, columns.second) * columns.share;
  let lower = x_at(n, c, rows.second, columns.first) * (1.0 - columns.share) + x_at(n, c, rows.second, columns.second) * columns.share;
  result = upper * (1.0 - rows.share) + lower * rows.share;`,
  });

/** The outputs whose taps can be input i: coordinates rise with the output, so they are neighbours. */
const readers = `
fn up_to(coordinate: i32, slope: i32, start: i32, under: i32, outputs: i32) -> i32 {
  if (slope == 0) { return 0; }
  let over = coordinate * under - start;
  return clamp((max(0, over) + slope - 1) / slope, 0, outputs);
}
fn first_reader(i: i32, slope: i32, start: i32, under: i32, outputs: i32) -> i32 {
  return select(up_to(i - 1, slope, start, under, outputs), 0, i <= 1);
}
fn end_reader(i: i32, slope: i32, start: i32, under: i32, extent: i32, outputs: i32) -> i32 {
  return select(up_to(i + 1, slope, start, under, outputs), outputs, i >= extent - 1 || slope == 0);
}
fn weight_at(taps: Taps, i: i32) -> f32 {
  return select(0.0, 1.0 - taps.share, taps.first == i) + select(0.0, taps.share, taps.second == i);
}
`;

export const upsampleInputGradient: GpuKernel<KernelAttributes["upsampleInputGradient"]> = (
  runtime,
  [gradient],
  output,
  attributes,
) =>
  launchImages(runtime, {
    label: "upsampleInputGradient",
    variant: attributes.mode,
    inputs: { gradient },
    output,
    numbers: numbersOf(output, gradient, attributes),
    declarations: taps(attributes.mode) + readers,
    body: `  let bottom = end_reader(h, p.slope_h, p.start_h, p.under_h, p.image_h, p.resized_h);
  let right = end_reader(w, p.slope_w, p.start_w, p.under_w, p.image_w, p.resized_w);
  let left = first_reader(w, p.slope_w, p.start_w, p.under_w, p.resized_w);
  result = 0.0;
  for (var row = first_reader(h, p.slope_h, p.start_h, p.under_h, p.resized_h); row < bottom; row += 1) {
    let share = weight_at(rows_of(row), h);
    if (share == 0.0) { continue; }
    for (var column = left; column < right; column += 1) {
      let weight = share * weight_at(columns_of(column), w);
      if (weight != 0.0) { result += weight * gradient_at(n, c, row, column); }
    }
  }`,
  });
