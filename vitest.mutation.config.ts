/** The tests that `npm run mutation` runs: those of the ops and the engine, without the slow ones of whole networks. */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [
      "test/{engine,edges,checkpoint,methods,backwardPasses,customGradient,registry,gradcheck}.test.ts",
      "test/{tensor,layers,nn,cost}.test.ts",
      "test/ops/*.test.ts",
    ],
    pool: "forks",
    testTimeout: 60_000,
  },
});
