/** Serves and builds the page: `npm run browser`. The digits come from the package that the other examples use. */
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";
import { loadMnist } from "../../src/data/index.ts";

const count = 2000;

/** Shared memory, which the CPU backend's kernels need, exists only on pages that are isolated from others. */
const isolated = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

/** Labels, then images, of the first digits. */
async function digits(): Promise<Uint8Array> {
  const { train } = await loadMnist({});
  const bytes = new Uint8Array(count * (1 + 28 * 28));
  bytes.set(train.labels.subarray(0, count));
  bytes.set(train.images.subarray(0, count * 28 * 28), count);
  return bytes;
}

function digitsFile(): Plugin {
  return {
    name: "digits",
    configureServer(server) {
      server.middlewares.use("/digits.bin", (_, response, next) => {
        digits().then((bytes) => {
          response.setHeader("Content-Type", "application/octet-stream");
          response.end(bytes);
        }, next);
      });
    },
    async generateBundle() {
      this.emitFile({ type: "asset", fileName: "digits.bin", source: await digits() });
    },
  };
}

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "./",
  plugins: [digitsFile()],
  worker: { format: "es" },
  build: { target: "es2022", outDir: "../../reports/browser", emptyOutDir: true },
  server: { host: "127.0.0.1", headers: isolated },
  preview: { host: "127.0.0.1", headers: isolated },
});
