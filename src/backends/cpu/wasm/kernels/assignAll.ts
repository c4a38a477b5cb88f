/**
 * In-place updates of many tensors in one SIMD sweep: an optimizer's step reads and writes every element once, however
 * many expressions there are, and starts once, however many tensors. The arithmetic is that of `pointwise.ts`, so the
 * bits are those of the same expressions one by one.
 *
 * All tensors of a kind are cut into chunks, which threads share; a table in memory says where they lie.
 *
 * Measured on the 364 parameters of a DenseNet-121, 8 million numbers, one thread: SGD with momentum 4.7 ms instead of
 * 7.2 with a kernel per tensor and expression, Adam 7.6. That is the speed of the memory, 34 GB/s.
 */
import type { HostKernel, HostView } from "../../../backend.ts";
import { type Expression, evaluate } from "../../../expression.ts";
import type { AssignAllAttributes } from "../../loops/assignAll.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { isPrintable, prepare, printLanes } from "./lanes.ts";
import { floatBytes, storeFirstLanes, storePairs } from "./rows.ts";

export interface AssignAllKernels {
  readonly assignAll: HostKernel<AssignAllAttributes>;
}

type Assignments = AssignAllAttributes["assignments"];

/** Elements that one item of the range is: a multiple of four. */
const chunk = 1024;
const nanosecondsPerChunk = 300;
/** Vectors per turn of the loop. */
const unrolled = 2;

/** An expression without its subexpressions of numbers only, which are computed once per call. */
interface Program {
  readonly assignments: Assignments;
  /** For each assignment, the numbers that its `parameter(i)` stands for. */
  readonly numbers: readonly (readonly Expression[])[];
  readonly run: RangeFunction;
}

/**
 * The words of a row: the item that it begins with, its elements, and its operands' addresses. A last row begins with
 * the number of all items.
 */
const rowWords = (operands: number): number => 2 + operands;

function compile(
  runtime: WasmRuntime,
  assignments: Assignments,
  numberCounts: readonly number[],
  operands: number,
): RangeFunction {
  const module = new ModuleBuilder("assignAll");
  runtime.importMemory(module);
  const params = { begin: "i32", end: "i32", scratch: "i32", table: "i32", numbers: "i32" } as const;
  module.func("assignAll", { params }, (f, { begin, end, table, numbers }) => {
    const { i32, v128 } = f;
    const rowBytes = f.wordBytes * rowWords(operands);
    const [item, start, left] = ["item", "start", "left"].map((name) => f.local("i32", name));
    const pointers = Array.from({ length: operands }, (_, i) => f.local("i32", `operand${i}`));
    let words = 0;
    const splats = numberCounts.map((count) =>
      Array.from({ length: count }, () => f.let(v128.load32_splat(numbers, floatBytes * words++))),
    );

    /** Does all assignments for one vector and gives what is to be stored. */
    const compute = (offset: number): ReadonlyMap<number, Local<"v128">> => {
      const current = new Map<number, Local<"v128">>();
      const written = new Map<number, Local<"v128">>();
      const input = (index: number): Local<"v128"> => {
        const known = current.get(index) ?? f.let(v128.load(pointers[index], offset));
        current.set(index, known);
        return known;
      };
      for (const [a, { target, expression }] of assignments.entries()) {
        const value = printLanes(expression, {
          f,
          fused: runtime.fused,
          constant: (number) => v128.const(new Float32Array(4).fill(number)),
          bits: (pattern) => v128.const(new Int32Array(4).fill(pattern)),
          input,
          parameter: (index) => splats[a][index],
        });
        current.set(target, value);
        written.set(target, value);
      }
      return written;
    };
    const move = (vectors: number) => {
      for (const pointer of pointers) pointer.set(i32.add(pointer, 16 * vectors));
      left.set(i32.sub(left, 4 * vectors));
    };
    const whole = (vectors: number) => () => {
      for (let first = 0; first < vectors; first += 2) {
        const pair = [first, first + 1].slice(0, vectors);
        const written = pair.map((v) => compute(16 * v));
        // Target by target, since a pair's stores must follow each other (inPairs in rows.ts).
        for (const target of written[0].keys()) {
          const values = written.flatMap((byTarget) => byTarget.get(target) ?? []);
          storePairs(f, pointers[target], values, 16 * first);
        }
      }
      move(vectors);
    };

    f.forRange(item, begin, end, 1, () => {
      f.while(
        () => i32.ge_s(item, f.word(table, rowWords(operands))),
        () => table.set(i32.add(table, rowBytes)),
      );
      start.set(i32.mul(i32.sub(item, f.word(table, 0)), chunk));
      left.set(i32.sub(f.word(table, 1), start));
      left.set(f.select(left, chunk, i32.lt_s(left, chunk)));
      for (const [i, pointer] of pointers.entries())
        pointer.set(i32.add(f.word(table, 2 + i), i32.shl(start, 2)));
      f.while(() => i32.ge_s(left, 4 * unrolled), whole(unrolled));
      f.while(() => i32.ge_s(left, 4), whole(1));
      f.if(left, () => storePart(f, pointers, compute(0), left));
    });
  });
  return runtime.instantiate(module).assignAll;
}

/** The first `count` lanes of each, 1 to 3 of them. */
function storePart(
  f: FunctionBuilder,
  pointers: readonly Local<"i32">[],
  values: ReadonlyMap<number, Local<"v128">>,
  count: Local<"i32">,
): void {
  for (const [target, value] of values) storeFirstLanes(f, pointers[target], value, count);
}

/** Whether elements lie one after the other in row-major order. */
function isGapless({ shape, strides }: HostView): boolean {
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== stride) return false;
    stride *= shape[axis];
  }
  return true;
}

const sizeOf = ({ shape }: HostView): number => shape.reduce((product, extent) => product * extent, 1);

/** The fast kernel. Rows with gaps, or not of f32, go to `fallback`, and so does `pow`. */
export function assignAllKernels(runtime: WasmRuntime, fallback: AssignAllKernels): AssignAllKernels {
  /** Null where an expression cannot be printed. */
  const programs = new WeakMap<Assignments, Program | null>();

  function programOf({ assignments, operands }: AssignAllAttributes): Program | null {
    let program = programs.get(assignments);
    if (program === undefined) {
      const prepared = assignments.map(({ expression }) => prepare(expression));
      const printed = assignments.map(({ target }, a) => ({ target, expression: prepared[a].expression }));
      const numbers = prepared.map((each) => each.numbers);
      program = printed.every(({ expression }) => isPrintable(expression))
        ? {
            assignments: printed,
            numbers,
            run: compile(
              runtime,
              printed,
              numbers.map(({ length }) => length),
              operands,
            ),
          }
        : null;
      programs.set(assignments, program);
    }
    return program;
  }

  return {
    assignAll(inputs, output, attributes) {
      const { operands, parameters } = attributes;
      const program = programOf(attributes);
      if (!program) return fallback.assignAll(inputs, output, attributes);
      const words: number[] = [];
      let items = 0;
      for (let first = 0; first < inputs.length; first += operands) {
        const row = inputs.slice(first, first + operands);
        if (!runtime.accepts(row) || !row.every(isGapless)) {
          fallback.assignAll(row, output, attributes);
          continue;
        }
        const elements = sizeOf(row[0]);
        words.push(items, elements);
        for (const view of row) words.push(addressOf(view));
        items += Math.ceil(elements / chunk);
      }
      words.push(items);
      const numbers = program.numbers.flatMap((each) =>
        each.map((number) => evaluate(number, [], parameters)),
      );
      const tableBytes = runtime.wordBytes * words.length;
      const table = runtime.scratch("assignAll table", tableBytes + floatBytes * numbers.length);
      const numbersAt = table + tableBytes;
      runtime.wordsAt(table, words.length).set(words);
      runtime.floatsAt(numbersAt, numbers.length).set(numbers);
      runtime.forRange(program.run, items, [table, numbersAt], { grain: grainOf(nanosecondsPerChunk) });
    },
  };
}
