/** Event files, read back by a decoder written from the formats' definitions alone. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EventWriter, encodeEvents, eventFileHeader } from "../src/io/index.ts";
import { crc32c } from "../src/io/tensorboard/crc32c.ts";
import { writeTensorBoard } from "../src/train/index.ts";
import { sampleReport } from "./support/sampleReport.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "gradweave-events-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** CRC-32C bit by bit: division of the message by the polynomial 0x1EDC6F41, reflected. */
function plainCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes)
    for (let bit = 0; bit < 8; bit++) {
      const odd = ((crc ^ (byte >> bit)) & 1) === 1;
      crc = odd ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
  return ~crc >>> 0;
}
const masked = (bytes: Uint8Array) => {
  const crc = BigInt(plainCrc(bytes));
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
};

/** TFRecords of a file: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details */
function records(file: Uint8Array): Uint8Array[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const found: Uint8Array[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(view.getBigUint64(at, true));
    expect(view.getUint32(at + 8, true)).toBe(masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(data.length).toBe(length);
    expect(view.getUint32(at + 12 + length, true)).toBe(masked(data));
    found.push(data);
    at += length + 16;
  }
  return found;
}

type Field = number | Uint8Array;

/** The fields of a protobuf message. */
function fields(bytes: Uint8Array): Map<number, Field[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = new Map<number, Field[]>();
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const take = (length: number): number => {
      at += length;
      return at - length;
    };
    const read: Record<number, () => Field> = {
      0: varint,
      1: () => view.getFloat64(take(8), true),
      2: () => {
        const length = varint();
        const start = take(length);
        return bytes.subarray(start, start + length);
      },
      5: () => view.getFloat32(take(4), true),
    };
    const number = Math.floor(tag / 8);
    found.set(number, [...(found.get(number) ?? []), read[tag % 8]()]);
  }
  return found;
}

const isBytes = (field: Field | undefined): field is Uint8Array => field instanceof Uint8Array;
const message = (field: Field | undefined) => fields(isBytes(field) ? field : new Uint8Array());
const text = (field: Field | undefined) =>
  new TextDecoder().decode(isBytes(field) ? field : new Uint8Array());
const packed = (field: Field | undefined): number[] => {
  if (!isBytes(field)) return [];
  const view = new DataView(field.buffer, field.byteOffset, field.byteLength);
  return Array.from({ length: field.length / 8 }, (_, i) => view.getFloat64(8 * i, true));
};

interface Decoded {
  readonly tag: string;
  readonly step: Field | undefined;
  readonly wallTime: Field | undefined;
  readonly scalar: Field | undefined;
  readonly histogram: ReadonlyMap<number, Field[]> | null;
}

function decode(event: Uint8Array): Decoded {
  const top = fields(event);
  const value = message(message(top.get(5)?.[0]).get(1)?.[0]);
  const histogram = value.get(5)?.[0];
  return {
    tag: text(value.get(1)?.[0]),
    step: top.get(2)?.[0],
    wallTime: top.get(1)?.[0],
    scalar: value.get(2)?.[0],
    histogram: histogram === undefined ? null : message(histogram),
  };
}

describe("CRC-32C", () => {
  it("gives the vectors of RFC 3720, appendix B.4", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))).toBe(0x113fdb5c);
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array())).toBe(0);
  });
});

describe("event files", () => {
  it("begin with the version that TensorBoard asks for", () => {
    const [header] = records(eventFileHeader(12.5));
    expect([text(fields(header).get(3)?.[0]), fields(header).get(1)?.[0]]).toEqual(["brain.Event:2", 12.5]);
  });

  it("hold scalars with tag, step and time", () => {
    const events = fc.array(
      fc.record({
        tag: fc.string({ minLength: 1, maxLength: 300, unit: "grapheme" }),
        step: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
        wallTime: fc.double({ min: 0, max: 4e9, noNaN: true }),
        scalar: fc.float(),
      }),
      { maxLength: 5 },
    );
    fc.assert(
      fc.property(events, (list) => {
        const found = records(encodeEvents(list)).map(decode);
        expect(found).toEqual(list.map((event) => ({ ...event, histogram: null })));
      }),
    );
  });

  it("hold histograms: every value in its bin", () => {
    const number = fc.integer({ min: -1e9, max: 1e9 }).map((value) => value / 1e6);
    const values = fc.array(number, { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(values, (histogram) => {
        const [found] = records(encodeEvents([{ tag: "h", step: 1, wallTime: 0, histogram }])).map(decode);
        const [low, high, num, sum, squares] = [1, 2, 3, 4, 5].map(
          (field) => found.histogram?.get(field)?.[0],
        );
        expect([low, high, num]).toEqual([Math.min(...histogram), Math.max(...histogram), histogram.length]);
        expect(sum).toBeCloseTo(
          histogram.reduce((a, b) => a + b, 0),
          6,
        );
        expect(squares).toBeCloseTo(
          histogram.reduce((a, b) => a + b * b, 0),
          4,
        );
        const [limits, counts] = [6, 7].map((field) => packed(found.histogram?.get(field)?.[0]));
        expect(limits.length).toBe(counts.length);
        expect(limits.at(-1)).toBe(high);
        expect(counts.reduce((a, b) => a + b, 0)).toBe(histogram.length);
        limits.slice(1).forEach((limit, i) => void expect(limit).toBeGreaterThanOrEqual(limits[i]));
        // Values well inside a bin are counted there.
        const width = (Number(high) - Number(low)) / limits.length;
        limits.slice(0, -1).forEach((limit, i) => {
          const below = counts.slice(0, i + 1).reduce((a, b) => a + b, 0);
          expect(below).toBeGreaterThanOrEqual(
            histogram.filter((value) => value < limit - 1e-6 * width).length,
          );
          expect(below).toBeLessThanOrEqual(histogram.filter((value) => value < limit + 1e-6 * width).length);
        });
      }),
    );
  });

  it("have one bin for values that a double can hardly tell apart", () => {
    for (const histogram of [
      [0, 5e-324],
      [3, 3],
    ]) {
      const [found] = records(encodeEvents([{ tag: "h", step: 1, wallTime: 0, histogram }])).map(decode);
      expect([packed(found.histogram?.get(6)?.[0]), packed(found.histogram?.get(7)?.[0])]).toEqual([
        [histogram[1]],
        [2],
      ]);
    }
  });

  it("refuse what TensorBoard could not show", () => {
    const event = { tag: "t", step: 0, wallTime: 0 };
    expect(() => encodeEvents([{ ...event, tag: "", scalar: 1 }])).toThrow("an empty tag");
    for (const step of [-1, 0.5, NaN])
      expect(() => encodeEvents([{ ...event, step, scalar: 1 }])).toThrow(`step ${step}`);
    expect(() => encodeEvents([{ ...event, histogram: [] }])).toThrow('histogram "t" has no values');
    expect(() => encodeEvents([{ ...event, histogram: [1, NaN] }])).toThrow("the value NaN");
  });

  it("grow while a network trains", async () => {
    const run = join(folder, "run");
    const writer = await EventWriter.open(run);
    writer.scalar("loss", 0, 2.5);
    await writer.flush();
    const tags = () =>
      records(readFileSync(writer.path))
        .slice(1)
        .map((event) => decode(event).tag);
    expect(tags()).toEqual(["loss"]);
    writer.scalar("loss", 1, 2);
    writer.histogram("gradients", 1, [1, 2, 4]);
    await writer.close();
    expect(tags()).toEqual(["loss", "loss", "gradients"]);
    expect(readdirSync(run)).toEqual([expect.stringMatching(/^events\.out\.tfevents\.\d+\./)]);
  });
});

it("a report becomes a run for each variant, with its curves and every pair of pieces", async () => {
  const report = sampleReport({ stages: 1, layers: 3, steps: 5, samples: 2 });
  const paths = await writeTensorBoard(report, join(folder, "logs"));
  expect(paths.map((path) => path.split("/").slice(-3, -1))).toEqual([
    ["DenseNet", "seed 7"],
    ["CSPDenseNet", "seed 7"],
  ]);
  paths.forEach((path, i) => {
    const { curves, stages } = report.variants[i];
    const events = records(readFileSync(path)).slice(1).map(decode);
    const series = (tag: string) => events.filter((event) => event.tag === tag);
    expect(series("training/loss").map(({ step, scalar }) => [step, scalar])).toEqual(
      curves.step.map((step, at) => [step, Math.fround(curves.loss[at] ?? NaN)]),
    );
    for (const { featureMap, consumers, samples } of stages[0].measured)
      consumers.forEach((a, row) => {
        consumers.slice(row + 1).forEach((b, column) => {
          const found = series(`Stage 1 cosine at ${featureMap}/${a} ${b}`).map(({ scalar }) => scalar);
          expect(found).toEqual(
            samples.map(({ cosine }) => Math.fround(cosine[row][row + 1 + column] ?? NaN)),
          );
        });
      });
    expect(series(`Stage 1/norms at ${stages[0].measured[0].featureMap}`).length).toBe(2);
  });
});
