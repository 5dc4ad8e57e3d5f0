import type { Labels } from "./labels.ts";

/** Metadata that many lines share (pod, node). Compared by identity, so build one object for each distinct set. */
export interface SharedMetadata {
  readonly pairs: readonly (readonly [name: string, value: string])[];
}

export const NO_METADATA: SharedMetadata = { pairs: [] };

/**
 * The ids that every line may carry, each in its slot of `Line.ids`: 16 bytes a slot, of which `ID_BYTES` count.
 * `trace_id` and `request_id` are 16 bytes (32 hex digits; a UUID), the spans 8.
 */
export const ID_NAMES = ["trace_id", "span_id", "parent_span_id", "request_id"] as const;
export const ID_BYTES = [16, 8, 8, 16] as const;
export const TRACE_ID = 0;
export const SPAN_ID = 1;
export const PARENT_SPAN_ID = 2;
export const REQUEST_ID = 3;
export const ID_SLOTS = 4;

/** `Line.idAt` of an id that the line does not have. */
export const ID_ABSENT = -2;
/** `Line.idAt` of an id whose text is not in the line itself (it came from a field). */
export const ID_ELSEWHERE = -1;

/**
 * One line on its way from the pipeline to a sink. The pipeline fills one object again and again, so a sink
 * copies what it keeps before `append` returns. Bytes stay bytes: `bytes[start, end)` is the line.
 */
export class Line {
  /** Seconds since 1970 UTC, and nanoseconds 0 to 999,999,999. */
  sec = 0;
  nsec = 0;
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  shared: SharedMetadata = NO_METADATA;
  /** One of the names of `specs`' detected_level, or "" for none. Stored as metadata `detected_level`. */
  level = "";
  /** ID_SLOTS times 16 bytes. */
  readonly ids: Uint8Array = new Uint8Array(ID_SLOTS * 16);
  /**
   * For each slot ID_ABSENT, ID_ELSEWHERE, or the offset from `start` at which the line's own bytes hold the
   * id's canonical text: 32 or 16 lower-case hex digits, or for `request_id` a lower-case UUID of 36 characters.
   * The store then keeps the offset instead of the id.
   */
  readonly idAt: Int32Array = new Int32Array(ID_SLOTS).fill(ID_ABSENT);
  /** Further metadata of this line alone; only the first `extraCount` names and values count. */
  readonly extraNames: string[] = [];
  readonly extraValues: string[] = [];
  extraCount = 0;

  /** Forgets metadata, ids and level; time and bytes are always set anew. */
  clear(): void {
    this.shared = NO_METADATA;
    this.level = "";
    this.extraCount = 0;
    this.idAt[0] = ID_ABSENT;
    this.idAt[1] = ID_ABSENT;
    this.idAt[2] = ID_ABSENT;
    this.idAt[3] = ID_ABSENT;
  }

  addExtra(name: string, value: string): void {
    this.extraNames[this.extraCount] = name;
    this.extraValues[this.extraCount] = value;
    this.extraCount++;
  }
}

/** A line's metadata as queries show it, ids as text. */
export function lineMetadata(line: Line): (readonly [name: string, value: string])[] {
  const pairs: (readonly [string, string])[] = [...line.shared.pairs];
  if (line.level !== "") pairs.push(["detected_level", line.level]);
  for (let slot = 0; slot < ID_SLOTS; slot++) {
    if (line.idAt[slot] === ID_ABSENT) continue;
    pairs.push([ID_NAMES[slot], idText(slot, line.ids.subarray(slot * 16, slot * 16 + ID_BYTES[slot]))]);
  }
  for (let i = 0; i < line.extraCount; i++) pairs.push([line.extraNames[i], line.extraValues[i]]);
  return pairs;
}

/** The canonical text of raw id bytes: hex digits, and for a request id a UUID. */
export function idText(slot: number, id: Uint8Array): string {
  const hex = Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString("hex");
  if (slot !== REQUEST_ID) return hex;
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** A stream as a sink knows it. The pipeline keeps the handle and passes it back with each line. */
export interface StreamHandle {
  readonly tenant: string;
  readonly labels: Labels;
  /** `canonicalLabels(labels)`. */
  readonly canonical: string;
}

/** The record that a line comes from, for a sink that sends on more than the line. Valid during `append` only. */
export interface LineSource {
  /**
   * The record's fields after `rename` and `drop`, with what parsers found, as a JSON object with sorted keys; only those in
   * `keep` if it is given. Decodes the record, so ask only when it is wanted.
   */
  json(keep?: ReadonlySet<string>): string;
}

/** The source of lines that are all there is of their records. */
export const NO_SOURCE: LineSource = { json: () => "{}" };

/** Where the pipeline puts lines. Both calls are synchronous and never fail for what a line holds. */
export interface LineSink {
  /** A handle for the stream; equal labels of one tenant give the same handle. It stays valid for good. */
  stream(tenant: string, labels: Labels, canonical: string): StreamHandle;
  append(stream: StreamHandle, line: Line, source: LineSource): void;
}
