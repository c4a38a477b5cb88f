/** Compiled kernels, and the bind groups that tie them to buffers; both are made once and found again. */
import type { ParameterSlot } from "./parameters.ts";
import { parameterBytes } from "./parameters.ts";
import { bindingsOf, type ShaderSource, shaderText } from "./programs.ts";

/** A kernel that can be dispatched. */
export interface Pipeline {
  readonly label: string;
  readonly pipeline: GPUComputePipeline;
  readonly layout: BindLayout;
}

interface BindLayout {
  readonly id: number;
  readonly layout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
  readonly hasParameters: boolean;
}

/** A buffer to bind, and what it is remembered by. */
export interface Bound {
  readonly memory: GPUBuffer;
  readonly id: number;
}

/** The bind groups kept; beyond it all are forgotten, which costs a step some microseconds per kernel. */
const groupLimit = 20_000;

/** Pipelines by what their text depends on, bind groups by layout and buffers. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #pipelines = new Map<string, Pipeline>();
  readonly #layouts = new Map<string, BindLayout>();
  readonly #groups = new Map<string, GPUBindGroup>();

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** The pipeline remembered by `key`, or the one made from `source()`. */
  pipelineOf(key: string, label: string, source: () => ShaderSource): Pipeline {
    const known = this.#pipelines.get(key);
    if (known) return known;
    const shader = source();
    const code = shaderText(shader);
    const layout = this.#layoutOf(shader);
    const pipeline = this.#device.createComputePipeline({
      label,
      layout: layout.pipelineLayout,
      compute: { module: this.#device.createShaderModule({ label, code }), entryPoint: "main" },
    });
    const made = { label, pipeline, layout };
    this.#pipelines.set(key, made);
    return made;
  }

  /** The bind group of these buffers, in the order of the bindings. */
  groupOf(
    { layout: { id, layout, hasParameters } }: Pipeline,
    buffers: readonly Bound[],
    parameters: ParameterSlot,
  ): GPUBindGroup {
    let key = `${id}:${hasParameters ? parameters.chunkId : 0}`;
    for (const buffer of buffers) key += `,${buffer.id}`;
    const known = this.#groups.get(key);
    if (known) return known;
    if (this.#groups.size >= groupLimit) this.forgetGroups();
    const entries: GPUBindGroupEntry[] = buffers.map(({ memory }, binding) => ({
      binding,
      resource: { buffer: memory },
    }));
    if (hasParameters)
      entries.push({ binding: buffers.length, resource: { buffer: parameters.chunk, size: parameterBytes } });
    const group = this.#device.createBindGroup({ layout, entries });
    this.#groups.set(key, group);
    return group;
  }

  /** Lets go of all bind groups, and so of the buffers that they name. */
  forgetGroups(): void {
    this.#groups.clear();
  }

  /** How many pipelines were made. */
  get size(): number {
    return this.#pipelines.size;
  }

  #layoutOf({ operands, numbers }: ShaderSource): BindLayout {
    const bindings = bindingsOf(operands);
    const hasParameters = numbers.length > 0;
    const key = bindings.map(({ writable }) => (writable ? "w" : "r")).join("") + (hasParameters ? "p" : "");
    const known = this.#layouts.get(key);
    if (known) return known;
    const compute = 0x4;
    const entries: GPUBindGroupLayoutEntry[] = bindings.map(({ writable }, binding) => ({
      binding,
      visibility: compute,
      buffer: { type: writable ? "storage" : "read-only-storage" },
    }));
    if (hasParameters)
      entries.push({
        binding: bindings.length,
        visibility: compute,
        buffer: { type: "uniform", hasDynamicOffset: true },
      });
    const layout = this.#device.createBindGroupLayout({ label: key, entries });
    const made = {
      id: this.#layouts.size,
      layout,
      pipelineLayout: this.#device.createPipelineLayout({ label: key, bindGroupLayouts: [layout] }),
      hasParameters,
    };
    this.#layouts.set(key, made);
    return made;
  }
}
