/**
 * gather and scatterAdd: reading and adding at places that an index names. No instruction does that for four lanes,
 * so elements go one by one; what they gain is the loop itself, and threads that share the lines along the axis.
 *
 * scatterAdd adds in f32 in the order of the index: a place that n values go to has gone through n - 1 roundings.
 */
import type { HostBackendKernel, HostView } from "../../../backend.ts";
import { collapseAxes } from "../../collapse.ts";
import { type FunctionBuilder, type Local, ModuleBuilder } from "../encoder/index.ts";
import { addressOf, grainOf, type RangeFunction, type WasmRuntime } from "../runtime.ts";
import { floatBytes } from "./rows.ts";

interface AxisAttributes {
  readonly axis: number;
}

interface ScatterAddAttributes extends AxisAttributes {
  /** Of the output. */
  readonly shape: readonly number[];
}

export interface GatherKernels {
  readonly gather: HostBackendKernel<AxisAttributes>;
  readonly scatterAdd: HostBackendKernel<ScatterAddAttributes>;
}

const nanosecondsPerElement = 1.5;
/** The tensor that has the indexed axis; the index; the tensor with its shape. */
const operands = ["table", "index", "list"] as const;
const ofOperand = (name: string) => [name, `${name}Line1`, `${name}Line0`, `${name}Step`];
const parameters = ["begin", "end", "scratch", ...operands.flatMap(ofOperand), "lines0", "count"];

/** Calls `move` with the address of each place in the table and of its element in the list. */
function defineWalk(
  module: ModuleBuilder,
  name: string,
  move: (f: FunctionBuilder, place: Local<"i32">, element: Local<"i32">) => void,
): void {
  const params: Readonly<Record<string, "i32">> = Object.fromEntries(parameters.map((key) => [key, "i32"]));
  module.func(name, { params }, (f, p: Readonly<Record<string, Local<"i32">>>) => {
    const { i32 } = f;
    const [item, i, place] = ["item", "i", "place"].map((key) => f.local("i32", key));
    const [table, index, list] = operands.map((key) => f.local("i32", `${key}At`));
    f.forRange(item, p.begin, p.end, 1, () => {
      const line1 = f.let(i32.div_u(item, p.lines0), "line1");
      const line0 = f.let(i32.sub(item, i32.mul(line1, p.lines0)), "line0");
      const start = (key: string) =>
        i32.add(i32.add(p[key], i32.mul(line1, p[`${key}Line1`])), i32.mul(line0, p[`${key}Line0`]));
      table.set(start("table"));
      index.set(start("index"));
      list.set(start("list"));
      f.forRange(i, 0, p.count, 1, () => {
        place.set(i32.add(table, i32.mul(i32.load(index), p.tableStep)));
        move(f, place, list);
        index.set(i32.add(index, p.indexStep));
        list.set(i32.add(list, p.listStep));
      });
    });
  });
}

interface Walks {
  readonly gather: RangeFunction;
  readonly scatterAdd: RangeFunction;
}

function compile(runtime: WasmRuntime): Walks {
  const module = new ModuleBuilder("gather");
  runtime.importMemory(module);
  defineWalk(module, "gather", ({ f32 }, place, element) => f32.store(element, f32.load(place)));
  defineWalk(module, "scatterAdd", ({ f32 }, place, element) =>
    f32.store(place, f32.add(f32.load(place), f32.load(element))),
  );
  const { gather, scatterAdd } = runtime.instantiate(module);
  return { gather, scatterAdd };
}

/** Both kernels; f64, and outputs with gaps, go to the reference loops. */
export function gatherKernels(runtime: WasmRuntime): GatherKernels {
  let walks: Walks | undefined;

  function run(name: keyof Walks, views: readonly HostView[], axis: number): void {
    const [, { shape }] = views;
    if (shape.includes(0)) return;
    const bytes = views.map(({ strides }) => strides.map((stride) => floatBytes * stride));
    // The lines: all positions outside the axis.
    const lines = collapseAxes(
      bytes.map((strides) => ({
        shape: shape.map((extent, at) => (at === axis ? 1 : extent)),
        strides,
        offset: 0,
      })),
    );
    const outer = Math.max(0, lines.shape.length - 2);
    const [lines1, lines0] = [1, 1, ...lines.shape].slice(-2);
    walks ??= compile(runtime);
    const range = walks[name];
    const grain = grainOf(nanosecondsPerElement * shape[axis]);
    const visit = (starts: readonly number[], depth: number): void => {
      if (depth < outer) {
        for (let i = 0; i < lines.shape[depth]; i++)
          visit(
            starts.map((start, o) => start + i * lines.strides[o][depth]),
            depth + 1,
          );
        return;
      }
      const args = starts.flatMap((start, o) => [
        start,
        ...[0, 0, ...lines.strides[o]].slice(-2),
        bytes[o][axis],
      ]);
      runtime.forRange(range, lines1 * lines0, [...args, lines0, shape[axis]], { grain });
    };
    visit(views.map(addressOf), 0);
  }

  const takes = (index: HostView, floats: readonly HostView[]): boolean =>
    runtime.accepts(floats) && index.dtype === "i32" && runtime.memory.holds(index.data);

  return {
    gather([x, index], output, attributes, reference) {
      if (takes(index, [x, output])) run("gather", [x, index, output], attributes.axis);
      else reference([x, index], output, attributes);
    },

    scatterAdd([values, index], output, attributes, reference) {
      const length = output.shape.reduce((product, extent) => product * extent, 1);
      const { strides } = collapseAxes([output]);
      const gapless = strides[0].length === 0 || (strides[0].length === 1 && strides[0][0] === 1);
      if (!gapless || !takes(index, [values, output])) {
        reference([values, index], output, attributes);
        return;
      }
      runtime.settle();
      output.data.fill(0, output.offset, output.offset + length);
      run("scatterAdd", [output, index, values], attributes.axis);
    },
  };
}
