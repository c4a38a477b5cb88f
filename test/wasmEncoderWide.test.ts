/**
 * Modules on a 64-bit memory: the same kernels with integers of 64 bits. wabt validates every instruction on any
 * engine; where the engine has such memory, functions give what they give on 32 bits, and reach beyond 4 GiB.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AddressType,
  enableRelaxedSimd,
  hasMemory64,
  ModuleBuilder,
  type ValueType,
  webAssembly,
} from "../src/backends/cpu/wasm/encoder/index.ts";
import { opcodes } from "../src/backends/cpu/wasm/encoder/opcodes.ts";
import { SharedMemory } from "../src/backends/cpu/wasm/sharedMemory.ts";
import { disassemble, instantiate } from "./support/wasm.ts";

type AnyMethod = (...given: readonly unknown[]) => unknown;

enableRelaxedSimd();
const has = hasMemory64();
if (!has) console.info("wasmEncoderWide: this engine has no 64-bit memory, so nothing is run on one");

function moduleOn(address: AddressType): ModuleBuilder {
  const module = new ModuleBuilder("wide");
  const maximum = address === "i64" ? 262_144 : 65_536;
  module.importMemory("env", "memory", { initial: 1, maximum, shared: true, address });
  return module;
}

const isType = (word: string): word is ValueType => /^([if](32|64)|v128)$/.test(word);

/** What the method takes besides operands. */
function immediates(kinds: string): unknown[] {
  const lane = /lane(\d+)/.exec(kinds)?.[1];
  return [
    ...(lane ? [Number(lane) - 1] : []),
    ...(kinds.includes("lanes32") ? [Array.from({ length: 16 }, (_, index) => 31 - index)] : []),
  ];
}

/** The function `row`, whose parameters are the instruction's operands, and whose result is the instruction's. */
function rowOn(
  address: AddressType,
  name: string,
  takes: readonly ValueType[],
  gives: string,
  extra: unknown[],
) {
  const module = moduleOn(address);
  const params = Object.fromEntries(takes.map((type, index) => [`x${index}`, type]));
  module.func("row", { params, ...(isType(gives) && { result: gives }) }, (f, locals) => {
    const method = name.split(".").reduce<unknown>((outer, part) => Reflect.get(Object(outer), part), f);
    return (method as AnyMethod)(...Object.values(locals), ...extra) as never;
  });
  return module;
}

describe("a module on a 64-bit memory", () => {
  it("has i64 for i32, branches on comparisons as they are, and takes f64 from JavaScript", async () => {
    const module = moduleOn("i64");
    const params = { from: "i32", end: "i32", by: "f32" } as const;
    module.func("scale", { params, result: "i32" }, (f, { from, end, by }) => {
      const { f32x4, i32, i32x4, v128 } = f;
      f.forPointer(from, from, end, 16, () =>
        v128.store(from, f32x4.mul(v128.load(from, 16), f32x4.splat(by))),
      );
      f.if(i32.and(end, -16), () => f.return(i32.load(from, 8)));
      const lanes = f.let(i32x4.shl(i32x4.splat(end), 2), "lanes");
      f.memory.fill(from, 0, end);
      return f.select(i32.add(i32x4.bitmask(lanes), i32.lt_s(from, end)), f.word(from, 1), i32.eqz(end));
    });
    const text = await disassemble(module.encode(), { folded: true });
    expect(text.split("\n").map((line) => line.trimEnd())).toMatchInlineSnapshot(`
      [
        "(module $wide",
        "  (type (;0;) (func (param i64 i64 f32) (result i64)))",
        "  (type (;1;) (func (param f64 f64 f32) (result f64)))",
        "  (import "env" "memory" (memory (;0;) i64 1 262144 shared))",
        "  (func $scale (type 0) (param $from i64) (param $end i64) (param $by f32) (result i64)",
        "    (local $lanes v128)",
        "    (local.set $from",
        "      (local.get $from))",
        "    (if  ;; label = @1",
        "      (i64.lt_u",
        "        (local.get $from)",
        "        (local.get $end))",
        "      (then",
        "        (loop  ;; label = @2",
        "          (v128.store",
        "            (local.get $from)",
        "            (f32x4.mul",
        "              (v128.load offset=16",
        "                (local.get $from))",
        "              (f32x4.splat",
        "                (local.get $by))))",
        "          (local.set $from",
        "            (i64.add",
        "              (local.get $from)",
        "              (i64.const 16)))",
        "          (br_if 0 (;@2;)",
        "            (i64.lt_u",
        "              (local.get $from)",
        "              (local.get $end))))))",
        "    (if  ;; label = @1",
        "      (i64.ne",
        "        (i64.and",
        "          (local.get $end)",
        "          (i64.const -16))",
        "        (i64.const 0))",
        "      (then",
        "        (return",
        "          (i64.load32_s offset=8",
        "            (local.get $from)))))",
        "    (local.set $lanes",
        "      (i32x4.shl",
        "        (i32x4.splat",
        "          (i32.wrap_i64",
        "            (local.get $end)))",
        "        (i32.const 2)))",
        "    (memory.fill",
        "      (local.get $from)",
        "      (i32.const 0)",
        "      (local.get $end))",
        "    (select",
        "      (i64.add",
        "        (i64.extend_i32_s",
        "          (i32x4.bitmask",
        "            (local.get $lanes)))",
        "        (i64.extend_i32_u",
        "          (i64.lt_s",
        "            (local.get $from)",
        "            (local.get $end))))",
        "      (i64.trunc_sat_f64_s",
        "        (f64.load offset=8",
        "          (local.get $from)))",
        "      (i64.eqz",
        "        (local.get $end))))",
        "  (func $scale.1 (export "scale") (type 1) (param $from f64) (param $end f64) (param $by f32) (result f64)",
        "    (f64.convert_i64_s",
        "      (call $scale",
        "        (i64.trunc_sat_f64_s",
        "          (local.get $from))",
        "        (i64.trunc_sat_f64_s",
        "          (local.get $end))",
        "        (local.get $by)))))",
        "",
      ]
    `);
  });

  it.each(Object.entries(opcodes))("writes %s so that types fit", async (name, row) => {
    const [, , takes, gives, kinds = ""] = row;
    if (isType(kinds)) return;
    const module = rowOn("i64", name, takes.split(" ").filter(isType), gives, immediates(kinds));
    await disassemble(module.encode());
    if (has) expect(webAssembly?.validate(module.encode())).toBe(true);
  });

  it("is refused after functions, and imports none", () => {
    const late = new ModuleBuilder("late");
    late.func("nothing", { params: {} }, () => {});
    expect(() => late.importMemory("env", "memory", { initial: 1, address: "i64" })).toThrow(
      "late: import the 64-bit memory env.memory before the first function",
    );
    expect(() => moduleOn("i64").importFunction("env", "report", { params: { x: "f32" } })).toThrow(
      "wide: a module on a 64-bit memory imports no functions, got env.report",
    );
  });
});

describe.runIf(has)("run on a 64-bit memory", () => {
  if (!webAssembly || !has) return;
  const engine = webAssembly;
  const [short, long] = (["i32", "i64"] as const).map(
    (address) => new SharedMemory(engine, undefined, address),
  );

  /** Instructions from numbers to a number, whose results do not leave 32 bits where operands are small. */
  const scalar = Object.entries(opcodes).filter(([name, [, , takes, gives, kinds]]) => {
    const types = [...takes.split(" "), gives];
    return (
      kinds === undefined &&
      types.includes("i32") &&
      types.every((type) => /^([if]32|f64)$/.test(type)) &&
      name !== "memory.size"
    );
  });

  it.each(scalar)("%s gives what it gives on 32 bits", (name, [, , takes, gives]) => {
    const types = takes.split(" ").filter(isType);
    const [narrow, wide] = [
      instantiate(rowOn("i32", name, types, gives, []), short.memory),
      instantiate(rowOn("i64", name, types, gives, []), long.memory),
    ];
    // Shifts and divisions by what is neither 0 nor 32 and more; unsigned instructions on what has no sign.
    const smallest = /_u$|shr|shl|rot/.test(name) ? 0 : -1000;
    const second = /div|rem|shr|shl|rot/.test(name)
      ? fc.integer({ min: 1, max: 15 })
      : fc.integer({ min: smallest, max: 1000 });
    fc.assert(
      fc.property(fc.integer({ min: smallest, max: 1000 }), second, (a, b) => {
        const given = [a, b].slice(0, types.length);
        expect(wide.row?.(...given)).toEqual(narrow.row?.(...given));
      }),
      { numRuns: 100 },
    );
  });

  it("reaches beyond 4 GiB, with addresses from JavaScript and from tables", () => {
    const module = moduleOn("i64");
    module.func("copy", { params: { table: "i32", count: "i32" } }, (f, { table, count }) => {
      const [from, to] = [f.let(f.word(table, 0)), f.let(f.word(table, 1))];
      const i = f.local("i32", "i");
      f.forRange(i, 0, count, 1, () => {
        const at = f.let(f.i32.shl(i, 2));
        f.i32.store(f.i32.add(to, at), f.i32.sub(f.i32.load(f.i32.add(from, at)), 1));
      });
    });
    long.allocateBytes(2 ** 32);
    const [from, to] = [long.allocate("i32", 5), long.allocate("i32", 5)];
    const table = long.allocate("f64", 2);
    expect(Math.min(from.byteOffset, to.byteOffset, table.byteOffset)).toBeGreaterThan(2 ** 32);
    table.set([from.byteOffset, to.byteOffset]);
    from.set([5, 0, -7, 2 ** 31 - 1, 9]);
    to.fill(0);
    instantiate(module, long.memory).copy?.(table.byteOffset, 4);
    expect([...to]).toEqual([4, -1, -8, 2 ** 31 - 2, 0]);
  });
});
