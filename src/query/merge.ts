import { WeirError } from "../core/errors.ts";
import { joinNs } from "../core/time.ts";
import { BestEntries, compareKeys, type EntryKey, lineAt, type PackedEntries, sizeOf, textAt } from "./entries.ts";

/** Packed bytes that may be held for entries which later ones have pushed out, before the rest is copied away. */
const SLACK_BYTES = 8 * 1024 * 1024;

interface Ref {
  readonly pack: PackedEntries;
  readonly at: number;
  /** Bytes of its line, and of those texts that no entry before it in its batch has. */
  readonly bytes: number;
}

const keyOf = ({ pack, at }: Pick<Ref, "pack" | "at">): EntryKey => ({
  sec: pack.sec[at],
  nsec: pack.nsec[at],
  block: pack.block[at],
  row: pack.row[at],
});

/** One entry of a result, as a reader sees it. `line` is a view of bytes that live as long as the result. */
export interface ResultEntry extends EntryKey {
  /** JSON of the labels that the entry is grouped by, names sorted. */
  readonly group: string;
  /** JSON of what a categorised answer adds (`structuredMetadata`, `parsed`), or "". */
  readonly detail: string;
  readonly line: Buffer;
}

/**
 * The best `limit` entries of all batches, in the query's direction (best first). Batches arrive in any order, each
 * sorted; the outcome does not depend on that order.
 */
export class MergedEntries {
  readonly limit: number;
  readonly backward: boolean;
  private readonly sign: number;
  private readonly bytesMax: number;
  private refs: Ref[] = [];
  private liveBytes = 0;
  private heldBytes = 0;

  constructor(limit: number, backward: boolean, bytesMax: number) {
    this.limit = limit;
    this.backward = backward;
    this.sign = backward ? 1 : -1;
    this.bytesMax = bytesMax;
  }

  get size(): number {
    return this.refs.length;
  }

  /** Bytes that this holds in memory. */
  get bytes(): number {
    return this.heldBytes;
  }

  get isFull(): boolean {
    return this.refs.length >= this.limit;
  }

  /** The worst entry kept, once there are `limit` of them. */
  worst(): EntryKey | null {
    return this.isFull && this.limit > 0 ? keyOf(this.refs[this.refs.length - 1]) : null;
  }

  /** Whether an entry there would still be among the best. */
  wants(key: EntryKey): boolean {
    const worst = this.worst();
    return worst === null ? this.limit > 0 : compareKeys(key, worst) * this.sign > 0;
  }

  /** Throws `query_result_size` when the kept lines, and the texts of their labels, would be more than the limit on an answer. */
  merge(pack: PackedEntries): void {
    const merged: Ref[] = [];
    const old = this.refs;
    let bytes = 0;
    let i = 0;
    let at = 0;
    let texts = 0;
    while (merged.length < this.limit && (i < old.length || at < pack.count)) {
      const fresh = at < pack.count && (i >= old.length || this.better({ pack, at }, old[i]));
      let ref = old[i];
      if (fresh) {
        // Texts stand in the order in which entries first use them.
        const used = Math.max(texts, pack.group[at] + 1, pack.detail[at] + 1);
        ref = { pack, at, bytes: lineBytes(pack, at) + endOf(pack.textEnds, used) - endOf(pack.textEnds, texts) };
        texts = used;
        at++;
      } else i++;
      bytes += ref.bytes;
      merged.push(ref);
    }
    this.refs = merged;
    this.liveBytes = bytes;
    if (at > 0) this.heldBytes += sizeOf(pack);
    this.checkSize();
    if (this.heldBytes > 2 * this.liveBytes + SLACK_BYTES) this.compact();
  }

  /** Keeps the first `count` entries only. */
  truncate(count: number): void {
    this.refs.length = Math.min(this.refs.length, count);
  }

  /**
   * Keeps the first entry and those at least `intervalNs` from the last one kept, at most `most`. Gives the time of the last
   * one, or null when there is none. Nothing may be merged afterwards. What is kept is in memory of its own: of a batch of a
   * thousand lines it may be one.
   */
  keepSpaced(intervalNs: bigint, most: number): bigint | null {
    let last: bigint | null = null;
    const kept: Ref[] = [];
    for (const ref of this.refs) {
      if (kept.length >= most) break;
      const { sec, nsec } = keyOf(ref);
      const ns = joinNs(sec, nsec);
      const gap = last === null ? intervalNs : ns - last;
      if ((gap < 0n ? -gap : gap) < intervalNs) continue;
      kept.push(ref);
      last = ns;
    }
    const pack = packed(kept, this.backward);
    this.refs = [];
    this.liveBytes = 0;
    this.heldBytes = 0;
    if (pack !== null) this.merge(pack);
    return last;
  }

  /** Adds the entries of a result that lies wholly behind this one. Nothing may be merged afterwards. Throws as `merge`. */
  append(further: MergedEntries): void {
    for (const ref of further.refs) this.refs.push(ref);
    this.liveBytes += further.liveBytes;
    this.heldBytes += further.heldBytes;
    this.checkSize();
  }

  key(i: number): EntryKey {
    return keyOf(this.refs[i]);
  }

  /** `entry(i).group`, alone. */
  groupText(i: number): string {
    const { pack, at } = this.refs[i];
    return textAt(pack, pack.group[at]);
  }

  entry(i: number): ResultEntry {
    const { pack, at } = this.refs[i];
    return {
      ...keyOf(this.refs[i]),
      group: textAt(pack, pack.group[at]),
      detail: textAt(pack, pack.detail[at]),
      line: lineAt(pack, at),
    };
  }

  *[Symbol.iterator](): Generator<ResultEntry> {
    for (let i = 0; i < this.refs.length; i++) yield this.entry(i);
  }

  private checkSize(): void {
    if (this.liveBytes <= this.bytesMax) return;
    throw new WeirError(
      "query_result_size",
      `the answer would hold more than max_result_bytes (${this.bytesMax}) of log lines and labels; ask for fewer with limit or narrow the query`,
    );
  }

  private better(a: Pick<Ref, "pack" | "at">, b: Ref): boolean {
    return compareKeys(keyOf(a), keyOf(b)) * this.sign > 0;
  }

  /** Copies the lines that are still wanted out of the batches that brought them, so that those can go. */
  private compact(): void {
    const counts = new Map<PackedEntries, number>();
    for (const { pack } of this.refs) counts.set(pack, (counts.get(pack) ?? 0) + 1);
    const thin = new Map<PackedEntries, PackedEntries>();
    this.refs = this.refs.map(({ pack, at, bytes }) => {
      let small = thin.get(pack);
      if (small === undefined) {
        small = (counts.get(pack) ?? 0) * 2 > pack.count ? pack : thinned(pack, counts.get(pack) ?? 0);
        thin.set(pack, small);
      }
      // A batch is sorted, so what is left of it are its first entries: places stay what they were.
      return { pack: small, at, bytes };
    });
    this.heldBytes = [...thin.values()].reduce((sum, pack) => sum + sizeOf(pack), 0);
  }
}

/** Where the first `count` parts end. */
const endOf = (ends: Uint32Array, count: number): number => (count === 0 ? 0 : ends[count - 1]);
const lineBytes = ({ lineEnds }: PackedEntries, at: number): number => endOf(lineEnds, at + 1) - endOf(lineEnds, at);

/** The entries, best first, in memory of their own; null for none. */
function packed(refs: readonly Ref[], backward: boolean): PackedEntries | null {
  const entries = new BestEntries(refs.length, backward);
  for (const ref of refs) {
    const { pack, at } = ref;
    const { sec, nsec, block, row } = keyOf(ref);
    entries.add(sec, nsec, block, row, textAt(pack, pack.group[at]), textAt(pack, pack.detail[at]), lineAt(pack, at));
  }
  return entries.take();
}

/** The first `count` entries of `pack`, in memory of their own. */
function thinned(pack: PackedEntries, count: number): PackedEntries {
  // Texts stand in the order in which entries first use them, so the first entries use the first texts.
  let texts = 0;
  for (let i = 0; i < count; i++) texts = Math.max(texts, pack.group[i] + 1, pack.detail[i] + 1);
  return {
    count,
    sec: pack.sec.slice(0, count),
    nsec: pack.nsec.slice(0, count),
    block: pack.block.slice(0, count),
    row: pack.row.slice(0, count),
    group: pack.group.slice(0, count),
    detail: pack.detail.slice(0, count),
    lineEnds: pack.lineEnds.slice(0, count),
    lines: pack.lines.slice(0, pack.lineEnds[count - 1]),
    textEnds: pack.textEnds.slice(0, texts),
    texts: pack.texts.slice(0, texts === 0 ? 0 : pack.textEnds[texts - 1]),
  };
}
