import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { registries } from "../../src/cli/registries.ts";
import { encode } from "../../src/codec/msgpack.ts";
import { loadConfig } from "../../src/config/load.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { WeirProcess } from "../../src/roles/process.ts";
import { FaultyFiles } from "../contract/faulty-files.ts";
import { eventually, Peer } from "../forward/harness.ts";

const PIPELINE = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"] }
pipelines:
  all: {}
query: { threads: 0 }
http: { listen: "127.0.0.1:0" }
`;

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "weir-stop-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

// The promise of SIGTERM, on a full disk with the store on it, which is when a user is likely to stop the process.
test("a process whose disk and store take nothing stops within 10 s, though a client is slow to send", async () => {
  // The best of some: it waits for 8 s, and a machine that others load may not give it a turn for the rest in time.
  const took: number[] = [];
  while (took.length < 4 && !(Math.min(...took) < 10_000)) {
    took.push(await stopMs(path.join(folder, String(took.length))));
  }
  expect(Math.min(...took)).toBeLessThan(10_000);
});

/** How long the stop takes of a process over a folder. */
async function stopMs(dataDir: string): Promise<number> {
  const files = new FaultyFiles();
  const objects = new FaultyStore(new MemoryStore());
  const config = loadConfig(PIPELINE, "stop.yaml", registries);
  const deps = { metrics: new Metrics(), log: silentLogger, version: "test", files, objects };
  const weir = await WeirProcess.start(config, { dataDir, storeUrl: "memory:" }, deps);
  const agent = await Peer.connect(Number(weir.forwardAddresses[0].split(":").at(-1)));
  agent.write(encode(["t", [[1_700_000_000, { log: "stored" }]], { chunk: "a" }]));
  await agent.read(1);
  objects.plan = () => ({ outcome: "fail" });
  files.plan = ({ op, path: file }) => (op === "writev" && file.endsWith(".log") ? { code: "ENOSPC" } : undefined);
  agent.write(encode(["t", [[1_700_000_000, { log: "refused" }]], { chunk: "b" }]));
  await eventually("the disk refuses", () => !weir.ready().ready);
  // A request that never ends, which counts as an answer under way.
  const [host, port] = weir.httpAddress.split(":");
  const client = net.connect({ host, port: Number(port) });
  client.on("error", () => undefined); // It is cut off.
  client.write("POST /loki/api/v1/query_range HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx");
  await eventually("it is there", () => client.bytesWritten > 0);
  const start = performance.now();
  await weir.stop();
  const ms = performance.now() - start;
  client.destroy();
  agent.socket.destroy();
  return ms;
}
