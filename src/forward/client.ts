import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import os from "node:os";
import tls from "node:tls";
import { CUT, decode, type Encodable, encode, MsgpackMap, skip } from "../codec/msgpack.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import { ping, readHelo, readPong, type User } from "./handshake.ts";
import { formatListenUrl, type ListenAddress } from "./listen-url.ts";

export interface ForwardClientOptions {
  readonly to: ListenAddress;
  /** Set where the server asks for a handshake; "" is the empty key. */
  readonly sharedKey?: string;
  readonly user?: User;
  /** What this client calls itself in the handshake. This machine's name by default. */
  readonly hostname?: string;
  /** For tls:// addresses: `ca` and the like. */
  readonly tls?: tls.ConnectionOptions;
  /** Chunks that may wait for their ack at a time; `send` waits beyond it. Hides the server's fsync. */
  readonly inFlightMax?: number;
  /** Longest wait for an ack, after which the connection counts as lost. */
  readonly ackTimeoutMs?: number;
  /** Longest wait for the connection and its handshake. */
  readonly connectTimeoutMs?: number;
}

export interface ForwardEvent {
  /** Seconds since 1970 UTC, below 2^32, and nanoseconds. */
  readonly sec: number;
  readonly nsec: number;
  readonly record: { readonly [key: string]: Encodable };
}

/** Acks are tens of bytes; a server that says much more is none. */
const ANSWER_BYTES_MAX = 64 << 10;

/** How long `close` waits for the server to close its side too. */
const CLOSE_MS = 2000;

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * Sends chunks of events in PackedForward mode over one connection. It does not connect again by itself: after an error
 * all chunks that were not acknowledged are rejected with a retriable WeirError (`forward_lost`), and whoever kept them
 * connects and sends them again under the same ids.
 */
export class ForwardClient {
  private readonly socket: net.Socket;
  private readonly where: string;
  private readonly inFlightMax: number;
  private readonly ackTimeoutMs: number;
  private readonly waiting = new Map<string, Waiting>();
  private readonly queue: (() => void)[] = [];
  private inFlight = 0;
  private answers: Buffer = Buffer.alloc(0);
  private failure: WeirError | null = null;
  private onAnswer: ((answer: Buffer) => void) | null = null;

  /**
   * Connects, and goes through the handshake if there is a key. Errors: `forward_lost` (retriable) when there is no
   * connection, `forward_refused` when the server does not accept the key or the user.
   */
  static async connect(options: ForwardClientOptions): Promise<ForwardClient> {
    const { to, connectTimeoutMs = 10_000 } = options;
    const where = formatListenUrl(to);
    const socket = open(options);
    const client = new ForwardClient(socket, where, options);
    const timer = setTimeout(() => {
      client.fail(lost(where, `no connection within ${connectTimeoutMs} ms`));
    }, connectTimeoutMs);
    try {
      // The handshake's first word may come along with the connection, so somebody must be listening before.
      const helo = options.sharedKey === undefined ? null : client.answer();
      helo?.catch(() => undefined); // Looked at below, unless connecting fails first.
      await once(socket, to.scheme === "tls" ? "secureConnect" : "connect");
      if (helo !== null) await client.greet(await helo, options);
    } catch (error) {
      client.fail(error instanceof WeirError ? error : lost(where, messageOf(error), error));
      throw client.failure ?? error;
    } finally {
      clearTimeout(timer);
    }
    return client;
  }

  private constructor(socket: net.Socket, where: string, options: ForwardClientOptions) {
    this.socket = socket;
    this.where = where;
    this.inFlightMax = options.inFlightMax ?? 8;
    this.ackTimeoutMs = options.ackTimeoutMs ?? 30_000;
    socket.on("data", (bytes: Buffer) => this.onData(bytes));
    socket.on("error", (error) => this.fail(lost(where, messageOf(error), error)));
    socket.on("close", () => this.fail(lost(where, "the server closed the connection")));
  }

  /**
   * Sends events as one chunk and resolves when the server has them safe. `chunk` is its id, by default made from the
   * entries as Fluent Bit does, so the same events have the same id; null asks for no ack.
   */
  send(tag: string, events: readonly ForwardEvent[], { chunk }: { chunk?: string | null } = {}): Promise<void> {
    const entries = Buffer.concat(events.map(encodeEvent));
    const id = chunk === undefined ? chunkId(entries) : chunk;
    return this.sendPacked(tag, entries, { chunk: id, size: events.length });
  }

  /** The same for entries that are MessagePack already, one after the other; `size` of them. */
  async sendPacked(
    tag: string,
    entries: Buffer,
    { chunk, size }: { chunk: string | null; size: number },
  ): Promise<void> {
    while (this.failure === null && this.inFlight >= this.inFlightMax) {
      await new Promise<void>((resolve) => this.queue.push(resolve));
    }
    if (this.failure !== null) throw this.failure;
    if (chunk !== null && this.waiting.has(chunk)) {
      throw new WeirError("forward_repeat", `forward: chunk ${chunk} is on its way already`);
    }
    this.inFlight++;
    try {
      await Promise.all([
        chunk === null ? undefined : this.acked(chunk),
        this.write(tag, entries, chunk === null ? { size } : { chunk, size }),
      ]);
    } finally {
      this.inFlight--;
      this.queue.shift()?.();
    }
  }

  /** Ends the connection once everything is written; what was not acknowledged by then is rejected. */
  async close(): Promise<void> {
    if (this.socket.destroyed) return;
    // Not `once`, which would reject with an error that comes before: those who wait for something have it from `fail`.
    const closed = new Promise<void>((resolve) => this.socket.once("close", () => resolve()));
    this.socket.end();
    const timer = setTimeout(() => this.socket.destroy(), CLOSE_MS);
    await closed;
    clearTimeout(timer);
  }

  private write(tag: string, entries: Buffer, options: { readonly [key: string]: Encodable }): Promise<void> {
    const { socket } = this;
    return new Promise((resolve, reject) => {
      socket.cork();
      socket.write(Buffer.concat([Buffer.of(0x93), encode(tag), binHead(entries.length)]));
      socket.write(entries);
      socket.write(encode(options), (error) => {
        if (error) reject(this.failure ?? lost(this.where, messageOf(error), error));
        else resolve();
      });
      socket.uncork();
    });
  }

  private acked(chunk: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.fail(lost(this.where, `no acknowledgement within ${this.ackTimeoutMs} ms`));
      }, this.ackTimeoutMs);
      this.waiting.set(chunk, { resolve, reject, timer });
    });
  }

  private async greet(helo: Buffer, { sharedKey = "", hostname = os.hostname(), user }: ForwardClientOptions) {
    const pong = this.answer();
    this.socket.write(ping(readHelo(helo), sharedKey, hostname, user));
    const { ok, reason } = readPong(await pong);
    if (!ok) throw new WeirError("forward_refused", `forward: ${this.where} refuses this client: ${reason}`);
  }

  /** The next value that the server sends, while the handshake goes on. */
  private answer(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const failed = (): void => reject(this.failure ?? lost(this.where, "the connection ended in the handshake"));
      this.socket.once("close", failed);
      this.onAnswer = (answer) => {
        this.onAnswer = null;
        this.socket.off("close", failed);
        resolve(answer);
      };
    });
  }

  private onData(bytes: Buffer): void {
    this.answers = this.answers.length === 0 ? bytes : Buffer.concat([this.answers, bytes]);
    try {
      for (;;) {
        const next = skip(this.answers, 0, this.answers.length);
        if (next === CUT) break;
        const answer = this.answers.subarray(0, next);
        this.answers = this.answers.subarray(next);
        if (this.onAnswer !== null) this.onAnswer(answer);
        else this.takeAck(answer);
      }
      if (this.answers.length > ANSWER_BYTES_MAX) throw lost(this.where, "the server's answer is no acknowledgement");
    } catch (error) {
      const isOurs = error instanceof WeirError && error.code.startsWith("forward_");
      this.fail(isOurs ? error : lost(this.where, `the server's answer makes no sense: ${messageOf(error)}`, error));
    }
  }

  private takeAck(answer: Buffer): void {
    const { value } = decode(answer, 0, answer.length);
    if (Array.isArray(value) && value[0] === "HELO") {
      throw new WeirError("forward_refused", `forward: ${this.where} asks for a shared key; none is given`);
    }
    const chunk = value instanceof MsgpackMap ? value.get("ack") : undefined;
    const waiting = typeof chunk === "string" ? this.waiting.get(chunk) : undefined;
    if (typeof chunk !== "string" || waiting === undefined) {
      throw lost(this.where, "the server acknowledged what was not sent");
    }
    this.waiting.delete(chunk);
    clearTimeout(waiting.timer);
    waiting.resolve();
  }

  /** The first failure counts; everybody who waits gets it. */
  private fail(error: WeirError): void {
    this.failure ??= error;
    for (const { reject, timer } of this.waiting.values()) {
      clearTimeout(timer);
      reject(this.failure);
    }
    this.waiting.clear();
    for (const resolve of this.queue.splice(0)) resolve();
    // With the error, so that whoever waits for the connection hears of it.
    this.socket.destroy(this.failure);
  }
}

/** What Fluent Bit makes of a chunk's entries: the first 16 bytes of their SHA-512 in base64. */
export function chunkId(entries: Buffer): string {
  return createHash("sha512").update(entries).digest().subarray(0, 16).toString("base64");
}

function open({ to, tls: tlsOptions }: ForwardClientOptions): net.Socket {
  if (to.scheme === "unix") return net.connect({ path: to.path });
  if (to.scheme === "tcp") return net.connect({ host: to.host, port: to.port, noDelay: true });
  const name = net.isIP(to.host) === 0 ? { servername: to.host } : {};
  return tls.connect({ host: to.host, port: to.port, ...name, ...tlsOptions });
}

function encodeEvent({ sec, nsec, record }: ForwardEvent): Buffer {
  const time = Buffer.alloc(8);
  time.writeUInt32BE(sec, 0);
  time.writeUInt32BE(nsec, 4);
  return encode([{ ext: 0, data: time }, record]);
}

function binHead(length: number): Buffer {
  const head = Buffer.alloc(5);
  head[0] = 0xc6;
  head.writeUInt32BE(length, 1);
  return head;
}

function lost(where: string, what: string, cause?: unknown): WeirError {
  return new WeirError("forward_lost", `forward: ${where}: ${what}`, { retriable: true, cause });
}
