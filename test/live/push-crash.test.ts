import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { SEED } from "../random.ts";
import { Program, pagedLines } from "./program.ts";

/*
 * Weir is killed again and again while clients push, and each client repeats a push until it has an answer, as real ones do: every
 * line is there once.
 */

const CLIENTS = 4;
const PUSHES = 40;
const LINES = 10;
const KILLS = 4;

const PIPELINE = `
receivers: { forward: { type: forward, udp_heartbeat: false } }
pipelines: { default: { steps: [level] } }
query: { threads: 0 }
store: { flush_age_ms: 200 }
intake: { file_bytes: 65536 }
ingest: { ingestion_rate_mb: 0 }
`;

let dir = "";
let program: Program | null = null;
afterEach(async () => {
  if (program !== null && !program.ended) await program.kill();
  program = null;
  if (dir !== "") rmSync(dir, { recursive: true, force: true });
});

test("what is pushed is stored once, however often Weir is killed", async () => {
  dir = mkdtempSync(path.join(os.tmpdir(), "weir-push-crash-"));
  const pipeline = path.join(dir, "pipeline.yaml");
  writeFileSync(pipeline, PIPELINE);
  const data = path.join(dir, "data");
  program = await Program.run(pipeline, data);
  let random = SEED;
  const next = (limit: number): number => {
    random = (Math.imul(random, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return random % limit;
  };
  const begin = BigInt(Date.now()) * 1_000_000n;
  const client = async (c: number): Promise<void> => {
    for (let p = 0; p < PUSHES; p++) {
      const values = Array.from({ length: LINES }, (_, l) => [
        String(begin + BigInt(p * LINES + l)),
        `${c}-${p}-${l} ${"x".repeat(500)}`,
      ]);
      const body = JSON.stringify({ streams: [{ stream: { client: String(c) }, values }] });
      for (;;) {
        const status = await push(body);
        if (status === 204) break;
        await sleep(20);
      }
    }
  };
  const clients = Promise.all(Array.from({ length: CLIENTS }, (_, c) => client(c)));
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(30 + next(150));
    await program?.kill("SIGKILL");
    program = await Program.run(pipeline, data);
  }
  await clients;
  const expected = Array.from({ length: CLIENTS * PUSHES * LINES }, (_, i) => {
    const [c, p, l] = [Math.floor(i / (PUSHES * LINES)), Math.floor(i / LINES) % PUSHES, i % LINES];
    return `${c}-${p}-${l}`;
  });
  const lines = await pagedLines(program.http, '{client=~".+"}', expected.length);
  expect(lines.map((line) => line.split(" ", 1)[0]).sort()).toEqual(expected.sort());
}, 1_800_000);

/** The answer's code; 0 when there was none. */
async function push(body: string): Promise<number> {
  const url = `${program?.http}/loki/api/v1/push`;
  try {
    const response = await fetch(url, { method: "POST", body, headers: { "content-type": "application/json" } });
    await response.arrayBuffer();
    return response.status;
  } catch {
    return 0; // Weir is away: the same push comes again.
  }
}
