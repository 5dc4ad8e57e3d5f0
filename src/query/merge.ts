import { WeirError } from "../core/errors.ts";
import { joinNs } from "../core/time.ts";
import { compareKeys, type EntryKey, lineAt, type PackedEntries, sizeOf, textAt } from "./entries.ts";

/** Packed bytes that may be held for entries which later ones have pushed out, before the rest is copied away. */
const SLACK_BYTES = 8 * 1024 * 1024;

interface Ref {
  readonly pack: PackedEntries;
  readonly at: number;
}

const keyOf = ({ pack, at }: Ref): EntryKey => ({
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

  /** Throws `query_result_size` when the kept lines would be more than the limit on an answer. */
  merge(pack: PackedEntries): void {
    const merged: Ref[] = [];
    const old = this.refs;
    let bytes = 0;
    let i = 0;
    let at = 0;
    while (merged.length < this.limit && (i < old.length || at < pack.count)) {
      const fresh = at < pack.count && (i >= old.length || this.better({ pack, at }, old[i]));
      const ref = fresh ? { pack, at: at++ } : old[i++];
      bytes += lineBytes(ref);
      merged.push(ref);
    }
    this.refs = merged;
    this.liveBytes = bytes;
    if (at > 0) this.heldBytes += sizeOf(pack);
    if (bytes > this.bytesMax) {
      throw new WeirError(
        "query_result_size",
        `the answer would hold more than max_result_bytes (${this.bytesMax}) of log lines; ask for fewer with limit or narrow the query`,
      );
    }
    if (this.heldBytes > 2 * this.liveBytes + SLACK_BYTES) this.compact();
  }

  /** Keeps the first `count` entries only. */
  truncate(count: number): void {
    this.refs.length = Math.min(this.refs.length, count);
  }

  /**
   * Keeps the first entry and those at least `intervalNs` from the last one kept, at most `most`. Gives the time of the last
   * one, or null when there is none. Nothing may be merged afterwards.
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
    this.refs = kept;
    return last;
  }

  /** Adds the entries of a result that lies wholly behind this one. Nothing may be merged afterwards. */
  append(further: MergedEntries): void {
    this.refs.push(...further.refs);
    this.heldBytes += further.heldBytes;
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

  private better(a: Ref, b: Ref): boolean {
    return compareKeys(keyOf(a), keyOf(b)) * this.sign > 0;
  }

  /** Copies the lines that are still wanted out of the batches that brought them, so that those can go. */
  private compact(): void {
    const counts = new Map<PackedEntries, number>();
    for (const { pack } of this.refs) counts.set(pack, (counts.get(pack) ?? 0) + 1);
    const thin = new Map<PackedEntries, PackedEntries>();
    this.refs = this.refs.map(({ pack, at }) => {
      let small = thin.get(pack);
      if (small === undefined) {
        small = (counts.get(pack) ?? 0) * 2 > pack.count ? pack : thinned(pack, counts.get(pack) ?? 0);
        thin.set(pack, small);
      }
      // A batch is sorted, so what is left of it are its first entries: places stay what they were.
      return { pack: small, at };
    });
    this.heldBytes = [...thin.values()].reduce((sum, pack) => sum + sizeOf(pack), 0);
  }
}

const lineBytes = ({ pack, at }: Ref): number => pack.lineEnds[at] - (at === 0 ? 0 : pack.lineEnds[at - 1]);

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
