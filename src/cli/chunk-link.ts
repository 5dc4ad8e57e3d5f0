import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, WeirError } from "../core/errors.ts";
import type { LineChunk } from "./line-chunks.ts";

/** One connection to a server. */
export interface ChunkConnection {
  /** Resolves when the chunk is acknowledged; without acknowledgements when it is written. Rejects when it is lost. */
  send(chunk: LineChunk): Promise<void>;
  close(): Promise<void>;
}

export interface LinkOptions {
  /** Waits between tries to connect again; the last one repeats. */
  readonly retryMs?: readonly number[];
  /** How long nothing may get through before a chunk is given up. */
  readonly giveUpMs?: number;
  readonly nowMs?: () => number;
  readonly onNotice: (text: string) => void;
}

const RETRY_MS = [100, 500, 1000, 2000] as const;
const GIVE_UP_MS = 60_000;
/**
 * Connections that may be lost before the first chunk is delivered: a server that wants a key, or TLS, or speaks another
 * protocol, takes connections and ends them.
 */
const LOST_AT_FIRST = 3;

/**
 * Delivers chunks over a connection that may break: it is made again, and what was not acknowledged is sent again
 * under the same id. The first connection is not tried twice: who can't be reached at all is a mistake to report.
 */
export class ChunkLink {
  private readonly open: () => Promise<ChunkConnection>;
  private readonly options: Required<LinkOptions>;
  private current: Promise<ChunkConnection> | null = null;
  private live: ChunkConnection | null = null;
  private wasOpen = false;
  private delivered = false;
  private lostCount = 0;
  private failure: WeirError | null = null;
  private closed = false;
  private tries = 0;
  private progressMs: number;

  constructor(open: () => Promise<ChunkConnection>, options: LinkOptions) {
    this.open = open;
    this.options = { retryMs: RETRY_MS, giveUpMs: GIVE_UP_MS, nowMs: Date.now, ...options };
    this.progressMs = this.options.nowMs();
  }

  /** Resolves when the chunk is delivered. Throws what `open` throws at first, and what is not retriable at any time. */
  async deliver(chunk: LineChunk): Promise<void> {
    for (;;) {
      if (this.failure !== null) throw this.failure;
      this.current ??= this.wasOpen ? this.openAgain() : this.openFirst();
      const connection = await this.current;
      try {
        await connection.send(chunk);
        this.progressMs = this.options.nowMs();
        this.tries = 0;
        this.delivered = true;
        return;
      } catch (error) {
        if (this.closed || !(error instanceof WeirError) || !error.retriable) throw error;
        await this.lost(connection, error);
      }
    }
  }

  /** Ends the connection; what is on its way is not waited for. */
  async close(): Promise<void> {
    this.closed = true;
    await this.live?.close();
  }

  private async openFirst(): Promise<ChunkConnection> {
    this.live = await this.open();
    this.wasOpen = true;
    return this.live;
  }

  /** Every chunk on the broken connection comes here; the first one takes it away. */
  private async lost(connection: ChunkConnection, error: WeirError): Promise<void> {
    if (this.live !== connection) return;
    this.live = null;
    this.current = null;
    if (!this.delivered && ++this.lostCount === LOST_AT_FIRST) {
      this.failure = error;
      throw error;
    }
    this.options.onNotice(`connection lost (${error.message}), trying again`);
    await connection.close();
  }

  private async openAgain(): Promise<ChunkConnection> {
    const { retryMs, giveUpMs, nowMs } = this.options;
    for (;;) {
      await sleep(retryMs[Math.min(this.tries++, retryMs.length - 1)]);
      try {
        this.live = await this.open();
        return this.live;
      } catch (error) {
        if (this.closed || !(error instanceof WeirError) || !error.retriable) throw error;
        if (nowMs() - this.progressMs > giveUpMs) {
          throw new WeirError(
            "server_unreachable",
            `gave up after ${Math.round(giveUpMs / 1000)} s: ${messageOf(error)}`,
            {
              cause: error,
            },
          );
        }
      }
    }
  }
}

/**
 * Delivers all chunks, `lanes` of them at a time, and calls `onDelivered` for each. At the first error it stops taking
 * chunks and throws it.
 */
export async function deliverAll(
  chunks: AsyncIterator<LineChunk>,
  link: ChunkLink,
  lanes: number,
  onDelivered: (chunk: LineChunk) => void,
): Promise<void> {
  let failed = false;
  const lane = async (): Promise<void> => {
    while (!failed) {
      const { value, done } = await chunks.next();
      if (done === true) return;
      await link.deliver(value);
      onDelivered(value);
    }
  };
  const guarded = async (): Promise<void> => {
    try {
      await lane();
    } catch (error) {
      failed = true;
      throw error;
    }
  };
  const results = await Promise.allSettled(Array.from({ length: lanes }, guarded));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
