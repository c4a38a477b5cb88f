/** How `npm test` and `npm run coverage` run. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // A process per test file: a GPU device or a worker pool left behind by one file cannot disturb the next.
    pool: "forks",
    maxWorkers: 2,
    // Property tests and gradient checks in f64 take seconds; on a busy machine a multiple of that.
    testTimeout: 60_000,
    reporters: ["default"],
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "html", "json-summary"],
      thresholds: { lines: 90 },
    },
  },
});
