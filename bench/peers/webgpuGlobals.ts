/**
 * What libraries made for browsers look for: `navigator.gpu` and WebGPU's global names, on the adapter that Gradweave
 * uses (GRADWEAVE_WEBGPU_ADAPTER), so that all are compared on the same one.
 */
import { requestNodeAdapter } from "../../src/backends/webgpu/nodeAdapter.ts";

/** Puts them in place and returns the adapter. */
export async function installWebGpu(): Promise<GPUAdapter> {
  const choice = process.env.GRADWEAVE_WEBGPU_ADAPTER || "default";
  const request = () => requestNodeAdapter({}, choice);
  const { globals } = await import("webgpu");
  Object.assign(globalThis, globals);
  const gpu = {
    requestAdapter: request,
    getPreferredCanvasFormat: () => "bgra8unorm",
    wgslLanguageFeatures: new Set<string>(),
  };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "node" }, configurable: true });
  return request();
}

/** All limits of an adapter, to be asked of a device. */
export function limitsOf({ limits }: GPUAdapter): Record<string, number> {
  const all: Record<string, number> = {};
  for (const name in limits) {
    const value: unknown = Reflect.get(limits, name);
    if (typeof value === "number") all[name] = value;
  }
  return all;
}
