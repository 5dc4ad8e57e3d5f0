import { defineConfig } from "vitest/config";

/** Of all that tests draw. A failed run can be repeated with its seed. */
const seed = process.env.WEIR_TEST_SEED || String(Math.floor(Math.random() * 2 ** 31));
console.log(`WEIR_TEST_SEED=${seed}`);

export default defineConfig({
  test: {
    env: { WEIR_TEST_SEED: seed },
    setupFiles: ["test/seeded.ts"],
    include: ["test/**/*.test.ts"],
    // For a test that hangs, not for one that is slow: the machine may be much slower than a developer's, and have other work.
    testTimeout: 180_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 120_000 } },
    // Two files at a time: several tests start real processes and measure their behaviour.
    maxWorkers: 2,
  },
});
