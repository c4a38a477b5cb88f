/** What norms keep of the batches they have seen, moved on by one batch (autograd/ops/runningStatistics.ts). */
import type { HostBackendKernel, KernelAttributes } from "../../../backend.ts";
import { type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { load, store, vectorPlaceOf } from "./channels.ts";
import { rangeParameters } from "./rows.ts";

/** Two multiply-adds in f64, in nanoseconds. */
const options = { grain: grainOf(5) };

const places = {
  ...({ mean: "i32", meanStep: "i32", variance: "i32", varianceStep: "i32" } as const),
  ...({ newMean: "i32", newMeanStep: "i32", newVariance: "i32", newVarianceStep: "i32" } as const),
  ...({ batches: "i32" } as const),
};
const factors = { kept: "f64", ofMean: "f64", ofVariance: "f64" } as const;

/** (mean, variance, new mean, new variance, batches, factors): a range of channels; the first of them counts the batch. */
function compile(runtime: WasmRuntime): RangeFunction {
  const module = new ModuleBuilder("runningStatistics");
  runtime.importMemory(module);
  module.func("runningStatistics", { params: { ...rangeParameters, ...places, ...factors } }, (f, p) => {
    const { i32, f64 } = f;
    const c = f.local("i32", "c");
    const move = (
      [to, toStep]: readonly [Local<"i32">, Local<"i32">],
      [from, fromStep]: readonly [Local<"i32">, Local<"i32">],
      factor: Local<"f64">,
    ) => {
      const at = f.let(i32.add(to, i32.mul(c, toStep)));
      const old = f64.mul(p.kept, load(f, at));
      const newest = load(f, i32.add(from, i32.mul(c, fromStep)));
      store(f, at, f64.add(old, f64.mul(factor, newest)));
    };
    f.forRange(c, p.begin, p.end, 1, () => {
      move([p.mean, p.meanStep], [p.newMean, p.newMeanStep], p.ofMean);
      move([p.variance, p.varianceStep], [p.newVariance, p.newVarianceStep], p.ofVariance);
    });
    f.if(i32.eqz(p.begin), () => i32.store(p.batches, i32.add(i32.load(p.batches), 1)));
  });
  return runtime.instantiate(module).runningStatistics;
}

/** The kernel; f64 and norms of no channels go to the reference loop. */
export function runningStatisticsKernel(
  runtime: WasmRuntime,
): HostBackendKernel<KernelAttributes["runningStatistics"]> {
  let compiled: RangeFunction | undefined;

  return (inputs, output, attributes, reference) => {
    const [mean, variance, batches, newMean, newVariance] = inputs;
    const [C] = mean.shape;
    const takes = runtime.accepts([mean, variance, newMean, newVariance]) && batches.dtype === "i32";
    if (!takes || !runtime.memory.holds(batches.data) || C === 0) {
      reference(inputs, output, attributes);
      return;
    }
    const { momentum, correction } = attributes;
    compiled ??= compile(runtime);
    const operands = [mean, variance, newMean, newVariance].flatMap(vectorPlaceOf);
    const args = [...operands, addressOf(batches), 1 - momentum, momentum, momentum * correction];
    runtime.forRange(compiled, C, args, options);
  };
}
