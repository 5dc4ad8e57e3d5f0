import { spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createLogger } from "../../src/core/log.ts";

test("one JSON object a line, from the level on", () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "weir-log-"));
  const file = path.join(folder, "log");
  const fd = openSync(file, "w");
  try {
    const log = createLogger("info", fd);
    log.debug("not this");
    log.warn({ a: 1 }, "this");
    const lines = readFileSync(file, "utf8").trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual([{ level: 40, time: expect.any(String), a: 1, msg: "this" }]);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
});

// A file on a full disk, as the system has one for this purpose.
const FULL = "/dev/full";
test.runIf(existsSync(FULL))("a log that can't be written ends nothing", async () => {
  expect(spawnSync("sh", ["-c", `echo x > ${FULL}`]).status).not.toBe(0);
  const fd = openSync(FULL, "w");
  try {
    const log = createLogger("info", fd);
    for (let i = 0; i < 100; i++) log.info("x".repeat(100));
    // An error that nobody hears would be thrown in a later turn.
    await new Promise((resolve) => setTimeout(resolve, 20));
    log.info("still there");
  } finally {
    closeSync(fd);
  }
});
