/** What a kernel file works with: it names operands and numbers, and launches WGSL over so many threads. */
import type { KernelAttributes, KernelName, Layout } from "../backend.ts";
import type { DType } from "../dtype.ts";
import type { CommandStream } from "./commands.ts";
import { type Tuning, untuned } from "./kernels/convolution/tiles.ts";
import type { DeviceMemory, GpuMemory } from "./memory.ts";
import { type Numeral, ParameterMemory } from "./parameters.ts";
import { type Bound, PipelineCache } from "./pipelines.ts";
import type { Access, OperandType } from "./programs.ts";
import { type ExpressionPrinter, plainPrinter } from "./wgsl.ts";

/** An operand of a kernel: device memory seen through a layout. */
export interface GpuView extends Layout {
  readonly buffer: GpuMemory;
}

/** A kernel on the device. It must take any strides, and must write every element of `output` and nothing else. */
export type GpuKernel<Attributes> = (
  runtime: GpuRuntime,
  inputs: readonly GpuView[],
  output: GpuView,
  attributes: Attributes,
) => void;

/** One kernel for every op: an op without one does not compile. */
export type GpuKernelSet = { readonly [K in KernelName]: GpuKernel<KernelAttributes[K]> };

/** An operand of a launch. */
export interface LaunchOperand {
  /** What the body calls it: `x` is read as `x_get(i)` and written as `x_set(i, value)`. */
  readonly name: string;
  readonly buffer: GpuMemory;
  readonly access: Access;
  /** Also read and written as `x_get4(i)` and `x_set4(i, value)`, at multiples of four. */
  readonly vector?: boolean;
}

/** A kernel launch. */
export interface Launch {
  /** Names the kernel in profiles and errors. */
  readonly label: string;
  /** Everything that the text depends on beside the label, the operands' dtypes and how those are stored. */
  readonly variant?: string;
  readonly operands: readonly LaunchOperand[];
  /** Read by the body as `p.name`. */
  readonly numbers?: Readonly<Record<string, Numeral>>;
  /** Threads in all; `id` runs from 0 to this. Give either this or `groups`. */
  readonly threads?: number;
  /** Workgroups in all; the body counts with `group` and `lane`. */
  readonly groups?: number;
  /** Threads of a workgroup; default 64. */
  readonly workgroupSize?: number;
  /** Whether the body calls quad functions. They want all threads: launch such a kernel by `groups`. */
  readonly quads?: boolean;
  /** The WGSL; called once for every variant. */
  shader(): { readonly declarations?: string; readonly body: string };
}

const dtypeLetters: Readonly<Record<DType, string>> = { f32: "f", f64: "d", i32: "i", u8: "u", bool: "b" };

/** What kernels need to know of the adapter. */
export interface AdapterTraits {
  /** How many threads keep the device busy: a sum is shared among so many, and not among more. */
  readonly usefulThreads: number;
  /** Whether four neighbouring threads are a quad whose numbers lie in one vector of the processor. */
  readonly quads: boolean;
  /** Whether threads run through all branches, masked, also where none of them takes one. */
  readonly runsEveryBranch: boolean;
}

/** Compiles, binds and enqueues kernels. */
export class GpuRuntime {
  readonly device: GPUDevice;
  readonly memory: DeviceMemory;
  readonly commands: CommandStream;
  readonly pipelines: PipelineCache;
  readonly traits: AdapterTraits;
  /** How expressions are printed. */
  readonly printer: ExpressionPrinter;
  /** How large the tiles of convolutions are. */
  tuning: Tuning = untuned;
  readonly #parameters: ParameterMemory;

  constructor(
    device: GPUDevice,
    memory: DeviceMemory,
    commands: CommandStream,
    traits: AdapterTraits,
    printer = plainPrinter,
  ) {
    this.printer = printer;
    this.traits = traits;
    this.device = device;
    this.memory = memory;
    this.commands = commands;
    this.pipelines = new PipelineCache(device);
    this.#parameters = new ParameterMemory(device);
  }

  /** Enqueues a kernel. Nothing happens for 0 threads. */
  launch({
    label,
    variant = "",
    operands,
    numbers = {},
    threads,
    groups,
    workgroupSize = 64,
    quads = false,
    shader,
  }: Launch): void {
    const count = threads === undefined ? (groups ?? 0) : Math.ceil(threads / workgroupSize);
    if (count === 0) return;
    const bound: Bound[] = [];
    const bindingOf: number[] = [];
    let key = `${label}/${variant}/${workgroupSize}`;
    for (const { buffer, vector } of operands) {
      let binding = bound.findIndex(({ id }) => id === buffer.id);
      if (binding < 0) binding = bound.push(buffer) - 1;
      bindingOf.push(binding);
      key += `${vector ? "|" : "."}${buffer.half ? "h" : dtypeLetters[buffer.dtype]}${binding}`;
    }
    const pipeline = this.pipelines.pipelineOf(key, label, () => {
      const { declarations = "", body } = shader();
      const types: OperandType[] = operands.map(({ name, buffer, access, vector = false }, i) => ({
        name,
        dtype: buffer.dtype,
        access,
        binding: bindingOf[i],
        half: buffer.half,
        vector,
      }));
      return {
        operands: types,
        numbers: [
          ...Object.entries(numbers).map(
            ([name, value]) => ({ name, type: typeof value === "number" ? "i32" : "f32" }) as const,
          ),
          { name: "threads", type: "i32" },
        ],
        workgroupSize,
        quads,
        declarations,
        body: threads === undefined ? body : `  if (id >= p.threads) { return; }\n${body}`,
      };
    });
    const slot = this.#parameters.slotOf(numbers, threads ?? count);
    this.commands.dispatch({
      pipeline,
      group: this.pipelines.groupOf(pipeline, bound, slot),
      parameterOffset: slot.offset,
      groups: count,
      buffers: bound,
    });
  }

  /** Runs `body` with uninitialised workspace of so many words, which is free again once the commands are queued. */
  scratch(length: number, body: (workspace: GpuMemory) => void, dtype: "f32" | "i32" = "f32"): void {
    const workspace = this.memory.allocate(dtype, length, "workspace");
    try {
      body(workspace);
    } finally {
      this.memory.release(workspace);
    }
  }
}

/** Names of numbers that were asked for before: a string that is put together anew costs as much as all else here. */
const layoutNames = new Map<string, string[]>();

/** The numbers `x_o`, `x_0`, `x_1`, … of a view: its offset and strides. */
export function layoutNumbers(name: string, { offset, strides }: Layout): Record<string, number> {
  let names = layoutNames.get(name);
  if (!names) {
    names = [`${name}_o`];
    layoutNames.set(name, names);
  }
  while (names.length <= strides.length) names.push(`${name}_${names.length - 1}`);
  const numbers: Record<string, number> = { [names[0]]: offset };
  for (let axis = 0; axis < strides.length; axis++) numbers[names[axis + 1]] = strides[axis];
  return numbers;
}

/** WGSL for the position of an element: `p.x_o + i * p.x_0 + …`, one index expression per axis. */
export function positionText(name: string, indices: readonly string[]): string {
  return [`p.${name}_o`, ...indices.map((index, axis) => `${index} * p.${name}_${axis}`)].join(" + ");
}
