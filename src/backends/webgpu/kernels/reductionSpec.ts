/** What a kernel says of a reduction: its operands, what it carries from element to element, and how, in WGSL. */
import type { Layout } from "../../backend.ts";
import type { Numeral } from "../parameters.ts";
import type { Access } from "../programs.ts";
import type { GpuView } from "../runtime.ts";
import { axesOf, type LoopAxes, otherAxes } from "./loopAxes.ts";

/** One number that a reduction carries from element to element. */
export interface Slot {
  readonly name: string;
  readonly type: "f32" | "i32";
  /** WGSL of its value before the first element. */
  readonly start: string;
}

/** An operand with one element per output. */
export interface OutputOperand {
  readonly name: string;
  readonly buffer: GpuView["buffer"];
  readonly access: Access;
  /** Over the axes that are kept, in their order. */
  readonly layout: Layout;
}

/** What to reduce, and how. All texts are WGSL. */
export interface Reduction {
  readonly label: string;
  /** What the texts depend on beside the label. */
  readonly variant?: string;
  /** `x0`, `x1`, … of one shape; an element of the i-th is `a0`, `a1`, … in `fold`. */
  readonly inputs: readonly GpuView[];
  /** How many of the inputs `fold` reads; the others are for `finish`. Default: all. */
  readonly folded?: number;
  readonly axes: readonly number[];
  /** Read as `name_get(name_at)`, written as `name_set(name_at, value)`. */
  readonly operands: readonly OutputOperand[];
  readonly numbers?: Readonly<Record<string, Numeral>>;
  /** Functions that the texts call. */
  readonly declarations?: string;
  readonly slots: readonly Slot[];
  /** Before the first element, and before `finish`: what holds for all elements of an output. */
  readonly prologue?: string;
  /** Updates the slots by one element, the `j`-th; `T` is f32, or vec4<f32> where four are read at a time. */
  readonly fold: string;
  /** Updates the slots by those of another part, `other_name`. */
  readonly merge: string;
  /** Writes the outputs. Given the reduced axes, to find an element again. */
  readonly finish: string | ((reduced: LoopAxes) => string);
  /** Whether `fold` works on four elements at a time. */
  readonly mayVectorise?: boolean;
}

/** The layout of a reduction's output, whose reduced axes have extent 1, over the axes that are kept. */
export function keptLayout(output: GpuView, axes: readonly number[]): Layout {
  const kept = otherAxes(output.shape.length, axes);
  return { ...axesOf(output, kept), offset: output.offset };
}
