/**
 * Axes that a kernel counts over, for several operands at once: axes that are dense in all of them are merged, and
 * this writes the numbers and the WGSL that turn a running index into indices and those into positions.
 */
import { collapseAxes } from "../../cpu/collapse.ts";

/** Extents and strides of an operand along the axes of a loop. */
export interface LoopLayout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

export interface LoopAxesOptions {
  /** Elements of the last axis that are taken together; must divide it. Default 1. */
  readonly width?: number;
  /** Leave the axes as they are, for kernels that look at single indices. Default: merge what is dense. */
  readonly merge?: boolean;
}

/** A loop over some axes of several operands of one shape; its WGSL names all begin with `name`. */
export class LoopAxes {
  readonly name: string;
  readonly rank: number;
  /** Steps of the whole loop. */
  readonly size: number;
  /** Of the merged axes, the last one counted in steps of `width`. */
  readonly shape: readonly number[];
  /** `strides[operand][axis]`, per step. */
  readonly strides: readonly (readonly number[])[];

  constructor(
    name: string,
    layouts: readonly LoopLayout[],
    { width = 1, merge = true }: LoopAxesOptions = {},
  ) {
    const { shape, strides } = merge
      ? collapseAxes(layouts.map((layout) => ({ ...layout, offset: 0 })))
      : { shape: [...layouts[0].shape], strides: layouts.map((layout) => [...layout.strides]) };
    const last = shape.length - 1;
    this.name = name;
    this.rank = shape.length;
    this.shape = shape.map((extent, axis) => (axis === last ? extent / width : extent));
    this.strides = strides.map((own) => own.map((stride, axis) => (axis === last ? stride * width : stride)));
    this.size = this.shape.reduce((product, extent) => product * extent, 1);
  }

  /** The extents and strides that `split`, `advance` and `at` read. */
  numbers(): Record<string, number> {
    const { name } = this;
    const numbers: Record<string, number> = {};
    this.shape.forEach((extent, axis) => {
      numbers[`${name}_d${axis}`] = extent;
    });
    this.strides.forEach((own, operand) => {
      own.forEach((stride, axis) => {
        numbers[`${name}_s${operand}_${axis}`] = stride;
      });
    });
    return numbers;
  }

  /** The digits of `step` in this loop, as numbers for `advance`. */
  stepNumbers(step: number): Record<string, number> {
    const numbers: Record<string, number> = {};
    let rest = step;
    for (let axis = this.rank - 1; axis >= 0; axis--) {
      const extent = Math.max(1, this.shape[axis]);
      numbers[`${this.name}_t${axis}`] = axis > 0 ? rest % extent : rest;
      rest = Math.floor(rest / extent);
    }
    return numbers;
  }

  /** WGSL: variables `name0`, `name1`, … from the row-major index `index`. */
  split(index: string): string {
    const { name, rank } = this;
    if (rank === 0) return "";
    const lines = [`  var ${name}_rest = ${index};`];
    for (let axis = rank - 1; axis > 0; axis--)
      lines.push(
        `  var ${name}${axis} = ${name}_rest % p.${name}_d${axis};`,
        `  ${name}_rest = ${name}_rest / p.${name}_d${axis};`,
      );
    lines.push(`  var ${name}0 = ${name}_rest;`);
    return lines.join("\n");
  }

  /** WGSL: moves the indices on by the step of `stepNumbers`, without a division. */
  advance(): string {
    const { name, rank } = this;
    const lines: string[] = [];
    for (let axis = rank - 1; axis >= 0; axis--) {
      lines.push(`    ${name}${axis} += p.${name}_t${axis};`);
      if (axis > 0)
        lines.push(
          `    if (${name}${axis} >= p.${name}_d${axis}) { ${name}${axis} -= p.${name}_d${axis}; ${name}${axis - 1} += 1; }`,
        );
    }
    return lines.join("\n");
  }

  /** WGSL: where the indices point to in an operand, from its offset. */
  at(operand: number): string {
    const terms = this.shape.map((_, axis) => `${this.name}${axis} * p.${this.name}_s${operand}_${axis}`);
    return terms.length > 0 ? terms.join(" + ") : "0";
  }

  /** Whether an operand can be read four at a time along the last axis, as far as its strides say. */
  static isAligned(layout: LoopLayout): boolean {
    const last = layout.shape.length - 1;
    return layout.strides.every((stride, axis) => (axis === last ? stride === 1 : stride % 4 === 0));
  }
}

/** The layout of some of a view's axes. */
export function axesOf(view: LoopLayout, axes: readonly number[]): LoopLayout {
  return { shape: axes.map((axis) => view.shape[axis]), strides: axes.map((axis) => view.strides[axis]) };
}

/** The axes that are not among `axes`. */
export function otherAxes(rank: number, axes: readonly number[]): number[] {
  return Array.from({ length: rank }, (_, axis) => axis).filter((axis) => !axes.includes(axis));
}
