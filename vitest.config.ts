import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // For a test that hangs, not for one that is slow: the machine may be much slower than a developer's, and have other work.
    testTimeout: 180_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 120_000 } },
    // Two files at a time: several tests start real processes and measure their behaviour.
    maxWorkers: 2,
  },
});
