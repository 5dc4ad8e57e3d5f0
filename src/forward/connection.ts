import type { Socket } from "node:net";
import { badMessage } from "../codec/forward-error.ts";
import type { ForwardMessage } from "../codec/forward-message.ts";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { LogBudget } from "../core/log-budget.ts";
import { Framer } from "./framing.ts";
import { HANDSHAKE_BYTES_MAX, type HandshakeSettings, ServerHandshake } from "./handshake.ts";
import { Inbox, type InboxDeps, type InboxHost, type Item } from "./inbox.ts";
import { ReadingClock } from "./reading-clock.ts";

/** Acks that the peer has not read; beyond it, its socket is not read either. */
const UNREAD_ACK_BYTES_MAX = 64 << 10;
/** How long a closing connection waits for the peer to read what was written. */
const LINGER_MS = 5000;

export interface ConnectionDeps extends InboxDeps {
  /** null: agents need no handshake. */
  readonly handshake: HandshakeSettings | null;
  readonly log: Logger;
  /** For lines that peers can bring about. */
  readonly budget: LogBudget;
  /** Called when an unfinished message has come to its end, while memory is over its limit. */
  readonly onMessageEnd: () => void;
  /** Called once, when the connection is gone. */
  readonly onGone: (connection: Connection) => void;
}

/** One agent's connection: its bytes become messages, and its end is logged when it comes from what the agent did. */
export class Connection implements InboxHost {
  readonly peer: string;
  readonly peerHost: string;
  readonly clock: ReadingClock;
  /** Resolves when the socket is closed. */
  readonly whenGone: Promise<void>;
  private readonly socket: Socket;
  private readonly deps: ConnectionDeps;
  private readonly framer: Framer;
  private readonly inbox: Inbox;
  private handshake: ServerHandshake | null = null;
  /** What this connection has in the memory budget for its unfinished message. */
  private framerBytes = 0;
  private mayRead = true;
  private isEnding = false;
  private isGone = false;
  private hasFailed = false;
  private hasWarnedOfSignal = false;
  private readonly settled: (() => void)[] = [];

  constructor(socket: Socket, peer: string, deps: ConnectionDeps) {
    this.socket = socket;
    this.peer = peer;
    this.peerHost = socket.remoteAddress ?? "";
    this.deps = deps;
    this.framer = new Framer(deps.limits.message_bytes_max);
    this.inbox = new Inbox(deps, this);
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
    } else if (!this.inbox.isSettled) {
      this.clock.heard(now); // Weir is the one to speak next.
    } else if (this.clock.quietMs(now) > limits.idle_timeout_ms) {
      metrics.rejected.inc({ reason: "idle" });
      log.info({ peer: this.peer }, `forward: closed after ${limits.idle_timeout_ms} ms of silence`);
      this.end();
    }
  }

  /** What it holds of a message that isn't whole; 0 when it is ending anyway. */
  get partialBytes(): number {
    return this.isEnding || !this.framer.isPartial ? 0 : this.framerBytes;
  }

  /** Ends the connection for the memory that its unfinished message takes from all others. */
  endPartial(waitedMs: number): void {
    const what = `message not complete after ${Math.round(waitedMs)} ms, with ${this.framer.partialBytes} bytes, while unfinished messages fill the memory`;
    this.fail("message_timeout", what, this.framer.partialTag(), this.framer.streamOffset);
  }

  /** Resolves when every message that arrived whole is stored and acknowledged, or refused. */
  whenSettled(): Promise<void> {
    if (this.inbox.isSettled) return Promise.resolve();
    return new Promise((resolve) => this.settled.push(resolve));
  }

  /** Reads nothing more, and closes when all acks are written. */
  end(): void {
    if (this.isEnding) return;
    this.isEnding = true;
    this.applyReading();
    if (this.inbox.isSettled) this.finish();
    else this.settled.push(() => this.finish());
  }

  writeAck(ack: Buffer): void {
    if (this.isGone) return;
    this.socket.write(ack);
    this.deps.metrics.acks.inc();
    this.clock.heard(performance.now());
  }

  onDropped({ signal, tag }: ForwardMessage): void {
    if (this.hasWarnedOfSignal) return;
    this.hasWarnedOfSignal = true;
    this.deps.budget.warn(
      "signal",
      { peer: this.peer, tag, signal },
      `forward: ${signal} are acknowledged and dropped, as only logs are stored; route only logs here (said once a connection)`,
    );
  }

  onFault(error: unknown, { payload, streamOffset }: Item): void {
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

  onProgress(): void {
    this.applyReading();
    if (!this.inbox.isSettled) return;
    for (const resolve of this.settled.splice(0)) resolve();
  }

  /** Writes what is left, acks among it. A peer that never closes its side does not keep the socket. */
  private finish(): void {
    this.socket.end();
    this.socket.destroySoon();
    setTimeout(() => this.socket.destroy(), LINGER_MS).unref();
  }

  private onData(chunk: Buffer): void {
    if (this.isEnding) return;
    const { framer } = this;
    const { metrics, memory } = this.deps;
    metrics.bytes.inc(chunk.length);
    const now = performance.now();
    // What comes before a PING buys no time for it: nil, a heartbeat, would hold the place of an agent that has the key.
    if (this.handshake === null) this.clock.heard(now);
    const wasPartial = framer.isPartial;
    let messages = 0;
    try {
      framer.push(chunk);
      for (let payload = framer.next(); payload !== null && !this.isEnding; payload = framer.next()) {
        messages++;
        const { thirdAt, streamOffset, isAlone } = framer;
        this.onMessage({ payload, isAlone, thirdAt, streamOffset, fault: null });
      }
    } catch (fault) {
      const { streamOffset } = framer;
      this.inbox.add({ payload: Buffer.alloc(0), isAlone: false, thirdAt: 0, streamOffset, fault });
    }
    if (messages > 0) metrics.messages.inc(messages);
    this.clock.setPartial(framer.isPartial, messages > 0, now);
    this.countFramer(framer.heldBytes);
    this.applyReading();
    if (memory.isOver && wasPartial && messages > 0) this.deps.onMessageEnd();
  }

  private onMessage(item: Item): void {
    if (this.handshake === null) {
      this.inbox.add(item);
      return;
    }
    try {
      this.answerPing(this.handshake, item);
    } catch (error) {
      this.onFault(error, item);
    }
  }

  private answerPing(handshake: ServerHandshake, { payload, streamOffset }: Item): void {
    const { ok, reason, reply, clientHostname } = handshake.answer(payload);
    this.socket.write(reply);
    if (!ok) {
      this.fail("handshake", `agent ${JSON.stringify(clientHostname)} refused: ${reason}`, "", streamOffset);
      return;
    }
    this.handshake = null;
    this.clock.heard(performance.now());
    this.framer.messageBytesMax = this.deps.limits.message_bytes_max;
  }

  /** The peer will send no more: what it sent is still stored and acknowledged. */
  private onEnd(): void {
    const { isPartial, partialBytes, streamOffset } = this.framer;
    if (isPartial && !this.isEnding) {
      const fault = badMessage("cut", "connection ended in the middle of a message", partialBytes);
      this.inbox.add({ payload: Buffer.alloc(0), isAlone: false, thirdAt: 0, streamOffset, fault });
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
    const bytes = this.isGone ? 0 : held;
    if (bytes !== this.framerBytes) this.deps.memory.add(bytes - this.framerBytes);
    this.framerBytes = bytes;
  }

  /** Ends the connection for what the peer did: one line in the log, unless there are too many of them, and one count. */
  private fail(reason: string, what: string, tag: string, offset: number): void {
    if (this.hasFailed) return;
    this.hasFailed = true;
    this.inbox.shut();
    const { peer } = this;
    this.deps.metrics.rejected.inc({ reason });
    this.deps.budget.warn(
      reason,
      { peer, receiver: this.deps.name, tag, offset, reason },
      `${what.startsWith("forward: ") ? what : `forward: ${what}`}; closed the connection of ${peer} (tag ${JSON.stringify(tag)}, byte ${offset} of the connection)`,
    );
    this.end();
  }

  private applyReading(): void {
    if (this.isGone) return;
    const isHeard = this.socket.writableLength < UNREAD_ACK_BYTES_MAX;
    const read = this.mayRead && !this.isEnding && this.inbox.hasRoom && isHeard;
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

/** The tag of a faulty message, for the log line about it: "" where not even that can be read. */
function tagOf(payload: Buffer): string {
  const framer = new Framer(Number.MAX_SAFE_INTEGER);
  framer.push(payload);
  return framer.partialTag();
}
