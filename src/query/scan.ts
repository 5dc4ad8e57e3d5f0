import { ID_NAMES } from "../core/line.ts";
import { splitNs } from "../core/time.ts";
import type { BlockView } from "../store/view.ts";
import { ColumnFilter } from "./column-filter.ts";
import type { Seen } from "./compile.ts";
import { RowHider } from "./deletes-hide.ts";
import { BestEntries, type PackedEntries } from "./entries.ts";
import { firstRowAt } from "./first-row.ts";
import { LineQuery } from "./line-query.ts";
import { type BatchBlock, emptyStats, ScanControl, type ScanJob, type ScanStats } from "./scan-job.ts";
import { parseLogQuery } from "./syntax/parse.ts";

/** Rows of one step of a sliced scan: some 10 to 200 us of work, so that a slice ends close to its time. */
const SLICE_ROWS = 128;
/** Rows between two looks at whether the query was stopped. */
const STOP_CHECK_ROWS = 256;

/** What a scan needs to know of a block besides its view. */
export type ScannedBlock = Pick<BatchBlock, "order" | "rows" | "hide">;

/** Runs one job over blocks and keeps the best entries. The same in a worker thread and in the main thread. */
export class BlockScanner {
  private readonly job: ScanJob;
  private readonly control: ScanControl;
  private readonly query: LineQuery;
  private readonly columnFilter: ColumnFilter | null;
  private readonly best: BestEntries;
  private readonly startSec: number;
  private readonly startNsec: number;
  private readonly endSec: number;
  private readonly endNsec: number;
  private stats: ScanStats = emptyStats();
  private candidates = new Uint32Array(2048);
  private count = 0;
  /** How the candidates were found. */
  private seen: Seen = "nothing";
  private hider: RowHider | null = null;

  /** Throws QueryError when the job's query can't be run. */
  constructor(job: ScanJob) {
    this.job = job;
    this.control = new ScanControl(job.control, job.backward);
    this.query = new LineQuery(job.query, job.categorize);
    this.columnFilter = job.mode === "scan" && job.query !== "" ? ColumnFilter.of(parseLogQuery(job.query)) : null;
    this.best = new BestEntries(job.limit, job.backward);
    ({ sec: this.startSec, nsec: this.startNsec } = splitNs(job.startNs));
    ({ sec: this.endSec, nsec: this.endNsec } = splitNs(job.endNs));
  }

  get stopped(): boolean {
    return this.control.stopped;
  }

  /** Bytes of text that it has read since the last `take`. */
  get textBytes(): number {
    return this.stats.textBytes;
  }

  /** Whether the headers of blocks are all that is needed of them, hidden lines aside. */
  get headersOnly(): boolean {
    return this.job.mode === "times";
  }

  /** Whether a block with these times can still help. */
  wantsBlock(timeMinNs: bigint, timeMaxNs: bigint): boolean {
    return this.control.wantsBlock(timeMinNs, timeMaxNs);
  }

  /**
   * Looks at all of a block, or at its `rows`; not `isFirst` when others of its rows have been looked at. Throws what
   * reading the block throws; entries found before stay.
   */
  scanBlock(view: BlockView, block: ScannedBlock, isFirst = true): void {
    const { rows } = block;
    if (isFirst) this.countBlock(view);
    this.count = 0;
    if (rows !== null) this.setCandidates(rows);
    else if (this.job.ids !== null) this.setCandidates(this.rowsWithIds(view));
    else this.searchBlock(view);
    this.takeCandidates(view, block);
    if (isFirst) this.countText(view);
  }

  /** Candidates of a whole block: by its metadata before its text is inflated, then by literals. */
  private searchBlock(view: BlockView): void {
    const verdict = this.columnFilter?.open(view) ?? "all";
    if (verdict === "none") {
      this.stats.prunedByMetadata++;
      return;
    }
    const { from, to } = this.rowRange(view);
    this.findCandidates(view, from, to);
    if (this.seen === "literals" && this.count === 0 && from < to) this.stats.prunedByLiteral++;
    if (verdict === "all") return;
    const { candidates } = this;
    let kept = 0;
    for (let i = 0; i < this.count; i++) if (verdict(candidates[i])) candidates[kept++] = candidates[i];
    this.count = kept;
  }

  /**
   * Looks at an open block until about `deadline`, from where `done` rows have been looked at. Gives how many have been
   * then; `view.rows` at the end.
   */
  scanSlice(view: BlockView, block: Pick<ScannedBlock, "order" | "hide">, done: number, deadline: number): number {
    const { order } = block;
    if (done === 0) {
      this.countBlock(view);
      this.countText(view);
    }
    if (this.job.ids !== null) {
      this.setCandidates(this.rowsWithIds(view));
      this.takeCandidates(view, block);
      return view.rows;
    }
    const { from, to } = view.sorted ? this.rowRange(view) : { from: 0, to: view.rows };
    const total = to - from;
    while (done < total) {
      const step = Math.min(SLICE_ROWS, total - done);
      const begin = this.job.backward ? to - done - step : from + done;
      // In a sorted block the first row that is not wanted is followed by none that is.
      const first = this.job.backward ? begin + step - 1 : begin;
      if (view.sorted && !this.best.wants(view.sec[first], view.nsec[first], order, first)) return view.rows;
      this.count = 0;
      this.findCandidates(view, begin, begin + step);
      this.takeCandidates(view, block);
      done += step;
      if (performance.now() >= deadline) break;
    }
    return done < total ? done : view.rows;
  }

  /** What was found since the last call. */
  take(): { entries: PackedEntries | null; partial: null; stats: ScanStats } {
    const { stats } = this;
    this.stats = emptyStats();
    return { entries: this.best.take(), partial: null, stats };
  }

  private countBlock(view: BlockView): void {
    this.stats.blocks++;
    // The pass that chose the rows has counted the lines.
    if (this.job.mode !== "rows") this.stats.lines += view.rows;
  }

  private countText(view: BlockView): void {
    if (!view.inflated) this.stats.headersOnly++;
    else if (this.job.mode !== "times") this.stats.textBytes += view.textBytes;
  }

  private setCandidates(rows: ArrayLike<number>): void {
    this.seen = "nothing";
    this.reserve(rows.length);
    this.candidates.set(rows);
    this.count = rows.length;
  }

  private reserve(count: number): void {
    if (count <= this.candidates.length) return;
    const larger = new Uint32Array(Math.max(count, this.candidates.length * 2));
    larger.set(this.candidates.subarray(0, this.count));
    this.candidates = larger;
  }

  /** Rows `from` up to `to` that may match by the query's literals, in ascending order. */
  private findCandidates(view: BlockView, from: number, to: number): void {
    if (from >= to) return;
    this.reserve(to - from);
    const { candidates } = this;
    const { search, rowSearch } = this.query;
    this.seen = "nothing";
    if (this.job.mode !== "times" && search === null && rowSearch?.suits(view)) {
      this.seen = "match";
      this.count = rowSearch.find(view, from, to, candidates);
      return;
    }
    if (search === null || this.job.mode === "times") {
      for (let row = from; row < to; row++) candidates[this.count++] = row;
      return;
    }
    this.seen = "literals";
    // A part of a block ends at a line's end, so that a search for what is not there does not read on.
    const text = to === view.rows ? view.text : view.text.subarray(0, view.lineStarts[to]);
    search.eachRow(
      text,
      () => view.lineStarts,
      from,
      to,
      (row) => {
        candidates[this.count++] = row;
        return true;
      },
    );
  }

  private takeCandidates(view: BlockView, { order, hide }: Pick<ScannedBlock, "order" | "hide">): void {
    if (this.count === 0) return;
    const isHidden = hide === null ? null : this.hiderOf().open(view, hide);
    const { candidates, count, best, query, seen } = this;
    const { backward, mode } = this.job;
    const { sec, nsec, sorted } = view;
    for (let i = 0; i < count; i++) {
      // A stage that takes its time must not keep a worker from the next query.
      if (i % STOP_CHECK_ROWS === STOP_CHECK_ROWS - 1 && this.stopped) return;
      const row = candidates[backward ? count - 1 - i : i];
      const s = sec[row];
      const n = nsec[row];
      if (!best.wants(s, n, order, row)) {
        if (sorted) return;
        continue;
      }
      if (!this.inRange(s, n)) continue;
      if (mode === "times") {
        if (isHidden?.(row) === true) continue;
        this.stats.matched++;
        best.add(s, n, order, row, "", "", null);
        continue;
      }
      const found = query.judge(view, row, seen);
      if (found === null || isHidden?.(row) === true) continue;
      if (mode !== "rows") this.stats.matched++;
      best.add(s, n, order, row, found.group, found.detail, found.line);
    }
  }

  private hiderOf(): RowHider {
    this.hider ??= new RowHider();
    return this.hider;
  }

  private inRange(sec: number, nsec: number): boolean {
    if (sec < this.startSec || (sec === this.startSec && nsec < this.startNsec)) return false;
    return sec < this.endSec || (sec === this.endSec && nsec < this.endNsec);
  }

  /** The rows of a sorted block that lie in the time range. */
  private rowRange(view: BlockView): { from: number; to: number } {
    return {
      from: firstRowAt(view, this.startSec, this.startNsec),
      to: firstRowAt(view, this.endSec, this.endNsec),
    };
  }

  /** Rows with one of the wanted ids, in ascending order. */
  private rowsWithIds(view: BlockView): number[] {
    const { ids } = this.job;
    const rows = new Set<number>();
    for (const { slot, low8, texts } of ids ?? []) {
      for (const row of view.rowsWithId(slot, low8)) {
        if (texts === null || hasId(view, row, ID_NAMES[slot], texts)) rows.add(row);
      }
    }
    return [...rows].sort((a, b) => a - b);
  }
}

/** Whether the row's metadata `name` is one of `texts`, or its list of further ids (`<name>_alt`, by comma) has one. */
function hasId(view: BlockView, row: number, name: string, texts: readonly string[]): boolean {
  return view
    .metadata(row)
    .some(([key, value]) =>
      key === name ? texts.includes(value) : key === `${name}_alt` && value.split(",").some((id) => texts.includes(id)),
    );
}
