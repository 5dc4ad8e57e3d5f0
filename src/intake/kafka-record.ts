import { randomBytes } from "node:crypto";
import { crc32 } from "../codec/crc32.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import { ENTRY_FORWARD, ENTRY_PUSH, type EntryDraft, type EntryKind } from "../core/intake-entry.ts";

/*
 * An entry of the intake log as a Kafka record, version 1. The value is the payload, byte for byte (a whole message of the forward
 * protocol; the lines of a push, codec/push-batch.ts). The key is what the partition was chosen by. Headers, text in UTF-8:
 *
 *   weir-version    "1"; a reader passes over records of another version
 *   weir-kind       "forward" or "push"
 *   weir-id         16 bytes, at random for each append; a record that stands in the log twice has the same
 *   weir-crc        4 bytes, CRC-32 of the value, big-endian
 *   weir-tenant     tenant
 *   weir-receiver   name of the receiver in the pipeline file
 *   weir-received   milliseconds since 1970 UTC, decimal; the record's timestamp is the same
 *   weir-key        what makes a chunk recognisable that is sent again: its tag, a zero byte, its id. Absent: it has none
 *   weir-lane       empty; the key's part before its first zero byte names a lane (EntryDraft.hasLane). Absent: it does not
 *   weir-part       "2/3": the second of three parts of what was too large for one record. Absent: it is whole
 *   weir-line-ids   for "push": 16 bytes for each line, in their order
 */
const VERSION = "1";
const KINDS: Readonly<Record<string, EntryKind>> = { forward: ENTRY_FORWARD, push: ENTRY_PUSH };
export const UID_BYTES = 16;
const LINE_ID_BYTES = 16;
const PART = /^([1-9]\d{0,5})\/([1-9]\d{0,5})$/;
/** Length of a name in a header, beyond which it is none of ours. */
const NAME_BYTES_MAX = 64 * 1024;

/** Which part of an entry: 1 to `of`. */
export interface Part {
  readonly number: number;
  readonly of: number;
}

export interface RecordHead {
  readonly kind: EntryKind;
  readonly uid: Buffer;
  readonly tenant: string;
  readonly source: string;
  readonly receivedMs: number;
  readonly dedupeKey: string | null;
  readonly hasLane: boolean;
  readonly part: Part | null;
  readonly lineIds: Buffer | null;
  readonly payloadCrc: number;
}

export type Headers = Readonly<Record<string, Buffer>>;

/** The headers of one record of `draft`, whose payload is `payload`: all of it, or a part. */
export function encodeHeaders(draft: EntryDraft, payload: Buffer, part: Part | null, lineIds?: Buffer): Headers {
  const crc = Buffer.allocUnsafe(4);
  crc.writeUInt32BE(crc32(payload));
  const headers: Record<string, Buffer> = {
    "weir-version": Buffer.from(VERSION),
    "weir-kind": Buffer.from(draft.kind === ENTRY_PUSH ? "push" : "forward"),
    "weir-id": randomBytes(UID_BYTES),
    "weir-crc": crc,
    "weir-tenant": Buffer.from(draft.tenant),
    "weir-receiver": Buffer.from(draft.source),
    "weir-received": Buffer.from(String(draft.receivedMs)),
  };
  if (draft.dedupeKey !== undefined) headers["weir-key"] = Buffer.from(draft.dedupeKey);
  if (draft.dedupeKey !== undefined && draft.hasLane === true) headers["weir-lane"] = Buffer.alloc(0);
  if (part !== null) headers["weir-part"] = Buffer.from(`${part.number}/${part.of}`);
  if (lineIds !== undefined) headers["weir-line-ids"] = lineIds;
  return headers;
}

/** Reads a record's headers. Throws `kafka_record` for a record that is none of this version's. */
export function decodeHeaders(headers: Headers): RecordHead {
  const version = text(headers, "weir-version");
  if (version !== VERSION) throw bad(`got weir-version ${JSON.stringify(version)}, want "${VERSION}"`);
  const kind = KINDS[text(headers, "weir-kind")];
  if (kind === undefined) throw bad(`got weir-kind ${JSON.stringify(text(headers, "weir-kind"))}`);
  const uid = bytes(headers, "weir-id");
  if (uid.length !== UID_BYTES) throw bad(`got a weir-id of ${uid.length} bytes, want ${UID_BYTES}`);
  const crc = bytes(headers, "weir-crc");
  if (crc.length !== 4) throw bad(`got a weir-crc of ${crc.length} bytes, want 4`);
  const received = text(headers, "weir-received");
  const receivedMs = /^\d{1,15}$/.test(received) ? Number(received) : Number.NaN;
  if (Number.isNaN(receivedMs)) throw bad(`got weir-received ${JSON.stringify(received)}, want milliseconds`);
  const lineIds = headers["weir-line-ids"] ?? null;
  if (lineIds !== null && (kind !== ENTRY_PUSH || lineIds.length % LINE_ID_BYTES !== 0))
    throw bad(`got weir-line-ids of ${lineIds.length} bytes, want a multiple of ${LINE_ID_BYTES}, for a push`);
  return {
    kind,
    uid,
    tenant: text(headers, "weir-tenant"),
    source: text(headers, "weir-receiver"),
    receivedMs,
    dedupeKey: headers["weir-key"] === undefined ? null : text(headers, "weir-key"),
    hasLane: headers["weir-lane"] !== undefined && headers["weir-key"] !== undefined,
    part: partOf(headers),
    lineIds,
    payloadCrc: crc.readUInt32BE(0),
  };
}

/** The payload of a record with that head. Throws `kafka_record` when its bytes aren't those that were written. */
export function checkPayload(head: RecordHead, value: Buffer | null): Buffer {
  if (value === null) throw bad("got no value");
  const got = crc32(value);
  if (got !== head.payloadCrc) throw bad(`the value's CRC-32 is ${got}, want ${head.payloadCrc}`);
  return value;
}

/** Bytes that the headers take in a batch of records, at most. */
export function headerBytes(headers: Headers): number {
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) bytes += name.length + value.length + 10;
  return bytes;
}

function partOf(headers: Headers): Part | null {
  if (headers["weir-part"] === undefined) return null;
  const said = text(headers, "weir-part");
  const match = PART.exec(said);
  const part = { number: Number(match?.[1]), of: Number(match?.[2]) };
  if (match === null || part.number > part.of) throw bad(`got weir-part ${JSON.stringify(said)}, want like 2/3`);
  return part;
}

function bytes(headers: Headers, name: string): Buffer {
  const value = headers[name];
  if (value === undefined) throw bad(`got no header ${name}`);
  return value;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function text(headers: Headers, name: string): string {
  const value = bytes(headers, name);
  if (value.length > NAME_BYTES_MAX) throw bad(`got ${value.length} bytes in ${name}`);
  try {
    return utf8.decode(value);
  } catch (error) {
    throw bad(`${name} is no UTF-8: ${messageOf(error)}`);
  }
}

function bad(what: string): WeirError {
  return new WeirError("kafka_record", `record of the intake topic: ${what}; does somebody else write to the topic?`);
}
