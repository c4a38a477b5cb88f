/**
 * Opens a WebGPU device, in Node or in a browser, with all that its adapter can do, and watches it: WebGPU tells of
 * lost devices and refused work only afterwards, and only to those who listen.
 */
import { SettingError } from "../cpu/settingError.ts";
import { warnOnce } from "../cpu/warnOnce.ts";
import { DeviceError, type DeviceErrorKind, DeviceLostError, WebGpuUnavailableError } from "./errors.ts";
import type { DeviceOptions } from "./options.ts";

/** Which adapter computes, for reports. Names are the driver's own. */
export interface AdapterDescription {
  /** Such as `swiftshader-device-subzero (SwiftShader driver 5.0.0)`. */
  readonly name: string;
  readonly vendor: string;
  readonly architecture: string;
  /** True where a processor computes: speed says nothing about GPUs. */
  readonly software: boolean;
  /** Whether subgroups can be used and are whole quads: of four threads, eight, … */
  readonly hasQuads: boolean;
}

/** What is asked for where the adapter has it. */
const usefulFeatures: readonly GPUFeatureName[] = ["timestamp-query", "subgroups"];

/** A device, what it can do, and what went wrong on it since. */
export class OpenDevice {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly limits: GPUSupportedLimits;
  /** The features that were asked for and granted. */
  readonly features: ReadonlySet<string>;
  /** Whether half-precision storage was asked for and is there. */
  readonly f16: boolean;
  /** One line for people. */
  readonly description: string;
  #lost: DeviceLostError | null = null;
  #error: { readonly kind: DeviceErrorKind; readonly message: string } | null = null;
  #errors = 0;

  constructor(device: GPUDevice, adapter: AdapterDescription, f16: boolean) {
    this.device = device;
    this.adapter = adapter;
    this.limits = device.limits;
    this.features = new Set<string>(device.features);
    this.f16 = f16;
    this.description = `${adapter.name}${adapter.software ? ", software" : ""}${f16 ? ", f16 storage" : ""}`;
    this.#watch();
  }

  /** @throws DeviceLostError from the moment the device is gone */
  assertAlive(): void {
    // A new error, so that the trace shows the call that needed the device.
    if (this.#lost) throw new DeviceLostError(this.adapter.name, this.#lost.reason, this.#lost.detail);
  }

  /**
   * To be called when a read has come back, or failed: whatever was refused before is known by then.
   *
   * @throws DeviceLostError when the device is gone; DeviceError with the first refusal since the last call
   */
  assertSound(): void {
    this.assertAlive();
    if (!this.#error) return;
    const { kind, message } = this.#error;
    const others = this.#errors - 1;
    this.#error = null;
    this.#errors = 0;
    throw new DeviceError(kind, message, others);
  }

  /** Gives the device and all its memory back. Using it afterwards throws DeviceLostError. */
  close(): void {
    this.device.destroy();
  }

  #watch(): void {
    const { device } = this;
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.#errors += 1;
      this.#error ??= { kind: kindOf(event.error), message: event.error.message };
    });
    const lose = (reason: string, detail: string): void => {
      this.#lost ??= new DeviceLostError(this.adapter.name, reason, detail);
    };
    void device.lost.then(({ reason, message }) => lose(reason, message));
    // `lost` tells a turn later; calls in the same turn must fail as well.
    const destroy = device.destroy.bind(device);
    device.destroy = () => {
      lose("destroyed", "");
      return destroy();
    };
  }
}

/** By name: in Node the error classes are not global. */
function kindOf(error: GPUError): DeviceErrorKind {
  const { name } = error.constructor;
  if (name === "GPUOutOfMemoryError") return "out-of-memory";
  return name === "GPUInternalError" ? "internal" : "validation";
}

function isNode(): boolean {
  return typeof process !== "undefined" && process.versions?.node !== undefined;
}

function describe({ info, features }: GPUAdapter): AdapterDescription {
  const { vendor, architecture, description } = info;
  const device = info.device.replace(/-+$/, "");
  const name = device || description || [vendor, architecture].filter(Boolean).join(" ") || "unnamed adapter";
  return {
    name: description && description !== name ? `${name} (${description})` : name,
    vendor,
    architecture,
    software: info.isFallbackAdapter,
    hasQuads: features.has("subgroups") && (info.subgroupMinSize ?? 0) >= 4,
  };
}

/** A page cannot list adapters: what it is given is compared with what was asked for. */
async function requestPageAdapter(gpu: GPU, options: DeviceOptions, choice: string): Promise<GPUAdapter> {
  const { powerPreference = "high-performance" } = options;
  const forceFallbackAdapter = choice === "software";
  const adapter = await gpu.requestAdapter({ powerPreference, forceFallbackAdapter });
  if (!adapter)
    throw new WebGpuUnavailableError(
      `the browser gives no ${forceFallbackAdapter ? "software adapter" : "WebGPU adapter"}`,
      "update the browser or the GPU's driver (chrome://gpu says what is missing)",
    );
  const { name, vendor, architecture } = describe(adapter);
  const text = `${vendor} ${architecture} ${name}`;
  if (!["default", "software"].includes(choice) && !text.toLowerCase().includes(choice.toLowerCase()))
    throw new WebGpuUnavailableError(
      `no adapter's name contains ${JSON.stringify(choice)} (the browser gives ${text})`,
      'choose "default"',
    );
  return adapter;
}

async function requestAdapter(options: DeviceOptions): Promise<GPUAdapter> {
  const fromEnvironment = isNode() ? process.env.GRADWEAVE_WEBGPU_ADAPTER : undefined;
  const choice = options.adapter ?? (fromEnvironment || "default");
  const { navigator } = globalThis as { readonly navigator?: { readonly gpu?: GPU } };
  if (navigator?.gpu) return requestPageAdapter(navigator.gpu, options, choice);
  if (isNode()) return (await import("./nodeAdapter.ts")).requestNodeAdapter(options, choice);
  throw new WebGpuUnavailableError(
    "this browser has no WebGPU, or the page is no secure context",
    "serve the page over https or from localhost, in a browser of 2025 or later",
  );
}

/** By the environment. */
function isHalfWanted(): boolean {
  const text = isNode() ? process.env.GRADWEAVE_WEBGPU_F16 : undefined;
  if (text === undefined || text === "" || text === "0") return false;
  if (text === "1") return true;
  throw new SettingError(`webgpu: GRADWEAVE_WEBGPU_F16 is ${JSON.stringify(text)}; it may be 0 or 1`);
}

/** Everything the adapter has: a device that asks for nothing gets 128 MiB bindings and 16 KiB of workgroup memory. */
function limitsOf(adapter: GPUAdapter): Record<string, number> {
  const limits: Record<string, number> = {};
  for (const name in adapter.limits) {
    const value: unknown = Reflect.get(adapter.limits, name);
    if (typeof value === "number") limits[name] = value;
  }
  return limits;
}

/**
 * Opens a device with the adapter's own limits, and timestamp queries and subgroups where it has them.
 * Devices of one process may share an adapter; each has its own memory and its own errors.
 *
 * @throws WebGpuUnavailableError when there is no WebGPU, no such adapter, or it gives no device; the text says what
 *   to install. SettingError when GRADWEAVE_WEBGPU_F16 is neither 0 nor 1
 */
export async function openDevice(options: DeviceOptions = {}): Promise<OpenDevice> {
  const wantsHalf = options.f16 ?? isHalfWanted();
  const adapter = await requestAdapter(options);
  const description = describe(adapter);
  const f16 = wantsHalf && adapter.features.has("shader-f16");
  if (wantsHalf && !f16)
    warnOnce(`webgpu: ${description.name} has no shader-f16; values are stored in single precision`);
  const features = usefulFeatures.filter((feature) => adapter.features.has(feature));
  if (f16) features.push("shader-f16");
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: features,
      requiredLimits: limitsOf(adapter),
    });
    return new OpenDevice(device, description, f16);
  } catch (cause) {
    throw new WebGpuUnavailableError(
      `${description.name} gives no device (${String(cause)})`,
      "close other programs that use it, or choose another adapter",
      { cause },
    );
  }
}
