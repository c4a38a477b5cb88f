/** Broken versions of Darknet's files, drawn by fast-check: what a slip, a bad disk or an attacker makes of a good one. */
import * as fc from "fast-check";

/** Values at the borders of what a key may have. */
const numbers = fc.oneof(
  fc.integer({ min: -30, max: 30 }),
  fc.constantFrom(0, 1, 2, 3, 5, 7, 64, 255, 4096, 65536, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 40, -(2 ** 31)),
);

const words = fc.constantFrom(
  ...[
    "",
    "leaky",
    "mish",
    "linear",
    "none",
    "relu",
    "NaN",
    "1e400",
    "0x10",
    "-1,-2",
    "0,1,2",
    "-1,",
    ",",
    "\u0000",
    "é",
  ],
  ...["1.5", "=", "#", "[", "__proto__", "constructor", "toString", "9".repeat(400), "-0", "+1", ".", "-"],
);

const keys = fc.constantFrom(
  ...[
    "filters",
    "size",
    "stride",
    "stride_x",
    "stride_y",
    "pad",
    "padding",
    "groups",
    "group_id",
    "layers",
    "from",
  ],
  ...[
    "dilation",
    "activation",
    "batch_normalize",
    "maxpool_depth",
    "out_channels",
    "reverse",
    "scale_wh",
    "classes",
  ],
  ...[
    "num",
    "mask",
    "anchors",
    "output",
    "width",
    "height",
    "channels",
    "inputs",
    "probability",
    "scale",
    "spatial",
  ],
  ...["temperature", "__proto__", "constructor", "hasOwnProperty", "line", "kind", "unknown"],
);

const sections = fc.constantFrom(
  ...[
    "net",
    "convolutional",
    "maxpool",
    "route",
    "shortcut",
    "sam",
    "scale_channels",
    "upsample",
    "reorg",
    "reorg3d",
  ],
  ...[
    "avgpool",
    "local_avgpool",
    "dropout",
    "softmax",
    "cost",
    "yolo",
    "region",
    "connected",
    "lstm",
    "__proto__",
    "",
  ],
);

type Change = (lines: readonly string[]) => string[];

/** A change at the line that lies `at` of the way down. */
const atLine =
  (at: number, change: (line: string) => readonly string[]): Change =>
  (lines) => {
    const i = Math.min(lines.length - 1, Math.floor(at * lines.length));
    return [...lines.slice(0, i), ...change(lines[i] ?? ""), ...lines.slice(i + 1)];
  };

const place = fc.double({ min: 0, max: 0.999, noNaN: true });
const value = fc.oneof(numbers.map(String), words);

const changes: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(place, value)
      .map(([at, text]) => atLine(at, (line) => [line.replace(/=.*/, `=${text}`)])),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(place, keys, value)
      .map(([at, key, text]) => atLine(at, (line) => [line, `${key}=${text}`])),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(place, sections).map(([at, name]) => atLine(at, (line) => [line, `[${name}]`])),
  },
  { weight: 2, arbitrary: place.map((at) => atLine(at, () => [])) },
  { weight: 2, arbitrary: place.map((at) => atLine(at, (line) => [line, line])) },
  {
    weight: 2,
    arbitrary: fc.tuple(place, place).map(
      ([from, to]): Change =>
        (lines) => {
          const [i, j] = [Math.floor(from * lines.length), Math.floor(to * lines.length)];
          return [...lines.slice(0, j), ...lines.slice(Math.min(i, j), Math.max(i, j)), ...lines.slice(j)];
        },
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(place, fc.string({ unit: "binary", maxLength: 6 }))
      .map(([at, junk]) => atLine(at, (line) => [line.slice(0, 3) + junk + line.slice(3)])),
  },
  {
    weight: 1,
    arbitrary: place.map(
      (at): Change =>
        (lines) =>
          lines.slice(0, Math.floor(at * lines.length)),
    ),
  },
);

/** The text after one to six changes. */
export function mutatedCfg(text: string): fc.Arbitrary<string> {
  return fc
    .array(changes, { minLength: 1, maxLength: 6 })
    .map((list) =>
      list.reduce<readonly string[]>((lines, change) => change(lines), text.split("\n")).join("\n"),
    );
}

/** The bytes with some overwritten, cut off, or followed by others. */
export function mutatedBytes(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const overwrite = fc.array(fc.tuple(place, fc.integer({ min: 0, max: 255 })), { maxLength: 8 });
  // Headers decide most, and are short.
  const header = fc.array(fc.tuple(fc.integer({ min: 0, max: 19 }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 3,
  });
  const length = fc.oneof(
    { weight: 4, arbitrary: fc.constant(bytes.length) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: bytes.length + 64 }) },
    { weight: 1, arbitrary: fc.integer({ min: -8, max: 8 }).map((more) => bytes.length + 4 * more) },
  );
  return fc.tuple(overwrite, header, length).map(([anywhere, first, size]) => {
    const result = new Uint8Array(Math.max(0, size));
    result.set(bytes.subarray(0, result.length));
    for (const [at, byte] of anywhere) result[Math.floor(at * result.length)] = byte;
    for (const [at, byte] of first) if (at < result.length) result[at] = byte;
    return result;
  });
}
