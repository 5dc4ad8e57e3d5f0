import type { Labels } from "../core/labels.ts";
import {
  ID_ABSENT,
  ID_BYTES,
  ID_NAMES,
  ID_SLOTS,
  idText,
  NO_METADATA,
  type SharedMetadata,
  type StreamHandle,
  TRACE_ID,
} from "../core/line.ts";
import { ALT_NAME, altTest, mergeRows } from "./id-alt.ts";
import type { IdRows } from "./id-column.ts";
import { metadataBytes } from "./metadata-bytes.ts";
import { type CodedPart, combineParts, type MetadataCodes, setsPart } from "./metadata-codes.ts";
import type { OpenBlock } from "./open-block.ts";
import { OpenColumn } from "./open-column.ts";
import type { BlockView } from "./view.ts";

/** An open block's rows as plain data: it can be posted to another thread, which makes a view of it. */
export interface PackedOpenBlock {
  readonly tenant: string;
  readonly labels: Labels;
  readonly canonical: string;
  readonly rows: number;
  readonly sec: Float64Array<ArrayBuffer>;
  readonly nsec: Uint32Array<ArrayBuffer>;
  readonly sorted: boolean;
  readonly textBytes: number;
  readonly hasNewlines: boolean;
  /** Null where `content` tells. */
  readonly metadataBytes: number | null;
  /** Null: only times and sizes are wanted. */
  readonly content: PackedContent | null;
}

interface PackedContent {
  readonly text: Uint8Array<ArrayBuffer>;
  readonly lineStarts: Uint32Array<ArrayBuffer>;
  readonly ids: readonly (IdRows | null)[];
  readonly sharedSets: readonly SharedMetadata[];
  readonly sharedCodes: Uint32Array<ArrayBuffer> | null;
  readonly columns: readonly ColumnRows[];
}

type ColumnRows = Pick<OpenColumn, "name" | "rows" | "codes" | "count" | "values">;

const NOTHING: PackedContent = {
  text: new Uint8Array(),
  lineStarts: new Uint32Array(1),
  ids: [],
  sharedSets: [NO_METADATA],
  sharedCodes: null,
  columns: [],
};

/** The first rows of a block that may go on growing. */
export class OpenBlockView implements BlockView {
  readonly tenant: string;
  readonly labels: Labels;
  readonly canonical: string;
  readonly rows: number;
  readonly sec: Float64Array;
  readonly nsec: Uint32Array;
  readonly sorted: boolean;
  readonly textBytes: number;
  readonly text: Buffer;
  readonly inflated = true;
  readonly lineStarts: Uint32Array;
  private readonly newlines: () => boolean;
  private readonly ids: readonly (IdRows | null)[];
  private readonly sharedSets: readonly SharedMetadata[];
  private readonly sharedCodes: Uint32Array<ArrayBuffer> | null;
  private readonly columns: readonly ColumnRows[];
  private knownMetadataBytes: number | null = null;

  private constructor(
    stream: StreamHandle,
    block: Pick<OpenBlock, "rows" | "sec" | "nsec" | "sorted" | "textBytes" | "sharedSets" | "sharedCodes">,
    content: { text: Buffer; lineStarts: Uint32Array; ids: OpenBlockView["ids"]; columns: readonly ColumnRows[] },
    newlines: () => boolean,
  ) {
    this.tenant = stream.tenant;
    this.labels = stream.labels;
    this.canonical = stream.canonical;
    this.rows = block.rows;
    this.sec = block.sec;
    this.nsec = block.nsec;
    this.sorted = block.sorted;
    this.textBytes = block.textBytes;
    this.sharedSets = block.sharedSets;
    this.sharedCodes = block.sharedCodes;
    this.text = content.text;
    this.lineStarts = content.lineStarts;
    this.ids = content.ids;
    this.columns = content.columns;
    this.newlines = newlines;
  }

  /** A view of what the block has now. Copies nothing but references. */
  static of(stream: StreamHandle, block: OpenBlock): OpenBlockView {
    block.viewed = true;
    const text = block.text.subarray(0, block.textBytes);
    const lineStarts = block.starts.subarray(0, block.rows + 1);
    // What grows is replaced, so what is here now stays as it is.
    const ids = block.ids.map((rows) => (rows === null ? null : { ...rows }));
    const columns = block.columns.map(({ name, rows, codes, count, values }) => ({ name, rows, codes, count, values }));
    return new OpenBlockView(stream, block, { text, lineStarts, ids, columns }, () => block.hasNewlines());
  }

  /** A view of rows that another thread has packed. */
  static from(packed: PackedOpenBlock): OpenBlockView {
    const { text: bytes, sharedSets, ...content } = packed.content ?? NOTHING;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const block = { ...packed, sharedSets: [...sharedSets], sharedCodes: content.sharedCodes };
    const view = new OpenBlockView(packed, block, { ...content, text }, () => packed.hasNewlines);
    view.knownMetadataBytes = packed.metadataBytes;
    return view;
  }

  /** Copies of all rows; of times and sizes alone without `withContent`. */
  pack(withContent: boolean): PackedOpenBlock {
    const { tenant, labels, canonical, rows, sorted, textBytes } = this;
    const sec = this.sec.slice(0, rows) as Float64Array<ArrayBuffer>;
    const nsec = this.nsec.slice(0, rows) as Uint32Array<ArrayBuffer>;
    const head = { tenant, labels, canonical, rows, sorted, textBytes, sec, nsec };
    if (!withContent) return { ...head, hasNewlines: false, metadataBytes: this.metadataBytes, content: null };
    const content: PackedContent = {
      text: Uint8Array.prototype.slice.call(this.text) as Uint8Array<ArrayBuffer>,
      lineStarts: this.lineStarts.slice() as Uint32Array<ArrayBuffer>,
      ids: this.ids.map((ids, slot) => (ids === null ? null : packIds(ids, rows, slot))),
      sharedSets: [...this.sharedSets],
      sharedCodes: this.sharedCodes?.slice(0, rows) ?? null,
      columns: this.columns.map(packColumn),
    };
    return { ...head, hasNewlines: this.hasNewlines, metadataBytes: null, content };
  }

  /** Computed at the first use. */
  get metadataBytes(): number {
    const { rows, ids, sharedSets, sharedCodes, columns } = this;
    this.knownMetadataBytes ??= metadataBytes({ rows, ids, sharedSets, sharedCodes, columns });
    return this.knownMetadataBytes;
  }

  /** May say true for a newline in a line that came after this view was taken; the starts tell lines apart anyway. */
  get hasNewlines(): boolean {
    return this.newlines();
  }

  metadata(row: number): [string, string][] {
    const out: [string, string][] = [];
    for (let slot = 0; slot < ID_SLOTS; slot++) {
      const ids = this.ids[slot];
      if (ids === null || ids.at[row] === ID_ABSENT) continue;
      const size = ID_BYTES[slot];
      out.push([ID_NAMES[slot], idText(slot, new Uint8Array(ids.words.buffer, row * size, size))]);
    }
    for (const [name, value] of this.sharedSets[this.sharedCodes === null ? 0 : this.sharedCodes[row]].pairs) {
      out.push([name, value]);
    }
    for (const { name, rows, codes, count, values } of this.columns) {
      const value = OpenColumn.valueAt(rows, codes, count, values, row);
      if (value !== null) out.push([name, value]);
    }
    return out;
  }

  walkTimes(): null {
    return null;
  }

  metadataCodes(names: ReadonlySet<string> | null): MetadataCodes | null {
    const wants = (name: string) => names === null || names.has(name);
    if (this.ids.some((ids, slot) => ids !== null && wants(ID_NAMES[slot]))) return null;
    const sets = this.sharedSets.map(({ pairs }) => pairs);
    const parts = this.columns.filter(({ name }) => wants(name)).map((column) => this.columnPart(column));
    return combineParts(this.rows, [setsPart(this.rows, this.sharedCodes, sets, wants), ...parts]);
  }

  private columnPart({ name, rows, codes, count, values }: OpenBlockView["columns"][number]): CodedPart {
    const dense = new Uint32Array(this.rows);
    for (let i = 0; i < count && rows[i] < this.rows; i++) dense[rows[i]] = codes[i] + 1;
    return { codes: dense, count: values.length + 1, pairs: (code) => (code === 0 ? [] : [[name, values[code - 1]]]) };
  }

  rowsWithId(slot: number, low8: Uint8Array): number[] {
    const own = this.rowsWithOwnId(slot, low8);
    const further = slot === TRACE_ID ? this.rowsWithAltId(low8) : [];
    return further.length === 0 ? own : mergeRows(own, further);
  }

  private rowsWithAltId(low8: Uint8Array): number[] {
    const test = altTest(low8);
    const out: number[] = [];
    for (const { name, rows, codes, count, values } of this.columns) {
      if (name !== ALT_NAME) continue;
      for (let i = 0; i < count; i++) if (test(values[codes[i]])) out.push(rows[i]);
    }
    return out;
  }

  private rowsWithOwnId(slot: number, low8: Uint8Array): number[] {
    const ids = this.ids[slot];
    const out: number[] = [];
    if (ids === null || ids === undefined) return out;
    const [low, high] = new Uint32Array(Uint8Array.from(low8).buffer);
    const stride = ID_BYTES[slot] / 4;
    for (let row = 0, at = stride - 2; row < this.rows; row++, at += stride) {
      if (ids.words[at] === low && ids.words[at + 1] === high && ids.at[row] !== ID_ABSENT) out.push(row);
    }
    return out;
  }
}

function packIds({ at, words }: IdRows, rows: number, slot: number): IdRows {
  return { at: at.slice(0, rows), words: words.slice(0, (rows * ID_BYTES[slot]) / 4) };
}

function packColumn({ name, rows, codes, count, values }: ColumnRows): ColumnRows {
  return { name, rows: rows.slice(0, count), codes: codes.slice(0, count), count, values: [...values] };
}

/** The memory of a packed block, to be handed over with it. */
export function packedBuffers({ sec, nsec, content }: PackedOpenBlock): ArrayBuffer[] {
  const buffers = [sec.buffer, nsec.buffer];
  if (content !== null) buffers.push(content.text.buffer, content.lineStarts.buffer);
  return buffers;
}
