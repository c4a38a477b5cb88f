/**
 * What an instruction takes: expressions, locals, constants and plain numbers, typed so that a kernel that adds an
 * f32 to a v128 does not compile.
 *
 * Locals and constants may be used any number of times. An expression is code that leaves a value on WebAssembly's
 * stack, so it is used once, in the statement it was built for.
 */
import type { FunctionBody } from "./body.ts";
import type { ValueType } from "./opcodes.ts";
import type { NarrowForm } from "./wide.ts";

/** JavaScript's own numbers as operands. A vector has no literal: `f.v128.const(Float32Array.of(1, 2, 3, 4))`. */
type Literal<T extends ValueType> = T extends "i64" ? bigint : T extends "v128" ? never : number;

/** What may be used again and again. */
export type Reusable<T extends ValueType> = Local<T> | Constant<T> | Literal<T>;

/** Whatever gives a value of the type. */
export type Operand<T extends ValueType> = Expression<T> | Reusable<T>;

/** An operand that knows its type. */
export type Typed<T extends ValueType> = Expression<T> | Local<T> | Constant<T>;

/** An instruction as it goes into the code: its own bytes, and what it takes from the stack. */
export interface Instruction {
  readonly name: string;
  readonly code: ArrayLike<number>;
  readonly takes: readonly ValueType[];
  readonly operands: readonly Operand<ValueType>[];
  /** On a 64-bit memory: what is done to operands first, and the opcode that extends the result to 64 bits. */
  readonly forms?: readonly (NarrowForm | undefined)[] | undefined;
  readonly extend?: number | undefined;
}

/** An instruction with a result, built and not yet in the code. */
export class Expression<T extends ValueType> {
  readonly type: T;
  readonly instruction: Instruction;
  readonly body: FunctionBody;
  used = false;

  constructor(type: T, instruction: Instruction, body: FunctionBody) {
    this.type = type;
    this.instruction = instruction;
    this.body = body;
  }

  toString(): string {
    return `${this.type} ${this.instruction.name}`;
  }
}

/** A constant of a stated type, for the places where a plain number does not say its own. */
export class Constant<T extends ValueType> {
  readonly type: T;
  readonly code: ArrayLike<number>;

  constructor(type: T, code: ArrayLike<number>) {
    this.type = type;
    this.code = code;
  }

  toString(): string {
    return `${this.type} constant`;
  }
}

/** A parameter or a variable of one function; a machine register, as long as there are enough. */
export class Local<T extends ValueType> {
  readonly type: T;
  /** As profiles and disassemblies show it. */
  readonly name: string;
  readonly index: number;
  readonly body: FunctionBody;

  constructor(type: T, name: string, index: number, body: FunctionBody) {
    this.type = type;
    this.name = name;
    this.index = index;
    this.body = body;
  }

  /** Assigns. */
  set(value: Operand<T>): void {
    this.body.setLocal(this, value);
  }

  /** Assigns, and gives the value on. */
  tee(value: Operand<T>): Expression<T> {
    return this.body.teeLocal(this, value);
  }

  toString(): string {
    return `${this.type} local ${this.name}`;
  }
}
