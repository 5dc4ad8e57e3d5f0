import { messageOf, WeirError } from "../core/errors.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryKind } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import { splitNs } from "../core/time.ts";
import type { TenantLimits } from "../push/options.ts";
import type { Sliced } from "../push/stream.ts";
import { type EventTime, EventWriter, isEventTime } from "./event-writer.ts";
import { factsOf, type Pair, type TopicMessage } from "./facts.ts";
import { addJsonRecords } from "./json-records.ts";
import type { MessageResult } from "./metrics.ts";
import { addMsgpackRecords } from "./msgpack-records.ts";
import type { TopicOptions } from "./options.ts";
import { LineWriter } from "./otlp-lines.ts";

/** Longest reason that stands beside a message that can't be read. */
const REASON_CHARS_MAX = 500;
/** Messages between two chances for others to have a turn. */
const MESSAGES_A_SLICE = 64;
/** Messages that a log line is written for, of one batch. */
const LOGGED_MAX = 3;

/** A part of a batch: it becomes one entry of the intake log. */
export interface BatchPart {
  /** The same for the same kind of payload, so that a part made anew has the key that it had. */
  readonly name: "records" | "lines";
  readonly kind: EntryKind;
  readonly payload: Buffer;
}

export interface BuiltBatch {
  /** Messages that are in it, from the first on: fewer than were given where they become more than may be. */
  readonly taken: number;
  readonly parts: readonly BatchPart[];
  readonly results: Readonly<Record<MessageResult, number>>;
  /** Of the messages' values. */
  readonly bytes: number;
}

export interface BuildDeps {
  readonly options: TopicOptions;
  readonly limits: TenantLimits;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/**
 * Makes entries of messages of one partition: records as a message of the forward protocol, OpenTelemetry's lines as a push. A
 * message that is not of the format becomes a record with its text and metadata `kafka_error`; nothing in a message makes this
 * throw. The same messages give the same entries, but for times of messages that have none. Ends early when the entries have
 * `payloadBytesMax` bytes.
 */
export function* buildBatch(
  messages: readonly TopicMessage[],
  tag: string,
  payloadBytesMax: number,
  deps: BuildDeps,
): Sliced<BuiltBatch> {
  const builder = new BatchBuilder(tag, deps);
  let taken = 0;
  for (const message of messages) {
    if (builder.length >= payloadBytesMax) break;
    yield* builder.add(message);
    if (++taken % MESSAGES_A_SLICE === 0) yield;
  }
  return { taken, ...builder.finish() };
}

class BatchBuilder {
  private readonly deps: BuildDeps;
  private readonly events: EventWriter;
  private readonly lines: LineWriter;
  private readonly results: Record<MessageResult, number> = { stored: 0, unreadable: 0, too_large: 0, empty: 0 };
  private bytes = 0;
  private logged = 0;

  constructor(tag: string, deps: BuildDeps) {
    this.deps = deps;
    this.events = new EventWriter(tag);
    this.lines = new LineWriter(tag);
  }

  get length(): number {
    return this.events.packer.length + this.lines.length;
  }

  *add(message: TopicMessage): Sliced<void> {
    const { value } = message;
    const { options } = this.deps;
    // A tombstone, or an empty text: there is nothing in it but in a line of its own.
    if (value === null || (value.length === 0 && options.format !== "line")) {
      this.results.empty++;
      return;
    }
    if (value.length > options.message_bytes_max) {
      this.results.too_large++;
      this.say(
        message,
        `${value.length} bytes are more than message_bytes_max (${options.message_bytes_max}); not stored`,
      );
      return;
    }
    this.bytes += value.length;
    const facts = factsOf(message, options.metadata);
    const time = this.timeOf(message);
    const before = this.events.mark();
    try {
      yield* this.decode(value, time, facts);
      this.results.stored++;
    } catch (error) {
      this.events.rewind(before);
      this.keepText(message, time, facts, error);
    }
  }

  finish(): Omit<BuiltBatch, "taken"> {
    const { events, lines, results, bytes } = this;
    const parts: BatchPart[] = [];
    if (events.size > 0) parts.push({ name: "records", kind: ENTRY_FORWARD, payload: events.finish() });
    if (lines.size > 0) parts.push({ name: "lines", kind: ENTRY_PUSH, payload: lines.finish() });
    return { parts, results, bytes };
  }

  private *decode(value: Buffer, time: EventTime, facts: readonly Pair[]): Sliced<void> {
    const { options, limits } = this.deps;
    const { format } = options;
    if (format === "json") addJsonRecords(value, time, facts, options, this.events);
    else if (format === "msgpack") addMsgpackRecords(value, time, facts, options, this.events);
    else if (format === "line") this.addText(value, time, facts);
    else yield* this.lines.add(value, time, facts, { format, limits });
  }

  private addText(value: Buffer, time: EventTime, facts: readonly Pair[]): void {
    this.events.add(time, facts, (packer) => {
      const map = packer.begin("map");
      packer.text(this.deps.options.line_key);
      packer.line(value);
      packer.end(map, 1);
      return null;
    });
  }

  private keepText(message: TopicMessage, time: EventTime, facts: readonly Pair[], error: unknown): void {
    const reason = messageOf(error).slice(0, REASON_CHARS_MAX);
    this.results.unreadable++;
    this.addText(message.value ?? Buffer.alloc(0), time, [...facts, ["kafka_error", reason]]);
    if (error instanceof WeirError) this.say(message, `${reason}; stored as text`);
    else {
      const { topic, partition, offset } = message;
      this.deps.log.error(
        { err: error, topic, partition, offset },
        `kafka: ${topic}/${partition}: the message at offset ${offset} can't be taken apart (${reason}); stored as text. This is a mistake in Weir: please report it`,
      );
    }
  }

  private say({ topic, partition, offset }: TopicMessage, what: string): void {
    if (this.logged++ >= LOGGED_MAX) return;
    this.deps.log.warn(
      { topic, partition, offset },
      `kafka: ${topic}/${partition}: message at offset ${offset}: ${what}`,
    );
  }

  /** The message's own time; where it has none that can be kept, now. */
  private timeOf({ timestampMs }: TopicMessage): EventTime {
    if (Number.isSafeInteger(timestampMs) && timestampMs >= 0) {
      const time = splitNs(BigInt(timestampMs) * 1_000_000n);
      if (isEventTime(time)) return time;
    }
    return splitNs(BigInt(this.deps.now()) * 1_000_000n);
  }
}
