/**
 * A library in a process of its own, asked for one run at a time over its pipes: no library's threads, memory or
 * garbage are another's, and the memory that a process has had is that library's.
 */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { Reply, type Request, type Task } from "./task.ts";

export type PeerName =
  | "Gradweave"
  | "Gradweave WebGPU"
  | "tfjs WebGPU"
  | "jax-js WebGPU"
  | "PyTorch CUDA"
  | "PyTorch"
  | "tfjs wasm"
  | "tfjs cpu"
  | "jax-js wasm"
  | "onnxruntime-node"
  | "OpenCV DNN";

interface PeerKind {
  /** False where the library has one thread whatever it is told. */
  readonly threaded: boolean;
  /** The program and its arguments, to which the number of threads is added. Throws when the program is missing. */
  command(): readonly string[];
}

const file = (name: string) => path.join(import.meta.dirname, name);
const javaScript = (library: string) => [process.execPath, "--import", "tsx", file("serve.ts"), library];

/** The first Python that can import a module: Debian's, then the one on the PATH. Throws when neither can. */
function pythonWith(module: string, debian: string): string {
  const found = ["/usr/bin/python3", "python3"].find(
    (python) =>
      (!path.isAbsolute(python) || existsSync(python)) &&
      spawnSync(python, ["-c", `import ${module}`], { stdio: "ignore" }).status === 0,
  );
  if (found === undefined)
    throw new Error(`no Python here can import ${module}; on Debian: apt install ${debian}`);
  return found;
}

// -B: no __pycache__ folder beside the sources.
const kinds: Readonly<Record<PeerName, PeerKind>> = {
  Gradweave: { threaded: true, command: () => javaScript("gradweave") },
  PyTorch: {
    threaded: true,
    command: () => [pythonWith("torch", "python3-torch"), "-B", file("pytorch.py")],
  },
  "PyTorch CUDA": {
    threaded: false,
    command: () => [pythonWith("torch", "python3-torch"), "-B", file("pytorch.py"), "--cuda"],
  },
  "Gradweave WebGPU": { threaded: false, command: () => javaScript("gradweave-webgpu") },
  "tfjs WebGPU": { threaded: false, command: () => javaScript("tfjs-webgpu") },
  "jax-js WebGPU": { threaded: false, command: () => javaScript("jax-js-webgpu") },
  "tfjs wasm": { threaded: false, command: () => javaScript("tfjs-wasm") },
  "tfjs cpu": { threaded: false, command: () => javaScript("tfjs-cpu") },
  "jax-js wasm": { threaded: false, command: () => javaScript("jax-js") },
  "onnxruntime-node": { threaded: true, command: () => javaScript("onnxruntime") },
  "OpenCV DNN": {
    threaded: true,
    command: () => [pythonWith("cv2", "python3-opencv"), "-B", file("opencv.py")],
  },
};

export function isThreaded(name: PeerName): boolean {
  return kinds[name].threaded;
}

/** Work that a process has ready. */
export interface RemoteWorkload {
  readonly peer: Peer;
  /** Of a network, how many numbers it learns. */
  readonly parameters: number | undefined;
  /** Milliseconds of one run, the mean of `times`. */
  run(times: number): Promise<number>;
  /** Does the work once: squared norms of the results, of a training step its loss. */
  check(): Promise<readonly number[]>;
  close(): Promise<void>;
}

export class Peer {
  readonly name: PeerName;
  readonly threads: number;
  version = "unknown";
  /** The most memory that the process was seen to have had. */
  peakBytes = 0;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #errors = "";
  #workloads = 0;

  private constructor(name: PeerName, threads: number) {
    this.name = name;
    this.threads = kinds[name].threaded ? threads : 1;
    const [program = "", ...args] = kinds[name].command();
    const count = String(this.threads);
    this.#process = spawn(program, [...args, count], {
      env: { ...process.env, GRADWEAVE_THREADS: count, OMP_NUM_THREADS: count },
    });
    this.#process.stderr.on("data", (text) => {
      this.#errors += text;
    });
    // A process that has ended is reported by the next answer, with what it printed.
    this.#process.stdin.on("error", () => {});
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  /** Starts the library's process. Rejects with the reason when the library is not installed or does not start. */
  static async open(name: PeerName, threads: number): Promise<Peer> {
    const peer = new Peer(name, threads);
    peer.version = (await peer.#answer()).version ?? "unknown";
    return peer;
  }

  /** Has the process make ready for some work. Rejects with the reason when the library cannot do it. */
  async prepare(task: Task): Promise<RemoteWorkload> {
    const number = ++this.#workloads;
    const { parameters } = await this.#ask({ open: number, task });
    return {
      ...{ peer: this, parameters },
      run: async (times) => {
        const { milliseconds, peakBytes = 0 } = await this.#ask({ run: number, times });
        if (milliseconds === undefined) throw new Error(`${this.name} answered a run without a time`);
        this.peakBytes = peakBytes;
        return milliseconds;
      },
      check: async () => (await this.#ask({ check: number })).result ?? [],
      close: async () => void (await this.#ask({ close: number })),
    };
  }

  /** Ends the process. */
  async close(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.stdin.end();
    await ended;
  }

  #ask(request: Request): Promise<Reply> {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  /** Rejects with the error that the process reports, or with what it printed before it ended. */
  async #answer(): Promise<Reply> {
    for (;;) {
      const line = await this.#lines.next();
      if (line.done) throw new Error(`${this.name} ended: ${this.#errors.trim().split("\n").at(-1) ?? ""}`);
      // Some libraries greet on stdout.
      if (!line.value.startsWith("{")) continue;
      const reply = Reply.parse(JSON.parse(line.value));
      if (reply.error !== undefined) throw new Error(reply.error);
      return reply;
    }
  }
}
