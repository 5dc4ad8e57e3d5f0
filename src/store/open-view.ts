import type { Labels } from "../core/labels.ts";
import {
  ID_ABSENT,
  ID_BYTES,
  ID_NAMES,
  ID_SLOTS,
  idText,
  type SharedMetadata,
  type StreamHandle,
  TRACE_ID,
} from "../core/line.ts";
import { ALT_NAME, altTest, mergeRows } from "./id-alt.ts";
import type { IdRows } from "./id-column.ts";
import { type CodedPart, combineParts, type MetadataCodes, setsPart } from "./metadata-codes.ts";
import type { OpenBlock } from "./open-block.ts";
import { OpenColumn } from "./open-column.ts";
import type { BlockView } from "./view.ts";

/** The first rows of a block that may go on growing. Copies nothing but references. */
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
  private readonly block: OpenBlock;
  private readonly ids: readonly (IdRows | null)[];
  private readonly sharedSets: readonly SharedMetadata[];
  private readonly sharedCodes: Uint32Array | null;
  private readonly columns: readonly Pick<OpenColumn, "name" | "rows" | "codes" | "count" | "values">[];

  constructor(stream: StreamHandle, block: OpenBlock) {
    block.viewed = true;
    this.block = block;
    this.tenant = stream.tenant;
    this.labels = stream.labels;
    this.canonical = stream.canonical;
    this.rows = block.rows;
    this.sec = block.sec;
    this.nsec = block.nsec;
    this.sorted = block.sorted;
    this.textBytes = block.textBytes;
    this.text = block.text.subarray(0, block.textBytes);
    this.lineStarts = block.starts.subarray(0, block.rows + 1);
    this.ids = [...block.ids];
    this.sharedSets = block.sharedSets;
    this.sharedCodes = block.sharedCodes;
    this.columns = block.columns.map(({ name, rows, codes, count, values }) => ({ name, rows, codes, count, values }));
  }

  /** May say true for a newline in a line that came after this view was taken; the starts tell lines apart anyway. */
  get hasNewlines(): boolean {
    return this.block.hasNewlines();
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
