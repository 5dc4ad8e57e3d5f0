/*
 * Block, version 1: a gzip member "WB" (member.ts) whose payload is the block's lines, each followed by one LF. Data:
 *
 *   offset  size  field
 *        0     4  text       u32, bytes of the payload
 *        4     4  rows       u32, lines; at least 1
 *        8     8  min sec    i64, seconds since 1970 UTC of the first row's time
 *       16     4  min nsec   u32, nanoseconds after them, below 1e9
 *       20     8  max sec    i64, the last row's
 *       28     4  max nsec   u32
 *       32        sections   one after the other to the end of the data
 *
 * Flags: bit 0: some line holds a newline (a LENGTHS section says which); bit 1: "WX" members stand in front.
 *
 * A section is a type (u8), a length (u32), and that many bytes. A reader skips types that it does not know. Rows are in
 * order of time, equal times in order of arrival, and all columns and lines are in that order.
 *
 *   1 STREAM    varint length and bytes of the tenant, then the labels: JSON with sorted keys
 *   2 TIMES     times.ts
 *   3 LENGTHS   for each line a varint, its bytes without the LF; there when some line holds a newline
 *   4 SHARED    text-column.ts: sets of structured metadata; absent when no line has any
 *   5 ID        id-column.ts, one section a slot; absent when no line has an id in the slot
 *   6 COLUMN    text-column.ts, one section for each name of structured metadata; a name that some line has twice has two
 *   7 FILTER    id-filter.ts; absent when there is no trace or request id
 *   8 OVERFLOW  u32 count of the "WX" members in front, u32 their data's bytes, u32 CRC-32 of them all
 *
 * Sections that do not fit into one header (a single line's metadata may be megabytes) stand in empty members "WX" in
 * front of the block: their data, put together, is sections too. A block's bytes are its "WX" members and its "WB".
 */
export const BLOCK_FIXED_BYTES = 32;
export const TEXT_AT = 0;
export const ROWS_AT = 4;
export const MIN_SEC_AT = 8;
export const MIN_NSEC_AT = 16;
export const MAX_SEC_AT = 20;
export const MAX_NSEC_AT = 28;

export const FLAG_NEWLINES = 1;
export const FLAG_OVERFLOW = 2;

export const SECTION_HEADER_BYTES = 5;
export const SECTION_STREAM = 1;
export const SECTION_TIMES = 2;
export const SECTION_LENGTHS = 3;
export const SECTION_SHARED = 4;
export const SECTION_ID = 5;
export const SECTION_COLUMN = 6;
export const SECTION_FILTER = 7;
export const SECTION_OVERFLOW = 8;
export const OVERFLOW_BYTES = 12;
