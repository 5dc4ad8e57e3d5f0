import { once } from "node:events";
import http from "node:http";
import type net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What goes wrong with one request on its way to the server:
 * - `error`: the proxy answers `status` itself, with S3's error of that name; the server hears nothing.
 * - `hang`: no answer, ever; the server hears nothing.
 * - `cut_before`: the connection breaks before the server hears of it.
 * - `torn_upload`: half of the request's body goes out, then both connections break.
 * - `lost_answer`: the server does it, and the connection breaks before the answer.
 * - `late`: the connection breaks at once, and the server does it `ms` later.
 * - `cut_answer`: half of the answer's body, then the connection breaks.
 * - `stale`: a listing as it was when it was asked for first.
 */
export type Fault =
  | { readonly kind: "error"; readonly status: number; readonly code: string }
  | { readonly kind: "late"; readonly ms: number }
  | { readonly kind: "hang" | "cut_before" | "torn_upload" | "lost_answer" | "cut_answer" | "stale" };

export interface ProxiedRequest {
  /** GET, PUT, … */
  readonly method: string;
  /** The decoded path with the bucket, without parameters. */
  readonly path: string;
  readonly parameters: URLSearchParams;
  readonly headers: http.IncomingHttpHeaders;
  /** Counts from 0, over all requests. */
  readonly n: number;
}

/** Stands between a client and an S3 server, and lets requests fail as it is told to. */
export class S3Proxy {
  /** Replaced at will. */
  plan: (request: ProxiedRequest) => Fault | undefined = () => undefined;
  /** Requests so far, as `GET /bucket/key?list-type=2`. */
  readonly seen: string[] = [];
  faults = 0;
  private readonly server: http.Server;
  private readonly target: number;
  private readonly sockets = new Set<net.Socket>();
  private readonly late = new Set<Promise<unknown>>();
  private readonly listings = new Map<string, Answer>();
  private readonly agent = new http.Agent({ keepAlive: true });

  private constructor(target: number) {
    this.target = target;
    this.server = http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
      this.serve(request, response).catch(() => response.destroy());
    });
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  /** In front of the server on `target`, a port of this machine. */
  static async start(target: number): Promise<S3Proxy> {
    const proxy = new S3Proxy(target);
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as net.AddressInfo).port}`;
  }

  /** Resolves when what was told to come late has come. */
  async whenQuiet(): Promise<void> {
    await Promise.all(this.late);
  }

  async stop(): Promise<void> {
    await this.whenQuiet();
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    this.agent.destroy();
    await closed;
  }

  private async serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method = "", url = "", headers } = request;
    const [path = "", query = ""] = url.split("?", 2);
    const n = this.seen.push(`${method} ${url}`) - 1;
    const parameters = new URLSearchParams(query);
    const fault = this.plan({ method, path: decodeURIComponent(path), parameters, headers, n });
    if (fault !== undefined) this.faults++;
    const body = await bytesOf(request);
    switch (fault?.kind) {
      case "error": {
        const { status, code } = fault;
        const text = method === "HEAD" ? "" : `<Error><Code>${code}</Code><Message>told to fail</Message></Error>`;
        response.writeHead(status, { "content-type": "application/xml", "content-length": text.length }).end(text);
        return;
      }
      case "hang":
        return;
      case "cut_before":
        request.socket.destroy();
        return;
      case "torn_upload":
        await this.tear(request, body);
        request.socket.destroy();
        return;
      case "late": {
        request.socket.destroy();
        const coming = sleep(fault.ms).then(() => this.forward(request, body));
        this.late.add(coming);
        await coming.catch(() => null);
        return;
      }
    }
    const answer = await this.forward(request, body);
    if (fault?.kind === "lost_answer") {
      request.socket.destroy();
      return;
    }
    const isListing = parameters.get("list-type") === "2";
    const first = this.listings.get(url);
    if (isListing && first === undefined) this.listings.set(url, answer);
    const given = fault?.kind === "stale" && first !== undefined ? first : answer;
    response.writeHead(given.status, given.headers);
    if (fault?.kind !== "cut_answer") {
      response.end(given.body);
      return;
    }
    response.write(given.body.subarray(0, given.body.length >> 1), () => request.socket.destroy());
    response.flushHeaders();
  }

  /** Half of a request, and then nothing. */
  private async tear({ method, url, headers }: http.IncomingMessage, body: Buffer): Promise<void> {
    const torn = http.request({ host: "127.0.0.1", port: this.target, method, path: url, headers, agent: false });
    torn.on("error", () => undefined);
    const closed = once(torn, "close");
    torn.write(body.subarray(0, body.length >> 1), () => setImmediate(() => torn.destroy()));
    torn.flushHeaders();
    await closed;
  }

  private async forward({ method, url, headers }: http.IncomingMessage, body: Buffer): Promise<Answer> {
    // With the client's own headers: the signature covers the host.
    const request = http.request({
      host: "127.0.0.1",
      port: this.target,
      method,
      path: url,
      headers,
      agent: this.agent,
    });
    request.end(body);
    const [answer] = (await once(request, "response")) as [http.IncomingMessage];
    return { status: answer.statusCode ?? 0, headers: answer.headers, body: await bytesOf(answer) };
  }
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

async function bytesOf(message: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
