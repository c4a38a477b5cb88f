/** PyTorch eager in a Python process of its own, asked for one run at a time; see pytorch.py for the protocol. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import type { Peer, PeerSource, Workload } from "./peer.ts";

const Reply = z.object({
  version: z.string().optional(),
  milliseconds: z.number().optional(),
  result: z.array(z.number()).optional(),
  error: z.string().optional(),
});

/** The first Python that can import torch: Debian's, then the one on the PATH. Throws when neither can. */
function findPython(): string {
  const found = ["/usr/bin/python3", "python3"].find(
    (python) =>
      (!path.isAbsolute(python) || existsSync(python)) &&
      spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status === 0,
  );
  if (found === undefined)
    throw new Error(
      "neither /usr/bin/python3 nor python3 can import torch; on Debian: apt install python3-torch",
    );
  return found;
}

class PythonProcess {
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  #errors = "";
  #workloads = 0;

  constructor(threads: number) {
    // -B: no __pycache__ folder beside the sources.
    this.#process = spawn(findPython(), [
      "-B",
      path.join(import.meta.dirname, "pytorch.py"),
      String(threads),
    ]);
    this.#process.stderr.on("data", (text) => {
      this.#errors += text;
    });
    // A process that has ended is reported by the next answer, with what it printed.
    this.#process.stdin.on("error", () => {});
    this.#lines = createInterface(this.#process.stdout)[Symbol.asyncIterator]();
  }

  /** The next answer. Rejects with the error that Python reports, or with what it printed before it ended. */
  async answer(): Promise<z.infer<typeof Reply>> {
    const line = await this.#lines.next();
    if (line.done) throw new Error(`Python ended: ${this.#errors.trim().split("\n").at(-1) ?? ""}`);
    const reply = Reply.parse(JSON.parse(line.value));
    if (reply.error !== undefined) throw new Error(reply.error);
    return reply;
  }

  #send(request: object): void {
    this.#process.stdin.write(`${JSON.stringify(request)}\n`);
  }

  /** Sends a request and waits for its answer; one at a time. */
  ask(request: object): Promise<z.infer<typeof Reply>> {
    this.#send(request);
    return this.answer();
  }

  async make(request: object): Promise<Workload> {
    const id = ++this.#workloads;
    await this.ask({ ...request, id });
    return {
      run: async () => {
        const { milliseconds, result } = await this.ask({ run: id });
        if (milliseconds === undefined || result === undefined)
          throw new Error(`pytorch.py answered the run of ${id} without a time or a result`);
        return { milliseconds, result };
      },
      dispose: () => this.#send({ drop: id }),
    };
  }

  close(): void {
    this.#process.stdin.end();
  }
}

async function open(name: string, threads: number): Promise<Peer> {
  const python = new PythonProcess(threads);
  const { version = "unknown" } = await python.answer();
  return {
    name,
    version,
    threads,
    conv2d: (shapes, part) => python.make({ make: "conv2d", ...shapes, gradients: part === "gradients" }),
    trainingStep: (config) => python.make({ make: "step", ...config }),
    close: () => python.close(),
  };
}

/** PyTorch with `torch.set_num_threads(threads)`. */
export function pytorch(threads: number): PeerSource {
  const name = `PyTorch eager, ${threads} thread${threads === 1 ? "" : "s"}`;
  return { name, open: () => open(name, threads) };
}
