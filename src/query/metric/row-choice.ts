import type { BlockView } from "../../store/view.ts";
import type { CompiledLog, RowSearch, Seen } from "../compile.ts";
import type { BlockHide, RowHider } from "../deletes-hide.ts";
import { LiteralSearch } from "../hits.ts";
import type { LineSearch } from "../line-search.ts";
import type { ScanStats } from "../scan-job.ts";

/**
 * A search whose hits are in so large a part of the rows costs more than it saves, as one for ` - ` that a regular expression
 * begins with. It is given up when that has shown over so many rows.
 */
const FOUND_MAX = 0.3;
const SEARCHED_MIN = 4096;

/** Rows of a block: [from, to), without those that `accepts` says no to, and those that are hidden. */
export interface RowRange {
  readonly from: number;
  readonly to: number;
  readonly accepts: ((row: number) => boolean) | null;
  readonly hide: BlockHide | null;
}

/** The one place where the rows are chosen that a range aggregation looks at. */
export class RowChoice {
  /** The chosen rows, ascending: the first `count` of them. */
  rows: Uint32Array = new Uint32Array(2048);
  count = 0;
  /** How the rows chosen last were found, so that the same is not looked for again. */
  seen: Seen = "nothing";
  /** The literals that each row must have; null for none, and once they have turned out to be in too many rows. */
  private search: LiteralSearch | null;
  private rowsSearched = 0;
  private rowsFound = 0;
  /** Where there are no literals to go by. */
  private readonly rowSearch: RowSearch | null;
  private readonly lines: CompiledLog | null;
  /** The search alone proves that a line passes. */
  private readonly searchIsAll: boolean;
  private readonly stats: ScanStats;
  private readonly hider: RowHider;

  /** `lines`: tests of lines that rows have to pass, null for none. `compiled`: these, or what comes later, whose searches are used. */
  constructor(
    lines: CompiledLog | null,
    { prefilter, rowSearch }: Pick<CompiledLog, "prefilter" | "rowSearch">,
    stats: ScanStats,
    hider: RowHider,
  ) {
    this.lines = lines;
    this.rowSearch = rowSearch;
    this.stats = stats;
    this.hider = hider;
    const search = new LiteralSearch(prefilter?.requiredLiterals ?? []);
    this.search = search.isUseful ? search : null;
    this.searchIsAll = this.search !== null && prefilter?.isCovered === true;
  }

  /** Inflates only if lines have to be looked at. */
  choose(view: BlockView, range: RowRange): void {
    this.count = 0;
    const { search, rowSearch } = this;
    let isAll = false;
    if (search !== null) {
      this.seen = "literals";
      isAll = this.searchIsAll;
      this.searchRows(view, search, range);
    } else if (rowSearch?.search.suits(view)) {
      this.seen = "match";
      isAll = rowSearch.isAll;
      this.findRows(view, rowSearch.search, range);
    } else {
      this.seen = "nothing";
      this.takeAll(range);
    }
    if (this.lines !== null && !isAll && this.count > 0) this.keepPassing(view, this.lines);
    if (range.hide === null || this.count === 0) return;
    const isHidden = this.hider.open(view, range.hide);
    this.keep((row) => !isHidden(row));
  }

  private takeAll({ from, to, accepts }: RowRange): void {
    this.reserve(to - from);
    const { rows } = this;
    for (let row = from; row < to; row++) if (accepts === null || accepts(row)) rows[this.count++] = row;
  }

  private searchRows(view: BlockView, search: LiteralSearch, { from, to, accepts }: RowRange): void {
    this.reserve(to - from);
    const { rows } = this;
    // A part of a block ends at a line's end, so that a search for what is not there does not read on.
    const text = to === view.rows ? view.text : view.text.subarray(0, view.lineStarts[to]);
    const take = (row: number) => {
      if (accepts === null || accepts(row)) rows[this.count++] = row;
      return true;
    };
    search.eachRow(text, () => view.lineStarts, from, to, take);
    if (this.count === 0) this.stats.prunedByLiteral++;
    this.rowsSearched += to - from;
    this.rowsFound += this.count;
    const isVain = this.rowsSearched >= SEARCHED_MIN && this.rowsFound > this.rowsSearched * FOUND_MAX;
    if (isVain && !this.searchIsAll) this.search = null;
  }

  private findRows(view: BlockView, search: LineSearch, { from, to, accepts }: RowRange): void {
    this.reserve(to - from);
    this.count = search.find(view, from, to, this.rows);
    if (accepts !== null) this.keep(accepts);
  }

  private keepPassing(view: BlockView, lines: CompiledLog): void {
    const { entry } = lines;
    const starts = view.lineStarts;
    const { seen } = this;
    entry.openBlock(view.text, view.labels);
    this.keep((row) => {
      entry.openLine(starts[row], starts[row + 1] - 1, row);
      return lines.process(seen);
    });
  }

  private keep(test: (row: number) => boolean): void {
    const { rows, count } = this;
    let kept = 0;
    for (let i = 0; i < count; i++) if (test(rows[i])) rows[kept++] = rows[i];
    this.count = kept;
  }

  private reserve(count: number): void {
    if (this.rows.length < count) this.rows = new Uint32Array(count * 2);
  }
}
