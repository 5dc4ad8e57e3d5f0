import { readForwardMessage } from "../codec/forward-message.ts";
import { WeirError } from "../core/errors.ts";
import { ENTRY_PUSH, type EntryDraft } from "../core/intake-entry.ts";
import { partitionOfKey } from "../kafka/producer.ts";
import type { KafkaIntakeOptions } from "./kafka-options.ts";
import { RECORD_BYTES, type SizedRecord } from "./kafka-queue.ts";
import { encodeHeaders, type Headers, headerBytes, type Part } from "./kafka-record.ts";
import { splitForward } from "./split-forward.ts";
import { splitPush } from "./split-push.ts";

/** What has to be known of the topic before anything is written to it. */
export interface RecordLimits {
  readonly partitions: number;
  readonly messageBytesMax: number;
}

/** A batch's own head: 61 bytes, and some to be sure. */
const BATCH_BYTES = 128;
/** Headers of our own but for the texts of the draft and its line ids. */
const HEADERS_BYTES = 300;
/** Below that nothing sensible can be split into. */
const PAYLOAD_BYTES_MIN = 512;

type Options = Pick<KafkaIntakeOptions, "topic" | "compression" | "partition_by">;

/**
 * The records that keep an entry: one, where it fits into the topic's limit; else several, split between events. All records
 * of a forward message have one key, and so are in one partition, in order; those of a push go by their streams. Throws
 * `intake_entry_too_large` when a single event or line does not fit.
 */
export function recordsOf(draft: EntryDraft, options: Options, limits: RecordLimits): SizedRecord[] {
  const room = partitionBytesOf(limits.messageBytesMax, options.compression);
  return draft.kind === ENTRY_PUSH
    ? pushRecords(draft, options, limits, room)
    : forwardRecords(draft, options, limits, room);
}

function forwardRecords(draft: EntryDraft, options: Options, limits: RecordLimits, room: number): SizedRecord[] {
  const key = forwardKey(draft, options.partition_by);
  const partition = partitionOfKey(key, limits.partitions);
  const payloadMax = room - overhead(draft, key);
  if (draft.payload.length <= payloadMax) {
    return [sized(draft, options.topic, partition, key, draft.payload, encodeHeaders(draft, draft.payload, null))];
  }
  if (payloadMax < PAYLOAD_BYTES_MIN) throw tooLarge(draft, limits);
  const payloads = splitForward(draft.payload, payloadMax, draft.inflated);
  return payloads.map((payload, i) => {
    const part: Part | null = payloads.length === 1 ? null : { number: i + 1, of: payloads.length };
    return sized(draft, options.topic, partition, key, payload, encodeHeaders(draft, payload, part));
  });
}

/** What the partition goes by: one source's chunks, and one chunk's repeats, have the same. */
function forwardKey(draft: EntryDraft, by: KafkaIntakeOptions["partition_by"]): string {
  const { tenant, dedupeKey, origin } = draft;
  if (by === "chunk" && dedupeKey !== undefined) return `${tenant}\0${dedupeKey}`;
  if (by === "source" && origin !== undefined) return `${tenant}\0${origin}`;
  return `${tenant}\0${readForwardMessage(draft.payload).tag}`;
}

function pushRecords(draft: EntryDraft, options: Options, limits: RecordLimits, room: number): SizedRecord[] {
  const { tenant } = draft;
  const lineIds = draft.lineIds ?? Buffer.alloc(0);
  // A part has at least one whole stream's labels as its key.
  const payloadMax = room - overhead({ ...draft, lineIds: Buffer.alloc(0) }, "");
  if (payloadMax < PAYLOAD_BYTES_MIN) throw tooLarge(draft, limits);
  const hasIds = lineIds.length > 0;
  const parts = splitPush(draft.payload, lineIds, payloadMax, (stream) =>
    partitionOfKey(pushKey(tenant, stream), limits.partitions),
  );
  // Without ids of its lines a part is known by the push's key, as those of a forward message are.
  const isSplit = draft.dedupeKey !== undefined && parts.length > 1;
  return parts.map(({ partition, stream, payload, lineIds: ids }, i) => {
    const part: Part | null = isSplit ? { number: i + 1, of: parts.length } : null;
    const headers = encodeHeaders(draft, payload, part, hasIds ? ids : undefined);
    return sized(draft, options.topic, partition, pushKey(tenant, stream), payload, headers);
  });
}

const pushKey = (tenant: string, stream: string) => `${tenant}\0${stream}`;

function overhead({ tenant, source, dedupeKey, lineIds }: EntryDraft, key: string): number {
  const texts = [tenant, source, dedupeKey ?? "", key].reduce((sum, one) => sum + Buffer.byteLength(one), 0);
  return HEADERS_BYTES + RECORD_BYTES + texts + (lineIds?.length ?? 0);
}

function sized(
  draft: EntryDraft,
  topic: string,
  partition: number,
  key: string,
  value: Buffer,
  headers: Headers,
): SizedRecord {
  const record = { topic, partition, key, value, headers, timestampMs: draft.receivedMs };
  return { record, bytes: RECORD_BYTES + Buffer.byteLength(key) + value.length + headerBytes(headers) };
}

function tooLarge({ payload }: EntryDraft, { messageBytesMax }: RecordLimits): WeirError {
  return new WeirError(
    "intake_entry_too_large",
    `an entry of ${payload.length} bytes can't be kept: max.message.bytes of the intake topic is ${messageBytesMax}; raise it`,
    { context: { length: payload.length, most: messageBytesMax } },
  );
}

/** Bytes of records that fit into one batch of a partition, whatever compressing them does to their size. */
export function partitionBytesOf(messageBytesMax: number, compression: KafkaIntakeOptions["compression"]): number {
  const room = messageBytesMax - BATCH_BYTES;
  // Snappy makes random bytes up to a sixth longer, deflate hardly.
  return Math.floor(compression === "snappy" ? room / 1.2 : compression === "gzip" ? room / 1.01 : room);
}
