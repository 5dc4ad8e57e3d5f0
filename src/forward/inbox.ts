import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { inflateBounded } from "../codec/bounded-inflate.ts";
import { type ForwardMessage, readForwardMessage } from "../codec/forward-message.ts";
import { ENTRY_FORWARD, type EntryDraft } from "../core/intake-entry.ts";
import { MessageCheck } from "./check.ts";
import type { Delivery } from "./delivery.ts";
import type { InflateGate } from "./inflate-gate.ts";
import type { MemoryBudget } from "./memory.ts";
import type { ForwardMetrics } from "./metrics.ts";
import type { ForwardLimits } from "./options.ts";

/**
 * What one connection may have on its way to the intake log before its socket is not read: enough that a sender that
 * waits for no ack is never held up by one fsync, little enough that no agent takes all memory for itself.
 */
const IN_FLIGHT_BYTES_MAX = 8 << 20;
/** What a message on its way costs beside its bytes, in round numbers. */
const MESSAGE_BYTES = 512;
/** `{"ack": ` in MessagePack; the chunk id follows as it came. */
const ACK_HEAD = Buffer.from([0x81, 0xa3, 0x61, 0x63, 0x6b]);
/** Longer keys, which no known agent makes, are hashed. */
const KEY_CHARACTERS_MAX = 1024;

export interface InboxDeps {
  /** Name of the receiver: EntryDraft.source. */
  readonly name: string;
  readonly tenant: string;
  readonly limits: ForwardLimits;
  readonly delivery: Delivery;
  readonly memory: MemoryBudget;
  readonly gate: InflateGate;
  readonly metrics: ForwardMetrics;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** A whole message, or the fault after which the stream has no meaning any more. */
export interface Item {
  readonly payload: Buffer;
  /** Whether `payload` lies in memory of its own. */
  readonly isAlone: boolean;
  /** Where the third element begins; the length of the payload without one. */
  readonly thirdAt: number;
  /** Where the message, or the faulty one, begins in the connection's bytes. */
  readonly streamOffset: number;
  /** null for a message. */
  readonly fault: unknown;
}

/** The connection, as its inbox sees it. */
export interface InboxHost {
  /** The machine that the connection comes from. */
  readonly peerHost: string;
  /** Writes an ack: in one piece, since Fluent Bit takes half of one for a failure. */
  writeAck(ack: Buffer): void;
  /** A message of a signal that is not stored has come. */
  onDropped(message: ForwardMessage): void;
  /** The item is faulty, or will never be stored. */
  onFault(error: unknown, item: Item): void;
  /** `hasRoom` or `isSettled` may have changed. */
  onProgress(): void;
}

/** The whole messages of one connection: they are checked, stored and acknowledged, in the order in which they came. */
export class Inbox {
  private readonly deps: InboxDeps;
  private readonly host: InboxHost;
  private readonly check: MessageCheck;
  /** Items behind one that takes several turns of the event loop. */
  private queue: Item[] = [];
  private isBusy = false;
  private isShut = false;
  private inFlight = 0;
  private inFlightBytes = 0;

  constructor(deps: InboxDeps, host: InboxHost) {
    this.deps = deps;
    this.host = host;
    this.check = new MessageCheck(deps.limits);
  }

  /** Whether more should be read. */
  get hasRoom(): boolean {
    return !this.isBusy && this.inFlightBytes < IN_FLIGHT_BYTES_MAX;
  }

  /** Whether everything that came is stored and acknowledged, or refused. */
  get isSettled(): boolean {
    return this.inFlight === 0 && !this.isBusy && this.queue.length === 0;
  }

  /** Forgets what has not been looked at yet. */
  shut(): void {
    this.isShut = true;
  }

  add(item: Item): void {
    this.deps.memory.add(item.payload.length + MESSAGE_BYTES);
    if (this.isBusy) this.queue.push(item);
    else this.handle(item);
  }

  /** Handles one item, at once where that is possible, else with `isBusy` until it is done. */
  private handle(item: Item): void {
    let isHandedOn = false; // Whoever has it then also gives its memory back.
    try {
      if (this.isShut) return;
      if (item.fault !== null) throw item.fault;
      const message = readForwardMessage(item.payload, item.thirdAt < item.payload.length ? item.thirdAt : -1);
      if (message.signal !== "logs") {
        this.deps.metrics.dropped.inc({ signal: message.signal });
        this.host.onDropped(message);
        this.acknowledge(item, message);
        return;
      }
      if (message.mode !== "compressed") {
        this.check.open(item.payload, message);
        if (this.check.step()) {
          isHandedOn = this.store(item, message, undefined);
          return;
        }
      }
      isHandedOn = true;
      this.handleSlowly(item, message);
    } catch (error) {
      this.host.onFault(error, item);
    } finally {
      if (!isHandedOn) this.release(item, 0);
    }
  }

  /** The rest of `handle` for messages that are inflated, or have very many entries. */
  private handleSlowly(item: Item, message: ForwardMessage): void {
    this.isBusy = true;
    this.prepare(item, message)
      .catch((error: unknown) => this.host.onFault(error, item))
      .finally(() => {
        this.isBusy = false;
        while (!this.isBusy) {
          const next = this.queue.shift();
          if (next === undefined) break;
          this.handle(next);
        }
        this.host.onProgress();
      });
  }

  private async prepare(item: Item, message: ForwardMessage): Promise<void> {
    const { compression } = message;
    let inflated: Buffer | undefined;
    let isHandedOn = false;
    try {
      if (compression !== "none") {
        const bytes = item.payload.subarray(message.entriesStart, message.entriesEnd);
        const { gate, limits, memory } = this.deps;
        inflated = await gate.run(() => inflateBounded(bytes, compression, limits.inflated_bytes_max));
        memory.add(inflated.length);
        this.check.open(item.payload, message, inflated);
      }
      while (!this.check.step()) await nextTurn();
      isHandedOn = this.store(item, message, inflated);
    } finally {
      if (!isHandedOn) this.release(item, inflated?.length ?? 0);
    }
  }

  private release(item: Item, inflatedBytes: number): void {
    this.giveBack(item.payload.length + MESSAGE_BYTES + inflatedBytes);
  }

  private giveBack(bytes: number): void {
    this.deps.memory.add(-bytes);
  }

  /** Hands a checked message to the intake log; false when there is nothing in it to hand over. */
  private store(item: Item, message: ForwardMessage, inflated: Buffer | undefined): boolean {
    const { metrics, delivery } = this.deps;
    const { events } = this.check;
    if (events === 0) {
      this.acknowledge(item, message);
      return false;
    }
    const bytes = item.payload.length + MESSAGE_BYTES;
    const held = bytes + (inflated?.length ?? 0);
    const done = (): void => {
      this.inFlight--;
      this.inFlightBytes -= bytes;
      this.giveBack(held);
      this.host.onProgress();
    };
    // The bytes are the intake's from now on, and may be in another thread by the time they are durable.
    const ack = ackOf(item, message);
    this.inFlight++;
    this.inFlightBytes += bytes;
    delivery.send(this.draftOf(item, message, inflated)).then(
      ({ offset }) => {
        if (offset === null) metrics.repeats.inc();
        else metrics.events.inc(events);
        if (ack !== null) this.host.writeAck(ack);
        done();
      },
      (error: unknown) => {
        this.host.onFault(error, item);
        done();
      },
    );
    return true;
  }

  private draftOf({ payload, isAlone }: Item, message: ForwardMessage, inflated: Buffer | undefined): EntryDraft {
    const { tenant, name, now } = this.deps;
    const { chunk } = message;
    return {
      kind: ENTRY_FORWARD,
      tenant,
      source: name,
      receivedMs: now(),
      payload,
      isAlone,
      origin: `${this.host.peerHost} ${message.tag}`,
      // An empty id says nothing of which chunk it is: it is acknowledged, and never taken for a repeat.
      ...(chunk === null || chunk === "" ? {} : { dedupeKey: dedupeKey(payload, message, chunk) }),
      ...(inflated === undefined ? {} : { inflated }),
    };
  }

  private acknowledge(item: Item, message: ForwardMessage): void {
    const ack = ackOf(item, message);
    if (ack !== null) this.host.writeAck(ack);
  }
}

/** The answer to a message; null where none is wanted. */
function ackOf({ payload }: Item, { chunkStart, chunkEnd }: ForwardMessage): Buffer | null {
  return chunkStart === -1 ? null : Buffer.concat([ACK_HEAD, payload.subarray(chunkStart, chunkEnd)]);
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
