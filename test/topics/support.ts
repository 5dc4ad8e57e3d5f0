import { EventCursor, readForwardMessage } from "../../src/codec/forward-message.ts";
import { decode, MsgpackMap, type MsgpackValue } from "../../src/codec/msgpack.ts";
import { PushBatchCursor } from "../../src/codec/push-batch.ts";
import { ENTRY_FORWARD } from "../../src/core/intake-entry.ts";
import { silentLogger } from "../../src/core/log.ts";
import { ingestOptions, limitsOf } from "../../src/push/options.ts";
import { runSliced } from "../../src/push/slices.ts";
import { type BatchPart, type BuiltBatch, buildBatch } from "../../src/topics/batch-builder.ts";
import type { TopicMessage } from "../../src/topics/facts.ts";
import { type TopicOptions, topicOptions } from "../../src/topics/options.ts";

export const limits = limitsOf(ingestOptions.parse({}), "fake");

export function optionsOf(more: object = {}): TopicOptions {
  return topicOptions.parse({ brokers: ["127.0.0.1:9092"], topics: ["logs"], ...more });
}

export function message(value: Buffer | string | null, more: Partial<TopicMessage> = {}): TopicMessage {
  return {
    topic: "logs",
    partition: 3,
    offset: 7,
    timestampMs: 1_700_000_000_123,
    key: null,
    headers: {},
    value: typeof value === "string" ? Buffer.from(value) : value,
    ...more,
  };
}

/** A record or a line as whoever reads the entry sees it. */
export interface Seen {
  readonly sec: number;
  readonly nsec: number;
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Of a record. */
  readonly record?: MsgpackValue;
  /** Of a pushed line. */
  readonly labels?: unknown;
  readonly line?: string;
}

export async function build(messages: readonly TopicMessage[], more: object = {}): Promise<BuiltBatch> {
  const deps = { options: optionsOf(more), limits, log: silentLogger, now: () => 1_800_000_000_000 };
  return runSliced(buildBatch(messages, "the.tag", Number.POSITIVE_INFINITY, deps));
}

export async function seen(messages: readonly TopicMessage[], more: object = {}): Promise<Seen[]> {
  const { parts } = await build(messages, more);
  return parts.flatMap(readPart);
}

export function readPart({ kind, payload }: Pick<BatchPart, "kind" | "payload">): Seen[] {
  return kind === ENTRY_FORWARD ? readEvents(payload) : readLines(payload);
}

function readEvents(payload: Buffer): Seen[] {
  const out: Seen[] = [];
  const forward = readForwardMessage(payload);
  const cursor = new EventCursor();
  cursor.open(payload, forward);
  while (cursor.next()) {
    const { bytes, sec, nsec } = cursor;
    const metadata = decode(bytes, cursor.metadataStart, cursor.metadataEnd).value;
    const record = decode(bytes, cursor.recordStart, cursor.recordEnd).value;
    out.push({ sec, nsec, metadata: plain(metadata) as Record<string, unknown>, record });
  }
  return out;
}

function readLines(payload: Buffer): Seen[] {
  const out: Seen[] = [];
  const cursor = new PushBatchCursor(payload);
  while (cursor.next()) {
    const { bytes, sec, nsec } = cursor;
    const metadata = plain(decode(bytes, cursor.metadataStart, cursor.metadataEnd).value) as Record<string, unknown>;
    const labels: unknown = JSON.parse(bytes.toString("utf8", cursor.streamStart, cursor.streamEnd));
    out.push({ sec, nsec, metadata, labels, line: bytes.toString("utf8", cursor.lineStart, cursor.lineEnd) });
  }
  return out;
}

/** Maps as objects, for comparing. */
export function plain(value: MsgpackValue | undefined): unknown {
  if (value instanceof MsgpackMap) {
    return Object.fromEntries(value.pairs.map(([key, inner]) => [String(plain(key)), plain(inner)]));
  }
  if (Array.isArray(value)) return value.map(plain);
  if (Buffer.isBuffer(value)) return value.toString("latin1");
  return value;
}
