/** Moves images between layouts: into padded scratch memory, out of it, and apart by the phases of a stride. */
import { ModuleBuilder } from "../encoder/index.ts";
import type { RangeFunction, WasmFunction, WasmRuntime } from "../runtime.ts";
import { rangeParameters } from "./rows.ts";

/** What a thread zeroes at once: some 4 µs. */
export const clearedBlockBytes = 1 << 16;

export interface PlaneKernels {
  /**
   * (from, fromPlane, fromRow, fromStep, to, toPlane, toRow, toStep, planes, rows, columns): copies
   * `[planes][rows][columns]` floats; strides in bytes.
   */
  readonly copyPlanes: WasmFunction;
  /** (to, bytes): zeroes. */
  readonly clear: WasmFunction;
  /** (to, bytes): a range of blocks of `clearedBlockBytes`, of which the last may be shorter. */
  readonly clearBlocks: RangeFunction;
  /** (to, plane, planes, columns, values): adds the p-th of `values` to every float of plane p. */
  readonly addToPlanes: WasmFunction;
}

const strides = { from: "i32", fromStep: "i32", to: "i32", toStep: "i32" } as const;

/**
 * `copyRow(from, fromStep, to, toStep, columns)` for other functions of the module. Rows of four or more floats
 * without gaps are copied in vectors; the last one overlaps the one before instead of being narrow.
 */
function defineCopyRow(module: ModuleBuilder) {
  return module.func(
    "copyRow",
    { params: { ...strides, columns: "i32" }, exported: false },
    (f, { from, fromStep, to, toStep, columns }) => {
      const { i32, v128, f32 } = f;
      const at = f.local("i32", "at");
      const dense = i32.and(i32.eq(fromStep, 4), i32.eq(toStep, 4));
      f.if(i32.and(dense, i32.ge_s(columns, 4)), () => {
        const last = f.let(i32.sub(i32.shl(columns, 2), 16), "last");
        f.forRange(at, 0, last, 16, () => v128.store(i32.add(to, at), v128.load(i32.add(from, at))));
        v128.store(i32.add(to, last), v128.load(i32.add(from, last)));
        f.return();
      });
      f.forRange(at, 0, columns, 1, () => {
        f32.store(to, f32.load(from));
        from.set(i32.add(from, fromStep));
        to.set(i32.add(to, toStep));
      });
    },
  );
}

/** Compiles them. */
export function planeKernels(runtime: WasmRuntime): PlaneKernels {
  const module = new ModuleBuilder("planes");
  runtime.importMemory(module);
  const copyRow = defineCopyRow(module);

  module.func(
    "copyPlanes",
    {
      params: {
        from: "i32",
        fromPlane: "i32",
        fromRow: "i32",
        fromStep: "i32",
        to: "i32",
        toPlane: "i32",
        toRow: "i32",
        toStep: "i32",
        planes: "i32",
        rows: "i32",
        columns: "i32",
      },
    },
    (f, { from, fromPlane, fromRow, fromStep, to, toPlane, toRow, toStep, planes, rows, columns }) => {
      const { i32 } = f;
      const [plane, row] = [f.local("i32", "plane"), f.local("i32", "row")];
      const [source, target] = [f.local("i32", "source"), f.local("i32", "target")];
      f.forRange(plane, 0, planes, 1, () => {
        source.set(from);
        target.set(to);
        f.forRange(row, 0, rows, 1, () => {
          f.call(copyRow, { from: source, fromStep, to: target, toStep, columns });
          source.set(i32.add(source, fromRow));
          target.set(i32.add(target, toRow));
        });
        from.set(i32.add(from, fromPlane));
        to.set(i32.add(to, toPlane));
      });
    },
  );

  module.func(
    "clearBlocks",
    { params: { ...rangeParameters, to: "i32", bytes: "i32" } },
    (f, { begin, end, to, bytes }) => {
      const { i32 } = f;
      const first = f.let(i32.mul(begin, clearedBlockBytes), "first");
      const last = f.let(i32.mul(end, clearedBlockBytes), "last");
      last.set(f.select(last, bytes, i32.lt_u(last, bytes)));
      f.memory.fill(i32.add(to, first), 0, i32.sub(last, first));
    },
  );

  module.func("clear", { params: { to: "i32", bytes: "i32" } }, (f, { to, bytes }) => {
    f.memory.fill(to, 0, bytes);
  });

  module.func(
    "addToPlanes",
    { params: { to: "i32", plane: "i32", planes: "i32", columns: "i32", values: "i32" } },
    (f, { to, plane, planes, columns, values }) => {
      const { i32, f32, f32x4, v128 } = f;
      const [p, at] = [f.local("i32", "p"), f.local("i32", "at")];
      const bytes = f.let(i32.shl(columns, 2), "bytes");
      const whole = f.let(i32.and(bytes, -16), "whole");
      f.forRange(p, 0, planes, 1, () => {
        const value = f.let(f32.load(values), "value");
        f.forRange(at, 0, whole, 16, () => {
          const target = f.let(i32.add(to, at));
          v128.store(target, f32x4.add(v128.load(target), f32x4.splat(value)));
        });
        f.while(
          () => i32.lt_s(at, bytes),
          () => {
            const target = f.let(i32.add(to, at));
            f32.store(target, f32.add(f32.load(target), value));
            at.set(i32.add(at, 4));
          },
        );
        to.set(i32.add(to, plane));
        values.set(i32.add(values, 4));
      });
    },
  );

  const { copyPlanes, clear, clearBlocks, addToPlanes } = runtime.instantiate(module);
  return { copyPlanes, clear, clearBlocks, addToPlanes };
}
