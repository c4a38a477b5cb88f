/**
 * TensorBoard's event files: TFRecords that each hold one `Event` message (tensorflow/core/util/event.proto and
 * framework/summary.proto), written by hand because the few fields that scalars and histograms need are few.
 */
import { maskedCrc32c } from "./crc32c.ts";

/** One number or one distribution at a step, under a tag; tags with the same part before "/" share a card. */
export type TensorBoardEvent = {
  readonly tag: string;
  readonly step: number;
  /** Seconds since 1970. */
  readonly wallTime: number;
} & ({ readonly scalar: number } | { readonly histogram: ArrayLike<number> });

const encoder = new TextEncoder();

/** Bytes one after the other. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Protobuf's variable-length integer, for integers from 0. */
function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) + 0x80);
  return Uint8Array.of(...bytes, rest);
}

const wireTypes = { varint: 0, double: 1, bytes: 2, float: 5 } as const;

const key = (field: number, type: keyof typeof wireTypes): Uint8Array => varint(field * 8 + wireTypes[type]);

function doubles(values: ArrayLike<number>): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * values.length));
  for (let i = 0; i < values.length; i++) view.setFloat64(8 * i, values[i], true);
  return new Uint8Array(view.buffer);
}

function float(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value, true);
  return new Uint8Array(view.buffer);
}

const bytesField = (field: number, value: Uint8Array): Uint8Array =>
  joined([key(field, "bytes"), varint(value.length), value]);
const textField = (field: number, value: string): Uint8Array => bytesField(field, encoder.encode(value));
const doubleField = (field: number, value: number): Uint8Array =>
  joined([key(field, "double"), doubles([value])]);

/** Equal bins between the smallest and the largest value. */
const binCount = 30;

/** HistogramProto: min, max, num, sum, sum_squares, bucket_limit (right edges) and bucket (counts). */
function histogramProto(tag: string, values: ArrayLike<number>): Uint8Array {
  const list = Array.from(values);
  const wrong = list.find((value) => !Number.isFinite(value));
  if (list.length === 0 || wrong !== undefined)
    throw new Error(
      `tensorboard: histogram "${tag}" has ${list.length === 0 ? "no values" : `the value ${wrong}`}; leave the step out`,
    );
  const [low, high] = list.reduce(
    ([a, b], value) => [Math.min(a, value), Math.max(b, value)],
    [Infinity, -Infinity],
  );
  // Values that differ by less than a double's smallest step share a bin.
  const bins = (high - low) / binCount > 0 ? binCount : 1;
  const width = (high - low) / bins;
  const counts = new Float64Array(bins);
  for (const value of list)
    counts[width > 0 ? Math.min(bins - 1, Math.floor((value - low) / width)) : 0] += 1;
  const limits = Array.from({ length: bins }, (_, i) => (i === bins - 1 ? high : low + (i + 1) * width));
  return joined([
    doubleField(1, low),
    doubleField(2, high),
    doubleField(3, list.length),
    doubleField(
      4,
      list.reduce((sum, value) => sum + value, 0),
    ),
    doubleField(
      5,
      list.reduce((sum, value) => sum + value * value, 0),
    ),
    bytesField(6, doubles(limits)),
    bytesField(7, doubles(counts)),
  ]);
}

function checkedStep(tag: string, step: number): number {
  if (!Number.isSafeInteger(step) || step < 0)
    throw new Error(`tensorboard: "${tag}" has step ${step}; give a whole number from 0`);
  return step;
}

/** Event: wall_time 1, step 2, summary 5; Summary: value 1; Value: tag 1, simple_value 2, histo 5. */
function eventMessage(event: TensorBoardEvent): Uint8Array {
  const { tag, step, wallTime } = event;
  if (tag === "") throw new Error("tensorboard: an event has an empty tag; name it, such as loss/train");
  const content =
    "scalar" in event
      ? joined([key(2, "float"), float(event.scalar)])
      : bytesField(5, histogramProto(tag, event.histogram));
  return joined([
    doubleField(1, wallTime),
    key(2, "varint"),
    varint(checkedStep(tag, step)),
    bytesField(5, bytesField(1, joined([textField(1, tag), content]))),
  ]);
}

/** TFRecord: length (uint64), its masked checksum, the data, its masked checksum; all little-endian. */
function record(data: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(12));
  header.setBigUint64(0, BigInt(data.length), true);
  const bytes = new Uint8Array(header.buffer);
  header.setUint32(8, maskedCrc32c(bytes.subarray(0, 8)), true);
  const footer = new DataView(new ArrayBuffer(4));
  footer.setUint32(0, maskedCrc32c(data), true);
  return joined([bytes, data, new Uint8Array(footer.buffer)]);
}

/** What an event file begins with: the version of its format. */
export function eventFileHeader(wallTime: number): Uint8Array {
  return record(joined([doubleField(1, wallTime), textField(3, "brain.Event:2")]));
}

/**
 * Events as an event file holds them after its header. Throws for an empty tag, a step that is no whole number from 0,
 * and a histogram of nothing or of what is no number; a scalar may be NaN, which TensorBoard marks.
 */
export function encodeEvents(events: readonly TensorBoardEvent[]): Uint8Array {
  return joined(events.map((event) => record(eventMessage(event))));
}
