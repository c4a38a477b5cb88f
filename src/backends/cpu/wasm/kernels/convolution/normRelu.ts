/**
 * Norm and ReLU applied to an operand while it is gathered, so that neither is ever a tensor: max(0, (x − mean) · slope
 * + constant) with coefficients by channel, in the same operations as the norm and the ReLU on their own, and so with
 * the same bits.
 */
import type { FunctionBuilder, FunctionHandle, Local, ModuleBuilder } from "../../encoder/index.ts";
import { multiplyAdd } from "../../runtime.ts";
import { storePairs, zeros } from "../rows.ts";
import type { TileShape } from "./tile.ts";

/** A channel's coefficients: mean, slope, constant, and a fourth that keeps them aligned. */
export const coefficientBytes = 16;

const params = {
  at: "i32",
  rowBytes: "i32",
  rows: "i32",
  columns: "i32",
  coefficients: "i32",
  coefficientStep: "i32",
} as const;
export type NormRelu = FunctionHandle<typeof params, undefined>;

/** max(0, (x − mean) · slope + constant); NaN stays NaN. */
export function normRelu(
  f: FunctionBuilder,
  fused: boolean,
  x: Local<"v128">,
  [mean, slope, constant]: readonly Local<"v128">[],
) {
  const { v128, f32x4 } = f;
  const normed = f.let(multiplyAdd(f, fused, f32x4.sub(x, mean), slope, constant));
  return v128.andnot(normed, f32x4.le(normed, zeros(f)));
}

/** Norms one or two vectors that lie side by side. */
function writeNormed(
  f: FunctionBuilder,
  fused: boolean,
  line: readonly Local<"v128">[],
  from: Local<"i32">,
  to: Local<"i32">,
  count: number,
): void {
  const vectors = Array.from({ length: count }, (_, v) => f.let(f.v128.load(from, 16 * v)));
  storePairs(
    f,
    to,
    vectors.map((x) => f.let(normRelu(f, fused, x, line))),
  );
}

/**
 * (at, rowBytes, rows, columns, coefficients, coefficientStep): rows of scratch memory in place; each row's
 * coefficients follow those of the row before by `coefficientStep` bytes. Reads up to three floats beyond a row, and
 * writes them back.
 */
export function defineNormRelu(module: ModuleBuilder, { fused }: TileShape): NormRelu {
  return module.func("normRelu", { params, exported: false }, (f, p) => {
    const { i32, v128, i32x4 } = f;
    const [row, at, end] = [f.local("i32", "row"), f.local("i32", "at"), f.local("i32", "end")];
    const whole = f.let(i32.shl(i32.and(p.columns, -4), 2), "whole");
    const wholePairs = f.let(i32.and(whole, -32), "wholePairs");
    const rest = f.let(i32.and(p.columns, 3), "rest");
    const lanes = f.let(i32x4.lt_s(v128.const(Int32Array.of(0, 1, 2, 3)), i32x4.splat(rest)), "lanes");
    f.forRange(row, 0, p.rows, 1, () => {
      const line = [0, 4, 8].map((offset) => f.let(v128.load32_splat(p.coefficients, offset)));
      end.set(i32.add(p.at, whole));
      const write = (vectors: number) => () => writeNormed(f, fused, line, at, at, vectors);
      f.forPointer(at, p.at, f.let(i32.add(p.at, wholePairs)), 32, write(2));
      f.forPointer(at, at, end, 16, write(1));
      f.if(rest, () => {
        const x = f.let(v128.load(end));
        const y = f.let(normRelu(f, fused, x, line));
        v128.store(end, v128.bitselect(y, x, lanes));
      });
      p.at.set(i32.add(p.at, p.rowBytes));
      p.coefficients.set(i32.add(p.coefficients, p.coefficientStep));
    });
  });
}

const rowParams = {
  from: "i32",
  to: "i32",
  count: "i32",
  mean: "v128",
  slope: "v128",
  constant: "v128",
} as const;
export type CopyNormed = FunctionHandle<typeof rowParams, undefined>;

/** (from, to, count, mean, slope, constant): copies at least 4 floats side by side, normed on the way. */
export function defineCopyNormed(module: ModuleBuilder, { fused }: TileShape): CopyNormed {
  return module.func("copyNormed", { params: rowParams, exported: false }, (f, p) => {
    const { i32 } = f;
    const line = [p.mean, p.slope, p.constant];
    const at = f.local("i32", "at");
    const last = f.let(i32.sub(i32.shl(p.count, 2), 16), "last");
    const copy = (vectors: number) => () =>
      writeNormed(f, fused, line, f.let(i32.add(p.from, at)), f.let(i32.add(p.to, at)), vectors);
    f.forRange(at, 0, f.let(i32.sub(last, 16)), 32, copy(2));
    f.forRange(at, at, last, 16, copy(1));
    // The last four overlap those before instead of being fewer.
    at.set(last);
    copy(1)();
  });
}
