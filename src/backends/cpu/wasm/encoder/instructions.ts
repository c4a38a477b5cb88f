/**
 * The table as methods: `f.f32x4.add(a, b)`, `f.v128.load(pointer, 16)`, `f.i32.atomic.rmw.add(pointer, 1)`.
 *
 * Their types are computed from the rows, so nothing is written per instruction. Operands come in WebAssembly's
 * order, immediates after them: the lane, then the address offset in bytes (0 if left out). An instruction with a
 * result gives an `Expression`; one without is a statement, written at once.
 *
 * The alignment that WebAssembly wants beside an offset is only a hint, except for atomics, where it must be the
 * natural one; V8 ignores the hint, so natural is what is written. An unaligned address is fine but for atomics.
 */
import type { FunctionBody } from "./body.ts";
import { type ConstantValues, constantCode, constantSources, isConstantValue } from "./constants.ts";
import { type Encoding, encode, encodings, immediateCount } from "./encodings.ts";
import type { OpcodeRow, opcodes, ValueType } from "./opcodes.ts";
import { Constant, type Expression, type Operand } from "./values.ts";
import { widen } from "./wide.ts";

/** "a b" as ["a", "b"]. */
type Words<Text extends string> = Text extends ""
  ? []
  : Text extends `${infer First} ${infer Rest}`
    ? [First, ...Words<Rest>]
    : [Text];

type Operands<Types extends readonly string[]> = {
  [Index in keyof Types]: Types[Index] extends ValueType ? Operand<Types[Index]> : never;
};

type Immediates<Kind> = Kind extends `memory${number} lane${number}`
  ? [lane: number, offset?: number]
  : Kind extends `memory${number}`
    ? [offset?: number]
    : Kind extends `lane${number}`
      ? [lane: number]
      : Kind extends "lanes32"
        ? [lanes: readonly number[]]
        : [];

type Method<Row extends OpcodeRow> = Row[4] extends ValueType
  ? (value: ConstantValues[Row[4]]) => Constant<Row[4]>
  : (
      ...operandsThenImmediates: [...Operands<Words<Row[2]>>, ...Immediates<Row[4]>]
    ) => Row[3] extends ValueType ? Expression<Row[3]> : void;

type Methods = { [Name in keyof typeof opcodes]: Method<(typeof opcodes)[Name]> };

type Head<Name extends string> = Name extends `${infer First}.${string}` ? First : Name;

type Tails<Flat, First extends string> = {
  [Name in keyof Flat as Name extends `${First}.${infer Rest}` ? Rest : never]: Flat[Name];
};

/** `{ "i32.atomic.load": x }` as `{ i32: { atomic: { load: x } } }`. */
type Nested<Flat> = {
  readonly [First in Head<keyof Flat & string>]: First extends keyof Flat
    ? Flat[First]
    : Nested<Tails<Flat, First>>;
};

export type Instructions = Nested<Methods>;

type Argument = Operand<ValueType> | readonly number[] | ArrayBufferView;
function isOperand(value: Argument): value is Operand<ValueType> {
  return typeof value !== "object" || "type" in value;
}

function apply(body: FunctionBody, encoding: Encoding, given: readonly Argument[]): unknown {
  const { name, takes, gives, isConstant, forms, extend } = encoding;
  if (isConstant && gives) {
    const [value] = given;
    if (given.length !== 1 || !isConstantValue(gives, value))
      body.fail(name, `is made from ${constantSources[gives]}, got (${given.join(", ")})`);
    return new Constant(gives, constantCode(gives, value, body.wide));
  }
  const most = takes.length + immediateCount(encoding);
  if (given.length > most) body.fail(name, `has ${most} operands and immediates, got ${given.length}`);
  const operands = given.slice(0, takes.length).filter(isOperand);
  const code = encode(encoding, given.slice(takes.length), body);
  const instruction = { name, code, takes, operands, forms, extend };
  return gives ? body.expression(gives, instruction) : body.statement(instruction);
}

/** The table by namespace: `i32.atomic.rmw.add` is `add` in `rmw` in `atomic` in `i32`. */
type Namespace = Map<string, Namespace | Encoding>;

function byNamespace(list: readonly Encoding[]): Namespace {
  const root: Namespace = new Map();
  for (const encoding of list) {
    const path = encoding.name.split(".");
    const own = path.pop() ?? encoding.name;
    const namespace = path.reduce((outer, name) => {
      const known = outer.get(name);
      const inner: Namespace = known instanceof Map ? known : new Map();
      outer.set(name, inner);
      return inner;
    }, root);
    namespace.set(own, encoding);
  }
  return root;
}

const root = byNamespace(encodings);
/** The table for modules on a 64-bit memory, made when the first is written. */
let wideRoot: Namespace | undefined;

function rootFor({ wide }: FunctionBody): Namespace {
  if (!wide) return root;
  wideRoot ??= byNamespace(encodings.map(widen));
  return wideRoot;
}

/** Adds the instructions of a namespace to an object; inner namespaces when they are first read, most never are. */
function addInstructions(target: object, namespace: Namespace, body: FunctionBody): void {
  for (const [name, entry] of namespace) {
    if (!(entry instanceof Map)) {
      Object.assign(target, { [name]: (...given: Argument[]) => apply(body, entry, given) });
      continue;
    }
    let inner: object | undefined;
    const get = () => {
      if (!inner) {
        inner = {};
        addInstructions(inner, entry, body);
      }
      return inner;
    };
    Object.defineProperty(target, name, { get, enumerable: true });
  }
}

/** Gives the object all instructions of the table, writing into one function. */
export function withInstructions<T extends object>(target: T, body: FunctionBody): T & Instructions {
  addInstructions(target, rootFor(body), body);
  // The loop over the rows built what the types above compute from the same rows.
  return target as T & Instructions;
}
