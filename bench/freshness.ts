import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { row, section } from "./print.ts";
import { BenchServer } from "./server.ts";

const ROUNDS = 100;
const QUERY = '{app="fresh"}';

/**
 * How soon a line that was acknowledged can be found: asked for again and again from the moment of its ack, and seen by a live
 * tail. One line at a time, each pushed 30 to 70 ms after the one before was found.
 */
export async function benchFreshness(): Promise<void> {
  const data = mkdtempSync(path.join(os.tmpdir(), "weir-fresh-"));
  const server = await BenchServer.start(data);
  try {
    const acks: number[] = [];
    const queries: number[] = [];
    const tails: number[] = [];
    const seen = new Map<string, number>();
    const tail = await openTail(server, seen);
    // What the first queries cost beside waiting (threads, compiled code) is not what is measured.
    for (let round = -10; round < ROUNDS; round++) {
      const line = `line ${round}`;
      const sent = performance.now();
      await push(server, line);
      const acked = performance.now();
      while (!(await answer(server)).includes(`"${line}"`));
      const found = performance.now();
      while (!seen.has(line)) await sleep(1);
      if (round >= 0) {
        acks.push(acked - sent);
        queries.push(found - acked);
        tails.push(Math.max(0, (seen.get(line) ?? 0) - acked));
      }
      await sleep(30 + (round % 5) * 10);
    }
    tail.close();
    section(`Freshness: ${ROUNDS} lines, one at a time`);
    row("push until its ack", spread(acks));
    row("ack until in query_range", spread(queries));
    row("ack until in tail", spread(tails));
  } finally {
    await server.stop();
    rmSync(data, { recursive: true, force: true });
  }
}

async function push(server: BenchServer, line: string): Promise<void> {
  const values = [[`${BigInt(Date.now()) * 1_000_000n}`, line]];
  const response = await fetch(`http://${server.http}/loki/api/v1/push`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ streams: [{ stream: { app: "fresh" }, values }] }),
  });
  if (response.status !== 204) throw new Error(`push: ${response.status} ${await response.text()}`);
}

async function answer(server: BenchServer): Promise<string> {
  const params = new URLSearchParams({ query: QUERY, limit: "5" });
  return (await fetch(`http://${server.http}/loki/api/v1/query_range?${params}`)).text();
}

/** A live tail that notes when it saw each line. */
async function openTail(server: BenchServer, seen: Map<string, number>): Promise<WebSocket> {
  const client = new WebSocket(`ws://${server.http}/loki/api/v1/tail?query=${encodeURIComponent(QUERY)}`);
  client.on("message", (message: Buffer) => {
    const now = performance.now();
    const { streams } = JSON.parse(message.toString()) as { streams: { values: [string, string][] }[] };
    for (const { values } of streams) for (const [, line] of values) seen.set(line, now);
  });
  await new Promise((resolve, reject) => {
    client.once("open", resolve);
    client.once("error", reject);
  });
  return client;
}

function spread(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number) => `${(sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN).toFixed(1)} ms`;
  return `median ${at(0.5)}, 95% ${at(0.95)}, longest ${at(1)}`;
}
