import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { isTaken, Program, QUICKSTART } from "./program.ts";

/*
 * The first query of each kind must not hold the event loop, and what holds it longest is code that is loaded then: undici, which
 * Node has behind the name `Response`, took 35 ms. So nothing may be loaded any more once the program listens. Which code the main
 * thread has loaded it says itself, so no clock is asked.
 */
const SAY_LOADED = `
  import { Module } from "node:module";
  import { isMainThread } from "node:worker_threads";
  if (isMainThread) {
    process.on("SIGUSR2", () => {
      process.stderr.write("loaded " + JSON.stringify([...process.moduleLoadList, ...Object.keys(Module._cache)]) + "\\n");
    });
  }
`;

const folder = mkdtempSync(path.join(tmpdir(), "weir-first-query-"));
let program: Program | null = null;
afterEach(async () => {
  await program?.kill();
  rmSync(folder, { recursive: true, force: true });
});

/** What the main thread has loaded by now. */
async function loaded(of: Program): Promise<string[]> {
  const before = of.stderr.length;
  of.child.kill("SIGUSR2");
  for (;;) {
    const said = /^loaded (.*)\n/m.exec(of.stderr.slice(before))?.[1];
    if (said !== undefined) return JSON.parse(said) as string[];
    if (of.ended) throw new Error(`weir ended: ${of.stderr}`);
    await sleep(10);
  }
}

test("no query loads code into the main thread that was not there when the program began to listen", async () => {
  const file = path.join(folder, "say-loaded.mjs");
  writeFileSync(file, SAY_LOADED);
  program = await Program.run(QUICKSTART, path.join(folder, "data"), [], { NODE_OPTIONS: `--import=${file}` });
  const { http } = program;
  const atStart = new Set(await loaded(program));
  expect(atStart.size).toBeGreaterThan(100);

  const nowMs = Date.now();
  const traceId = "9411484daef4ce3cc9be49177ceb863d";
  const values = Array.from({ length: 200 }, (_, i) => [
    `${nowMs - i}000000`,
    JSON.stringify({ level: i % 3 === 0 ? "warn" : "info", n: i, trace_id: traceId, text: "a line of some length" }),
  ]);
  const push = await fetch(`${http}/loki/api/v1/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ streams: [{ stream: { app: "a" }, values }] }),
  });
  expect(push.status).toBe(204);
  while (!isTaken(await (await fetch(`${http}/metrics`)).text())) await sleep(20);

  const range = `start=${nowMs - 60_000}000000&end=${nowMs + 60_000}000000`;
  const query = (text: string, more = "") => `query=${encodeURIComponent(text)}&${range}${more}`;
  const asked = [
    `/loki/api/v1/query_range?${query('{app="a"}')}`,
    `/loki/api/v1/query_range?${query('{app="a"} | json | n > 3 |~ "l[a-z]ne"')}`,
    `/loki/api/v1/query_range?${query('sum by (level) (rate({app="a"} | json [1m]))', "&step=10")}`,
    `/loki/api/v1/query_range?${query('quantile_over_time(0.9, {app="a"} | json | unwrap n [1m]) by (app)', "&step=10")}`,
    `/loki/api/v1/query?query=${encodeURIComponent('count_over_time({app="a"}[5m])')}`,
    `/loki/api/v1/labels?${range}`,
    `/loki/api/v1/label/app/values?${range}`,
    `/loki/api/v1/series?${range}`,
    `/loki/api/v1/index/stats?${query('{app="a"}')}`,
    `/loki/api/v1/index/volume?${query('{app="a"}')}`,
    `/loki/api/v1/index/volume_range?${query('{app="a"}', "&step=60")}`,
    `/loki/api/v1/detected_labels?${range}`,
    `/loki/api/v1/detected_fields?${query('{app="a"}')}`,
    `/loki/api/v1/patterns?${query('{app="a"}')}`,
    `/loki/api/v1/format_query?query=${encodeURIComponent('{app="a"}')}`,
    `/api/v1/traces/${traceId}`,
    `/api/v1/explain?${query('{app="a"}')}`,
  ];
  for (const address of asked) {
    const answer = await fetch(`${http}${address}`, { headers: { "accept-encoding": "gzip" } });
    const text = await answer.text();
    expect({ address, status: answer.status, text: answer.ok ? "" : text }).toEqual({ address, status: 200, text: "" });
  }
  expect((await loaded(program)).filter((module) => !atStart.has(module))).toEqual([]);
}, 300_000);
