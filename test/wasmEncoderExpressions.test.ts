/** Random trees of instructions: what V8 computes is what plain JavaScript computes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type FunctionBuilder,
  ModuleBuilder,
  type Operand,
  type ValueType,
  webAssembly,
} from "../src/backends/cpu/wasm/encoder/index.ts";
import { instantiate } from "./support/wasm.ts";

/** Both vectors are v128; kept apart, no tree reads the bits of a NaN, which WebAssembly leaves open. */
type Kind = "i32" | "f32" | "f64" | "f32x4" | "i32x4";
/** Lanes; a scalar has one. */
type Value = readonly number[];
type Plain = (...values: number[]) => number;
type AnyOperand = Operand<ValueType>;
type AnyMethod = (...given: readonly unknown[]) => AnyOperand;

interface Operation {
  readonly takes: readonly Kind[];
  readonly gives: Kind;
  readonly write: (f: FunctionBuilder, operands: readonly AnyOperand[]) => AnyOperand;
  readonly plain: (...values: Value[]) => Value;
}

type Tree =
  | { readonly kind: Kind; readonly constant: Value }
  | { readonly kind: Kind; readonly loadedFrom: number }
  | { readonly kind: Kind; readonly operation: Operation; readonly operands: readonly Tree[] };

const kinds = ["i32", "f32", "f64", "f32x4", "i32x4"] as const;
const wasmType = (kind: Kind): ValueType => (kind === "f32x4" || kind === "i32x4" ? "v128" : kind);

/** The method of a dotted name, without its types. */
function method(f: FunctionBuilder, name: string): AnyMethod {
  const found = name.split(".").reduce<unknown>((outer, part) => Reflect.get(Object(outer), part), f);
  return found as AnyMethod;
}

function operation(
  name: string,
  takes: readonly Kind[],
  gives: Kind,
  plain: Operation["plain"],
  ...immediates: readonly unknown[]
): Operation {
  return { takes, gives, plain, write: (f, operands) => method(f, name)(...operands, ...immediates) };
}

/** Operations whose operands are all of one kind, computed lane by lane. */
function family(kind: Kind, gives: Kind, finish: Plain, table: Readonly<Record<string, Plain>>): Operation[] {
  return Object.entries(table).map(([name, plain]) => {
    const takes = Array.from({ length: plain.length }, () => kind);
    const apply = (...values: Value[]) =>
      (values[0] ?? []).map((_, lane) => finish(plain(...values.map((value) => value[lane] ?? 0))));
    return operation(`${kind}.${name}`, takes, gives, apply);
  });
}

const same = (x: number) => x;
const toMask = (x: number) => -x | 0;
const { fround } = Math;
const clampToInt = (x: number) => (Number.isNaN(x) ? 0 : Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, x)) | 0);

function roundToEven(x: number): number {
  if (!Number.isFinite(x)) return x;
  const floor = Math.floor(x);
  const up = x - floor > 0.5 || (x - floor === 0.5 && floor % 2 !== 0);
  const rounded = up ? floor + 1 : floor;
  return rounded === 0 ? 0 * Math.sign(x) : rounded;
}

const integer = {
  add: (a: number, b: number) => a + b,
  sub: (a: number, b: number) => a - b,
  mul: Math.imul,
};
const integerComparisons = {
  eq: (a: number, b: number) => Number(a === b),
  lt_s: (a: number, b: number) => Number(a < b),
  lt_u: (a: number, b: number) => Number(a >>> 0 < b >>> 0),
  ge_s: (a: number, b: number) => Number(a >= b),
};
const float = {
  add: (a: number, b: number) => a + b,
  sub: (a: number, b: number) => a - b,
  mul: (a: number, b: number) => a * b,
  div: (a: number, b: number) => a / b,
  min: (a: number, b: number) => Math.min(a, b),
  max: (a: number, b: number) => Math.max(a, b),
  abs: Math.abs,
  neg: (x: number) => -x,
  ceil: Math.ceil,
  floor: Math.floor,
  trunc: Math.trunc,
  sqrt: Math.sqrt,
  nearest: roundToEven,
};
const floatComparisons = {
  eq: (a: number, b: number) => Number(a === b),
  ne: (a: number, b: number) => Number(a !== b),
  lt: (a: number, b: number) => Number(a < b),
  ge: (a: number, b: number) => Number(a >= b),
};

/** Words 5, 0, 3 and 6 of the eight words of both operands. */
const shuffledWords = [5, 0, 3, 6];
const shuffledBytes = shuffledWords.flatMap((word) => [0, 1, 2, 3].map((byte) => 4 * word + byte));

const operations: readonly Operation[] = [
  ...family("i32", "i32", (x) => x | 0, {
    ...integer,
    ...integerComparisons,
    and: (a, b) => a & b,
    or: (a, b) => a | b,
    xor: (a, b) => a ^ b,
    shl: (a, b) => a << b,
    shr_s: (a, b) => a >> b,
    shr_u: (a, b) => a >>> b,
    rotl: (a, b) => (a << b) | (a >>> -b),
    eqz: (a) => Number(a === 0),
    clz: Math.clz32,
  }),
  ...family("f32", "f32", fround, float),
  ...family("f64", "f64", same, float),
  ...family("f32", "i32", same, floatComparisons),
  ...family("f64", "i32", same, floatComparisons),
  ...family("f32x4", "f32x4", fround, {
    ...float,
    pmin: (a, b) => [a, b][Number(b < a)] ?? 0,
    pmax: (a, b) => [a, b][Number(a < b)] ?? 0,
  }),
  ...family("f32x4", "i32x4", toMask, floatComparisons),
  ...family("i32x4", "i32x4", (x) => x | 0, {
    ...integer,
    min_s: (a, b) => Math.min(a, b),
    max_u: (a, b) => Math.max(a >>> 0, b >>> 0),
    neg: (a) => -a,
  }),
  ...family("i32x4", "i32x4", toMask, integerComparisons),
  operation("i32.trunc_sat_f32_s", ["f32"], "i32", (x) => x.map(clampToInt)),
  operation("i32.trunc_sat_f64_s", ["f64"], "i32", (x) => x.map(clampToInt)),
  operation("i32x4.trunc_sat_f32x4_s", ["f32x4"], "i32x4", (x) => x.map(clampToInt)),
  operation("f32.convert_i32_s", ["i32"], "f32", (x) => x.map(fround)),
  operation("f32.convert_i32_u", ["i32"], "f32", (x) => x.map((lane) => fround(lane >>> 0))),
  operation("f32x4.convert_i32x4_s", ["i32x4"], "f32x4", (x) => x.map(fround)),
  operation("f64.convert_i32_u", ["i32"], "f64", (x) => x.map((lane) => lane >>> 0)),
  operation("f32.demote_f64", ["f64"], "f32", (x) => x.map(fround)),
  operation("f64.promote_f32", ["f32"], "f64", (x) => x),
  operation("f32x4.splat", ["f32"], "f32x4", ([x = 0]) => [x, x, x, x]),
  operation("i32x4.splat", ["i32"], "i32x4", ([x = 0]) => [x, x, x, x]),
  operation("f32x4.extract_lane", ["f32x4"], "f32", (x) => x.slice(2, 3), 2),
  operation("i32x4.extract_lane", ["i32x4"], "i32", (x) => x.slice(3), 3),
  operation("f32x4.replace_lane", ["f32x4", "f32"], "f32x4", (x, [y = 0]) => x.with(1, y), 1),
  operation("i32x4.shl", ["i32x4", "i32"], "i32x4", (x, [by = 0]) => x.map((lane) => lane << by)),
  operation("i32x4.all_true", ["i32x4"], "i32", (x) => [Number(x.every((lane) => lane !== 0))]),
  operation("i32x4.bitmask", ["i32x4"], "i32", (x) => [
    x.reduce((bits, lane, index) => bits | (Number(lane < 0) << index), 0),
  ]),
  operation("v128.bitselect", ["i32x4", "i32x4", "i32x4"], "i32x4", (a, b, mask) =>
    mask.map((bits, lane) => ((a[lane] ?? 0) & bits) | ((b[lane] ?? 0) & ~bits)),
  ),
  ...(["i32x4", "f32x4"] as const).map((kind) =>
    operation(
      "i8x16.shuffle",
      [kind, kind],
      kind,
      (a, b) => shuffledWords.map((word) => [...a, ...b][word] ?? 0),
      shuffledBytes,
    ),
  ),
  // Locals that are written and read within one expression.
  ...kinds.map((kind): Operation => {
    const write: Operation["write"] = (f, [x = 0]) => f.local(wasmType(kind)).tee(x);
    return { takes: [kind], gives: kind, plain: (x) => x, write };
  }),
  ...kinds.map((kind): Operation => {
    const write: Operation["write"] = (f, [a = 0, b = 0, condition = 0]) =>
      f.select(f.local(wasmType(kind)).tee(a), b, condition as Operand<"i32">);
    return { takes: [kind, kind, "i32"], gives: kind, plain: (a, b, [c]) => (c ? a : b), write };
  }),
];

const lane: Readonly<Record<Kind, fc.Arbitrary<number>>> = {
  i32: fc.oneof(fc.integer({ min: -40, max: 40 }), fc.integer()),
  i32x4: fc.integer(),
  f32: fc.float(),
  f32x4: fc.float(),
  f64: fc.double(),
};
const valueFor = (kind: Kind) => fc.array(lane[kind], kind.endsWith("x4") ? four : one);
const one = { minLength: 1, maxLength: 1 };
const four = { minLength: 4, maxLength: 4 };

/** Where memory holds an input of each kind, and where the result goes. */
const inputAt: Readonly<Record<Kind, number>> = { i32: 0, f32: 8, f64: 16, f32x4: 32, i32x4: 48 };
const resultAt = 64;

function treeOf(kind: Kind, depth: number): fc.Arbitrary<Tree> {
  const leaves = [
    valueFor(kind).map((constant): Tree => ({ kind, constant })),
    fc.constant<Tree>({ kind, loadedFrom: inputAt[kind] }),
  ];
  if (depth === 0) return fc.oneof(...leaves);
  const nodes = operations
    .filter(({ gives }) => gives === kind)
    .map((operation) =>
      fc
        .tuple(...operation.takes.map((taken) => tree(taken, depth - 1)))
        .map((operands): Tree => ({ kind, operation, operands })),
    );
  return fc.oneof(...leaves, ...nodes);
}

const trees = new Map<string, fc.Arbitrary<Tree>>();
function tree(kind: Kind, depth: number): fc.Arbitrary<Tree> {
  const key = `${kind} ${depth}`;
  const known = trees.get(key) ?? treeOf(kind, depth);
  trees.set(key, known);
  return known;
}

type Inputs = Readonly<Record<Kind, Value>>;

function evaluate(node: Tree, inputs: Inputs): Value {
  if ("constant" in node) return node.constant;
  if ("loadedFrom" in node) return inputs[node.kind];
  return node.operation.plain(...node.operands.map((operand) => evaluate(operand, inputs)));
}

function write(f: FunctionBuilder, node: Tree): AnyOperand {
  if ("operation" in node)
    return node.operation.write(
      f,
      node.operands.map((operand) => write(f, operand)),
    );
  if ("loadedFrom" in node) return method(f, `${wasmType(node.kind)}.load`)(0, node.loadedFrom);
  const [scalar = 0] = node.constant;
  if (node.kind === "f32x4") return f.v128.const(Float32Array.from(node.constant));
  return node.kind === "i32x4" ? f.v128.const(Int32Array.from(node.constant)) : scalar;
}

function lanesAt(buffer: ArrayBufferLike, kind: Kind, at: number): Int32Array | Float32Array | Float64Array {
  if (kind === "f64") return new Float64Array(buffer, at, 1);
  const count = kind.endsWith("x4") ? 4 : 1;
  return kind.startsWith("i32") ? new Int32Array(buffer, at, count) : new Float32Array(buffer, at, count);
}

describe("random expressions", () => {
  it.each(kinds)("of %s compute what JavaScript computes", (kind) => {
    if (!webAssembly) throw new Error("this engine has no WebAssembly");
    const memory = new webAssembly.Memory({ initial: 1 });
    const inputs = fc.record<Inputs>({
      i32: valueFor("i32"),
      f32: valueFor("f32"),
      f64: valueFor("f64"),
      f32x4: valueFor("f32x4"),
      i32x4: valueFor("i32x4"),
    });
    fc.assert(
      fc.property(tree(kind, 4), inputs, (root, given) => {
        for (const each of kinds) lanesAt(memory.buffer, each, inputAt[each]).set(given[each]);
        const module = new ModuleBuilder();
        module.importMemory("env", "memory", { initial: 1 });
        module.func("evaluate", { params: {} }, (f) => {
          method(f, `${wasmType(kind)}.store`)(0, write(f, root), resultAt);
        });
        instantiate(module, memory).evaluate?.();
        expect([...lanesAt(memory.buffer, kind, resultAt)]).toEqual(evaluate(root, given));
      }),
      { numRuns: 500 },
    );
  });
});
