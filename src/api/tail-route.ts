import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import { type WebSocket, WebSocketServer } from "ws";
import { messageOf } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { DroppedEntry, Engine, TailEntry } from "../query/engine.ts";
import { BadRequest, errorAnswer } from "./errors.ts";
import { parseInt64 } from "./go.ts";
import { tailMessage } from "./json.ts";
import { legacyQuery, legacyTailMessage } from "./legacy.ts";
import { checkLimit, limitParam, timeRange } from "./params.ts";
import { refuse } from "./reply.ts";
import { CATEGORIZE, encodingFlags, nowNs, paramsIn } from "./request.ts";
import type { Tenants } from "./tenants.ts";

/*
 * WS /loki/api/v1/tail, and /api/prom/tail with the older form of messages. Source: "Loki's HTTP contract", 10 and 14.
 */

export const TAIL_PATH = "/loki/api/v1/tail";
export const LEGACY_TAIL_PATH = "/api/prom/tail";

const PING_MS = 1000;
const DELAY_MAX_S = 5n;
/** Clients send nothing that matters; more than this in one message is abuse. */
const CLIENT_MESSAGE_BYTES_MAX = 4096;
/** Unsent bytes at which a tail waits for its client; the engine then drops and reports what its queue can't hold. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const DRAIN_CHECK_MS = 50;
/** Bytes of lines at which a message is full: some milliseconds' work. */
const MESSAGE_LINE_BYTES = 262_144;
/** Of the reason in a close frame. Source: RFC 6455, 5.5. */
const REASON_BYTES_MAX = 123;

export interface TailDeps {
  readonly engine: Engine;
  readonly tenants: Tenants;
  readonly log: Logger;
  readonly stallMs: number;
}

interface TailParams {
  readonly tenant: string;
  readonly query: string;
  readonly startNs: bigint;
  readonly limit: number;
  readonly delayMs: number;
  readonly flags: readonly string[];
  readonly isLegacy: boolean;
}

/** Live tails, at one path of an HTTP server. */
export class TailSockets {
  private readonly deps: TailDeps;
  private readonly sockets = new WebSocketServer({ noServer: true, maxPayload: CLIENT_MESSAGE_BYTES_MAX });
  private readonly running = new Set<AbortController>();
  /** Tails of each tenant that has any. */
  private readonly counts = new Map<string, number>();
  private readonly ended = new Set<Promise<void>>();
  private closed = false;

  constructor(deps: TailDeps) {
    this.deps = deps;
    // A handshake that is none, such as one without a key.
    this.sockets.on("wsClientError", (_error, socket) => refuse(socket, 400, "Bad Request"));
  }

  /** For the server's `upgrade` event. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy()); // A client that goes away during the handshake is nobody's concern.
    const url = urlOf(request);
    const isLegacy = url?.pathname === LEGACY_TAIL_PATH;
    if (url === null || (url.pathname !== TAIL_PATH && !isLegacy)) {
      refuse(socket, 404, "404 page not found");
      return;
    }
    if (this.closed) {
      refuse(socket, 503, "the server is stopping");
      return;
    }
    let params: TailParams;
    try {
      params = this.check(paramsIn(url.search.slice(1)), request, isLegacy);
    } catch (error) {
      const { status, text } = errorAnswer(error);
      refuse(socket, status, text);
      return;
    }
    this.sockets.handleUpgrade(request, socket, head, (client) => {
      const ended = this.serve(client, params).finally(() => this.ended.delete(ended));
      this.ended.add(ended);
    });
  }

  /** Ends all tails: 1001, going away. */
  async close(): Promise<void> {
    this.closed = true;
    for (const abort of this.running) abort.abort();
    await Promise.all(this.ended);
    this.sockets.close();
  }

  private check(params: URLSearchParams, request: IncomingMessage, isLegacy: boolean): TailParams {
    const { engine, tenants } = this.deps;
    const tenant = tenants.of(request.headers);
    const query = isLegacy ? legacyQuery(params) : (params.get("query") ?? "");
    const delay = params.get("delay_for") ?? "";
    let delayS = 0n;
    try {
      delayS = delay === "" ? 0n : parseInt64(delay);
    } catch (error) {
      throw new BadRequest(messageOf(error));
    }
    if (delayS > DELAY_MAX_S) throw new BadRequest("delay_for can't be greater than 5");
    if (delayS < 0n) throw new BadRequest("delay_for can't be negative");
    const limit = limitParam(params);
    const { max_entries_limit_per_query: most, max_concurrent_tail_requests: tails } = engine.limitsOf(tenant);
    checkLimit(limit, most);
    const { startNs } = timeRange(params, nowNs());
    engine.kindOf(query);
    const running = this.counts.get(tenant) ?? 0;
    if (tails > 0 && running >= tails) {
      throw new BadRequest(`max concurrent tail requests limit exceeded, count > limit (${running + 1} > ${tails})`);
    }
    const flags = encodingFlags(request.headers["x-loki-response-encoding-flags"]);
    return { tenant, query, startNs, limit, delayMs: Number(delayS) * 1000, flags, isLegacy };
  }

  /** Never rejects: what goes wrong ends the one socket. */
  private async serve(client: WebSocket, params: TailParams): Promise<void> {
    const { engine, log } = this.deps;
    if (engine.kindOf(params.query).kind !== "log") {
      client.close(1011, "only log selector is supported");
      return;
    }
    const abort = new AbortController();
    this.running.add(abort);
    const { tenant } = params;
    this.counts.set(tenant, (this.counts.get(tenant) ?? 0) + 1);
    client.on("close", () => abort.abort());
    client.on("error", (error) => {
      log.debug({ err: error }, "tail: socket");
      abort.abort();
    });
    const pings = setInterval(() => client.ping(), PING_MS);
    const { flags, isLegacy } = params;
    const categorize = !isLegacy && flags.includes(CATEGORIZE);
    try {
      await engine.tail({
        ...params,
        categorize,
        signal: abort.signal,
        onEntries: async (entries: readonly TailEntry[], dropped: readonly DroppedEntry[]) => {
          let lost = dropped;
          for (const some of inMessages(entries)) {
            const message = isLegacy ? legacyTailMessage(some, lost) : tailMessage(some, lost, flags, categorize);
            await this.send(client, message, abort);
            if (abort.signal.aborted) return;
            lost = [];
            await nextTurn();
          }
        },
      });
      client.close(1001, "tail ended");
    } catch (error) {
      log.warn({ query: params.query, err: error }, `tail: ${messageOf(error)}`);
      client.close(1011, reasonOf(messageOf(error)));
    } finally {
      clearInterval(pings);
      this.running.delete(abort);
      const left = (this.counts.get(tenant) ?? 1) - 1;
      if (left === 0) this.counts.delete(tenant);
      else this.counts.set(tenant, left);
    }
  }

  /** Resolves when the client has taken nearly all that was sent. One that takes nothing is cut off. */
  private async send(client: WebSocket, message: string, abort: AbortController): Promise<void> {
    client.send(message);
    let least = client.bufferedAmount;
    let waitedMs = 0;
    while (client.bufferedAmount > UNSENT_BYTES_MAX && !abort.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, DRAIN_CHECK_MS));
      waitedMs = client.bufferedAmount < least ? 0 : waitedMs + DRAIN_CHECK_MS;
      least = Math.min(least, client.bufferedAmount);
      if (waitedMs >= this.deps.stallMs) {
        client.terminate();
        abort.abort();
      }
    }
  }
}

/** The entries in parts that make messages of a moderate size: the lines before now may be as many as an answer has. At least one. */
function* inMessages(entries: readonly TailEntry[]): Generator<readonly TailEntry[]> {
  let from = 0;
  do {
    let to = from;
    for (let bytes = 0; to < entries.length && bytes < MESSAGE_LINE_BYTES; to++) bytes += entries[to].line.length;
    yield entries.slice(from, to);
    from = to;
  } while (from < entries.length);
}

/** What is asked for; null for what is no address, such as `//`. */
function urlOf({ url = "/" }: IncomingMessage): URL | null {
  const base = "http://localhost";
  return URL.canParse(url, base) ? new URL(url, base) : null;
}

/** As much of a text as a close frame has room for, in whole characters. */
function reasonOf(text: string): string {
  const bytes = Buffer.from(text);
  let end = Math.min(bytes.length, REASON_BYTES_MAX);
  while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}
