import { once } from "node:events";
import net from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { ackOf } from "../agent.ts";

/** Lines of one chunk: some 70 kB, as an agent's chunk of a busy second. */
export const CHUNK_LINES = 500;
/**
 * As Fluent Bit's `Require_ack_response` waits, but shorter, so that repeats are common. Twice as long after each try of a chunk: what is
 * sent again for want of patience alone keeps a slow machine busy, and is sent again for that.
 */
const ACK_MS = 6000;
const ACK_MS_MAX = 96_000;
const CONNECT_MS = 2000;
/** Pause after a failure: an agent's first one. */
const RETRY_MS = 100;

export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Sends numbered lines in chunks of the forward protocol as an agent does: waits for each chunk's ack, and sends the chunk again
 * with the same id, to the next receiver, when it doesn't come. The line with number n has the time `firstMs` + n µs, so what the
 * store holds of it can be asked for by number.
 */
export class Sender {
  readonly name: string;
  readonly firstMs: number;
  /** Lines that were acknowledged: all below. */
  acknowledged = 0;
  /** Chunks that were sent more than once. */
  repeated = 0;
  private readonly lines: number;
  private readonly receivers: () => readonly Address[];
  private readonly pauseMs: number;
  private at: number;
  private socket: net.Socket | null = null;

  /** `pauseMs` is waited after each chunk; `at` is the receiver to begin with. */
  constructor(
    name: string,
    {
      lines,
      firstMs,
      receivers,
      at,
      pauseMs,
    }: { lines: number; firstMs: number; receivers: () => readonly Address[]; at: number; pauseMs: number },
  ) {
    this.name = name;
    this.lines = lines;
    this.firstMs = firstMs;
    this.receivers = receivers;
    this.at = at;
    this.pauseMs = pauseMs;
  }

  /** Resolves when all lines are acknowledged. */
  async run(): Promise<void> {
    for (let from = 0; from < this.lines; from += CHUNK_LINES) {
      const to = Math.min(this.lines, from + CHUNK_LINES);
      const id = `${this.name}-${from}`;
      const message = this.encode(from, to, id);
      for (let tries = 0; !(await this.deliver(message, id, Math.min(ACK_MS * 2 ** tries, ACK_MS_MAX))); tries++) {
        if (tries === 0) this.repeated++;
        this.at++;
        await sleep(RETRY_MS);
      }
      this.acknowledged = to;
      if (this.pauseMs > 0) await sleep(this.pauseMs);
    }
    this.socket?.destroy();
  }

  /** Forward mode: [tag, [[EventTime, {"log": text}], …], {"chunk": id}], written by hand because a library is slower than Weir. */
  private encode(from: number, to: number, id: string): Buffer {
    const tag = text(this.name);
    const parts: Buffer[] = [Buffer.from([0x93]), tag, Buffer.from([0xdd, 0, 0, (to - from) >> 8, (to - from) & 0xff])];
    for (let n = from; n < to; n++) {
      const time = Buffer.alloc(11);
      time.set([0x92, 0xd7, 0x00]);
      const ms = this.firstMs + Math.floor(n / 1000);
      time.writeUInt32BE(Math.floor(ms / 1000), 3);
      time.writeUInt32BE((ms % 1000) * 1_000_000 + (n % 1000) * 1000, 7);
      parts.push(time, LOG_KEY, text(lineOf(this.name, n)));
    }
    parts.push(Buffer.from([0x81]), text("chunk"), text(id));
    return Buffer.concat(parts);
  }

  private async deliver(message: Buffer, id: string, ackMs: number): Promise<boolean> {
    try {
      if (this.socket === null || this.socket.destroyed) {
        const receivers = this.receivers();
        this.socket = net.connect(receivers[this.at % receivers.length]);
        this.socket.on("error", () => this.socket?.destroy());
        await once(this.socket, "connect", { signal: AbortSignal.timeout(CONNECT_MS) });
      }
      const answer = ackOf(this.socket, ackMs);
      this.socket.write(message);
      if ((await answer) === id) return true;
    } catch {
      // Refused or cut: what an agent meets when a receiver is killed.
    }
    this.socket?.destroy();
    return false;
  }
}

/** The text of a line, by which it is told from all others. */
export function lineOf(sender: string, n: number): string {
  return `${sender} line ${n} GET /api/orders/${n % 977} took ${n % 1013} ms, user ${n % 7919}`;
}

const LOG_KEY = Buffer.concat([Buffer.from([0x81]), text("log")]);

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  const head = bytes.length < 32 ? [0xa0 | bytes.length] : [0xd9, bytes.length];
  return Buffer.concat([Buffer.from(head), bytes]);
}
