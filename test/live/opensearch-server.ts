import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "./free-port.ts";

/** `JAVA CLASSPATH` of OpenSearch 2 and 3, where test/live/servers/prepare.sh has put them. */
export const OPENSEARCH = { 2: process.env.WEIR_OPENSEARCH_2 ?? "", 3: process.env.WEIR_OPENSEARCH_3 ?? "" } as const;
export type OpenSearchMajor = keyof typeof OPENSEARCH;

export const openSearchSkipped = (major: OpenSearchMajor) =>
  `no OpenSearch ${major}: prepare one with test/live/servers/prepare.sh and set WEIR_OPENSEARCH_${major}`;

/** A start takes some 10 s on a free machine. */
const START_MS_MAX = 300_000;
/** A small heap, and no compiler that only pays after minutes. */
const JAVA = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/** So that a test can see what becomes of a request that is too large, and of documents that go through pipelines. */
const SETTINGS = ["http.max_content_length=8mb", "node.roles=cluster_manager,data,ingest"];

export interface Hit {
  readonly index: string;
  readonly id: string;
  readonly source: Record<string, unknown>;
}

/** A real OpenSearch of one node on a free port of this machine, with its data in a temporary folder. */
export class OpenSearchServer {
  readonly port: number;
  private readonly major: OpenSearchMajor;
  private readonly folder: string;
  private child: ChildProcess | null = null;
  private output = "";

  private constructor(major: OpenSearchMajor, port: number) {
    this.major = major;
    this.port = port;
    this.folder = mkdtempSync(path.join(os.tmpdir(), `weir-opensearch-${major}-`));
  }

  static async start(major: OpenSearchMajor): Promise<OpenSearchServer> {
    const server = new OpenSearchServer(major, await freePort());
    await server.up().catch(async (error: unknown) => {
      await server.remove();
      throw error;
    });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it on the data that it has, and resolves when it answers for all of its indices. */
  async up(): Promise<void> {
    const [java, classes] = OPENSEARCH[this.major].split(" ");
    const args = [...JAVA, "-cp", classes, "OpenSearch", this.folder, String(this.port), ...SETTINGS];
    const child = spawn(java, args, { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (data: Buffer) => {
        this.output = (this.output + data.toString()).slice(-4000);
      });
    }
    const deadline = Date.now() + START_MS_MAX;
    while (Date.now() < deadline && child.exitCode === null) {
      const answer = await fetch(`${this.url}/_cluster/health?wait_for_status=yellow&timeout=5s`).catch(() => null);
      await answer?.body?.cancel();
      if (answer?.ok === true) return;
      await sleep(100);
    }
    throw new Error(`OpenSearch ${this.major} does not answer: ${this.output}`);
  }

  async down(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const { child } = this;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }

  /** Ends it and removes its data. */
  async remove(): Promise<void> {
    await this.down("SIGKILL");
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Asks for something, and gives the answer's JSON. Throws for anything but 2xx. */
  async ask(method: string, what: string, body?: unknown): Promise<Record<string, unknown>> {
    const answer = await fetch(`${this.url}${what}`, {
      method,
      ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${what}: ${answer.status} ${text}`);
    return JSON.parse(text) as Record<string, unknown>;
  }

  /** Removes all indices and data streams: a restart takes the longer, the more there are. */
  async empty(): Promise<void> {
    await this.ask("DELETE", "/_data_stream/*");
    await this.ask("DELETE", "/*");
  }

  setting(index: string, settings: Record<string, unknown>): Promise<unknown> {
    return this.ask("PUT", `/${index}/_settings?expand_wildcards=all`, settings);
  }

  /** All documents of indices or data streams, however many. */
  async all(index: string): Promise<Hit[]> {
    await this.ask("POST", `/${index}/_refresh?ignore_unavailable=true`);
    interface Page {
      readonly _scroll_id: string;
      readonly hits: { readonly hits: readonly { _index: string; _id: string; _source: Record<string, unknown> }[] };
    }
    const hits: Hit[] = [];
    let page = (await this.ask("POST", `/${index}/_search?scroll=1m&ignore_unavailable=true`, {
      size: 5000,
      sort: ["_doc"],
    })) as unknown as Page;
    while (page.hits.hits.length > 0) {
      hits.push(...page.hits.hits.map(({ _index, _id, _source }) => ({ index: _index, id: _id, source: _source })));
      page = (await this.ask("POST", "/_search/scroll", {
        scroll: "1m",
        scroll_id: page._scroll_id,
      })) as unknown as Page;
    }
    await this.ask("DELETE", "/_search/scroll", { scroll_id: page._scroll_id });
    return hits;
  }

  async count(index: string): Promise<number> {
    await this.ask("POST", `/${index}/_refresh?ignore_unavailable=true`);
    return Number((await this.ask("GET", `/${index}/_count?ignore_unavailable=true`)).count);
  }
}
