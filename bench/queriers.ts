import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { median, row, section } from "./print.ts";
import type { SentReport } from "./sender.ts";
import { BenchServer } from "./server.ts";

const ROUNDS = 5;

/**
 * What it costs to have others scan: the CPU of all processes for queries over everything, spread over two, against one alone. That
 * is a figure of any machine; how much sooner the answer is there only a machine each would show.
 */
export async function benchQueriers(data: string, sent: SentReport): Promise<void> {
  section("the same query by one process, and spread over two");
  const folder = mkdtempSync(path.join(os.tmpdir(), "weir-bench-querier-"));
  const store = path.join(data, "store");
  const servers: BenchServer[] = [];
  try {
    const start = async (name: string, extra: readonly string[]) => {
      const server = await BenchServer.start(path.join(folder, name), ["--store", store, ...extra]);
      servers.push(server);
      return server;
    };
    const helper = await start("helper", ["--querier-listen", "127.0.0.1:0"]);
    const alone = await start("alone", []);
    const front = await start("front", ["--queriers", helper.queriers]);
    while ((await front.metric("weir_query_peer_up")) !== 1) await sleep(50);
    const range = `start=${sent.firstMs - 60_000}000000&end=${sent.lastMs + 60_000}000000`;
    const cases = [
      { name: "an absent literal over everything", query: '{namespace=~".+"} |= "zzqy-is-absent"', more: "" },
      {
        name: "a regex without a literal over everything, per minute",
        query: 'sum(count_over_time({namespace=~".+"} |~ "[0-9]{5,6}[^0-9]" [1m]))',
        more: "&step=60",
      },
    ];
    for (const { name, query, more } of cases) {
      const target = `/loki/api/v1/query_range?query=${encodeURIComponent(query)}&${range}${more}`;
      const cpu = { alone: [] as number[], spread: [] as number[] };
      for (let i = 0; i <= ROUNDS; i++) {
        const one = await cpuOf([alone], alone, target);
        const two = await cpuOf([front, helper], front, target);
        if (i === 0) continue;
        cpu.alone.push(one);
        cpu.spread.push(two);
      }
      const ratio = median(cpu.spread) / median(cpu.alone);
      row(
        name,
        `${(median(cpu.alone) * 1000).toFixed(0)} ms of CPU alone, ${(median(cpu.spread) * 1000).toFixed(0)} ms spread: ${ratio.toFixed(2)} times`,
      );
    }
    const batches = await front.metric("weir_query_peer_requests_total");
    row(
      "batches that the other one had",
      `${batches}, ${await front.metric("weir_query_peer_received_bytes_total")} bytes of results`,
    );
    for (const server of servers.splice(0)) await server.stop();
  } finally {
    for (const server of servers) await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function cpuOf(all: readonly BenchServer[], asked: BenchServer, target: string): Promise<number> {
  const sum = () => all.reduce((seconds, server) => seconds + server.cpuSeconds(), 0);
  const before = sum();
  const answer = await fetch(`http://${asked.http}${target}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${target}: ${answer.status} ${text}`);
  return sum() - before;
}
