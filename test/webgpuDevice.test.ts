/** Opening WebGPU devices: the software adapter, what is missing elsewhere, lost devices, and processes that end. */
import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type OpenDevice, openDevice } from "../src/backends/webgpu/device.ts";
import { DeviceError, DeviceLostError, WebGpuUnavailableError } from "../src/backends/webgpu/errors.ts";
import { softwareWebGpu } from "./support/webgpu.ts";

const root = resolve(import.meta.dirname, "..");
const software = softwareWebGpu();

// Numbers of the WebGPU specification; Node has no globals for them.
const usage = { mapRead: 0x1, copySource: 0x4, copyDestination: 0x8, storage: 0x80 };
const mapRead = 0x1;

const vulkanVariables = () => Object.entries(process.env).filter(([name]) => name.startsWith("VK_"));
const variablesBefore = vulkanVariables();

/** Doubles 1, 2, …, length on the device. */
async function doubled({ device }: OpenDevice, length: number): Promise<number[]> {
  const code = `@group(0) @binding(0) var<storage, read_write> values: array<f32>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < arrayLength(&values)) { values[id.x] *= 2; }
    }`;
  const pipeline = device.createComputePipeline({
    layout: "auto",
    compute: { module: device.createShaderModule({ code }) },
  });
  const size = 4 * length;
  const values = device.createBuffer({
    size,
    usage: usage.storage | usage.copySource | usage.copyDestination,
  });
  device.queue.writeBuffer(
    values,
    0,
    Float32Array.from({ length }, (_, i) => i + 1),
  );
  const back = device.createBuffer({ size, usage: usage.mapRead | usage.copyDestination });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: values } }],
    }),
  );
  pass.dispatchWorkgroups(Math.ceil(length / 64));
  pass.end();
  encoder.copyBufferToBuffer(values, 0, back, 0, size);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(mapRead);
  return [...new Float32Array(back.getMappedRange())];
}

function brokenPipeline({ device }: OpenDevice, label: string): void {
  const module = device.createShaderModule({ label, code: "fn main( {" });
  device.createComputePipeline({ label, layout: "auto", compute: { module } });
}

describe.skipIf(!software)("a device on the software adapter", () => {
  const open = (options = {}) => openDevice({ ...software, ...options });

  it("computes, and says what it is", async () => {
    const opened = await open();
    expect(await doubled(opened, 131)).toEqual(Array.from({ length: 131 }, (_, i) => 2 * (i + 1)));
    opened.assertSound();
    expect(opened.adapter).toMatchObject({ vendor: "google", architecture: "swiftshader", software: true });
    expect(opened.description).toMatch(/SwiftShader.*software/);
    expect([...opened.features]).toEqual(expect.arrayContaining(["timestamp-query", "subgroups"]));
    // More than the 128 MiB and 16 KiB of a device that asked for nothing.
    expect(opened.limits.maxStorageBufferBindingSize).toBe(2 ** 30);
    expect(opened.limits.maxComputeWorkgroupStorageSize).toBe(32_768);
    opened.close();
  });

  it("opens several at once, each with its own errors", async () => {
    const [first, second, third] = await Promise.all([open(), open({ robustness: true }), open()]);
    brokenPipeline(second, "broken");
    expect(await doubled(first, 3)).toEqual([2, 4, 6]);
    expect(await doubled(third, 2)).toEqual([2, 4]);
    first.assertSound();
    third.assertSound();
    expect(() => second.assertSound()).toThrow(DeviceError);
    for (const opened of [first, second, third]) opened.close();
  });

  it("leaves the environment as it was, so that the machine's GPU can still be found", async () => {
    (await open()).close();
    expect(vulkanVariables()).toEqual(variablesBefore);
  });

  it("throws what it refused once, with the kernel's label and how much followed", async () => {
    const opened = await open();
    brokenPipeline(opened, "conv2d 3x3");
    expect(() => opened.assertSound()).toThrow(
      expect.objectContaining({
        name: "DeviceError",
        kind: "validation",
        label: "conv2d 3x3",
        message: expect.stringMatching(/validation error in conv2d 3x3: .*and 1 more after it/s),
      }),
    );
    opened.assertSound();
    opened.close();
  });

  it("names an allocation that the device refuses", async () => {
    const opened = await open();
    opened.device.createBuffer({ label: "huge", size: 2 ** 31, usage: usage.storage });
    expect(() => opened.assertSound()).toThrow(/in huge: .*2147483648/);
    opened.close();
  });

  it("is lost for every call once destroyed in mid-step, and a new one works", async () => {
    const opened = await open();
    const running = doubled(opened, 1000);
    opened.device.destroy();
    expect(() => opened.assertAlive()).toThrow(DeviceLostError);
    await expect(running).rejects.toThrow();
    expect(() => opened.assertSound()).toThrow(/swiftshader.* was lost \(destroyed\).*CPU backend/);
    const next = await open();
    expect(await doubled(next, 1)).toEqual([2]);
    next.close();
  });

  it("warns once where half precision is asked for and missing", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const devices = [await open({ f16: true }), await open({ f16: true })];
    expect(devices.map(({ f16 }) => f16)).toEqual([false, false]);
    expect(warn.mock.calls).toEqual([[expect.stringContaining("has no shader-f16")]]);
    warn.mockRestore();
    for (const opened of devices) opened.close();
  });
});

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program that has `openDevice` from the backends in `folder`. */
function run(folder: string, program: string, env: NodeJS.ProcessEnv = {}, flags: string[] = []) {
  const device = pathToFileURL(join(folder, "backends/webgpu/device.ts")).href;
  const text = `const { openDevice } = await import(${JSON.stringify(device)});\n${program}`;
  const args = [...flags, "--import", "tsx", "--input-type=module", "-e", text];
  return new Promise<Result>((done) => {
    execFile(
      process.execPath,
      args,
      { cwd: root, env: { ...process.env, ...env }, timeout: 30_000 },
      (error, stdout, stderr) =>
        done({ code: error ? (typeof error.code === "number" ? error.code : -1) : 0, stdout, stderr }),
    );
  });
}

/** No Vulkan driver, whatever the machine has. */
const noGpu = {
  VK_ICD_FILENAMES: "/nowhere.json",
  VK_DRIVER_FILES: "/nowhere.json",
  GRADWEAVE_WEBGPU_ADAPTER: "",
};
const printError = "await openDevice().catch((error) => console.log(error.name, error.message));";

describe.skipIf(!software)("a process that opens a device", () => {
  const source = join(root, "src");

  it.each(["", "opened.close();"])("ends by itself within a second (%j)", async (last) => {
    const { code, stdout, stderr } = await run(
      source,
      `const opened = await openDevice({ adapter: "software" });
       opened.device.createBuffer({ size: 1024, usage: ${usage.storage} });
       ${last}
       console.log(Date.now());`,
    );
    const end = Date.now();
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(end - Number(stdout)).toBeLessThan(1000);
  });

  it("survives the garbage collector", async () => {
    const { code, stderr } = await run(
      source,
      `const opened = await openDevice({ adapter: "software" });
       for (let i = 0; i < 5; i++) { globalThis.gc(); await new Promise((turn) => setTimeout(turn, 5)); }
       opened.device.createBuffer({ size: 1024, usage: ${usage.storage} }).destroy();
       opened.assertSound();`,
      {},
      ["--expose-gc"],
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("falls back to the software adapter where there is no GPU, with one line that says so", async () => {
    const { stdout, stderr } = await run(
      source,
      "for (const opened of [await openDevice(), await openDevice()]) console.log(opened.adapter.software);",
      noGpu,
    );
    expect(stdout).toBe("true\ntrue\n");
    const lines = stderr.split("\n").filter((line) => line.startsWith("gradweave:"));
    expect(lines).toEqual([expect.stringMatching(/no GPU was found; running on .*SwiftShader/)]);
  });

  it("takes the wish for half precision from the environment", async () => {
    const program = `console.log((await openDevice({ adapter: "software" })).f16);`;
    const { stdout, stderr } = await run(source, program, { GRADWEAVE_WEBGPU_F16: "1" });
    expect([stdout, stderr]).toEqual(["false\n", expect.stringContaining("has no shader-f16")]);
    const wrong = await run(source, printError, { GRADWEAVE_WEBGPU_F16: "yes" });
    expect(wrong.stdout).toBe('SettingError webgpu: GRADWEAVE_WEBGPU_F16 is "yes"; it may be 0 or 1\n');
  });

  it("takes the adapter from the environment, and names what it cannot find", async () => {
    const env = { ...noGpu, GRADWEAVE_WEBGPU_ADAPTER: "Voodoo" };
    const { stdout } = await run(source, printError, env);
    expect(stdout).toMatch(/^WebGpuUnavailableError .*contains "Voodoo".*"software".*CPU backend/);
  });
});

describe.skipIf(!software)("a machine that lacks something", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "gradweave-webgpu-"));
    cpSync(join(root, "src/backends"), join(folder, "backends"), { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it("says which package to install, and that the CPU works without", async () => {
    const { stdout } = await run(folder, printError);
    expect(stdout).toMatch(/^WebGpuUnavailableError .*npm install webgpu, or compute on the CPU backend/);
  });

  it("says what to install where there is neither a GPU nor the software adapter", async () => {
    mkdirSync(join(folder, "node_modules"));
    symlinkSync(join(root, "node_modules/webgpu"), join(folder, "node_modules/webgpu"));
    const { stdout } = await run(folder, printError, noGpu);
    expect(stdout).toMatch(
      /^WebGpuUnavailableError .*no GPU was found, and .*npm install.*chromium.*CPU backend/,
    );
  });

  it("unpacks the software adapter once, however many processes want it, and again if it was damaged", async () => {
    const env = { XDG_CACHE_HOME: join(folder, "cache") };
    const program = `await openDevice({ adapter: "software" }); console.log("opened");`;
    const source = join(root, "src");
    const results = await Promise.all([run(source, program, env), run(source, program, env)]);
    expect(results.map(({ stdout }) => stdout)).toEqual(["opened\n", "opened\n"]);
    const [unpacked, ...others] = readdirSync(join(folder, "cache/gradweave"));
    expect(others).toEqual([]);
    const driver = join(folder, "cache/gradweave", unpacked, "libvk_swiftshader.so");
    rmSync(driver);
    expect((await run(source, program, env)).stdout).toBe("opened\n");
    expect(existsSync(driver)).toBe(true);
  });
});

it("an unknown device is never silently another one", async () => {
  await expect(openDevice({ adapter: "no such adapter" })).rejects.toThrow(WebGpuUnavailableError);
});
