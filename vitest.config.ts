import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // Two files at a time: several tests start real processes and measure their behaviour.
    maxWorkers: 2,
  },
});
