/**
 * Reductions along some axes whose every step needs more than a sum: maxima, softmax. A line is all that becomes one
 * element. Lines are what threads share, and there are two ways to put them into lanes:
 *
 *     along     the densest axis is reduced: four lanes are neighbours on one line, joined where it ends
 *     across    the densest axis is kept: each lane is a line, four or sixteen of them side by side
 *
 * A kernel is written once, as what happens at a step and at the end, and compiled for either when it first runs.
 * Where a row ends inside a vector, loads run over and what they find there is masked or not stored.
 */
import type { HostView } from "../../../backend.ts";
import { collapseAxes } from "../../collapse.ts";
import { type Expression, type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { firstLanes, floatBytes, pickLanes, storeFirstLanes } from "./rows.ts";

export type Vector = Local<"v128">;

/** Four elements of every operand that has elements all along the line. */
export interface Step {
  /** Which of the line's vectors they belong to, from 0 to `vectors` - 1. */
  readonly vector: number;
  /** Their places on their lines, i32: in row-major order over the reduced axes. */
  readonly place: Vector;
  /** The operand's elements, with `beyond` in lanes where the line has ended. */
  readonly load: (operand: number, beyond?: number) => Vector;
  readonly store: (operand: number, value: Vector) => void;
}

/** One line, or `4 · vectors` lines side by side, while the kernel is written. */
export interface Line {
  readonly f: FunctionBuilder;
  /** Whether lanes are neighbours on one line. */
  readonly along: boolean;
  /** Vectors of lines side by side; what is added up needs a local for each. 1 if `along`. */
  readonly vectors: number;
  /** Where an operand's elements begin. */
  readonly start: (operand: number) => Local<"i32">;
  /** Visits the line from its beginning; may be called again. */
  readonly forEachStep: (visit: (step: Step) => void) => void;
  /** The element of an operand that has one for each line: in its lane, or in all of them if `along`. */
  readonly loadOne: (operand: number, vector: number) => Vector;
  /** Stores it, from its lane or from the first one. */
  readonly storeOne: (operand: number, vector: number, value: Vector) => void;
}

export interface LineKernelOptions {
  /** As profiles show it. */
  readonly name: string;
  /** Per operand, whether it has an element all along the line or one for each. The first is the input. */
  readonly operands: readonly ("all" | "one")[];
  /** Vectors side by side where the lines are many: more use a cache line whole, fewer leave registers. */
  readonly vectors: 1 | 4;
  readonly write: (line: Line) => void;
}

/** Runs the kernel over lines of the input along `axes`, or gives false where operands lie in no way it knows. */
export type LineKernel = (operands: readonly HostView[], axes: readonly number[]) => boolean;

const laneNumbers = Int32Array.of(0, 1, 2, 3);
/** A comparison; an exponential takes twice that. */
const nanosecondsPerElement = 0.5;

/** What the kernel knows of an operand: its address and strides over two outer axes of lines and two of steps. */
const operandParameters = (i: number) => [`x${i}`, `line1_${i}`, `line0_${i}`, `step1_${i}`, `step0_${i}`];
const countParameters = ["lines0", "strips", "columns", "steps1", "steps0"];

/** The counts that are common to all ways to write a line, and where its operands begin. */
interface Place {
  readonly base: readonly Local<"i32">[];
  readonly columns: Local<"i32">;
  /** Visits the rows of steps with the operands' addresses there. */
  readonly forEachRow: (inside: (row: readonly Local<"i32">[]) => void) => void;
}

/** Lanes are neighbours on one line. */
function alongLine(f: FunctionBuilder, { base, columns, forEachRow }: Place): Line {
  const { i32, i32x4, v128 } = f;
  const at = base.map((_, i) => f.local("i32", `at${i}`));
  const left = f.local("i32", "left");
  const [place, mask, rowPlace] = ["place", "mask", "rowPlace"].map((name) => f.local("v128", name));
  const whole: Omit<Step, "place" | "vector"> = {
    load: (operand) => f.let(v128.load(at[operand])),
    store: (operand, value) => v128.store(at[operand], value),
  };
  const part: typeof whole = {
    load: (operand, beyond) => {
      const loaded = v128.load(at[operand]);
      if (beyond === undefined) return f.let(loaded);
      return f.let(v128.bitselect(loaded, v128.const(new Float32Array(4).fill(beyond)), mask));
    },
    store: (operand, value) => storeFirstLanes(f, at[operand], value, left),
  };
  return {
    f,
    along: true,
    vectors: 1,
    start: (operand) => base[operand],
    forEachStep(visit) {
      rowPlace.set(v128.const(laneNumbers));
      forEachRow((row) => {
        for (const [i, pointer] of at.entries()) pointer.set(row[i]);
        left.set(columns);
        place.set(rowPlace);
        f.while(
          () => i32.ge_s(left, 4),
          () => {
            visit({ ...whole, place, vector: 0 });
            for (const pointer of at) pointer.set(i32.add(pointer, 16));
            place.set(i32x4.add(place, i32x4.splat(4)));
            left.set(i32.sub(left, 4));
          },
        );
        f.if(left, () => {
          mask.set(firstLanes(f, left));
          visit({ ...part, place, vector: 0 });
        });
        rowPlace.set(i32x4.add(rowPlace, i32x4.splat(columns)));
      });
    },
    loadOne: (operand) => f.let(v128.load32_splat(base[operand])),
    storeOne: (operand, _, value) => v128.store32_lane(base[operand], value, 0),
  };
}

/** Each lane is a line. */
function acrossLines(f: FunctionBuilder, { base, columns, forEachRow }: Place, vectors: number): Line {
  const { i32, i32x4, v128 } = f;
  const place = f.local("v128", "place");
  const counts = Array.from({ length: vectors }, (_, v) => f.let(i32.sub(columns, 4 * v), `columns${v}`));
  const store = (to: Local<"i32">, vector: number, value: Vector) =>
    f.if(
      i32.ge_s(counts[vector], 4),
      () => v128.store(to, value, 16 * vector),
      () =>
        f.if(i32.gt_s(counts[vector], 0), () =>
          storeFirstLanes(f, f.let(i32.add(to, 16 * vector)), value, counts[vector]),
        ),
    );
  return {
    f,
    along: false,
    vectors,
    start: (operand) => base[operand],
    forEachStep(visit) {
      place.set(v128.const(new Int32Array(4)));
      forEachRow((row) => {
        for (let vector = 0; vector < vectors; vector++)
          visit({
            vector,
            place,
            load: (operand) => f.let(v128.load(row[operand], 16 * vector)),
            store: (operand, value) => store(row[operand], vector, value),
          });
        place.set(i32x4.add(place, i32x4.splat(1)));
      });
    },
    loadOne: (operand, vector) => f.let(v128.load(base[operand], 16 * vector)),
    storeOne: (operand, vector, value) => store(base[operand], vector, value),
  };
}

function compile(
  runtime: WasmRuntime,
  { name, operands, write }: LineKernelOptions,
  along: boolean,
  vectors: number,
): RangeFunction {
  const module = new ModuleBuilder("lines");
  runtime.importMemory(module);
  const names = [
    ...["begin", "end", "scratch"],
    ...operands.flatMap((_, i) => operandParameters(i)),
    ...countParameters,
  ];
  const fullName = `${name} ${along ? "along" : `across ${4 * vectors}`}`;
  const params: Readonly<Record<string, "i32">> = Object.fromEntries(names.map((key) => [key, "i32"]));
  module.func(fullName, { params }, (f, p: Readonly<Record<string, Local<"i32">>>) => {
    const { i32 } = f;
    const item = f.local("i32", "item");
    const locals = (prefix: string) => operands.map((_, i) => f.local("i32", `${prefix}${i}`));
    const [base, outer, inner] = [locals("base"), locals("outer"), locals("inner")];
    const [step1, step0, line, left] = ["step1", "step0", "line", "left"].map((key) => f.local("i32", key));
    const forEachRow: Place["forEachRow"] = (inside) => {
      for (const [i, pointer] of outer.entries()) pointer.set(base[i]);
      f.forRange(step1, 0, p.steps1, 1, () => {
        for (const [i, pointer] of inner.entries()) pointer.set(outer[i]);
        f.forRange(step0, 0, p.steps0, 1, () => {
          inside(inner);
          for (const [i, pointer] of inner.entries()) pointer.set(i32.add(pointer, p[`step0_${i}`]));
        });
        for (const [i, pointer] of outer.entries()) pointer.set(i32.add(pointer, p[`step1_${i}`]));
      });
    };
    f.forRange(item, p.begin, p.end, 1, () => {
      line.set(i32.div_u(item, p.strips));
      const column = f.let(i32.mul(i32.sub(item, i32.mul(line, p.strips)), 4 * vectors), "column");
      left.set(i32.sub(p.columns, column));
      const line1 = f.let(i32.div_u(line, p.lines0), "line1");
      const line0 = f.let(i32.sub(line, i32.mul(line1, p.lines0)), "line0");
      for (const [i, pointer] of base.entries()) {
        const start = i32.add(p[`x${i}`], i32.mul(line1, p[`line1_${i}`]));
        const lineStart = i32.add(start, i32.mul(line0, p[`line0_${i}`]));
        pointer.set(along ? lineStart : i32.add(lineStart, i32.shl(column, 2)));
      }
      const place = { base, columns: along ? p.columns : left, forEachRow };
      write(along ? alongLine(f, place) : acrossLines(f, place, vectors));
    });
  });
  return runtime.instantiate(module)[fullName];
}

/** One axis of the walk; strides in bytes, by operand. */
interface Axis {
  readonly extent: number;
  readonly strides: readonly number[];
  readonly reduced: boolean;
}

/** The axes in row-major order, merged where every operand allows it and both are reduced or both kept. */
function axesOf(views: readonly HostView[], reducedAxes: readonly number[]): readonly Axis[] {
  const { shape } = views[0];
  let kept = 1;
  // Its strides merge with no axis of the other kind.
  const marks = shape.map(() => 0);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (reducedAxes.includes(axis)) continue;
    marks[axis] = kept;
    kept *= shape[axis];
  }
  const layouts = views.map((view) => ({
    shape,
    strides: view.strides.map((stride, axis) => (view.shape[axis] === shape[axis] ? stride : 0)),
    offset: 0,
  }));
  const { shape: extents, strides } = collapseAxes([...layouts, { shape, strides: marks, offset: 0 }]);
  return extents.map((extent, axis) => ({
    extent,
    strides: views.map((_, i) => floatBytes * strides[i][axis]),
    reduced: strides[views.length][axis] === 0,
  }));
}

/** The kernel, compiled for each way of lines when operands first lie so. */
export function lineKernel(runtime: WasmRuntime, options: LineKernelOptions): LineKernel {
  const { operands, vectors } = options;
  const compiled = new Map<string, RangeFunction>();
  const functionFor = (along: boolean, side: number): RangeFunction => {
    const key = `${along} ${side}`;
    const known = compiled.get(key) ?? compile(runtime, options, along, side);
    compiled.set(key, known);
    return known;
  };
  const still: Axis = { extent: 1, strides: operands.map(() => 0), reduced: false };
  const dense: Axis = { ...still, strides: operands.map(() => floatBytes) };

  return (views, reducedAxes) => {
    if (views[0].shape.includes(0) || !views.every(({ data }) => runtime.memory.holds(data))) return false;
    const axes = axesOf(views, reducedAxes);
    const columns = axes.at(-1) ?? dense;
    const along = columns.reduced;
    const isDense = columns.strides.every(
      (stride, i) => stride === floatBytes || (along && operands[i] === "one"),
    );
    const above = axes.slice(0, -1);
    const [steps0 = still, steps1 = still, ...otherSteps] = above.filter(({ reduced }) => reduced).reverse();
    const [lines0 = still, lines1 = still, ...others] = above.filter(({ reduced }) => !reduced).reverse();
    if (!isDense || otherSteps.length > 0) return false;
    const side = along || columns.extent <= 8 ? 1 : vectors;
    const strips = along ? 1 : Math.ceil(columns.extent / (4 * side));
    const range = functionFor(along, side);
    const counts = [lines0.extent, strips, columns.extent, steps1.extent, steps0.extent];
    const items = lines1.extent * lines0.extent * strips;
    const elements = steps0.extent * steps1.extent * (along ? columns.extent : 4 * side);
    const grain = grainOf(nanosecondsPerElement * elements);
    const visit = (starts: readonly number[], [axis, ...inner]: readonly Axis[]): void => {
      if (axis) {
        for (let i = 0; i < axis.extent; i++)
          visit(
            starts.map((start, o) => start + i * axis.strides[o]),
            inner,
          );
        return;
      }
      const args = starts.flatMap((start, o) => [
        start,
        ...[lines1, lines0, steps1, steps0].map(({ strides }) => strides[o]),
      ]);
      runtime.forRange(range, items, [...args, ...counts], { grain });
    };
    visit(views.map(addressOf), others);
    return true;
  };
}

/** The vector with pairs of lanes, then neighbours, swapped: what joins four lanes takes two turns of this. */
export function swapped(f: FunctionBuilder, vector: Vector, turn: 0 | 1): Expression<"v128"> {
  return pickLanes(f, vector, vector, turn === 0 ? [2, 3, 0, 1] : [1, 0, 3, 2]);
}
