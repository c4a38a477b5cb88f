/** Functions written with the encoder: their text by wabt, what stops emission, and the bytes of numbers. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ByteWriter } from "../src/backends/cpu/wasm/encoder/bytes.ts";
import {
  type FunctionBuilder,
  type Label,
  type Local,
  ModuleBuilder,
  type Operand,
} from "../src/backends/cpu/wasm/encoder/index.ts";
import { disassemble, instantiate } from "./support/wasm.ts";

function text(...lines: readonly string[]): string {
  return `${lines.join("\n")}\n`;
}

describe("a module", () => {
  it("has its imports, types once each, functions, exports and names", async () => {
    const module = new ModuleBuilder("parts");
    module.importMemory("env", "memory", { initial: 2, maximum: 65536, shared: true });
    const report = module.importFunction("env", "report", { params: { value: "f32" } });
    const half = module.func("half", { params: { x: "f32" }, result: "f32", exported: false }, (f, { x }) =>
      f.f32.mul(x, 0.5),
    );
    module.func("reportHalf", { params: { x: "f32" } }, (f, { x }) => {
      f.call(report, { value: f.call(half, { x }) });
    });
    expect(await disassemble(module.encode())).toBe(
      text(
        "(module $parts",
        "  (type (;0;) (func (param f32)))",
        "  (type (;1;) (func (param f32) (result f32)))",
        '  (import "env" "memory" (memory (;0;) 2 65536 shared))',
        '  (import "env" "report" (func $report (type 0)))',
        "  (func $half (type 1) (param $x f32) (result f32)",
        "    local.get $x",
        "    f32.const 0x1p-1 (;=0.5;)",
        "    f32.mul)",
        '  (func $reportHalf (export "reportHalf") (type 0) (param $x f32)',
        "    local.get $x",
        "    call $half",
        "    call $report))",
      ),
    );
  });

  it("writes locals as runs of a type, and loops with their test in front and behind", async () => {
    const module = new ModuleBuilder("loops");
    module.importMemory("env", "memory", { initial: 0 });
    module.func("scale", { params: { pointer: "i32", end: "i32", by: "f32" } }, (f, { pointer, end, by }) => {
      const { f32x4, v128 } = f;
      const factor = f.let(f32x4.splat(by), "factor");
      const value = f.local("v128", "value");
      const i = f.local("i32", "i");
      f.forRange(i, 0, 4, 1, () => {
        value.set(f32x4.mul(v128.load(pointer, 16), factor));
        v128.store(pointer, value, 16);
      });
      f.forPointer(pointer, pointer, end, 16, () => v128.store32_lane(pointer, factor, 3));
    });
    expect(await disassemble(module.encode(), { folded: true })).toBe(
      text(
        "(module $loops",
        "  (type (;0;) (func (param i32 i32 f32)))",
        '  (import "env" "memory" (memory (;0;) 0))',
        '  (func $scale (export "scale") (type 0) (param $pointer i32) (param $end i32) (param $by f32)',
        "    (local $factor v128) (local $value v128) (local $i i32)",
        "    (local.set $factor",
        "      (f32x4.splat",
        "        (local.get $by)))",
        "    (local.set $i",
        "      (i32.const 0))",
        "    (if  ;; label = @1",
        "      (i32.lt_s",
        "        (local.get $i)",
        "        (i32.const 4))",
        "      (then",
        "        (loop  ;; label = @2",
        "          (local.set $value",
        "            (f32x4.mul",
        "              (v128.load offset=16",
        "                (local.get $pointer))",
        "              (local.get $factor)))",
        "          (v128.store offset=16",
        "            (local.get $pointer)",
        "            (local.get $value))",
        "          (local.set $i",
        "            (i32.add",
        "              (local.get $i)",
        "              (i32.const 1)))",
        "          (br_if 0 (;@2;)",
        "            (i32.lt_s",
        "              (local.get $i)",
        "              (i32.const 4))))))",
        "    (local.set $pointer",
        "      (local.get $pointer))",
        "    (if  ;; label = @1",
        "      (i32.lt_u",
        "        (local.get $pointer)",
        "        (local.get $end))",
        "      (then",
        "        (loop  ;; label = @2",
        "          (v128.store32_lane 3",
        "            (local.get $pointer)",
        "            (local.get $factor))",
        "          (local.set $pointer",
        "            (i32.add",
        "              (local.get $pointer)",
        "              (i32.const 16)))",
        "          (br_if 0 (;@2;)",
        "            (i32.lt_u",
        "              (local.get $pointer)",
        "              (local.get $end))))))))",
      ),
    );
  });

  it("counts branches to outer blocks", async () => {
    const module = new ModuleBuilder("branches");
    module.func("leave", { params: { x: "i32" } }, (f, { x }) => {
      f.block((outer) => {
        f.loop((again) => {
          f.if(
            x,
            () => f.br(outer),
            () => f.brIf(again, f.i32.eqz(x)),
          );
        });
      });
    });
    expect(await disassemble(module.encode())).toBe(
      text(
        "(module $branches",
        "  (type (;0;) (func (param i32)))",
        '  (func $leave (export "leave") (type 0) (param $x i32)',
        "    block  ;; label = @1",
        "      loop  ;; label = @2",
        "        local.get $x",
        "        if  ;; label = @3",
        "          br 2 (;@1;)",
        "        else",
        "          local.get $x",
        "          i32.eqz",
        "          br_if 1 (;@2;)",
        "        end",
        "      end",
        "    end))",
      ),
    );
  });

  it("names the function in the stack of a trap", () => {
    const module = new ModuleBuilder();
    module.func("conv2d_3x3_dw_64x32", { params: {} }, (f) => f.unreachable());
    const { conv2d_3x3_dw_64x32: run } = instantiate(module);
    let stack: string | undefined;
    try {
      run?.();
    } catch (error) {
      stack = error instanceof Error ? error.stack : undefined;
    }
    expect(stack).toMatch(/\bconv2d_3x3_dw_64x32 \(wasm:/);
  });

  it("calls with operands by name, whatever their order at the call", () => {
    const module = new ModuleBuilder();
    const subtract = module.func(
      "subtract",
      { params: { a: "f64", b: "f64" }, result: "f64" },
      (f, { a, b }) => f.f64.sub(a, b),
    );
    module.func("use", { params: { a: "f64" }, result: "f64" }, (f, { a }) => f.call(subtract, { b: 3, a }));
    expect(instantiate(module).use?.(10)).toBe(7);
  });

  it("holds more than 127 locals, functions and pages of code", () => {
    const module = new ModuleBuilder();
    const last = Array.from({ length: 300 }, (_, index) =>
      module.func(`f${index}`, { params: { x: "i32" }, result: "i32" }, (f, { x }) => f.i32.add(x, index)),
    ).at(-1);
    if (!last) throw new Error("no function was made");
    module.func("sum", { params: { x: "i32" }, result: "i32" }, (f, { x }) => {
      const copies = Array.from({ length: 200 }, (_, index) => f.let(f.i32.mul(x, index)));
      const sum = f.let(f.call(last, { x: 1 }));
      for (const copy of copies) sum.set(f.i32.add(sum, copy));
      return sum;
    });
    expect(instantiate(module).sum?.(2)).toBe(300 + 199 * 200);
  });

  it("skips loops over nothing, counting signed and addressing unsigned", () => {
    const module = new ModuleBuilder();
    for (const kind of ["forRange", "forPointer"] as const)
      module.func(
        kind,
        { params: { start: "i32", end: "i32", step: "i32" }, result: "i32" },
        (f, { start, end, step }) => {
          const i = f.local("i32");
          const turns = f.local("i32");
          f[kind](i, start, end, step, () => turns.set(f.i32.add(turns, 1)));
          return turns;
        },
      );
    const { forRange, forPointer } = instantiate(module);
    expect(forRange?.(0, 7, 3)).toBe(3);
    expect(forRange?.(0, 0, 1)).toBe(0);
    expect(forRange?.(0, -1, 1)).toBe(0);
    expect(forRange?.(-4, -2, 1)).toBe(2);
    expect(forPointer?.(2 ** 31 - 16, 2 ** 31 + 16, 16)).toBe(2);
    expect(forPointer?.(16, 16, 16)).toBe(0);
  });
});

describe("emission stops", () => {
  type Locals = { i: Local<"i32">; x: Local<"f32">; v: Local<"v128"> };
  function emit(write: (f: FunctionBuilder, locals: Locals) => void): () => void {
    return () => {
      new ModuleBuilder().func("kernel", { params: { i: "i32", x: "f32", v: "v128" } }, write);
    };
  }

  it("at an operand of another type, which the compiler refuses too", () => {
    // @ts-expect-error an f32 where a vector belongs
    expect(emit((f, { v, x }) => v.set(f.f32x4.add(f.f32x4.neg(v), x)))).toThrow(
      "kernel: f32x4.add takes (v128, v128), got (v128 f32x4.neg, f32 local x) (in function body, stack: [v128 f32x4.neg])",
    );
    // @ts-expect-error a vector for a local of another type
    expect(emit((_, { x, v }) => x.set(v))).toThrow("kernel: local.set takes (f32), got (v128 local v)");
    // @ts-expect-error a number for a vector
    expect(emit((_, { v }) => v.set(1))).toThrow("local.set takes (v128), got (number 1)");
    // @ts-expect-error a number for an i64
    expect(emit((f) => f.drop(f.i64.eqz(1)))).toThrow("i64.eqz takes (i64), got (number 1)");
    // @ts-expect-error a bigint for an i32
    expect(emit((_, { i }) => i.set(1n))).toThrow("local.set takes (i32), got (bigint 1)");
    // @ts-expect-error a condition is an i32
    expect(emit((f, { x }) => f.if(x, () => f.return()))).toThrow("if takes (i32), got (f32 local x)");
    // @ts-expect-error both sides of a select are of one type
    expect(emit((f, { x, v }) => f.drop(f.select(x, v, 1)))).toThrow("select takes (f32, f32, i32), got");
  });

  it("at an operand too few or too many", () => {
    // @ts-expect-error one operand of two
    expect(emit((f, { x }) => x.set(f.f32.add(x)))).toThrow("f32.add takes (f32, f32), got (f32 local x)");
    // @ts-expect-error three operands of two
    expect(emit((f, { x }) => x.set(f.f32.add(x, x, x)))).toThrow(
      "f32.add has 2 operands and immediates, got 3",
    );
    // @ts-expect-error an operand that is not there
    expect(emit((f, { x }) => x.set(f.f32.add(x, undefined)))).toThrow("got (f32 local x, undefined)");
  });

  it("at a value that is not used in its statement, since it would be computed later than it reads", () => {
    const late = emit((f, { i, v }) => {
      const loaded = f.v128.load(i);
      f.v128.store(i, v);
      v.set(loaded);
    });
    expect(late).toThrow(
      "kernel: v128.store comes before a value that was built earlier is used: it would be computed later than it reads, or never; keep it with f.let(value), or f.drop(value) (in function body, stack: [v128 v128.load])",
    );
    const never = emit((f, { i }) => f.loop(() => void f.v128.load(f.i32.mul(i, 4))));
    expect(never).toThrow("kernel: end comes before");
    expect(never).toThrow("(in loop, stack: [v128 v128.load])");
    expect(emit((f, { i }) => void f.i32.eqz(i))).toThrow("kernel: end comes before");
    expect(emit((f, { i }) => f.if(i, () => void f.i32.eqz(i), f.return.bind(f)))).toThrow(
      "kernel: else comes before",
    );
  });

  it("at a value that is used twice", () => {
    const twice = emit((f, { v, i }) => {
      const loaded = f.v128.load(i);
      v.set(f.f32x4.mul(loaded, loaded));
    });
    expect(twice).toThrow(
      "f32x4.mul got v128 v128.load, which is used already; keep a value that is used twice",
    );
    const again = emit((f, { i, v }) => {
      const loaded = f.v128.load(i);
      v.set(loaded);
      v.set(loaded);
    });
    expect(again).toThrow("local.set got v128 v128.load, which is used already");
  });

  it("at locals, values and labels of another place", () => {
    const module = new ModuleBuilder();
    const foreign: { local?: Local<"i32">; label?: Label } = {};
    module.func("first", { params: { a: "i32" } }, (f, { a }) => {
      foreign.local = a;
      f.block((label) => {
        foreign.label = label;
      });
    });
    const { local, label } = foreign;
    if (!local || !label) throw new Error("nothing was kept");
    expect(emit((_, { i }) => i.set(local))).toThrow(
      "kernel: local.set got i32 local a, which belongs to the function first",
    );
    expect(emit(() => local.set(1))).toThrow("first: local.set writes to a function that is finished");
    expect(emit((f) => f.br(label))).toThrow("kernel: br leaves a block that is not open here");
    const closed = emit((f, { i }) => {
      f.loop((inner) => {
        foreign.label = inner;
      });
      f.block(() => f.brIf(foreign.label ?? label, i));
    });
    expect(closed).toThrow("kernel: br_if leaves a loop that is not open here");
    let leaked: Operand<"i32"> = 0;
    const failing = () =>
      module.func("second", { params: {} }, (f) => {
        leaked = f.i32.eqz(1);
      });
    expect(failing).toThrow("second: end comes before");
    expect(emit((_, { i }) => i.set(leaked))).toThrow(
      "kernel: local.set got i32 i32.eqz, which was built in the function second",
    );
  });

  it("at a result that is missing, not asked for, or of another type", () => {
    const module = new ModuleBuilder();
    const define = (write: (f: FunctionBuilder) => unknown) => () =>
      // @ts-expect-error any result, where an f32 is due
      module.func("kernel", { params: {}, result: "f32" }, write);
    expect(define(() => undefined)).toThrow("kernel: result takes (f32), got ()");
    expect(define((f) => f.i32.const(1))).toThrow("kernel: result takes (f32), got (i32 constant)");
    expect(define((f) => f.return())).toThrow("kernel: return takes (f32), got ()");
    expect(emit((f, { x }) => f.return(x))).toThrow("kernel: return takes (), got (f32 local x)");
  });

  it("at a call with other operands than the callee's", () => {
    const module = new ModuleBuilder();
    const callee = module.func("callee", { params: { a: "f32", b: "i32" } }, () => undefined);
    const call = (write: (f: FunctionBuilder) => void) => () => module.func("caller", { params: {} }, write);
    // @ts-expect-error without b
    expect(call((f) => f.call(callee, { a: 1 }))).toThrow(
      "caller: call callee takes (f32, i32), got (number 1)",
    );
    // @ts-expect-error a bigint for b
    expect(call((f) => f.call(callee, { a: 1, b: 2n }))).toThrow("got (number 1, bigint 2)");
  });

  it("at immediates and constants out of range", () => {
    expect(emit((f, { v }) => f.drop(f.f32x4.extract_lane(v, 4)))).toThrow(
      "f32x4.extract_lane has the lane 4: it goes from 0 to 3",
    );
    // @ts-expect-error no lane
    expect(emit((f, { v }) => f.drop(f.f32x4.extract_lane(v)))).toThrow("has one lane, got 0");
    expect(emit((f, { v }) => f.drop(f.i8x16.shuffle(v, v, [1, 2])))).toThrow("has 16 lanes, got 2");
    expect(emit((f, { v, i }) => f.v128.store(i, v, -16))).toThrow("has the address offset -16");
    expect(emit((f, { v, i }) => f.v128.store(i, v, 0.5))).toThrow("has the address offset 0.5");
    expect(emit((_, { i }) => i.set(0.5))).toThrow("local.set takes (i32), got (number 0.5)");
    expect(emit((_, { i }) => i.set(2 ** 32))).toThrow("got (number 4294967296)");
    expect(emit((f) => f.i32.const(-(2 ** 31) - 1))).toThrow("i32.const is made from an integer of 32 bits");
    expect(emit((f) => f.i64.const(2n ** 64n))).toThrow("i64.const is made from a bigint of 64 bits");
    expect(emit((f) => f.v128.const(new Float32Array(3)))).toThrow(
      "v128.const is made from a typed array of 16 bytes",
    );
  });

  it("at what a module cannot have", () => {
    const module = new ModuleBuilder("parts");
    module.importMemory("env", "memory", { initial: 1 });
    expect(() => module.importMemory("env", "more", { initial: 1 })).toThrow("parts: has a memory already");
    expect(() => new ModuleBuilder("parts").importMemory("env", "m", { initial: 1, shared: true })).toThrow(
      "parts: the shared memory env.m needs a maximum",
    );
    module.func("kernel", { params: {} }, () => undefined);
    expect(() => module.func("kernel", { params: {} }, () => undefined)).toThrow(
      "has a function kernel already",
    );
    expect(() => module.importFunction("env", "log", { params: {} })).toThrow(
      "import env.log before the first",
    );
    expect(() => module.func("f", { params: { 0: "i32" } }, () => undefined)).toThrow(
      "f: the parameter 0 needs a name",
    );
    const nested = () =>
      module.func("outer", { params: {} }, () => void module.func("inner", { params: {} }, () => undefined));
    expect(nested).toThrow("parts: define inner before outer or after it");
    module.func("outer", { params: {} }, () => undefined);
  });
});

describe("numbers as bytes", () => {
  const hex = (write: (writer: ByteWriter) => void) => {
    const writer = new ByteWriter(0);
    write(writer);
    return Buffer.from(writer.written()).toString("hex");
  };

  it.each([
    [0, "00"],
    [127, "7f"],
    [128, "8001"],
    [624485, "e58e26"],
    [2 ** 31, "8080808008"],
    [2 ** 32 - 1, "ffffffff0f"],
  ])("%d unsigned", (value, expected) => {
    expect(hex((writer) => writer.u32(value))).toBe(expected);
  });

  it.each([
    [0, "00"],
    [-1, "7f"],
    [63, "3f"],
    [64, "c000"],
    [-64, "40"],
    [-65, "bf7f"],
    [-123456, "c0bb78"],
    [2 ** 31 - 1, "ffffffff07"],
    [-(2 ** 31), "8080808078"],
    [2 ** 32 - 1, "7f"],
  ])("%d signed", (value, expected) => {
    expect(hex((writer) => writer.i32(value))).toBe(expected);
    if (value < 2 ** 31) expect(hex((writer) => writer.i64(BigInt(value)))).toBe(expected);
  });

  it.each([
    [2n ** 63n - 1n, "ffffffffffffffffff00"],
    [-(2n ** 63n), "8080808080808080807f"],
    [2n ** 64n - 1n, "7f"],
    [2n ** 31n, "8080808008"],
  ])("%d signed, of 64 bits", (value, expected) => {
    expect(hex((writer) => writer.i64(value))).toBe(expected);
  });

  it("refuses what does not fit", () => {
    for (const value of [-1, 0.5, 2 ** 32, Number.NaN])
      expect(() => hex((writer) => writer.u32(value))).toThrow(RangeError);
    for (const value of [-(2 ** 31) - 1, 0.5, 2 ** 32])
      expect(() => hex((writer) => writer.i32(value))).toThrow(RangeError);
    for (const value of [-(2n ** 63n) - 1n, 2n ** 64n])
      expect(() => hex((writer) => writer.i64(value))).toThrow(RangeError);
  });

  it("keeps the sign of zero, infinities and the canonical NaN", () => {
    // 0 / 0 has its sign bit set on x86.
    const divided = new Float64Array([0])[0] ?? 1;
    for (const nan of [Number.NaN, -Number.NaN, divided / divided]) {
      expect(hex((writer) => writer.f32(nan))).toBe("0000c07f");
      expect(hex((writer) => writer.f64(nan))).toBe("000000000000f87f");
    }
    expect(hex((writer) => writer.f32(-0))).toBe("00000080");
    expect(hex((writer) => writer.f64(-0))).toBe("0000000000000080");
    expect(hex((writer) => writer.f32(Number.POSITIVE_INFINITY))).toBe("0000807f");
    expect(hex((writer) => writer.f32(1e300))).toBe("0000807f");
  });

  it("comes out of V8 as it went in", () => {
    const everyDouble = fc.double();
    fc.assert(
      fc.property(fc.integer(), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), everyDouble, (i, j, x) => {
        const module = new ModuleBuilder();
        module.func("i32", { params: {}, result: "i32" }, () => i);
        module.func("i64", { params: {}, result: "i64" }, () => j);
        module.func("f32", { params: {}, result: "f32" }, () => x);
        module.func("f64", { params: {}, result: "f64" }, (f) => f.f64.const(x));
        const { i32, i64, f32, f64 } = instantiate(module);
        expect([i32?.(), i64?.(), f32?.(), f64?.()]).toEqual([i, j, Math.fround(x), x]);
      }),
    );
  });
});
