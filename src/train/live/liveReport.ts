/**
 * The report page while the training goes on: served on this machine only, to whoever opens its address. A report is
 * built between two training steps and only while somebody looks, so that neither the numbers nor, by more than a
 * twentieth, the time of a training depend on it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type GradientReuseReport, renderHtml, serializeReport } from "../../gradflow/index.ts";
import { UsageError } from "../exitCodes.ts";
import { isLoopbackHost } from "./loopbackHost.ts";

export interface LiveOptions {
  /** 0, the default, takes any free port. */
  readonly port?: number;
  /** Least time from one report to the next. Default 5000. */
  readonly everyMilliseconds?: number;
}

/** A report takes at most this share of the training's time. */
const largestShare = 1 / 20;
/** How long a reader is waited for at the end, to fetch the last report. */
const patience = 2000;

const safety = {
  "Cache-Control": "no-store",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

export class LiveReport {
  readonly #server: Server;
  readonly #everyMilliseconds: number;
  /** Readers that wait for the first report, and those that are told of every new one. */
  readonly #waiting = new Set<ServerResponse>();
  readonly #readers = new Set<ServerResponse>();
  readonly #sockets = new Set<{ destroy(): void }>();
  #current: { readonly version: number; readonly page: string; readonly json: string } | null = null;
  #nextAt = 0;
  #ended = false;

  private constructor({ everyMilliseconds = 5000 }: LiveOptions) {
    this.#everyMilliseconds = everyMilliseconds;
    this.#server = createServer((request, response) => this.#answer(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /** Starts to serve on 127.0.0.1. Throws a UsageError when the port is taken or not allowed. */
  static async start(options: LiveOptions = {}): Promise<LiveReport> {
    const live = new LiveReport(options);
    const port = options.port ?? 0;
    await new Promise<void>((done, fail) => {
      live.#server.once("error", (error) => {
        const code = "code" in error ? String(error.code) : error.message;
        fail(
          new UsageError(
            `--live ${port}: 127.0.0.1:${port} cannot be listened on (${code}); give another port, or none`,
          ),
        );
      });
      live.#server.listen(port, "127.0.0.1", done);
    });
    // A training that ends is not kept alive by readers.
    live.#server.unref();
    return live;
  }

  /** Where the page is. */
  get address(): string {
    const address = this.#server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    return `http://127.0.0.1:${port}/`;
  }

  /** Between two training steps: builds a report if somebody looks and the last one is old enough. */
  offer(build: () => GradientReuseReport | null): void {
    const start = performance.now();
    const wanted = this.#waiting.size > 0 || (this.#readers.size > 0 && start >= this.#nextAt);
    if (!wanted) return;
    const report = build();
    if (report !== null) this.#publish(report);
    else this.#haveThemWait();
    const taken = performance.now() - start;
    this.#nextAt = performance.now() + Math.max(this.#everyMilliseconds, taken / largestShare);
  }

  /** Shows the last report, waits a moment for readers to fetch it, and stops to serve. */
  async end(report: GradientReuseReport | null): Promise<void> {
    this.#ended = true;
    if (report !== null && (this.#readers.size > 0 || this.#waiting.size > 0)) this.#publish(report);
    const until = performance.now() + (this.#readers.size > 0 ? patience : 0);
    // Readers hang up by themselves when they have the last report.
    while (this.#readers.size > 0 && performance.now() < until)
      await new Promise((done) => setTimeout(done, 20));
    for (const response of this.#waiting) refuse(response, 503, "The training has ended.");
    await new Promise<void>((done) => {
      this.#server.close(() => done());
      for (const socket of this.#sockets) socket.destroy();
    });
  }

  #publish(report: GradientReuseReport): void {
    const version = (this.#current?.version ?? 0) + 1;
    this.#current = {
      version,
      page: renderHtml(report, { live: this.#ended ? "ended" : "running" }),
      json: serializeReport(report),
    };
    for (const response of this.#waiting) this.#send(response);
    this.#waiting.clear();
    for (const reader of this.#readers) this.#tell(reader);
  }

  /** Nothing is measured yet: readers get a page that asks again. */
  #haveThemWait(): void {
    for (const response of this.#waiting) {
      response.writeHead(200, { ...safety, "Content-Type": "text/html; charset=utf-8" });
      response.end(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="3">' +
          "<title>Gradient reuse report</title><p>Training. The report comes with the first finished run.</p></html>",
      );
    }
    this.#waiting.clear();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? "/").split("?")[0];
    // A page of another site can have its name lead here, and would then read the report: names are checked.
    if (!isLoopbackHost(request.headers.host))
      refuse(response, 403, "Only http://127.0.0.1 and http://localhost are served.");
    else if (request.method !== "GET") refuse(response, 405, "Only GET is answered.");
    else if (path === "/events") this.#listen(request, response);
    else if (path === "/report.json" && this.#current) {
      response.writeHead(200, { ...safety, "Content-Type": "application/json; charset=utf-8" });
      response.end(this.#current.json);
    } else if (path !== "/") refuse(response, 404, "The report is at /, its data at /report.json.");
    else if (this.#current) this.#send(response);
    else {
      this.#waiting.add(response);
      response.once("close", () => this.#waiting.delete(response));
    }
  }

  #send(response: ServerResponse): void {
    if (!this.#current) return;
    response.writeHead(200, {
      ...safety,
      "Content-Type": "text/html; charset=utf-8",
      "X-Report-Version": this.#current.version,
    });
    response.end(this.#current.page);
  }

  #listen(request: IncomingMessage, response: ServerResponse): void {
    response.writeHead(200, { ...safety, "Content-Type": "text/event-stream" });
    response.write(": gradweave\n\n");
    this.#readers.add(response);
    request.once("close", () => this.#readers.delete(response));
    this.#tell(response);
  }

  #tell(reader: ServerResponse): void {
    if (this.#current)
      reader.write(`event: ${this.#ended ? "end" : "report"}\ndata: ${this.#current.version}\n\n`);
  }
}

function refuse(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { ...safety, "Content-Type": "text/plain; charset=utf-8" });
  response.end(`${why}\n`);
}
