/** Every row of the instruction table against V8, which knows the types, and wabt, which knows the names. */
import { beforeAll, describe, expect, it } from "vitest";
import { enableRelaxedSimd, ModuleBuilder, webAssembly } from "../src/backends/cpu/wasm/encoder/index.ts";
import { controlOpcodes, opcodes, type ValueType } from "../src/backends/cpu/wasm/encoder/opcodes.ts";
import { disassemble } from "./support/wasm.ts";

type AnyMethod = (...given: readonly unknown[]) => unknown;

const samples = {
  i32: -123456,
  i64: -(2n ** 40n),
  f32: 0.5,
  f64: 1e300,
  v128: Float32Array.of(1, -2, 3, 4),
} satisfies Record<ValueType, unknown>;

function isValueType(text: string): text is ValueType {
  return text in samples;
}

/** What the method takes besides operands; the largest that is allowed, where there is a choice. */
function immediates(kinds: string): unknown[] {
  if (isValueType(kinds)) return [samples[kinds]];
  const lane = /lane(\d+)/.exec(kinds)?.[1];
  return [
    ...(lane ? [Number(lane) - 1] : []),
    ...(kinds.includes("lanes32") ? [Array.from({ length: 16 }, (_, index) => 31 - index)] : []),
    ...(kinds.includes("memory") ? [300] : []),
  ];
}

/** A function whose parameters are the instruction's operands, and whose result is the instruction's. */
function moduleOf(name: string, takes: readonly ValueType[], gives: ValueType | "", extra: unknown[]) {
  const module = new ModuleBuilder();
  module.importMemory("env", "memory", { initial: 1, maximum: 1, shared: true });
  const params = Object.fromEntries(takes.map((type, index) => [`x${index}`, type]));
  module.func("row", { params, ...(gives && { result: gives }) }, (f, locals) => {
    const method = name.split(".").reduce<unknown>((outer, part) => Reflect.get(Object(outer), part), f);
    return (method as AnyMethod)(...Object.values(locals), ...extra) as never;
  });
  return module.encode();
}

describe("the instruction table", () => {
  beforeAll(() => {
    enableRelaxedSimd();
  });

  it("has no encoding twice", () => {
    const encodings = Object.values(opcodes).map(([prefix, opcode]) => `${prefix} ${opcode}`);
    expect(new Set(encodings).size).toBe(encodings.length);
    expect(encodings.length).toBeGreaterThan(350);
  });

  it.each(Object.entries(opcodes))("%s is that instruction, with those types", async (name, row) => {
    const [, , takes, gives, kinds = ""] = row;
    const bytes = moduleOf(name, takes.split(" ").filter(isValueType), gives, immediates(kinds));
    expect(webAssembly?.validate(bytes)).toBe(true);
    const text = await disassemble(bytes);
    const lines = text.split("\n").map((line) => line.trim().replaceAll(/[()]+$/g, ""));
    expect(lines.filter((line) => line.split(" ")[0] === name)).toHaveLength(1);
    // wabt states an alignment only where it is not the natural one.
    expect(text).not.toContain("align=");
    expect(text.includes("offset=300")).toBe(kinds.includes("memory"));
  });

  it("writes every instruction of control flow", async () => {
    const module = new ModuleBuilder();
    const choose = module.func("choose", { params: { x: "i32" }, result: "i32" }, (f, { x }) => {
      const y = f.let(f.i32.add(x, 1));
      f.block((out) => {
        f.brIf(out, x);
        f.loop((again) =>
          f.if(
            y.tee(f.i32.sub(y, 1)),
            () => f.br(again),
            () => f.unreachable(),
          ),
        );
      });
      f.if(
        y,
        () => f.return(x),
        () => f.drop(f.select(x, y, 1)),
      );
      return y;
    });
    module.func("caller", { params: {} }, (f) => f.drop(f.call(choose, { x: 3 })));
    const text = await disassemble(module.encode());
    for (const name of Object.keys(controlOpcodes)) expect(text).toMatch(new RegExp(`(^|\\s)${name}\\b`));
  });
});
