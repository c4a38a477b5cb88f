/** Prints and compiles the loops of pointwise.ts. */
import type { Expression } from "../../../expression.ts";
import { type FunctionBuilder, type Local, ModuleBuilder, type Operand } from "../encoder/index.ts";
import type { RangeFunction, WasmRuntime } from "../runtime.ts";
import { isLong, printByteLanes, printLanes } from "./lanes.ts";
import { inPairs, rangeParameters } from "./rows.ts";

export const floatBytes = 4;
const vectorBytes = 16;
/** Vectors per turn of the loop where the loop itself would take a good part of the time. */
const unrolled = 4;
/** What a function is compiled for. */
export interface Pattern {
  readonly rank: number;
  /** Whether the innermost axis of an input is broadcast; it is dense otherwise. */
  readonly isBroadcast: readonly boolean[];
  /** Whether the elements of an operand, the output first, are bytes; they are f32 otherwise. */
  readonly isByte: readonly boolean[];
  readonly parameterCount: number;
}

/**
 * The words a function reads, in this order: the addresses of output and inputs, the run-time numbers (f32), the
 * extents outermost first, and twice per outer axis, outermost first, by how many bytes each operand's address grows:
 * after a turn of that axis, when the axes inside have run to their ends, and from the axis's first element to its
 * second.
 */
export function tableLayout({ rank, isByte, parameterCount }: Pattern) {
  const operands = isByte.length;
  const parameters = operands;
  const shape = parameters + parameterCount;
  const steps = shape + rank;
  const strides = steps + operands * (rank - 1);
  return { operands, parameters, shape, steps, strides, words: strides + operands * (rank - 1) };
}

/** What a function is called with: items are segments of rows, all rows of all outer axes in order. */
const parameterTypes = {
  ...rangeParameters,
  table: "i32",
  segments: "i32",
  segmentBytes: "i32",
} as const;

type Parameters = { readonly [Name in keyof typeof parameterTypes]: Local<"i32"> };

function printLoops(
  f: FunctionBuilder,
  { begin, end, table, segments, segmentBytes }: Parameters,
  e: Expression,
  pattern: Pattern,
  fused: boolean,
): void {
  const { i32, v128 } = f;
  const { rank, isBroadcast, isByte, parameterCount } = pattern;
  const layout = tableLayout(pattern);
  const word = (index: number) => f.word(table, index);
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
  const pointers = numbers(layout.operands).map((i) => f.let(word(i), `pointer${i}`));
  const parameters = numbers(parameterCount).map((i) =>
    f.let(v128.load32_splat(table, f.wordBytes * (layout.parameters + i)), `parameter${i}`),
  );
  const splats = isBroadcast.map((_, i) => f.local("v128", `splat${i}`));
  const rowBytes = f.let(i32.shl(word(layout.shape + rank - 1), 2), "rowBytes");
  const at = f.local("i32", "at");
  const stop = f.local("i32", "stop");
  // V8 keeps constants out of the loop by itself: locals set before it measured the same.
  const constant = (value: number) => v128.const(new Float32Array(4).fill(value));
  const bits = (value: number) => v128.const(new Int32Array(4).fill(value));

  /** Where element `at / 4` of an operand lies. */
  const addressOf = (operand: number) => i32.add(pointers[operand], isByte[operand] ? i32.shr_u(at, 2) : at);
  /** The vector at `at + offset`, both four times the number of elements. */
  const compute = (offset: number): Local<"v128"> => {
    const loaded = new Map<number, Local<"v128">>();
    const input = (index: number): Local<"v128"> => {
      if (isBroadcast[index]) return splats[index];
      const operand = index + 1;
      const load = () =>
        isByte[operand]
          ? loadBytes(f, addressOf(operand), offset / floatBytes)
          : v128.load(addressOf(operand), offset);
      const vector = loaded.get(index) ?? f.let(load());
      loaded.set(index, vector);
      return vector;
    };
    const print = isByte[0] ? printByteLanes : printLanes;
    return print(e, {
      ...{ f, fused, constant, bits, input },
      isByte: (index) => isByte[index + 1],
      parameter: (index) => parameters[index],
    });
  };
  const store = (to: () => Operand<"i32">, value: Local<"v128">, offset: number): void => {
    if (isByte[0]) {
      const packed = packBytes(f, value);
      v128.store32_lane(to(), packed, 0, offset / floatBytes);
    } else v128.store(to(), value, offset);
  };

  /** The bytes from `at` to before `stop`. */
  const row = (): void => {
    for (const [i, splat] of splats.entries()) {
      if (!isBroadcast[i]) continue;
      const first = pointers[i + 1];
      splat.set(isByte[i + 1] ? f.i32x4.splat(i32.load8_u(first)) : v128.load32_splat(first));
    }
    if (!isLong(e)) {
      const turn = unrolled * vectorBytes;
      const wholeTurns = f.let(i32.add(at, i32.and(i32.sub(stop, at), -turn)), "wholeTurns");
      f.while(
        () => i32.lt_u(at, wholeTurns),
        () => {
          inPairs(
            unrolled,
            (vector) => compute(vector * vectorBytes),
            (value, vector) => store(() => addressOf(0), value, vector * vectorBytes),
          );
          at.set(i32.add(at, turn));
        },
      );
    }
    f.while(
      () => i32.lt_u(at, stop),
      () => {
        const value = compute(0);
        const to = f.let(addressOf(0), "to");
        at.set(i32.add(at, vectorBytes));
        f.if(
          i32.le_u(at, stop),
          () => store(() => to, value, 0),
          () => (isByte[0] ? storeBytePart : storePart)(f, to, value, stop),
        );
      },
    );
  };

  const outer = numbers(rank - 1);
  const turns = outer.map((axis) => f.local("i32", `turn${axis}`));
  const move = (axis: number, table: number, times?: Local<"i32">): void => {
    for (const [i, pointer] of pointers.entries()) {
      const bytes = word(table + layout.operands * axis + i);
      pointer.set(i32.add(pointer, times ? i32.mul(times, bytes) : bytes));
    }
  };
  /** To the next turn of an axis. */
  const advance = (axis: number): void => {
    move(axis, layout.steps);
    if (axis === 0) return;
    turns[axis].set(i32.add(turns[axis], 1));
    f.if(i32.eq(turns[axis], word(layout.shape + axis)), () => {
      turns[axis].set(0);
      advance(axis - 1);
    });
  };

  const index = f.let(i32.div_u(begin, segments), "index");
  const segment = f.let(i32.sub(begin, i32.mul(index, segments)), "segment");
  for (const axis of outer.toReversed()) {
    const above = axis === 0 ? 0 : f.let(i32.div_u(index, word(layout.shape + axis)));
    turns[axis].set(i32.sub(index, axis === 0 ? 0 : i32.mul(above, word(layout.shape + axis))));
    move(axis, layout.strides, turns[axis]);
    index.set(above);
  }
  f.while(
    () => i32.lt_u(begin, end),
    () => {
      at.set(i32.mul(segment, segmentBytes));
      stop.set(i32.add(at, segmentBytes));
      stop.set(f.select(stop, rowBytes, i32.lt_u(stop, rowBytes)));
      row();
      begin.set(i32.add(begin, 1));
      segment.set(i32.add(segment, 1));
      if (rank > 1)
        f.if(i32.eq(segment, segments), () => {
          segment.set(0);
          advance(rank - 2);
        });
    },
  );
}

/** Stores the first 1, 2 or 3 lanes, as `bytes` modulo 16 says. */
function storePart(f: FunctionBuilder, to: Local<"i32">, value: Local<"v128">, bytes: Local<"i32">): void {
  const { i32, v128 } = f;
  f.if(
    i32.and(bytes, 8),
    () => {
      v128.store64_lane(to, value, 0);
      f.if(i32.and(bytes, 4), () => v128.store32_lane(to, value, 2, 8));
    },
    () => v128.store32_lane(to, value, 0),
  );
}

/** Four bytes as i32 lanes. */
function loadBytes(f: FunctionBuilder, address: Operand<"i32">, offset: number) {
  const pairs = f.i16x8.extend_low_i8x16_u(f.v128.load32_zero(address, offset));
  return f.i32x4.extend_low_i16x8_u(pairs);
}

/** i32 lanes as the first four bytes. */
function packBytes(f: FunctionBuilder, value: Local<"v128">): Local<"v128"> {
  const pairs = f.let(f.i16x8.narrow_i32x4_u(value, value));
  return f.let(f.i8x16.narrow_i16x8_u(pairs, pairs));
}

/** `storePart` for an output of bytes. */
function storeBytePart(
  f: FunctionBuilder,
  to: Local<"i32">,
  value: Local<"v128">,
  bytes: Local<"i32">,
): void {
  const { i32, v128 } = f;
  const packed = packBytes(f, value);
  f.if(
    i32.and(bytes, 8),
    () => {
      v128.store16_lane(to, packed, 0);
      f.if(i32.and(bytes, 4), () => v128.store8_lane(to, packed, 2, 2));
    },
    () => v128.store8_lane(to, packed, 0),
  );
}

/** The expression as profiles show it: `select(lessEqual(x0, 0), 0, x0)`. */
function textOf(e: Expression): string {
  switch (e.kind) {
    case "input":
      return `x${e.index}`;
    case "parameter":
      return `p${e.index}`;
    case "constant":
      return String(e.value);
    case "unary":
      return `${e.name}(${textOf(e.x)})`;
    case "binary":
      return `${e.name}(${textOf(e.a)}, ${textOf(e.b)})`;
    case "select":
      return `select(${textOf(e.test)}, ${textOf(e.yes)}, ${textOf(e.no)})`;
  }
}

export function compile(runtime: WasmRuntime, e: Expression, pattern: Pattern): RangeFunction {
  const module = new ModuleBuilder("pointwise");
  const name = `pointwise ${textOf(e).slice(0, 80)}`;
  runtime.importMemory(module);
  module.func(name, { params: parameterTypes }, (f, parameters) =>
    printLoops(f, parameters, e, pattern, runtime.fused),
  );
  return runtime.instantiate(module)[name];
}
