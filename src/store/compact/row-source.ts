import { ID_ABSENT, ID_BYTES, ID_ELSEWHERE, type Line, NO_METADATA, type SharedMetadata } from "../../core/line.ts";
import { type BlockColumns, type StoredBlock, textOf, type WrittenSets } from "../block-view.ts";
import { ID_TEXT_BYTES, type IdColumn } from "../id-column.ts";

const DASH = 0x2d;
/** Sets of shared metadata that are known by their content; beyond, they are forgotten, which costs only room. */
const SETS_MAX = 10_000;

/**
 * One object for each distinct set of shared metadata: the writer of blocks compares them by identity. Most blocks of a stream
 * have the same few sets, which are known by their bytes and decoded once.
 */
export class SharedSetTable {
  private readonly known = new Map<string, SharedMetadata>();

  get(sets: WrittenSets, i: number): SharedMetadata {
    const key = sets.written(i);
    let set = this.known.get(key);
    if (set === undefined) {
      if (this.known.size >= SETS_MAX) this.known.clear();
      const pairs = sets.pairs(i);
      set = pairs.length === 0 ? NO_METADATA : { pairs };
      this.known.set(key, set);
    }
    return set;
  }
}

/** The rows of a block as lines, as they were when they were appended first. */
export class RowSource {
  readonly view: StoredBlock;
  private readonly columns: BlockColumns;
  private readonly sets: readonly SharedMetadata[];

  /** Inflates the block and decodes its columns. Throws `block_corrupt`. */
  constructor(view: StoredBlock, table: SharedSetTable) {
    this.view = view;
    this.columns = view.metadataColumns;
    const { shared } = this.columns;
    this.sets = shared === null ? [] : Array.from({ length: shared.count }, (_, i) => table.get(shared, i));
  }

  /** Fills in a row. The line's bytes are the block's own. */
  fill(line: Line, row: number): void {
    const { view } = this;
    const { ids, shared, texts } = this.columns;
    const starts = view.lineStarts;
    line.clear();
    line.sec = view.sec[row];
    line.nsec = view.nsec[row];
    line.bytes = view.text;
    line.start = starts[row];
    line.end = starts[row + 1] - 1;
    for (let i = 0; i < ids.length; i++) this.fillId(line, ids[i], row);
    if (shared !== null && shared.codes[row] > 0) line.shared = this.sets[shared.codes[row] - 1];
    for (let i = 0; i < texts.length; i++) {
      const column = texts[i];
      const code = column.codes[row];
      if (code > 0) line.addExtra(column.name, textOf(column, code - 1));
    }
  }

  private fillId(line: Line, column: IdColumn, row: number): void {
    const { slot, at, raw, rawIndex } = column;
    const size = ID_BYTES[slot];
    const to = slot * 16;
    if (at[row] === ID_ABSENT) return;
    if (at[row] === ID_ELSEWHERE) {
      const from = rawIndex[row] * size;
      for (let i = 0; i < size; i++) line.ids[to + i] = raw[from + i];
      line.idAt[slot] = ID_ELSEWHERE;
      return;
    }
    const offset = this.view.offsetOf(column, row);
    line.idAt[slot] = offset;
    readHex(line.bytes, line.start + offset, ID_TEXT_BYTES[slot], line.ids, to);
  }
}

/** The bytes that hex digits in text[at, at + length) stand for; dashes between them are passed over. */
function readHex(text: Buffer, at: number, length: number, out: Uint8Array, to: number): void {
  let high = -1;
  for (let i = at; i < at + length; i++) {
    const char = text[i];
    if (char === DASH) continue;
    // 0 to 9 are 30 to 39, a to f 61 to 66.
    const digit = char < 0x40 ? char & 15 : (char & 15) + 9;
    if (high < 0) high = digit;
    else {
      out[to++] = (high << 4) | digit;
      high = -1;
    }
  }
}
