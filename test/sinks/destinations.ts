import http from "node:http";
import { gunzipSync } from "node:zlib";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { RecordSinkDeps } from "../../src/core/sink.ts";
import { connectForward } from "../../src/roles/connect-forward.ts";
import { freePort } from "../live/free-port.ts";

/** What a sink under test gets beside its options. */
export function deps(folder = "/nowhere", now: () => number = Date.now): RecordSinkDeps {
  return { name: "out", folder, connectForward, metrics: new Metrics(), log: silentLogger, now };
}

export interface Got {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  /** Inflated where it was compressed. */
  readonly body: Buffer;
}

export interface Answer {
  readonly status: number;
  readonly text?: string;
  readonly headers?: Record<string, string>;
}

/** An HTTP server that answers as it is told, and keeps what it got. */
export class HttpDestination {
  readonly got: Got[] = [];
  /** null: no answer at all. */
  answer: (got: Got) => Answer | null = () => ({ status: 204 });
  private server: http.Server = http.createServer();
  private port = 0;

  static async start(): Promise<HttpDestination> {
    const destination = new HttpDestination();
    await destination.listen();
    return destination;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async listen(): Promise<void> {
    this.server = http.createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("error", () => {}); // A client that goes away is part of the tests.
      request.on("end", () => {
        const raw = Buffer.concat(parts);
        const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
        const got = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body };
        const answer = this.answer(got);
        if (answer === null) return;
        this.got.push(got);
        response.writeHead(answer.status, answer.headers);
        response.end(answer.text ?? "");
      });
    });
    // One that nobody else gets while this server is stopped.
    if (this.port === 0) this.port = await freePort();
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(this.port, "127.0.0.1", resolve);
    });
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeAllConnections();
    await closed;
  }
}
