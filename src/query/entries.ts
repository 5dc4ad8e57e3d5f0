/**
 * Entries that a scan found, packed: a few flat arrays instead of thousands of objects, so that they cross from a
 * worker thread by transfer. Entry `i` is at (sec[i], nsec[i]); `block` and `row` say where it stands in order of
 * arrival. Its labels are texts[group[i]], JSON with sorted keys, and texts[detail[i]] is what categorised answers
 * add, or "". Its line is lines[lineEnds[i - 1] ?? 0, lineEnds[i]).
 */
export interface PackedEntries {
  readonly count: number;
  readonly sec: Float64Array;
  readonly nsec: Uint32Array;
  readonly block: Float64Array;
  readonly row: Uint32Array;
  readonly group: Uint32Array;
  readonly detail: Uint32Array;
  readonly lineEnds: Uint32Array;
  readonly lines: Uint8Array;
  /** The texts one after the other as UTF-8; text `t` ends at textEnds[t]. */
  readonly textEnds: Uint32Array;
  readonly texts: Uint8Array;
}

/** Where an entry stands: by time, then in order of arrival. */
export interface EntryKey {
  readonly sec: number;
  readonly nsec: number;
  readonly block: number;
  readonly row: number;
}

/** Below zero when `a` is earlier than `b`: by time, equal times in order of arrival. */
export function compareKeys(a: EntryKey, b: EntryKey): number {
  return a.sec - b.sec || a.nsec - b.nsec || a.block - b.block || a.row - b.row;
}

/** The buffers of `packed`, for the transfer list of `postMessage`. */
export function buffersOf(packed: PackedEntries): ArrayBuffer[] {
  const { sec, nsec, block, row, group, detail, lineEnds, lines, textEnds, texts } = packed;
  return [sec, nsec, block, row, group, detail, lineEnds, lines, textEnds, texts].map((a) => a.buffer as ArrayBuffer);
}

/** Bytes that `packed` holds in memory. */
export function sizeOf(packed: PackedEntries): number {
  return packed.count * 36 + packed.lines.length + packed.texts.length + packed.textEnds.length * 4;
}

/** Text `index` of `packed`. */
export function textAt(packed: PackedEntries, index: number): string {
  const start = index === 0 ? 0 : packed.textEnds[index - 1];
  const { buffer, byteOffset, length } = packed.texts;
  return Buffer.from(buffer, byteOffset, length).toString("utf8", start, packed.textEnds[index]);
}

/** The bytes of entry `i`'s line: a view, not a copy. */
export function lineAt(packed: PackedEntries, i: number): Buffer {
  const { lines, lineEnds } = packed;
  const start = i === 0 ? 0 : lineEnds[i - 1];
  return Buffer.from(lines.buffer, lines.byteOffset + start, lineEnds[i] - start);
}

interface Kept extends EntryKey {
  readonly group: string;
  readonly detail: string;
  readonly line: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/**
 * The best entries seen so far: the latest (`backward`) or earliest `limit` of them. A heap with the worst kept
 * entry on top, so that what is worse still is refused by one comparison, before anybody looks at its line.
 */
export class BestEntries {
  readonly limit: number;
  /** 1 when later is better, else -1. */
  private readonly sign: number;
  private readonly heap: Kept[] = [];
  bytes = 0;

  constructor(limit: number, backward: boolean) {
    this.limit = limit;
    this.sign = backward ? 1 : -1;
  }

  get size(): number {
    return this.heap.length;
  }

  /** Whether an entry there would be among the best. */
  wants(sec: number, nsec: number, block: number, row: number): boolean {
    if (this.heap.length < this.limit) return true;
    const worst = this.heap[0];
    const by = sec - worst.sec || nsec - worst.nsec || block - worst.block || row - worst.row;
    return by * this.sign > 0;
  }

  /** Keeps an entry that `wants` has said yes to. `line` is copied. */
  add(
    sec: number,
    nsec: number,
    block: number,
    row: number,
    group: string,
    detail: string,
    line: Uint8Array | null,
  ): void {
    const kept: Kept = { sec, nsec, block, row, group, detail, line: line === null ? NO_BYTES : Buffer.from(line) };
    this.bytes += kept.line.length;
    if (this.heap.length < this.limit) {
      this.heap.push(kept);
      this.rise(this.heap.length - 1);
    } else {
      this.bytes -= this.heap[0].line.length;
      this.heap[0] = kept;
      this.sink();
    }
  }

  /** Everything kept, best first, packed; null when there is nothing. Leaves this empty. */
  take(): PackedEntries | null {
    if (this.heap.length === 0) return null;
    const kept = this.heap.splice(0).sort((a, b) => -this.sign * compareKeys(a, b));
    this.bytes = 0;
    return pack(kept);
  }

  private worse(a: Kept, b: Kept): boolean {
    return compareKeys(a, b) * this.sign < 0;
  }

  private rise(at: number): void {
    const { heap } = this;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.worse(heap[at], heap[parent])) return;
      [heap[at], heap[parent]] = [heap[parent], heap[at]];
      at = parent;
    }
  }

  private sink(): void {
    const { heap } = this;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      if (left >= heap.length) return;
      const child = left + 1 < heap.length && this.worse(heap[left + 1], heap[left]) ? left + 1 : left;
      if (!this.worse(heap[child], heap[at])) return;
      [heap[at], heap[child]] = [heap[child], heap[at]];
      at = child;
    }
  }
}

function pack(kept: readonly Kept[]): PackedEntries {
  const count = kept.length;
  const places = new Map<string, number>();
  const place = (text: string): number => {
    const known = places.get(text);
    if (known !== undefined) return known;
    places.set(text, places.size);
    return places.size - 1;
  };
  const packed = {
    count,
    sec: new Float64Array(count),
    nsec: new Uint32Array(count),
    block: new Float64Array(count),
    row: new Uint32Array(count),
    group: new Uint32Array(count),
    detail: new Uint32Array(count),
    lineEnds: new Uint32Array(count),
    lines: new Uint8Array(kept.reduce((sum, { line }) => sum + line.length, 0)),
  };
  let end = 0;
  for (let i = 0; i < count; i++) {
    const entry = kept[i];
    packed.sec[i] = entry.sec;
    packed.nsec[i] = entry.nsec;
    packed.block[i] = entry.block;
    packed.row[i] = entry.row;
    packed.group[i] = place(entry.group);
    packed.detail[i] = place(entry.detail);
    packed.lines.set(entry.line, end);
    end += entry.line.length;
    packed.lineEnds[i] = end;
  }
  return { ...packed, ...packTexts([...places.keys()]) };
}

function packTexts(all: readonly string[]): { textEnds: Uint32Array; texts: Uint8Array } {
  const textEnds = new Uint32Array(all.length);
  const parts: Buffer[] = [];
  let end = 0;
  for (let t = 0; t < all.length; t++) {
    const bytes = Buffer.from(all[t], "utf8");
    parts.push(bytes);
    end += bytes.length;
    textEnds[t] = end;
  }
  const texts = new Uint8Array(end);
  let at = 0;
  for (const bytes of parts) {
    texts.set(bytes, at);
    at += bytes.length;
  }
  return { textEnds, texts };
}
