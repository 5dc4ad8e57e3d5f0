import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { codeOf } from "../../src/core/errors.ts";
import { Agent } from "./agent.ts";
import { Program } from "./program.ts";

/** Makes a segment every few lines and merges them at once, so that all of the catalog changes while it is copied. */
const CONFIG = `
receivers: { forward: { type: forward, listen: ["tcp://127.0.0.1:0"] } }
pipelines: { all: {} }
store: { flush_age_ms: 20 }
compactor: { interval_ms: 20, fan_in: 2, fan_in_above: 2, settle_ms: 0, cpu_share: 1, segment_bytes: 65536 }
`;
const COPIES = 5;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-backup-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Copies what is not there yet, file by file, as rsync does: files that vanish meanwhile are passed over. */
function copyFiles(from: string, to: string): void {
  if (!existsSync(from)) return;
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    const copy = path.join(to, path.relative(from, file));
    mkdirSync(path.dirname(copy), { recursive: true });
    try {
      if (!existsSync(copy)) copyFileSync(file, copy);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
}

describe("a backup in the order of docs/operations.md", () => {
  const page = readFileSync(new URL("../../docs/operations.md", import.meta.url), "utf8");
  const order = /^for part in ([a-z ]+); do$/m.exec(page)?.[1].split(" ") ?? [];

  test("names every part of a store but notes and leftovers", () => {
    expect(new Set(order)).toEqual(new Set(["segments", "deletes", "manifest", "pages", "catalog", "dead"]));
  });

  test("is whole, though lines come in and are merged meanwhile", { timeout: 900_000 }, async () => {
    writeFileSync(path.join(folder, "weir.yaml"), CONFIG);
    const store = path.join(folder, "data", "store");
    const program = await Program.run(path.join(folder, "weir.yaml"), path.join(folder, "data"));
    const agent = new Agent("agent", "web", () => program.forward);
    agent.start();
    const copies: string[] = [];
    let merged = 0;
    try {
      for (let i = 0; i < COPIES; i++) {
        // As many roots as a copy may meet, so that each has merges behind it.
        const roots = merged;
        while (merged < roots + 3) {
          await sleep(20);
          const text = await (await fetch(`${program.http}/metrics`)).text();
          merged = Number(/^weir_compact_jobs_total\{outcome="done"\} (\d+)$/m.exec(text)?.[1] ?? 0);
        }
        const copy = path.join(folder, `copy-${i}`);
        for (const part of order) {
          copyFiles(path.join(store, part), path.join(copy, part));
          await sleep(50);
        }
        copies.push(copy);
      }
    } finally {
      await agent.finish();
      await program.kill("SIGTERM");
    }
    for (const copy of copies) {
      const verify = new Program(["verify", copy]);
      expect(await verify.exit(), verify.stdout + verify.stderr).toBe(0);
      expect(verify.stdout).toMatch(/[1-9][\d,]* lines/);
    }
  });
});
