import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { randn, type Tensor, tensor, zeros } from "../src/index.ts";
import { FileFormatError, openSafetensors, saveSafetensors } from "../src/io/index.ts";

const folder = mkdtempSync(join(tmpdir(), "safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "file.safetensors");

/** A file of this header and data, whatever they are. */
function fileOf(header: string, data: Uint8Array | number[] = [], length?: bigint): Uint8Array {
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}

const entry = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

async function readAll(bytes: Uint8Array): Promise<Map<string, Tensor>> {
  writeFileSync(path, bytes);
  const file = await openSafetensors(path);
  try {
    const tensors = new Map<string, Tensor>();
    for (const name of file.names) tensors.set(name, await file.tensor(name));
    return tensors;
  } finally {
    await file.close();
  }
}

const valuesOf = async (bytes: Uint8Array, name: string) => [
  ...((await readAll(bytes)).get(name)?.dataSync() ?? []),
];

describe("safetensors, written and read", () => {
  it("gives back names, shapes, dtypes, values and metadata", async () => {
    const state = new Map<string, Tensor>([
      ["flags", tensor([1, 0, 1], { dtype: "bool" })],
      ["layer.weight", randn([2, 3, 1, 5])],
      ["__proto__", tensor([1.5, Number.NaN, -0], { dtype: "f64" })],
      ["count", tensor(7, { dtype: "i32" })],
      ["bytes", tensor([255, 0, 1], { dtype: "u8" })],
      ["none", zeros([0, 3])],
      ['a "name" with \\ and ü', randn([1])],
    ]);
    await saveSafetensors(path, state, { format: "pt", __proto__of: "x" });
    const file = await openSafetensors(path);
    expect(Object.fromEntries(file.metadata)).toEqual({ format: "pt", __proto__of: "x" });
    expect(new Set(file.names)).toEqual(new Set(state.keys()));
    for (const [name, expected] of state) {
      const read = await file.tensor(name);
      expect([name, read.dtype, read.shape]).toEqual([name, expected.dtype, expected.shape]);
      expect(read.dataSync()).toEqual(expected.dataSync());
      expect(file.tensors.get(name)).toMatchObject({ name, dtype: expected.dtype, shape: expected.shape });
    }
    await file.close();
  });

  it("aligns every tensor to its elements, and leaves nothing but the file", async () => {
    await saveSafetensors(
      path,
      new Map([
        ["a", tensor([1], { dtype: "u8" })],
        ["b", randn([3])],
        ["c", zeros([1], { dtype: "f64" })],
      ]),
    );
    const bytes = readFileSync(path);
    const length = Number(bytes.readBigUInt64LE(0));
    const header: Record<string, { data_offsets: number[] }> = JSON.parse(
      bytes.toString("utf8", 8, 8 + length),
    );
    expect((8 + length) % 8).toBe(0);
    expect(header.c.data_offsets).toEqual([0, 8]);
    expect(header.b.data_offsets).toEqual([8, 20]);
    expect(header.a.data_offsets).toEqual([20, 21]);
    expect(readdirSync(folder)).toEqual(["file.safetensors"]);
  });

  it("keeps the old file when writing fails half way", async () => {
    await saveSafetensors(path, new Map([["a", tensor([1, 2])]]));
    const before = readFileSync(path);
    const freed = randn([4]);
    freed.dispose();
    const state = new Map([
      ["a", randn([4])],
      ["b", freed],
    ]);
    await expect(saveSafetensors(path, state)).rejects.toThrow("freed");
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(folder)).toEqual(["file.safetensors"]);
  });

  it("writes a view's own elements, in row-major order", async () => {
    const x = tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]);
    await saveSafetensors(path, new Map([["t", x.transpose()]]));
    expect(await valuesOf(readFileSync(path), "t")).toEqual([1, 4, 2, 5, 3, 6]);
  });

  it("refuses a tensor under the format's own key", async () => {
    await expect(saveSafetensors(path, new Map([["__metadata__", randn([1])]]))).rejects.toThrow(
      "__metadata__",
    );
  });
});

describe("safetensors of other writers", () => {
  const bits16 = (...halves: number[]) => new Uint8Array(Uint16Array.from(halves).buffer);

  it("reads half precision: 1, -2, the largest, the smallest subnormal, infinity and NaN", async () => {
    const data = bits16(0x3c00, 0xc000, 0x7bff, 0x0001, 0xfc00, 0x7e00, 0x8000);
    const values = await valuesOf(fileOf(`{"h":${entry("F16", [7], [0, 14])}}`, data), "h");
    expect(values).toEqual([1, -2, 65504, 2 ** -24, Number.NEGATIVE_INFINITY, Number.NaN, -0]);
  });

  it("reads bfloat16: 1, -2, 2^127, NaN", async () => {
    const data = bits16(0x3f80, 0xc000, 0x7f00, 0x7fc0);
    const values = await valuesOf(fileOf(`{"h":${entry("BF16", [2, 2], [0, 8])}}`, data), "h");
    expect(values).toEqual([1, -2, 2 ** 127, Number.NaN]);
  });

  it("reads integers of 64 bits that fit, and refuses one that does not", async () => {
    const file = (...values: bigint[]) =>
      fileOf(
        `{"n":${entry("I64", [values.length], [0, 8 * values.length])}}`,
        new Uint8Array(BigInt64Array.from(values).buffer),
      );
    expect(await valuesOf(file(-(2n ** 31n), 2n ** 31n - 1n), "n")).toEqual([-(2 ** 31), 2 ** 31 - 1]);
    await expect(readAll(file(1n, 2n ** 31n))).rejects.toThrow('tensor "n": element 1 is 2147483648');
    await expect(readAll(file(2n ** 62n + 1n))).rejects.toThrow(FileFormatError);
  });

  it("reads data that are not aligned, and a header with spaces and fields in any order", async () => {
    const header =
      ` {"a" : {"data_offsets":[0,1],"shape":[],"dtype":"BOOL"},\n"b":${entry("F32", [1], [1, 5])} } `.trim();
    const data = [2, ...new Uint8Array(Float32Array.of(2.5).buffer)];
    const tensors = await readAll(fileOf(header, data));
    expect([tensors.get("a")?.dataSync()[0], tensors.get("b")?.itemSync()]).toEqual([1, 2.5]);
  });
});

describe("safetensors that lie", () => {
  const f32 = (shape: unknown, offsets: unknown) => entry("F32", shape, offsets);
  const cases: [what: string, bytes: Uint8Array, message: string][] = [
    ["an empty file", new Uint8Array(0), "fewer than the 8"],
    ["seven bytes", new Uint8Array(7), "fewer than the 8"],
    ["a length beyond the file", fileOf("{}", [], 3n), "exceeds the 2 bytes"],
    ["a length of 2^64 - 1", fileOf("{}", [], 2n ** 64n - 1n), "18446744073709551615 exceeds the bound"],
    ["a length of 0", fileOf("", []), 'start with "{"'],
    ["another format", new TextEncoder().encode("PK\u0003\u0004 and so on and on"), "exceeds the bound"],
    ["a header of text", fileOf("hello"), 'start with "{"'],
    ["a header that ends early", fileOf('{"a":'), "in the place of a value"],
    ["a header with a second value", fileOf("{} {}"), "goes on after its end"],
    ["invalid UTF-8", fileOf('{"a', [0xff, 0xff]).fill(5, 0, 1), "UTF-8"],
    [
      "equal names",
      fileOf(`{"a":${f32([1], [0, 4])},"a":${f32([1], [0, 4])}}`, new Uint8Array(4)),
      '"a" twice',
    ],
    [
      "equal names, one escaped",
      fileOf(`{"a":${f32([1], [0, 4])},"\\u0061":${f32([1], [0, 4])}}`, new Uint8Array(4)),
      '"a" twice',
    ],
    ["an unknown dtype", fileOf(`{"a":${entry("F8_E4M3", [1], [0, 1])}}`, [0]), "F8_E4M3"],
    ["a dtype of Object.prototype", fileOf(`{"a":${entry("toString", [1], [0, 1])}}`, [0]), "toString"],
    ["a field that is missing", fileOf('{"a":{"dtype":"F32","shape":[1]}}'), "data_offsets"],
    ["a field too many", fileOf('{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0],"x":1}}'), '"x"'],
    ["a shape of fractions", fileOf(`{"a":${f32([2.5], [0, 10])}}`, new Uint8Array(10)), "2.5"],
    ["a shape of negatives", fileOf(`{"a":${f32([-1], [0, 4])}}`, new Uint8Array(4)), "-1"],
    ["an infinite extent", fileOf('{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}'), "1e400"],
    [
      "2^40 elements",
      fileOf(`{"a":${f32([2 ** 20, 2 ** 20], [0, 4])}}`, new Uint8Array(4)),
      "4398046511104 bytes",
    ],
    [
      "2^200 elements",
      fileOf(`{"a":${f32([2 ** 50, 2 ** 50, 2 ** 50, 2 ** 50], [0, 4])}}`, new Uint8Array(4)),
      "takes",
    ],
    ["a product that overflows to 0", fileOf(`{"a":${f32([2 ** 32, 2 ** 30], [0, 0])}}`), "takes"],
    ["data beyond the file", fileOf(`{"a":${f32([2], [0, 8])}}`, new Uint8Array(4)), "of 4 bytes of data"],
    ["an end before its begin", fileOf(`{"a":${f32([1], [4, 0])}}`, new Uint8Array(4)), "4 to 0"],
    ["an overlap", fileOf(`{"a":${f32([1], [0, 4])},"b":${f32([1], [2, 6])}}`, new Uint8Array(6)), "overlap"],
    [
      "one place for two",
      fileOf(`{"a":${f32([1], [0, 4])},"b":${f32([1], [0, 4])}}`, new Uint8Array(4)),
      "overlap",
    ],
    ["a hole", fileOf(`{"a":${f32([1], [0, 4])},"b":${f32([1], [8, 12])}}`, new Uint8Array(12)), "hole"],
    ["bytes that none owns", fileOf(`{"a":${f32([1], [0, 4])}}`, new Uint8Array(5)), "cover 4 of 5"],
    ["metadata of numbers", fileOf('{"__metadata__":{"a":1}}'), "__metadata__"],
    ["a hundred thousand brackets", fileOf(`{"a":${"[".repeat(1e5)}`), "nests"],
    ["a string that never ends", fileOf('{"a\\'), "ends within a string"],
    ["a control character in a name", fileOf('{"a\n":1}'), "control character"],
    ["65 dimensions", fileOf(`{"a":${f32(Array(65).fill(1), [0, 4])}}`, new Uint8Array(4)), "65 dimensions"],
  ];

  it.each(cases)("%s is a named error", async (_, bytes, message) => {
    const reading = readAll(bytes);
    await expect(reading).rejects.toThrow(FileFormatError);
    await expect(reading).rejects.toThrow(message);
    await expect(reading).rejects.toThrow(path);
  });

  it("a directory and a missing file are named", async () => {
    await expect(openSafetensors(folder)).rejects.toThrow("is a directory");
    await expect(openSafetensors(join(folder, "none"))).rejects.toThrow("ENOENT");
  });

  it("a missing tensor is named with those that are there", async () => {
    await saveSafetensors(path, new Map([["a", randn([1])]]));
    const file = await openSafetensors(path);
    await expect(file.tensor("b")).rejects.toThrow('no tensor "b"; it has 1, among them a');
    await file.close();
  });

  it("any mutation of a valid file is read or refused by name", async () => {
    await saveSafetensors(
      path,
      new Map([
        ["a.weight", randn([2, 3])],
        ["b", tensor([1, 2], { dtype: "i32" })],
        ["c", zeros([1], { dtype: "bool" })],
      ]),
      { format: "pt" },
    );
    const valid = new Uint8Array(readFileSync(path));
    const mutation = fc.record({
      at: fc.nat(valid.length - 1),
      byte: fc.nat(255),
      cut: fc.option(fc.nat(valid.length), { freq: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        let bytes = valid.slice();
        for (const { at, byte, cut } of mutations) {
          bytes[at] = byte;
          if (cut !== null) bytes = bytes.slice(0, cut);
        }
        try {
          for (const x of (await readAll(bytes)).values()) expect(x.size).toBeLessThanOrEqual(valid.length);
        } catch (error) {
          expect(error).toBeInstanceOf(FileFormatError);
        }
      }),
      { numRuns: 400 },
    );
  });
});
