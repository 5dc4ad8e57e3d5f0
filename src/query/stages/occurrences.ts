import type { Entry } from "./entry.ts";

/** The line has no occurrence of the literal. */
export const NONE = -1;
/** It has more than one, or is no longer as it was stored. */
export const SEVERAL = -2;

/**
 * Finds a literal in lines of a block that come in any order: the whole block is searched once, natively, so that a line costs
 * two comparisons.
 */
export class Occurrences {
  private readonly needle: Buffer;
  private block = -1;
  /** Ascending, `count` of them. */
  places = new Int32Array(1024);
  count = 0;
  /** The first place at or behind the start of the line before. */
  private next = 0;

  /** `needle` is not empty. */
  constructor(needle: Buffer) {
    this.needle = needle;
  }

  /**
   * The number of the first of the `places` in the entry's line; the places of a line follow one another. `count`, or one that is
   * beyond the line, when it has none. Only for a line as it was stored.
   */
  first(entry: Entry): number {
    if (entry.block !== this.block) this.search(entry);
    const { places, count } = this;
    const { start } = entry;
    let { next } = this;
    while (next < count && places[next] < start) next++;
    while (next > 0 && places[next - 1] >= start) next--;
    this.next = next;
    return next;
  }

  /** The last place where the literal can begin in the entry's line. */
  lastIn(entry: Entry): number {
    return entry.end - this.needle.length;
  }

  /** Where in the entry's block the line's only occurrence stands, or NONE or SEVERAL. */
  only(entry: Entry): number {
    if (entry.lineChanged) return SEVERAL;
    const next = this.first(entry);
    const { places, count } = this;
    const last = this.lastIn(entry);
    if (next >= count || places[next] > last) return NONE;
    return next + 1 < count && places[next + 1] <= last ? SEVERAL : places[next];
  }

  private search({ block, bytes }: Entry): void {
    const { needle } = this;
    this.block = block;
    this.next = 0;
    let count = 0;
    for (let at = bytes.indexOf(needle); at !== -1; at = bytes.indexOf(needle, at + 1)) {
      if (count === this.places.length) {
        const larger = new Int32Array(count * 2);
        larger.set(this.places);
        this.places = larger;
      }
      this.places[count++] = at;
    }
    this.count = count;
  }
}
