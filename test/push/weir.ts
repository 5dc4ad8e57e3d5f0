import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { registries } from "../../src/cli/registries.ts";
import { loadConfig } from "../../src/config/load.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { WeirProcess } from "../../src/roles/process.ts";
import { isTaken } from "../live/program.ts";

/** What quickstart.yaml does with pushed lines, on free ports and without threads. */
export const PIPELINE = `
receivers:
  forward: { type: forward, listen: ["tcp://127.0.0.1:0"], udp_heartbeat: false }
pipelines:
  default:
    steps: [trace, level]
http: { listen: "127.0.0.1:0" }
query: { threads: 0 }
`;

export interface Row {
  readonly stream: Record<string, string>;
  readonly ns: string;
  readonly line: string;
}

/** A whole Weir in this process, over a folder of its own. */
export class TestWeir {
  readonly metrics: Metrics;
  readonly base: string;
  /** `tcp://127.0.0.1:PORT` of the first receiver of the forward protocol. */
  readonly forward: string;
  private readonly dir: string;
  private readonly weir: WeirProcess;

  private constructor(dir: string, weir: WeirProcess, metrics: Metrics) {
    this.dir = dir;
    this.weir = weir;
    this.metrics = metrics;
    this.base = `http://${weir.httpAddress}`;
    [this.forward = ""] = weir.forwardAddresses;
  }

  /** `dir`: of another that was stopped; a new one without. */
  static async start(yaml = PIPELINE, dir?: string): Promise<TestWeir> {
    const folder = dir ?? (await mkdtemp(path.join(os.tmpdir(), "weir-push-")));
    const metrics = new Metrics();
    const config = loadConfig(yaml, "test.yaml", registries);
    const weir = await WeirProcess.start(
      config,
      { dataDir: folder, storeUrl: path.join(folder, "store") },
      { metrics, log: silentLogger, version: "9.9.9" },
    );
    return new TestWeir(folder, weir, metrics);
  }

  /** Stops; gives the folder, for another to go on. `drainMs` 0 commits nothing more. */
  async stop(drainMs?: number): Promise<string> {
    await this.weir.stop(drainMs);
    return this.dir;
  }

  async close(): Promise<void> {
    await this.weir.stop();
    await rm(this.dir, { recursive: true, force: true });
  }

  post(url: string, body: string | Buffer, headers: Record<string, string> = {}): Promise<Reply> {
    return reply(
      fetch(this.base + url, {
        method: "POST",
        body,
        headers: { "content-type": "application/json", ...headers },
      }),
    );
  }

  get(url: string, headers: Record<string, string> = {}): Promise<Reply> {
    return reply(fetch(this.base + url, { headers }));
  }

  push(value: unknown, headers: Record<string, string> = {}): Promise<Reply> {
    return this.post("/loki/api/v1/push", JSON.stringify(value), headers);
  }

  /** Waits until the worker has taken all that was acknowledged. */
  async settle(): Promise<void> {
    for (;;) {
      if (isTaken(await this.metrics.render())) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Lines of a query over the last ten days and the next hour, oldest first. */
  async rows(query: string, headers: Record<string, string> = {}): Promise<Row[]> {
    await this.settle();
    const start = `${BigInt(Date.now() - 10 * 86_400_000) * 1_000_000n}`;
    const end = `${BigInt(Date.now() + 3_600_000) * 1_000_000n}`;
    const params = new URLSearchParams({ query, start, end, limit: "5000", direction: "forward" });
    const { status, text } = await this.get(`/loki/api/v1/query_range?${params}`, headers);
    if (status !== 200) throw new Error(`${status} ${text}`);
    const { data } = JSON.parse(text) as {
      data: { result: { stream: Record<string, string>; values: [string, string][] }[] };
    };
    return data.result
      .flatMap(({ stream, values }) => values.map(([ns, line]) => ({ stream, ns, line })))
      .sort((a, b) => (BigInt(a.ns) < BigInt(b.ns) ? -1 : BigInt(a.ns) > BigInt(b.ns) ? 1 : 0));
  }
}

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  readonly text: string;
}

async function reply(pending: Promise<Response>): Promise<Reply> {
  const response = await pending;
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, bytes, text: bytes.toString() };
}

/** The present time less some seconds, in nanoseconds as text. */
export const agoNs = (seconds: number, plus = 0): string =>
  `${BigInt(Date.now() - seconds * 1000) * 1_000_000n + BigInt(plus)}`;
