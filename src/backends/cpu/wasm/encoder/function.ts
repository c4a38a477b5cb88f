/**
 * What a kernel is written with: the instructions of the table, and blocks, loops, locals and calls.
 *
 * Operands are expressions inside each other, `f.v128.store(p, f.f32x4.mul(a, b))`, and statements are calls one
 * after the other. Against stack code (`get p, get a, get b, mul, store`) this reads like the arithmetic it is, the
 * compiler checks types and counts, and 24 accumulators are an array of locals in an ordinary loop:
 *
 *     const { f32x4, v128 } = f;
 *     const sums = [0, 1, 2, 3].map((row) => f.local("v128", `sum${row}`));
 *     f.forRange(k, 0, depth, 1, () => {
 *       const b = f.let(v128.load(right));
 *       for (const [row, sum] of sums.entries())
 *         sum.set(f32x4.add(sum, f32x4.mul(v128.load32_splat(left, 4 * row), b)));
 *     });
 *
 * Blocks have no results: a value that leaves a block is assigned to a local, which costs nothing once compiled.
 */
import { type FunctionBody, type Label, withIndex } from "./body.ts";
import { encode, encodingOf } from "./encodings.ts";
import { type Instructions, withInstructions } from "./instructions.ts";
import { controlOpcodes, type ValueType } from "./opcodes.ts";
import type { Expression, Local, Operand, Reusable, Typed } from "./values.ts";
import { type NarrowForm, widen } from "./wide.ts";

export type ParameterTypes = Readonly<Record<string, ValueType>>;

/** A function that another one of the module may call. */
export interface FunctionHandle<Parameters extends ParameterTypes, Result extends ValueType | undefined> {
  readonly name: string;
  readonly index: number;
  readonly params: Parameters;
  readonly result: Result | undefined;
}

export type FunctionBuilder = ControlFlow & Instructions;

/** What loops count with. */
const integers = {
  "i32.add": encodingOf("i32.add"),
  "i32.lt_s": encodingOf("i32.lt_s"),
  "i32.lt_u": encodingOf("i32.lt_u"),
} as const;
const wideIntegers: typeof integers = {
  "i32.add": widen(integers["i32.add"]),
  "i32.lt_s": widen(integers["i32.lt_s"]),
  "i32.lt_u": widen(integers["i32.lt_u"]),
};

/** The type of a block without parameters and results. */
const noValues = 0x40;

export class ControlFlow {
  private readonly body: FunctionBody;
  private readonly result: ValueType | undefined;

  constructor(body: FunctionBody, result: ValueType | undefined) {
    this.body = body;
    this.result = result;
  }

  /** A new local, 0 when the function is entered, and only then. */
  local<T extends ValueType>(type: T, name = `${type}_${this.body.locals.length}`): Local<T> {
    return this.body.addLocal(type, name);
  }

  /** A new local that holds the value from here on. */
  let<T extends ValueType>(value: Typed<T>, name?: string): Local<T> {
    const local = this.local(value.type, name);
    local.set(value);
    return local;
  }

  /** What `word` reads are apart: 4 bytes, on a 64-bit memory 8. */
  get wordBytes(): number {
    return this.body.wide ? 8 : 4;
  }

  /**
   * Reads an integer that may be an address, from a table that JavaScript has written: word number `index` from
   * `table` on. On a 64-bit memory it is an f64 there, which JavaScript writes faster than a bigint.
   */
  word(table: Reusable<"i32">, index: number): Expression<"i32"> {
    const { body, wordBytes } = this;
    const load = encodingOf(body.wide ? "f64.load" : "i32.load");
    const { name, takes } = load;
    const code = encode(load, [wordBytes * index], body);
    const instruction = { name, code, takes, operands: [table] };
    if (!body.wide) return body.expression("i32", instruction);
    const { code: truncation } = encodingOf("i64.trunc_sat_f64_s");
    const operands = [body.expression("f64", instruction)];
    return body.expression("i32", { name: "word", code: truncation, takes: ["f64"], operands });
  }

  /** Runs once; a branch to its label leaves it. */
  block(inside: (label: Label) => void): void {
    this.nest("block", [], inside);
  }

  /** Runs once; a branch to its label starts it again. */
  loop(inside: (label: Label) => void): void {
    this.nest("loop", [], inside);
  }

  /** Either of them; the condition is an i32 that is not 0. */
  if(condition: Operand<"i32">, then: () => void, otherwise?: () => void): void {
    this.nest("if", [condition], () => {
      then();
      if (!otherwise) return;
      this.body.otherwise();
      otherwise();
    });
  }

  /** Repeats while the condition, built anew for its two places, is not 0. */
  while(condition: () => Operand<"i32">, inside: () => void): void {
    this.if(condition(), () =>
      this.loop((again) => {
        inside();
        this.brIf(again, condition());
      }),
    );
  }

  /**
   * `for (i = start; i < end; i += step)` with signed integers: for counts, which may come out below 0.
   *
   * @param end compared after each turn, so it may be a local that the body changes
   */
  forRange(
    i: Local<"i32">,
    start: Operand<"i32">,
    end: Reusable<"i32">,
    step: Reusable<"i32">,
    inside: () => void,
  ): void {
    i.set(start);
    this.while(() => this.integer("i32.lt_s", i, end), this.stepping(i, step, inside));
  }

  /** The same with unsigned integers: for addresses, which may lie above 2 GiB. */
  forPointer(
    pointer: Local<"i32">,
    start: Operand<"i32">,
    end: Reusable<"i32">,
    step: Reusable<"i32">,
    inside: () => void,
  ): void {
    pointer.set(start);
    this.while(() => this.integer("i32.lt_u", pointer, end), this.stepping(pointer, step, inside));
  }

  br(label: Label): void {
    const code = withIndex(controlOpcodes.br, this.body.depthOf(label, "br"));
    this.body.statement({ name: "br", code, takes: [], operands: [] });
  }

  brIf(label: Label, condition: Operand<"i32">): void {
    const code = withIndex(controlOpcodes.br_if, this.body.depthOf(label, "br_if"));
    this.body.statement({
      ...{ name: "br_if", code, takes: ["i32"], operands: [condition] },
      forms: this.conditionAt(0),
    });
  }

  /** Leaves the function, with its result if it has one. */
  return(value?: Operand<ValueType>): void {
    this.body.statement({
      name: "return",
      code: [controlOpcodes.return],
      takes: this.result ? [this.result] : [],
      operands: value === undefined ? [] : [value],
    });
  }

  /** Traps: for what cannot happen. */
  unreachable(): void {
    this.body.statement({ name: "unreachable", code: [controlOpcodes.unreachable], takes: [], operands: [] });
  }

  /** Computes a value only for its effect. */
  drop(value: Typed<ValueType>): void {
    this.body.statement({
      name: "drop",
      code: [controlOpcodes.drop],
      takes: [value.type],
      operands: [value],
    });
  }

  /** `condition ? then : otherwise`, both of them computed. */
  select<T extends ValueType>(
    then: Typed<T>,
    otherwise: NoInfer<Operand<T>>,
    condition: Operand<"i32">,
  ): Expression<T> {
    return this.body.expression(then.type, {
      name: "select",
      code: [controlOpcodes.select],
      takes: [then.type, then.type, "i32"],
      operands: [then, otherwise, condition],
      forms: this.conditionAt(2),
    });
  }

  /** Calls, with operands by parameter name; a result is an expression like any other. */
  call<P extends ParameterTypes>(callee: FunctionHandle<P, undefined>, given: Arguments<P>): void;
  call<P extends ParameterTypes, R extends ValueType>(
    callee: FunctionHandle<P, R>,
    given: Arguments<P>,
  ): Expression<R>;
  call(
    { name, index, params, result }: FunctionHandle<ParameterTypes, ValueType | undefined>,
    given: Arguments<ParameterTypes>,
  ): Expression<ValueType> | undefined {
    const instruction = {
      name: `call ${name}`,
      code: withIndex(controlOpcodes.call, index),
      takes: Object.values(params),
      operands: Object.keys(params).flatMap((parameter) => given[parameter] ?? []),
    };
    if (result) return this.body.expression(result, instruction);
    this.body.statement(instruction);
    return undefined;
  }

  private integer(
    name: keyof typeof integers,
    left: Operand<"i32">,
    right: Operand<"i32">,
  ): Expression<"i32"> {
    const { code, takes, extend } = (this.body.wide ? wideIntegers : integers)[name];
    return this.body.expression("i32", { name, code, takes, operands: [left, right], extend });
  }

  /** What is done to the condition among an instruction's operands. */
  private conditionAt(index: number): readonly (NarrowForm | undefined)[] | undefined {
    return this.body.wide ? [...Array<undefined>(index), "truth"] : undefined;
  }

  private stepping(i: Local<"i32">, step: Reusable<"i32">, inside: () => void): () => void {
    return () => {
      inside();
      i.set(this.integer("i32.add", i, step));
    };
  }

  private nest(
    kind: Label["kind"],
    operands: readonly Operand<"i32">[],
    inside: (label: Label) => void,
  ): void {
    const code = [controlOpcodes[kind], noValues];
    const forms = operands.length > 0 ? this.conditionAt(0) : undefined;
    const label = this.body.open(kind, {
      name: kind,
      code,
      takes: operands.map(() => "i32"),
      operands,
      forms,
    });
    inside(label);
    this.body.close(label);
  }
}

type Arguments<P extends ParameterTypes> = { readonly [Name in keyof P]: Operand<P[Name]> };

/** The builder of one function. */
export function functionBuilder(body: FunctionBody, result: ValueType | undefined): FunctionBuilder {
  return withInstructions(new ControlFlow(body, result), body);
}
