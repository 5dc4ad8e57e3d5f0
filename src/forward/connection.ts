import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { inflateBounded } from "../codec/bounded-inflate.ts";
import { badMessage } from "../codec/forward-error.ts";
import { type ForwardMessage, readForwardMessage } from "../codec/forward-message.ts";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { ENTRY_FORWARD, type EntryDraft } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { MessageCheck } from "./check.ts";
import type { Delivery, Stored } from "./delivery.ts";
import { Framer } from "./framing.ts";
import { HANDSHAKE_BYTES_MAX, type HandshakeSettings, ServerHandshake } from "./handshake.ts";
import type { InflateGate } from "./inflate-gate.ts";
import type { MemoryBudget } from "./memory.ts";
import type { ForwardMetrics } from "./metrics.ts";
import type { ForwardLimits } from "./options.ts";
import { ReadingClock } from "./reading-clock.ts";

/**
 * What one connection may have on its way to the intake log before its socket is not read: enough that a sender that
 * waits for no ack is never held up by one fsync, little enough that no agent takes all memory for itself.
 */
const IN_FLIGHT_BYTES_MAX = 8 << 20;
/** What a message on its way costs beside its bytes, in round numbers. */
const MESSAGE_BYTES = 512;
/** Acks that the peer has not read; beyond it, its socket is not read either. */
const UNREAD_ACK_BYTES_MAX = 64 << 10;
/** How long a closing connection waits for the peer to read what was written. */
const LINGER_MS = 5000;
/** `{"ack": ` in MessagePack; the chunk id follows as it came. */
const ACK_HEAD = Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b]);
/** Longer keys, which no known agent makes, are hashed. */
const KEY_CHARACTERS_MAX = 1024;

export interface ConnectionDeps {
  readonly name: string;
  readonly tenant: string;
  readonly limits: ForwardLimits;
  /** null: agents need no handshake. */
  readonly handshake: HandshakeSettings | null;
  readonly delivery: Delivery;
  readonly memory: MemoryBudget;
  readonly gate: InflateGate;
  readonly metrics: ForwardMetrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Called when an unfinished message has come to its end, while memory is over its limit. */
  readonly onMessageEnd: () => void;
  /** Called once, when the connection is gone. */
  readonly onGone: (connection: Connection) => void;
}

/** A whole message, or the fault after which the stream has no meaning any more. */
interface Item {
  readonly payload: Buffer;
  readonly thirdAt: number;
  readonly streamOffset: number;
  readonly fault: unknown;
}

/** One agent's connection: its bytes become messages, and these are checked, stored, and acknowledged. */
export class Connection {
  readonly peer: string;
  readonly clock: ReadingClock;
  private readonly socket: Socket;
  private readonly deps: ConnectionDeps;
  private readonly framer: Framer;
  private readonly check: MessageCheck;
  private handshake: ServerHandshake | null = null;
  /** Items behind one that is taking several turns of the event loop. In order, so messages are appended as they came. */
  private queue: Item[] = [];
  private isBusy = false;
  private inFlight = 0;
  private inFlightBytes = 0;
  /** What this connection has in the memory budget for its unfinished message. */
  private framerBytes = 0;
  private mayRead = true;
  private isEnding = false;
  private isGone = false;
  private hasFailed = false;
  private hasWarnedOfSignal = false;
  private readonly settled: (() => void)[] = [];
  /** Resolves when the socket is closed. */
  readonly whenGone: Promise<void>;

  constructor(socket: Socket, peer: string, deps: ConnectionDeps) {
    this.socket = socket;
    this.peer = peer;
    this.deps = deps;
    this.framer = new Framer(deps.limits.message_bytes_max);
    this.check = new MessageCheck(deps.limits);
    this.clock = new ReadingClock(performance.now());
    socket.setNoDelay(true); // An ack must not wait for company.
    socket.setKeepAlive(true, 60_000);
    socket.on("data", (chunk: Buffer) => this.onData(chunk));
    socket.on("end", () => this.onEnd());
    socket.on("drain", () => this.applyReading());
    socket.on("error", (error) => deps.log.debug({ peer, code: codeOf(error) }, `forward: ${messageOf(error)}`));
    this.whenGone = new Promise((resolve) => {
      socket.on("close", () => {
        this.onClose();
        resolve();
      });
    });
    if (deps.handshake !== null) {
      this.handshake = new ServerHandshake(deps.handshake);
      this.framer.messageBytesMax = HANDSHAKE_BYTES_MAX;
      socket.write(this.handshake.helo());
    }
  }

  /** Lets the socket be read or not. One that has its own reason to wait goes on waiting. */
  allowReading(allowed: boolean): void {
    this.mayRead = allowed;
    this.applyReading();
  }

  /** Ends the connection when it has kept Weir waiting for too long. `now` in `performance.now()`. */
  checkTime(now: number): void {
    const { limits, metrics, log } = this.deps;
    if (this.isEnding) return;
    if (this.clock.isStopped) {
      const isDeaf = this.socket.writableLength >= UNREAD_ACK_BYTES_MAX;
      if (!isDeaf || this.clock.stoppedMs(now) <= limits.message_timeout_ms) return;
      this.fail("acks_unread", "acknowledgements are not read", "", this.framer.streamOffset);
    } else if (this.clock.partialMs(now) > limits.message_timeout_ms) {
      const what = `message not complete after ${limits.message_timeout_ms} ms, with ${this.framer.partialBytes} bytes`;
      this.fail("message_timeout", what, this.framer.partialTag(), this.framer.streamOffset);
    } else if (this.handshake !== null && this.clock.quietMs(now) > limits.message_timeout_ms) {
      this.fail("handshake_timeout", `no PING after ${limits.message_timeout_ms} ms`, "", 0);
    } else if (!this.isSettled) {
      this.clock.heard(now); // Weir is the one to speak next.
    } else if (this.clock.quietMs(now) > limits.idle_timeout_ms) {
      metrics.rejected.inc({ reason: "idle" });
      log.info({ peer: this.peer }, `forward: closed after ${limits.idle_timeout_ms} ms of silence`);
      this.end();
    }
  }

  /** Resolves when every message that arrived whole is stored and acknowledged, or refused. */
  whenSettled(): Promise<void> {
    if (this.isSettled) return Promise.resolve();
    return new Promise((resolve) => this.settled.push(resolve));
  }

  /** Reads nothing more, and closes when all acks are written. */
  end(): void {
    if (this.isEnding) return;
    this.isEnding = true;
    this.applyReading();
    if (this.isSettled) this.finish();
    else this.settled.push(() => this.finish());
  }

  destroy(): void {
    this.socket.destroy();
  }

  private get isSettled(): boolean {
    return this.inFlight === 0 && !this.isBusy && this.queue.length === 0;
  }

  /** Writes what is left, acks among it. A peer that never closes its side does not keep the socket. */
  private finish(): void {
    this.socket.end();
    this.socket.destroySoon();
    setTimeout(() => this.socket.destroy(), LINGER_MS).unref();
  }

  private onData(chunk: Buffer): void {
    if (this.isEnding) return;
    const { metrics, memory } = this.deps;
    metrics.bytes.inc(chunk.length);
    const now = performance.now();
    this.clock.heard(now);
    const wasPartial = this.framer.isPartial;
    let messages = 0;
    let fault: unknown = null;
    try {
      this.framer.push(chunk);
      for (let message = this.framer.next(); message !== null; message = this.framer.next()) {
        messages++;
        this.accept(message, this.framer.thirdAt, this.framer.streamOffset, null);
        if (this.isEnding) break;
      }
    } catch (error) {
      fault = error;
    }
    if (messages > 0) metrics.messages.inc(messages);
    if (fault !== null) this.accept(Buffer.alloc(0), 0, this.framer.streamOffset, fault);
    this.clock.setPartial(this.framer.isPartial, messages > 0, now);
    this.countFramer(this.framer.heldBytes);
    this.applyReading();
    if (memory.isOver && wasPartial && messages > 0) this.deps.onMessageEnd();
  }

  /** The peer will send no more: what it sent is still stored and acknowledged. */
  private onEnd(): void {
    if (this.framer.isPartial && !this.isEnding) {
      const what = "connection ended in the middle of a message";
      const fault = badMessage("cut", what, this.framer.partialBytes);
      this.accept(Buffer.alloc(0), 0, this.framer.streamOffset, fault);
    }
    this.end();
  }

  private onClose(): void {
    this.isGone = true;
    this.isEnding = true;
    this.countFramer(0);
    this.deps.onGone(this);
  }

  private countFramer(held: number): void {
    const { memory } = this.deps;
    if (this.isGone) held = 0;
    if (held !== this.framerBytes) memory.add(held - this.framerBytes);
    this.framerBytes = held;
  }

  private accept(payload: Buffer, thirdAt: number, streamOffset: number, fault: unknown): void {
    this.deps.memory.add(payload.length + MESSAGE_BYTES);
    const item = { payload, thirdAt, streamOffset, fault };
    if (this.isBusy) this.queue.push(item);
    else this.handle(item);
  }

  /** Handles one item, at once where that is possible, else with `isBusy` until it is done. */
  private handle(item: Item): void {
    let stored = false;
    try {
      if (this.hasFailed) return;
      if (item.fault !== null) throw item.fault;
      if (this.handshake !== null) {
        this.answerPing(this.handshake, item);
        return;
      }
      const message = readForwardMessage(item.payload, item.thirdAt < item.payload.length ? item.thirdAt : -1);
      if (message.signal !== "logs") {
        this.dropSignal(item, message);
        return;
      }
      if (message.mode !== "compressed") {
        this.check.open(item.payload, message);
        if (this.check.step()) {
          stored = this.store(item, message, undefined);
          return;
        }
      }
      stored = true; // By `handleSlowly`, which also gives the memory back.
      this.handleSlowly(item, message);
    } catch (error) {
      this.failWith(error, item);
    } finally {
      if (!stored) this.release(item, 0);
    }
  }

  /** The rest of `handle` for messages that are inflated, or have very many entries. */
  private handleSlowly(item: Item, message: ForwardMessage): void {
    this.isBusy = true;
    this.prepare(item, message)
      .catch((error: unknown) => this.failWith(error, item))
      .finally(() => {
        this.isBusy = false;
        while (!this.isBusy) {
          const next = this.queue.shift();
          if (next === undefined) break;
          this.handle(next);
        }
        this.applyReading();
        this.settle();
      });
  }

  private async prepare(item: Item, message: ForwardMessage): Promise<void> {
    let inflated: Buffer | undefined;
    let stored = false;
    try {
      if (message.compression !== "none") {
        const { compression } = message;
        const bytes = item.payload.subarray(message.entriesStart, message.entriesEnd);
        const { inflated_bytes_max } = this.deps.limits;
        inflated = await this.deps.gate.run(() => inflateBounded(bytes, compression, inflated_bytes_max));
        this.deps.memory.add(inflated.length);
        this.check.open(item.payload, message, inflated);
      }
      while (!this.check.step()) await nextTurn();
      stored = this.store(item, message, inflated);
    } finally {
      if (!stored) this.release(item, inflated?.length ?? 0);
    }
  }

  private release(item: Item, inflatedBytes: number): void {
    this.deps.memory.add(-(item.payload.length + MESSAGE_BYTES + inflatedBytes));
  }

  /** Hands a checked message to the intake log; false when there is nothing in it to hand over. */
  private store(item: Item, message: ForwardMessage, inflated: Buffer | undefined): boolean {
    const { events } = this.check;
    const { deps } = this;
    if (events === 0) {
      this.acknowledge(item, message);
      return false;
    }
    const draft: EntryDraft = {
      kind: ENTRY_FORWARD,
      tenant: deps.tenant,
      source: deps.name,
      receivedMs: deps.now(),
      payload: item.payload,
      ...(message.chunk === null ? {} : { dedupeKey: dedupeKey(item.payload, message, message.chunk) }),
      ...(inflated === undefined ? {} : { inflated }),
    };
    this.inFlight++;
    this.inFlightBytes += item.payload.length + MESSAGE_BYTES;
    const done = (): void => {
      this.inFlight--;
      this.inFlightBytes -= item.payload.length + MESSAGE_BYTES;
      this.release(item, inflated?.length ?? 0);
      this.applyReading();
      this.settle();
    };
    deps.delivery.send(draft).then(
      (stored) => {
        this.onStored(stored, events, item, message);
        done();
      },
      (error: unknown) => {
        this.failWith(error, item);
        done();
      },
    );
    return true;
  }

  private onStored({ offset }: Stored, events: number, item: Item, message: ForwardMessage): void {
    if (offset === null) this.deps.metrics.repeats.inc();
    else this.deps.metrics.events.inc(events);
    this.acknowledge(item, message);
  }

  /** One write for the whole ack: Fluent Bit takes half of one for a failure. */
  private acknowledge({ payload }: Item, message: ForwardMessage): void {
    if (message.chunkStart === -1 || this.isGone) return;
    this.socket.write(Buffer.concat([ACK_HEAD, payload.subarray(message.chunkStart, message.chunkEnd)]));
    this.deps.metrics.acks.inc();
    this.clock.heard(performance.now());
  }

  private dropSignal(item: Item, message: ForwardMessage): void {
    const { log, metrics } = this.deps;
    const { signal, tag } = message;
    metrics.dropped.inc({ signal });
    if (!this.hasWarnedOfSignal) {
      this.hasWarnedOfSignal = true;
      log.warn(
        { peer: this.peer, tag, signal },
        `forward: ${signal} are acknowledged and dropped, as only logs are stored; route only logs here (said once a connection)`,
      );
    }
    this.acknowledge(item, message);
  }

  private answerPing(handshake: ServerHandshake, { payload, streamOffset }: Item): void {
    const { ok, reason, reply, clientHostname } = handshake.answer(payload);
    this.socket.write(reply);
    if (!ok) {
      this.fail("handshake", `agent ${JSON.stringify(clientHostname)} refused: ${reason}`, "", streamOffset);
      return;
    }
    this.handshake = null;
    this.framer.messageBytesMax = this.deps.limits.message_bytes_max;
  }

  private failWith(error: unknown, { payload, streamOffset }: Item): void {
    const tag = payload.length > 0 ? tagOf(payload) : this.framer.partialTag();
    if (error instanceof WeirError && error.code === "bad_message") {
      const at = error.context.place === "message" ? Number(error.context.at) : 0;
      this.fail(String(error.context.reason), error.message, tag, streamOffset + at);
    } else if (error instanceof WeirError && error.code === "forward_closed") {
      this.end(); // The process stops: the agent gets no ack, and sends it again.
    } else if (error instanceof WeirError) {
      this.fail(error.code, error.message, tag, streamOffset);
    } else {
      this.deps.log.error({ err: error, peer: this.peer }, "forward: a message was not stored");
      this.fail("internal", messageOf(error), tag, streamOffset);
    }
  }

  /** Ends the connection for what the peer did: one line in the log, one count. */
  private fail(reason: string, what: string, tag: string, offset: number): void {
    if (this.hasFailed) return;
    this.hasFailed = true;
    const { peer } = this;
    this.deps.metrics.rejected.inc({ reason });
    this.deps.log.warn(
      { peer, receiver: this.deps.name, tag, offset, reason },
      `${what.startsWith("forward: ") ? what : `forward: ${what}`}; closed the connection of ${peer} (tag ${JSON.stringify(tag)}, byte ${offset} of the connection)`,
    );
    this.end();
  }

  private settle(): void {
    if (!this.isSettled) return;
    for (const resolve of this.settled.splice(0)) resolve();
  }

  private applyReading(): void {
    if (this.isGone) return;
    const hasRoom = this.inFlightBytes < IN_FLIGHT_BYTES_MAX && this.socket.writableLength < UNREAD_ACK_BYTES_MAX;
    const read = this.mayRead && !this.isEnding && !this.isBusy && hasRoom;
    if (read === !this.clock.isStopped) return;
    if (read) {
      this.clock.start(performance.now());
      this.socket.resume();
    } else {
      this.clock.stop(performance.now());
      this.socket.pause();
    }
  }
}

/**
 * The key by which the intake log recognises a chunk that is sent again. A chunk sent again has the same bytes, so where
 * tag and id are too long, or no text (then two of them could look the same), the bytes themselves are hashed.
 */
function dedupeKey(payload: Buffer, message: ForwardMessage, chunk: string): string {
  const key = `${message.tag}\0${chunk}`;
  if (key.length <= KEY_CHARACTERS_MAX && !key.includes("\ufffd")) return key;
  const hash = createHash("sha256").update(payload.subarray(0, message.entriesStart));
  return `sha256:${hash.update(payload.subarray(message.chunkStart, message.chunkEnd)).digest("hex")}`;
}

/** The tag of a faulty message, for the log line about it: "" where not even that can be read. */
function tagOf(payload: Buffer): string {
  const framer = new Framer(Number.MAX_SAFE_INTEGER);
  framer.push(payload);
  return framer.partialTag();
}
