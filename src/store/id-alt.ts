import { VarintReader } from "../codec/varint.ts";
import { TRACE_ID } from "../core/line.ts";
import type { Section } from "./block-header.ts";
import type { IdFilterBuilder } from "./id-filter.ts";

/*
 * A line may name more traces than its own: the metadata `trace_id_alt` lists them, 32 lower-case hex digits each, with
 * commas between. They are looked for like trace ids, so they stand in the same filter under the same slot.
 */
export const ALT_NAME = "trace_id_alt";
const ALT_NAME_BYTES = Buffer.from(ALT_NAME, "latin1");
const ALT_ID = /^[0-9a-f]{32}$/;
const LOW_AT = 16;
/** Bytes of values that hold one id at least, and bytes of the filter that it takes at most. */
const VALUE_BYTES_AN_ID = 32;
const FILTER_BYTES_AN_ID = 2;

/** Bytes that the ids in so many bytes of values add to a filter at most. */
export function altFilterBytesMax(valueBytes: number): number {
  return Math.ceil(valueBytes / VALUE_BYTES_AN_ID) * FILTER_BYTES_AN_ID;
}

/** Puts the ids that a value lists into a filter; what is no id is passed over. */
export function addAltIds(builder: IdFilterBuilder, value: string): void {
  for (const id of value.split(",")) {
    if (!ALT_ID.test(id)) continue;
    const low = Buffer.from(id.slice(LOW_AT), "hex");
    builder.add(TRACE_ID, low.readUInt32LE(0), low.readUInt32LE(4));
  }
}

/** Whether a value lists an id that ends in `low8`. */
export function altTest(low8: Uint8Array): (value: string) => boolean {
  const low = Buffer.from(low8.buffer, low8.byteOffset, low8.length).toString("hex");
  return (value) =>
    value.includes(low) && value.split(",").some((id) => id.length === LOW_AT + low.length && id.endsWith(low));
}

/** Whether a COLUMN section is one of further trace ids. Reads its name alone. */
export function isAltColumn({ bytes, at, end }: Section): boolean {
  const reader = new VarintReader(bytes, at, end);
  return (
    reader.next() === ALT_NAME_BYTES.length &&
    bytes.subarray(reader.at, Math.min(end, reader.at + ALT_NAME_BYTES.length)).equals(ALT_NAME_BYTES)
  );
}

/** Both lists of rows, ascending and without repeats. */
export function mergeRows(some: readonly number[], more: readonly number[]): number[] {
  return [...new Set([...some, ...more])].sort((a, b) => a - b);
}
