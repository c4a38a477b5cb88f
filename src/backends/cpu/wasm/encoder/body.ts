/**
 * The code of one function while it is written: the check of every operand, and the rules that keep a tree of
 * expressions in the order in which the kernel's source reads.
 *
 * WebAssembly is a stack machine, and its stack is kept here as the list of open expressions: those that were built
 * and not yet used. Only a statement (a store, an assignment, a branch) writes code: its operands, then itself. If
 * an expression is then still open, something would be computed later than it reads or not at all, and emission
 * stops. So `const x = f.v128.load(p)` may not be used after the next store; `f.let(f.v128.load(p))` may.
 */
import { ByteWriter } from "./bytes.ts";
import { isConstantValue, writeConstant } from "./constants.ts";
import { controlOpcodes, type ValueType } from "./opcodes.ts";
import { Constant, Expression, type Instruction, Local, type Operand } from "./values.ts";
import { narrowing } from "./wide.ts";

/** A block or loop that is open while its body runs: what `br` and `brIf` go to. */
export class Label {
  readonly kind: "block" | "loop" | "if";

  constructor(kind: "block" | "loop" | "if") {
    this.kind = kind;
  }
}

function describe(operand: unknown): string {
  if (operand instanceof Expression || operand instanceof Local || operand instanceof Constant)
    return String(operand);
  return typeof operand === "number" || typeof operand === "bigint"
    ? `${typeof operand} ${operand}`
    : typeof operand;
}

/** An instruction whose immediate is an index. */
export function withIndex(opcode: number, index: number): readonly number[] {
  if (index < 0x80) return [opcode, index];
  const writer = new ByteWriter(8);
  writer.byte(opcode);
  writer.u32(index);
  return Array.from(writer.written());
}

export class FunctionBody {
  /** The function's name, which starts every error. */
  readonly name: string;
  /** Whether the module is on a 64-bit memory, where an "i32" has 64 bits: see `wide.ts`. */
  readonly wide: boolean;
  /** Parameters first. */
  readonly locals: Local<ValueType>[] = [];
  readonly code = new ByteWriter(4096);
  private readonly labels: Label[] = [];
  private built: Expression<ValueType>[] = [];
  private openCount = 0;
  private finished = false;

  constructor(name: string, wide = false) {
    this.name = name;
    this.wide = wide;
  }

  addLocal<T extends ValueType>(type: T, name: string): Local<T> {
    const local = new Local(type, name, this.locals.length, this);
    this.locals.push(local);
    return local;
  }

  setLocal<T extends ValueType>(local: Local<T>, value: Operand<T>): void {
    this.statement({
      name: "local.set",
      code: withIndex(controlOpcodes["local.set"], this.indexOf(local, "local.set")),
      takes: [local.type],
      operands: [value],
    });
  }

  teeLocal<T extends ValueType>(local: Local<T>, value: Operand<T>): Expression<T> {
    const code = withIndex(controlOpcodes["local.tee"], this.indexOf(local, "local.tee"));
    return this.expression(local.type, { name: "local.tee", code, takes: [local.type], operands: [value] });
  }

  /** An instruction with a result: checked now, written with the statement that uses it. */
  expression<T extends ValueType>(type: T, instruction: Instruction): Expression<T> {
    this.use(instruction);
    const expression = new Expression(type, instruction, this);
    this.built.push(expression);
    this.openCount++;
    return expression;
  }

  /** An instruction without a result: checked and written. */
  statement(instruction: Instruction): void {
    this.use(instruction);
    this.requireNothingOpen(instruction.name);
    this.write(instruction);
  }

  /** Ends the function, with its result if it has one. */
  endWith(result: ValueType | undefined, value: Operand<ValueType> | undefined): void {
    if (result) {
      const operands = value === undefined ? [] : [value];
      this.statement({ name: "result", code: [], takes: [result], operands });
    } else this.requireNothingOpen("end");
    this.finished = true;
  }

  open(kind: Label["kind"], instruction: Instruction): Label {
    this.statement(instruction);
    const label = new Label(kind);
    this.labels.push(label);
    return label;
  }

  /** `else`: the block stays open, what was built in its first half must have been used. */
  otherwise(): void {
    this.requireNothingOpen("else");
    this.code.byte(controlOpcodes.else);
  }

  close(label: Label): void {
    this.requireNothingOpen("end");
    if (this.labels.pop() !== label) this.fail("end", `closes a ${label.kind} that is not the innermost`);
    this.code.byte(controlOpcodes.end);
  }

  /** How many blocks `br` leaves to get to the label. */
  depthOf(label: Label, instruction: string): number {
    const position = this.labels.lastIndexOf(label);
    if (position < 0)
      this.fail(
        instruction,
        `leaves a ${label.kind} that is not open here: branch only from inside the body that got the label`,
      );
    return this.labels.length - 1 - position;
  }

  requireNothingOpen(next: string): void {
    if (this.openCount > 0)
      this.fail(
        next,
        "comes before a value that was built earlier is used: it would be computed later than it reads, or never; keep it with f.let(value), or f.drop(value)",
      );
    this.built = [];
  }

  fail(instruction: string, problem: string): never {
    const open = this.built.filter(({ used }) => !used).join(", ");
    const place = this.labels.map(({ kind }) => kind).join(" > ") || "function body";
    throw new Error(`${this.name}: ${instruction} ${problem} (in ${place}, stack: [${open}])`);
  }

  private indexOf(local: Local<ValueType>, instruction: string): number {
    if (local.body !== this)
      this.fail(instruction, `got ${local}, which belongs to the function ${local.body.name}`);
    return local.index;
  }

  private use({ name, takes, operands }: Instruction): void {
    if (this.finished) this.fail(name, "writes to a function that is finished");
    if (!this.fit(operands, takes))
      this.fail(name, `takes (${takes.join(", ")}), got (${operands.map(describe).join(", ")})`);
    for (const operand of operands) {
      if (!(operand instanceof Expression)) {
        if (operand instanceof Local) this.indexOf(operand, name);
        continue;
      }
      if (operand.body !== this)
        this.fail(name, `got ${operand}, which was built in the function ${operand.body.name}`);
      if (operand.used)
        this.fail(
          name,
          `got ${operand}, which is used already; keep a value that is used twice with f.let(value)`,
        );
      operand.used = true;
      this.openCount--;
    }
  }

  private fit(operands: Instruction["operands"], takes: readonly ValueType[]): boolean {
    if (operands.length !== takes.length) return false;
    return takes.every((type, index) => {
      const operand = operands[index];
      if (typeof operand === "number" || typeof operand === "bigint") return isConstantValue(type, operand);
      return operand?.type === type;
    });
  }

  /** @param narrow whether the result is wanted before it is extended */
  private write({ code, takes, operands, forms, extend }: Instruction, narrow = false): void {
    operands.forEach((operand, index) => {
      const form = forms?.[index];
      const type = takes[index];
      if (operand instanceof Expression) {
        const isNarrow = form !== undefined && operand.instruction.extend !== undefined;
        this.write(operand.instruction, isNarrow);
        if (isNarrow) return;
      } else if (operand instanceof Constant) this.code.bytes(operand.code);
      else if (operand instanceof Local) {
        this.code.byte(controlOpcodes["local.get"]);
        this.code.u32(operand.index);
      } else if (type) {
        writeConstant(this.code, type, operand, this.wide && form === undefined);
        return;
      }
      if (form !== undefined) this.code.bytes(narrowing[form]);
    });
    this.code.bytes(code);
    if (extend !== undefined && !narrow) this.code.byte(extend);
  }
}
