import http from "node:http";
import type { Random } from "../../../bench/lines.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import type { ObjectStore } from "../../../src/objects/store.ts";
import { createEngine } from "../../../src/query/create.ts";
import type { Engine } from "../../../src/query/engine.ts";
import { LocalExecutor } from "../../../src/query/local-executor.ts";
import { localSnapshots } from "../../../src/query/local-snapshots.ts";
import { queryOptions } from "../../../src/query/options.ts";
import { PeerMetrics } from "../../../src/query/peers/metrics.ts";
import { PeerScans } from "../../../src/query/peers/peer-scans.ts";
import { HELLO_PATH, SCAN_PATH } from "../../../src/query/peers/protocol.ts";
import { SegmentReader } from "../../../src/store/reader.ts";
import { freePort } from "../../live/free-port.ts";
import type { TestStore } from "../run/harness.ts";

export const VERSION = "1.2.3-test";

/** What an answering querier has: its own reader over the same objects. */
export function scansOver(objects: ObjectStore, id: string, version = VERSION): PeerScans {
  const executor = new LocalExecutor(new SegmentReader(objects, { cacheBytes: 1 << 20 }));
  return new PeerScans({ id, version, executor, metrics: new PeerMetrics(new Metrics()) });
}

/** A second engine over the same store, which asks `queriers`. */
export function engineOver(
  { writer, catalog, reader }: TestStore,
  query: Record<string, unknown>,
  { metrics = new Metrics(), log = silentLogger } = {},
): Engine {
  return createEngine(queryOptions.parse({ threads: 0, ...query }), {
    snapshots: localSnapshots(catalog, [writer]),
    reader,
    objectsUrl: "memory:",
    metrics,
    log,
    version: VERSION,
  });
}

/** How a querier can fail somebody who asks it. */
export const FAULTS = ["reset", "cut", "garbage", "flip", "error", "busy", "hang", "empty"] as const;
export type Fault = (typeof FAULTS)[number];

/** A querier behind a plain HTTP server, which does what it is told to do wrong. */
export class FaultyQuerier {
  /** Hellos that it answered. */
  greeted = 0;
  /** Batches that it was asked for. */
  asked = 0;
  /** Those of them that were answered well. */
  answered = 0;
  /** Requests whose connection ended before they had an answer. */
  left = 0;
  /** What is wrong with the next answer; null for nothing. */
  faultOf: () => Fault | null = () => null;
  private readonly scans: PeerScans;
  private readonly random: Random;
  private server: http.Server | null = null;
  private port = 0;

  constructor(scans: PeerScans, random: Random) {
    this.scans = scans;
    this.random = random;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get isUp(): boolean {
    return this.server !== null;
  }

  async start(): Promise<void> {
    // One that nobody else gets while this querier is away.
    if (this.port === 0) this.port = await freePort();
    const server = http.createServer((request, response) => {
      this.handle(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, "127.0.0.1", resolve);
    });
    this.server = server;
  }

  /** As a process that is killed: all connections end at once. */
  async kill(): Promise<void> {
    const { server } = this;
    this.server = null;
    if (server === null) return;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  private async handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    if (request.url === HELLO_PATH) {
      this.greeted++;
      response.end(JSON.stringify(this.scans.hello()));
      return;
    }
    if (request.url !== SCAN_PATH) throw new Error(`asked for ${request.url}`);
    this.asked++;
    const fault = this.faultOf();
    const leaving = new AbortController();
    response.once("close", () => {
      if (response.writableFinished) return;
      this.left++;
      leaving.abort();
    });
    if (fault === "reset") {
      response.destroy();
      return;
    }
    if (fault === "error" || fault === "busy") {
      response.writeHead(fault === "error" ? 500 : 503).end("out of luck");
      return;
    }
    if (fault === "hang") return;
    const frame = await this.scans.run(Buffer.concat(parts), leaving.signal);
    this.spoil(frame, fault, response);
  }

  private spoil(frame: Buffer, fault: Fault | null, response: http.ServerResponse): void {
    switch (fault) {
      case "cut":
        response.writeHead(200, { "content-length": frame.length });
        response.write(frame.subarray(0, this.random.below(frame.length)), () => response.destroy());
        return;
      case "garbage":
        response.end(Buffer.from(this.random.hex(1 + this.random.below(100))));
        return;
      case "flip":
        frame[this.random.below(frame.length)] ^= 1 << this.random.below(8);
        response.end(frame);
        return;
      case "empty":
        response.end();
        return;
      default:
        this.answered++;
        response.end(frame);
    }
  }
}

const PATIENCE_MS = 120_000;

/** Waits until a condition holds; fails with what it waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until so many queriers take batches. */
export function untilUp(metrics: Metrics, count: number): Promise<void> {
  return until(`${count} queriers are up`, async () => {
    const text = await metrics.render();
    return (text.match(/^weir_query_peer_up\{[^}]*\} 1$/gm) ?? []).length === count;
  });
}
