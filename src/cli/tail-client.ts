import type { IncomingMessage } from "node:http";
import { text as readText } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import { z } from "zod";
import { WeirError } from "../core/errors.ts";
import type { Entry } from "./entry-output.ts";
import { addressed, entriesOf, readJson, streamsResult, unreachable } from "./loki-client.ts";

/*
 * The client of `WS /loki/api/v1/tail`. Source: Grafana Loki, "HTTP API", stream logs.
 */

const message = z.object({
  streams: streamsResult.nullish(),
  dropped_entries: z.array(z.unknown()).nullish(),
});

export interface TailRequest {
  /** The server's base address, http or https. */
  readonly base: string;
  readonly query: string;
  /** Where the history before the live lines begins. */
  readonly startNs: bigint;
  /** Most lines of history. */
  readonly limit: number;
}

export interface TailHandlers {
  /** Lines in the order in which they came; nothing more is read until it resolves. */
  onEntries(entries: Entry[]): Promise<void>;
  /** Something that the user should know: a lost connection, dropped lines. */
  onNotice(text: string): void;
  readonly signal: AbortSignal;
  /** Waits between tries to connect again; the last one repeats. */
  readonly retryMs?: readonly number[];
  /** A connection on which nothing comes for so long is taken for dead; the server pings every second. */
  readonly silenceMs?: number;
}

const RETRY_MS = [500, 1000, 2000, 5000] as const;
const SILENCE_MS = 20_000;
/** History asked for after a lost connection: as much as Loki gives, to close the gap. */
const CATCH_UP_LINES = 5000;

/**
 * Follows a query until `signal` is aborted; a lost connection is made again and the gap is read from history.
 * Errors: `server_unreachable` when the first try fails; `server_refused` with the server's words when it doesn't
 * take the query.
 */
export async function followTail(request: TailRequest, handlers: TailHandlers): Promise<void> {
  const { signal, retryMs = RETRY_MS } = handlers;
  const seen = new LastSeen();
  let tries = 0;
  let connected = false;
  while (!signal.aborted) {
    const catchUp = seen.ns !== null;
    const again = catchUp ? { ...request, startNs: seen.ns ?? 0n, limit: CATCH_UP_LINES } : request;
    let lost = "";
    try {
      lost = await session(again, handlers, seen, () => {
        if (connected) handlers.onNotice("connected again");
        connected = true;
        tries = 0;
      });
    } catch (error) {
      if (!connected || !(error instanceof WeirError) || !error.retriable) throw error;
      lost = error.message;
    }
    if (signal.aborted) return;
    if (tries === 0) handlers.onNotice(`connection lost (${lost}), trying again`);
    await sleep(retryMs[Math.min(tries++, retryMs.length - 1)], undefined, { signal }).catch(() => undefined);
  }
}

/** One connection. Resolves with why it ended; rejects when there will be no other. */
function session(
  request: TailRequest,
  { onEntries, onNotice, signal, silenceMs = SILENCE_MS }: TailHandlers,
  seen: LastSeen,
  onOpen: () => void,
): Promise<string> {
  const { url: address, headers } = addressed(`${request.base.replace(/^http/, "ws")}/loki/api/v1/tail`);
  const url = new URL(address);
  url.searchParams.set("query", request.query);
  url.searchParams.set("start", request.startNs.toString());
  url.searchParams.set("limit", String(request.limit));
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers, handshakeTimeout: 10_000 });
    let handled: Promise<void> = Promise.resolve();
    let failed = false;
    let open = false;
    seen.reconnected();
    const fail = (error: unknown): void => {
      failed = true;
      reject(error);
      socket.terminate();
    };
    const stop = (): void => (open ? socket.close(1000) : socket.terminate());
    // While the socket is paused nothing can come, pings neither: that is our own silence.
    const silence = setTimeout(() => (socket.isPaused ? silence.refresh() : socket.terminate()), silenceMs);
    signal.addEventListener("abort", stop, { once: true });

    socket.on("open", () => {
      open = true;
      onOpen();
    });
    socket.on("ping", () => silence.refresh());
    socket.on("message", (data) => {
      silence.refresh();
      // One message after the other: the socket is paused meanwhile, so a slow terminal slows the server down.
      socket.pause();
      handled = handled
        .then(async () => {
          const { streams, dropped_entries: dropped } = readJson(message, String(data), request.base);
          const fresh = seen.fresh(entriesOf(streams ?? []));
          if (fresh.length > 0 && !signal.aborted) await onEntries(fresh);
          if (dropped)
            onNotice(`lines left out by the server, because they are not read fast enough: ${dropped.length}`);
        })
        .then(() => socket.resume(), fail);
    });
    socket.on("unexpected-response", (_, response) => {
      refusal(response, request.base).then(fail, fail);
    });
    socket.on("error", (error) => {
      // After "open" the reason shows in "close" as well, and the connection is made again.
      if (!open && !failed && !signal.aborted) fail(unreachable(request.base, error));
    });
    socket.on("close", (code, reason) => {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      if (code === 1011) reject(new WeirError("server_refused", String(reason) || "the server ended the tail"));
      else void handled.then(() => resolve(String(reason) || `code ${code}`));
    });
  });
}

/** What the server said instead of opening the connection; a busy or stopping one can be asked again. */
async function refusal(response: IncomingMessage, base: string): Promise<WeirError> {
  const status = response.statusCode ?? 0;
  const words = (await readText(response)).trim();
  return new WeirError("server_refused", words || `${base} answered ${status} with no text`, {
    retriable: status === 429 || status >= 500,
    context: { status },
  });
}

/**
 * Remembers the newest time and how often each line with it came, so that history asked for again from that time
 * brings nothing twice.
 */
class LastSeen {
  ns: bigint | null = null;
  private counts = new Map<string, number>();
  private expected = new Map<string, number>();

  reconnected(): void {
    this.expected = new Map(this.counts);
  }

  fresh(entries: Entry[]): Entry[] {
    return entries.filter((entry) => {
      const key = JSON.stringify([entry.ns.toString(), entry.labels, entry.metadata, entry.parsed, entry.line]);
      const known = this.expected.get(key) ?? 0;
      if (known > 0) {
        this.expected.set(key, known - 1);
        return false;
      }
      if (this.ns === null || entry.ns > this.ns) {
        this.ns = entry.ns;
        this.counts = new Map();
      }
      if (entry.ns === this.ns) this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
      return true;
    });
  }
}
