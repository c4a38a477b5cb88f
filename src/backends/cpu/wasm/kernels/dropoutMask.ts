/**
 * Masks of dropout: Philox 4x32-10 in four lanes, a block of four words in each (Salmon et al. 2011, section 4.3; the
 * scalar form is in `tensor/philox.ts`). The words, and so the masks, are the same bits.
 */
import type { HostBackendKernel } from "../../../backend.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import type { Vector } from "./lines.ts";
import { pickLanes, storeFirstLanes } from "./rows.ts";

interface DropoutMaskAttributes {
  readonly draw: {
    readonly counter: readonly [number, number, number];
    readonly key: readonly [number, number];
  };
  readonly probability: number;
}

export interface DropoutMaskKernels {
  readonly dropoutMask: HostBackendKernel<DropoutMaskAttributes>;
}

const multipliers = [0xd2511f53, 0xcd9e8d57];
const keySteps = [0x9e3779b9, 0xbb67ae85];
const rounds = 10;
/** Elements of one item: four blocks of four words. */
const group = 16;
const nanosecondsPerGroup = 40;

/** The upper and the lower 32 bits of the products of four unsigned words with one number. */
function wideProduct(f: FunctionBuilder, words: Vector, multiplier: number): readonly [Vector, Vector] {
  const factor = () => f.v128.const(new Int32Array(4).fill(multiplier));
  const low = f.let(f.i64x2.extmul_low_i32x4_u(words, factor()));
  const high = f.let(f.i64x2.extmul_high_i32x4_u(words, factor()));
  return [f.let(pickLanes(f, low, high, [1, 3, 5, 7])), f.let(pickLanes(f, low, high, [0, 2, 4, 6]))];
}

/** The four words of block i in lane i of four vectors, turned so that each block is one of four vectors. */
function blocks(f: FunctionBuilder, [a, b, c, d]: readonly Vector[]): readonly Vector[] {
  const pairs = (x: Vector, y: Vector) =>
    [f.let(pickLanes(f, x, y, [0, 4, 1, 5])), f.let(pickLanes(f, x, y, [2, 6, 3, 7]))] as const;
  const [[ab, abNext], [cd, cdNext]] = [pairs(a, b), pairs(c, d)];
  return [
    [ab, cd],
    [abNext, cdNext],
  ].flatMap(([left, right]) => [
    f.let(pickLanes(f, left, right, [0, 1, 4, 5])),
    f.let(pickLanes(f, left, right, [2, 3, 6, 7])),
  ]);
}

function compile(runtime: WasmRuntime): RangeFunction {
  const module = new ModuleBuilder("dropoutMask");
  runtime.importMemory(module);
  const params = {
    begin: "i32",
    end: "i32",
    scratch: "i32",
    to: "i32",
    length: "i32",
    counter1: "i32",
    counter2: "i32",
    counter3: "i32",
    key0: "i32",
    key1: "i32",
    lastKept: "i32",
    kept: "f32",
  } as const;
  module.func("dropoutMask", { params }, (f, p) => {
    const { i32, i32x4, f32x4, v128 } = f;
    const [item, at, left] = ["item", "at", "left"].map((name) => f.local("i32", name));
    const highest = f.let(i32x4.splat(p.lastKept), "highest");
    const kept = f.let(f32x4.splat(p.kept), "keptValue");
    const counters = [p.counter1, p.counter2, p.counter3].map((word) => f.let(i32x4.splat(word)));
    const keys = [p.key0, p.key1].map((key, k) =>
      Array.from({ length: rounds }, (_, round) =>
        f.let(i32x4.splat(i32.add(key, Math.imul(round, keySteps[k])))),
      ),
    );
    f.forRange(item, p.begin, p.end, 1, () => {
      const lanes = v128.const(Int32Array.of(0, 1, 2, 3));
      let left0 = f.let(i32x4.add(i32x4.splat(i32.shl(item, 2)), lanes));
      let [right0, left1, right1] = counters;
      for (let round = 0; round < rounds; round++) {
        const [high0, low0] = wideProduct(f, left0, multipliers[0]);
        const [high1, low1] = wideProduct(f, left1, multipliers[1]);
        left0 = f.let(v128.xor(v128.xor(high1, right0), keys[0][round]));
        right0 = low1;
        left1 = f.let(v128.xor(v128.xor(high0, right1), keys[1][round]));
        right1 = low0;
      }
      at.set(i32.add(p.to, i32.shl(item, 6)));
      left.set(i32.sub(p.length, i32.shl(item, 4)));
      for (const words of blocks(f, [left0, right0, left1, right1])) {
        const mask: Local<"v128"> = f.let(v128.and(kept, i32x4.le_u(words, highest)));
        f.if(
          i32.ge_s(left, 4),
          () => v128.store(at, mask),
          () => f.if(i32.gt_s(left, 0), () => storeFirstLanes(f, at, mask, left)),
        );
        at.set(i32.add(at, 16));
        left.set(i32.sub(left, 4));
      }
    });
  });
  return runtime.instantiate(module).dropoutMask;
}

/** The kernel; f64 and gaps go to the reference loops. */
export function dropoutMaskKernels(runtime: WasmRuntime): DropoutMaskKernels {
  let compiled: RangeFunction | undefined;
  return {
    dropoutMask(inputs, output, attributes, reference) {
      const [length] = output.shape;
      if (!runtime.accepts([output]) || (length > 1 && output.strides[0] !== 1)) {
        reference(inputs, output, attributes);
        return;
      }
      const { draw, probability } = attributes;
      compiled ??= compile(runtime);
      // Words below (1 − p) · 2^32 are kept; with p = 1 none is, and what is kept is 0.
      const lastKept = Math.max(0, Math.ceil((1 - probability) * 2 ** 32) - 1);
      const kept = probability < 1 ? 1 / (1 - probability) : 0;
      const args = [addressOf(output), length, ...draw.counter, ...draw.key, lastKept, kept];
      runtime.forRange(compiled, Math.ceil(length / group), args, { grain: grainOf(nanosecondsPerGroup) });
    },
  };
}
