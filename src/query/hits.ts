/**
 * The rows of a block that may match, found by searching the whole block's bytes for literals instead of looking at
 * every line: `Buffer.indexOf` runs at some GB/s, and lines that miss are never touched.
 * `literals` is a conjunction of alternatives: a line must hold one of each group. Rows come in ascending order.
 */
export class LiteralSearch {
  /** The groups, the most selective first by guess: the one whose shortest alternative is the longest. */
  private readonly groups: readonly (readonly Buffer[])[];

  constructor(literals: readonly (readonly Buffer[])[]) {
    const shortest = (group: readonly Buffer[]) => Math.min(...group.map((literal) => literal.length));
    // An empty literal is in every line; a group with one says nothing.
    this.groups = literals
      .filter((group) => group.length > 0 && shortest(group) > 0)
      .sort((a, b) => shortest(b) - shortest(a));
  }

  /** Whether there is anything to search for. */
  get isUseful(): boolean {
    return this.groups.length > 0;
  }

  /**
   * Calls `visit` with each row from `from` up to, not including, `to` whose line holds a literal of every group,
   * as long as it returns true. `starts` is asked for only once there is a hit.
   */
  eachRow(
    text: Buffer,
    lineStarts: () => Uint32Array,
    from: number,
    to: number,
    visit: (row: number) => boolean,
  ): void {
    const [lead] = this.groups;
    // Where the next hit of each alternative is; -1 for none.
    const next = new Int32Array(lead.length);
    let any = false;
    for (let i = 0; i < lead.length; i++) {
      next[i] = text.indexOf(lead[i]);
      any ||= next[i] !== -1;
    }
    if (!any) return;
    const starts = lineStarts();
    const end = starts[to];
    let row = from;
    let at = starts[from];
    for (;;) {
      let hit = -1;
      let which = 0;
      for (let i = 0; i < lead.length; i++) {
        if (next[i] !== -1 && next[i] < at) next[i] = text.indexOf(lead[i], at);
        if (next[i] !== -1 && (hit === -1 || next[i] < hit)) {
          hit = next[i];
          which = i;
        }
      }
      if (hit === -1 || hit >= end) return;
      row = rowOf(starts, row, to - 1, hit);
      const lineEnd = starts[row + 1] - 1;
      if (hit + lead[which].length > lineEnd) {
        // It runs over the line's end, so it is no hit; another one may be.
        next[which] = text.indexOf(lead[which], hit + 1);
        continue;
      }
      if (this.holdsRest(text, starts[row], lineEnd) && !visit(row)) return;
      at = lineEnd + 1; // One visit a line.
      row++;
      if (row >= to) return;
    }
  }

  private holdsRest(text: Buffer, start: number, end: number): boolean {
    if (this.groups.length === 1) return true;
    const line = text.subarray(start, end);
    for (let g = 1; g < this.groups.length; g++) {
      if (!this.groups[g].some((literal) => line.includes(literal))) return false;
    }
    return true;
  }

  /** Whether the line `bytes` holds a literal of every group. */
  matches(bytes: Buffer): boolean {
    return this.groups.every((group) => group.some((literal) => bytes.includes(literal)));
  }
}

/** The row, `low` to `high`, whose line (with its LF) holds byte `at`. */
function rowOf(starts: Uint32Array, low: number, high: number, at: number): number {
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (starts[middle] <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}
