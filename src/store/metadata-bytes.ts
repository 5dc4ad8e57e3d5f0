import { ID_ABSENT, ID_NAMES, ID_SLOTS, type SharedMetadata } from "../core/line.ts";
import { ID_TEXT_BYTES, type IdRows } from "./id-column.ts";
import type { OpenColumn } from "./open-column.ts";

/** The metadata of an open block's first `rows` rows. */
export interface OpenMetadata {
  readonly rows: number;
  readonly ids: readonly (IdRows | null)[];
  readonly sharedSets: readonly SharedMetadata[];
  /** The set of each row, or null while all rows have the first. */
  readonly sharedCodes: Uint32Array | null;
  readonly columns: readonly Pick<OpenColumn, "name" | "codes" | "count" | "values">[];
}

/** Bytes of all names and values of the rows' metadata, as text, each counted with each row that has it: what Loki counts for a line. */
export function metadataBytes({ rows, ids, sharedSets, sharedCodes, columns }: OpenMetadata): number {
  let bytes = 0;
  for (let slot = 0; slot < ID_SLOTS; slot++) {
    const at = ids[slot]?.at;
    if (at === undefined) continue;
    let count = 0;
    for (let row = 0; row < rows; row++) if (at[row] !== ID_ABSENT) count++;
    bytes += count * (ID_NAMES[slot].length + ID_TEXT_BYTES[slot]);
  }
  const sets = sharedSets.map(pairBytes);
  if (sharedCodes === null) bytes += rows * (sets[0] ?? 0);
  else for (let row = 0; row < rows; row++) bytes += sets[sharedCodes[row]];
  for (const { name, codes, count, values } of columns) {
    const nameBytes = Buffer.byteLength(name);
    const sizes = values.map((value) => nameBytes + Buffer.byteLength(value));
    for (let i = 0; i < count; i++) bytes += sizes[codes[i]];
  }
  return bytes;
}

function pairBytes({ pairs }: SharedMetadata): number {
  let bytes = 0;
  for (const [name, value] of pairs) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  return bytes;
}
