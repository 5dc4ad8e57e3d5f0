import type { Labels } from "../../core/labels.ts";
import { splitNs } from "../../core/time.ts";
import type { MetadataCodes } from "../../store/metadata-codes.ts";
import type { TimesWalk } from "../../store/times.ts";
import type { BlockView } from "../../store/view.ts";
import { ColumnFilter } from "../column-filter.ts";
import { type CompiledLog, compileLog, compileSelector } from "../compile.ts";
import type { RowHider } from "../deletes-hide.ts";
import { firstRowAt } from "../first-row.ts";
import type { PlannedBlock } from "../plan.ts";
import type { ScannedBlock } from "../scan.ts";
import type { ScanStats } from "../scan-job.ts";
import { type Entry, PRESERVE_ERROR_LABEL } from "../stages/entry.ts";
import { sortedJson } from "../stages/label-text.ts";
import { CellTable, type PackedCells } from "./cells.ts";
import { kindOf } from "./kinds.ts";
import {
  isHeaderLeaf,
  isLabelOnly,
  labelNamesOf,
  namesOf,
  needsOf,
  type SampleValue,
  sampleValueOf,
  telling,
} from "./leaf-needs.ts";
import { pipelineError } from "./pipeline-error.ts";
import { type Leaf, wantsErrors } from "./plan-metric.ts";
import { RowChoice } from "./row-choice.ts";
import { SeriesKeys } from "./series-keys.ts";
import { keepLabels } from "./series-table.ts";
import { compileUnwrap } from "./unwrap.ts";
import { type EvalTimes, Windows } from "./windows.ts";

/** What a scan needs to know of a block besides its view. */
export type MetricBlock = ScannedBlock & Pick<PlannedBlock, "timeMinNs" | "timeMaxNs">;
type BlockSize = Pick<PlannedBlock, "timeMinNs" | "timeMaxNs" | "rows" | "textBytes">;

const NO_BYTES = Buffer.alloc(0);
/** Streams that are remembered. */
const STREAMS_MAX = 10_000;
const DROPPED = -1;
const UNKNOWN = -2;

/**
 * Runs one range aggregation over blocks and collects its partial results. Does no more with a block than the leaf needs, in this
 * order: times, metadata columns, literals in the whole text, single lines, labels.
 *
 * Where no stage reads labels out of the line, what is known of a row's labels depends on its stream and metadata alone: they are
 * worked out once for each different set of metadata in a block (`byCode`), and a block whose lines nobody looks at is
 * never inflated. Else the stages run on each line.
 */
export class LeafScan {
  readonly windows: Windows;
  readonly matches: (labels: Labels) => boolean;
  /** What is wrong with a sample, in Loki's words: the whole query fails by it. */
  error: string | null = null;
  /** Whether headers say all there is to know of blocks, hidden lines aside. */
  readonly headersOnly: boolean;

  private readonly leaf: Leaf;
  private readonly sampleValue: SampleValue;
  private readonly table: CellTable;
  private readonly stats: ScanStats;
  private readonly hider: RowHider;
  private readonly columnFilter: ColumnFilter | null;
  /** In `byCode`, the tests of lines; null when every line passes. */
  private readonly lines: CompiledLog | null;
  private readonly choice: RowChoice;
  /** Labels, and in `rows` also the line as it comes out. */
  private readonly labels: CompiledLog;
  private readonly byCode: boolean;
  /** Names of metadata that the labels need; null for all. */
  private readonly names: ReadonlySet<string> | null;
  private readonly streamNames = new Map<string, ReadonlySet<string>>();
  private codesView: BlockView | null = null;
  private codes: MetadataCodes | null = null;
  private readonly keys: SeriesKeys;
  private readonly unwrap: (() => number | null) | null;
  private readonly keepsErrors: boolean;
  /** Every line counts, and no label comes from anywhere but the stream and its metadata. */
  private readonly countsLines: boolean;
  private readonly place = { sec: 0, nsec: 0, order: 0, row: 0 };

  /** Throws QueryError for a stage that can't be built. */
  constructor(leaf: Leaf, times: EvalTimes, stats: ScanStats, hider: RowHider) {
    const { range, op, grouping } = leaf;
    this.leaf = leaf;
    this.stats = stats;
    this.hider = hider;
    this.windows = new Windows(times, range.rangeNs, range.offsetNs);
    this.matches = compileSelector(range.log.matchers);
    this.sampleValue = sampleValueOf(leaf);
    this.table = new CellTable(kindOf(op));
    const needs = needsOf(leaf, this.sampleValue);
    const log = { ...range.log, stages: telling(range.log.stages, needs) };
    this.byCode = log.stages.every((stage) => stage.type === "line_filter" || isLabelOnly(stage));
    this.columnFilter = this.byCode ? null : ColumnFilter.of(log);
    if (this.byCode) {
      const lineStages = log.stages.filter(({ type }) => type === "line_filter");
      const lines = compileLog({ ...log, stages: lineStages }, { labels: new Set(), line: false });
      this.lines = lines.mayDrop ? lines : null;
      this.labels = compileLog({ ...log, stages: log.stages.filter(isLabelOnly) }, { ...needs, line: false });
    } else {
      this.lines = null;
      this.labels = compileLog(log, needs);
    }
    this.choice = new RowChoice(this.lines, this.lines ?? this.labels, stats, hider);
    this.names = this.byCode ? labelNamesOf(log, needs) : namesOf(needs, log);
    this.unwrap = range.unwrap === null ? null : compileUnwrap(range.unwrap, this.labels.entry);
    this.keys = new SeriesKeys(this.labels.entry, grouping, range.unwrap?.label ?? null, this.table);
    this.keepsErrors = wantsErrors(leaf);
    this.headersOnly = isHeaderLeaf(leaf);
    this.countsLines = log.stages.length === 0 && this.unwrap === null && grouping?.without === false;
  }

  /** Whether `count` says all there is to say of a block of a stream with these labels, of which nothing is hidden. */
  canCount(labels: Labels, { timeMinNs, timeMaxNs }: BlockSize): boolean {
    if (this.windows.single(timeMinNs, timeMaxNs) === -1) return false;
    // Metadata can't make a label of a name that the stream has.
    return this.countsLines && this.leaf.grouping?.labels.every((name) => isLabel(labels, name)) === true;
  }

  /** Counts a block without reading it. */
  count(labels: Labels, { timeMinNs, timeMaxNs, rows, textBytes }: BlockSize): void {
    const interval = this.windows.single(timeMinNs, timeMaxNs);
    const series = this.table.seriesOf(sortedJson(keepLabels(labels, new Set(this.leaf.grouping?.labels))));
    // Each line has its LF.
    this.table.addSum(series, interval, this.sampleValue === "bytes" ? textBytes - rows : rows);
  }

  /** Looks at rows `from` up to `to` of a block whose stream the leaf selects. Throws what reading the block throws. */
  scan(view: BlockView, block: MetricBlock, from: number, to: number): void {
    const { windows } = this;
    this.place.order = block.order;
    if (this.byCode && from === 0 && to === view.rows && this.walkHeader(view, block)) return;
    // Where the whole block is inside, its times need not be made arrays of.
    if (view.sorted && !windows.spans(block.timeMinNs, block.timeMaxNs)) {
      const first = splitNs(windows.firstNs);
      const end = splitNs(windows.lastNs + 1n);
      from = Math.max(from, firstRowAt(view, first.sec, first.nsec));
      to = Math.min(to, firstRowAt(view, end.sec, end.nsec));
    }
    if (from >= to) return;
    if (this.byCode) this.scanByCode(view, block, from, to);
    else this.scanRows(view, block, from, to);
  }

  /** The names of metadata that are looked at beside the stream's labels: one that the stream has, metadata can't have. */
  private namesFor({ canonical, labels }: BlockView): ReadonlySet<string> | null {
    if (this.names === null) return null;
    let names = this.streamNames.get(canonical);
    if (names === undefined) {
      const { names: all } = this;
      names = new Set([...all].filter((name) => !isLabel(labels, name) || all.has(`${name}_extracted`)));
      if (this.streamNames.size >= STREAMS_MAX) this.streamNames.clear();
      this.streamNames.set(canonical, names);
    }
    return names;
  }

  /** An open block is looked at in many slices, and its codes are made for all of it. */
  private codesOf(view: BlockView): MetadataCodes | null {
    if (view !== this.codesView) {
      this.codesView = view;
      this.codes = view.metadataCodes(this.namesFor(view));
    }
    return this.codes;
  }

  /** What was found since the last call. */
  take(): PackedCells | null {
    this.keys.forget();
    return this.table.take();
  }

  // Labels by code

  private scanByCode(view: BlockView, block: MetricBlock, from: number, to: number): void {
    const codes = this.codesOf(view);
    const { entry } = this.labels;
    if (codes === null) {
      // Ids are wanted, which differ from row to row.
      entry.openBlock(view.text, view.labels, view);
      this.choice.choose(view, { from, to, accepts: null, hide: block.hide });
      const { rows, count } = this.choice;
      for (let i = 0; i < count && this.error === null; i++) this.takeRow(view, rows[i]);
      return;
    }
    entry.openBlock(NO_BYTES, view.labels, { metadata: (code) => codes.pairs(code) });
    const found = new CodeVerdicts(codes.count);
    for (let code = 0; code < codes.count; code++) found.series[code] = this.passes(code) ? UNKNOWN : DROPPED;
    if (!found.series.includes(UNKNOWN)) {
      this.stats.prunedByMetadata++;
      return;
    }
    const of = codes.codes;
    const isMixed = of !== null && found.series.includes(DROPPED);
    const accepts = isMixed ? (row: number) => found.series[of[row]] !== DROPPED : null;
    this.choice.choose(view, { from, to, accepts, hide: block.hide });
    if (this.choice.count === 0) return;
    if (of === null && from === 0 && to === view.rows && this.walkChosen(view, block, found)) return;
    const starts = this.sampleValue === "bytes" ? view.lineStarts : null;
    const { sec, nsec } = view;
    const { windows, table, place } = this;
    const { rows, count } = this.choice;
    const isSum = table.kind === kindOf("sum_over_time");
    for (let i = 0; i < count; i++) {
      const row = rows[i];
      const interval = windows.find(sec[row], nsec[row]);
      if (interval === -1) continue;
      const code = of === null ? 0 : of[row];
      let series = found.series[code];
      if (series === UNKNOWN) series = this.judge(code, found);
      if (this.error !== null) return;
      if (series === DROPPED) continue;
      this.stats.matched++;
      const value = starts === null ? found.values[code] : starts[row + 1] - starts[row] - 1;
      if (isSum) {
        table.addSum(series, interval, value);
        continue;
      }
      place.sec = sec[row];
      place.nsec = nsec[row];
      place.row = row;
      table.add(series, interval, value, place);
    }
  }

  /** Whether the stages let rows with a code pass. */
  private passes(code: number): boolean {
    this.labels.entry.openLine(0, 0, code);
    return this.labels.process();
  }

  /** The series of a code, `DROPPED` when rows with it have no sample. Asked for only when a row in a window has the code. */
  private judge(code: number, found: CodeVerdicts): number {
    let series = DROPPED;
    if (this.passes(code)) {
      const value = this.unwrap === null ? 1 : this.unwrap();
      if (value !== null && this.checkError(this.labels.entry)) {
        found.values[code] = value;
        series = this.keys.series();
      }
    }
    found.series[code] = series;
    return series;
  }

  /**
   * Counts the rows of a whole block by its times alone, or by its size where it lies in one interval. False when that
   * does not say all.
   */
  private walkHeader(view: BlockView, block: MetricBlock): boolean {
    const { windows } = this;
    if (this.lines !== null || this.sampleValue === "unwrap" || block.hide !== null) return false;
    const codes = this.codesOf(view);
    if (codes === null || codes.codes !== null) return false;
    const single = windows.single(block.timeMinNs, block.timeMaxNs);
    if (this.sampleValue === "bytes" && single === -1) return false;
    const walk = single === -1 ? view.walkTimes() : null;
    if (single === -1 && walk === null) return false;
    this.labels.entry.openBlock(NO_BYTES, view.labels, { metadata: (code) => codes.pairs(code) });
    const found = new CodeVerdicts(1);
    if (!this.passes(0)) {
      this.stats.prunedByMetadata++;
      return true;
    }
    // Each line has its LF.
    if (walk === null)
      this.countRows(found, single, view.rows, this.sampleValue === "bytes" ? view.textBytes - view.rows : view.rows);
    else this.walkTimes(walk, found, block, view.rows);
    return true;
  }

  private walkTimes(walk: TimesWalk, found: CodeVerdicts, { timeMinNs }: MetricBlock, rows: number): void {
    const { windows } = this;
    const { sec, nsec } = splitNs(timeMinNs);
    while (walk.row < rows && this.error === null) {
      const since = nsec + walk.since;
      const ahead = Math.floor(since / 1e9);
      const interval = windows.find(sec + ahead, since - ahead * 1e9);
      const before = walk.row;
      const next = walk.passTo(walk.since + windows.ahead(sec + ahead, since - ahead * 1e9));
      if (interval !== -1) this.countRows(found, interval, next - before, next - before);
    }
  }

  /**
   * Counts the chosen rows of a whole block whose labels are all the same, without arrays of its times: by where in the block intervals end.
   * False when rows have to be looked at one by one. Node 20, 0.04 of the CPU time of a regular expression that nearly all lines match
   * (bench/query.ts, "a regex without a literal").
   */
  private walkChosen(view: BlockView, { timeMinNs, timeMaxNs }: MetricBlock, found: CodeVerdicts): boolean {
    const { windows } = this;
    const { rows, count } = this.choice;
    if (this.sampleValue !== "one" || this.table.kind !== kindOf("sum_over_time")) return false;
    const single = windows.single(timeMinNs, timeMaxNs);
    if (single !== -1) {
      this.countRows(found, single, count, count);
      return true;
    }
    const walk = view.walkTimes();
    if (walk === null) return false;
    const { sec, nsec } = splitNs(timeMinNs);
    for (let at = 0; at < count && this.error === null; ) {
      const since = nsec + walk.since;
      const ahead = Math.floor(since / 1e9);
      const interval = windows.find(sec + ahead, since - ahead * 1e9);
      const next = walk.passTo(walk.since + windows.ahead(sec + ahead, since - ahead * 1e9));
      const before = at;
      while (at < count && rows[at] < next) at++;
      if (interval !== -1 && at > before) this.countRows(found, interval, at - before, at - before);
    }
    return true;
  }

  private countRows(found: CodeVerdicts, interval: number, rows: number, value: number): void {
    const known = found.series[0];
    const series = known === UNKNOWN ? this.judge(0, found) : known;
    if (series === DROPPED) return;
    this.stats.matched += rows;
    this.table.addSum(series, interval, value);
  }

  // Stages on each line

  private scanRows(view: BlockView, block: MetricBlock, from: number, to: number): void {
    const verdict = this.columnFilter?.open(view) ?? "all";
    if (verdict === "none") {
      this.stats.prunedByMetadata++;
      return;
    }
    // Hidden lines are asked for last: few rows pass the stages.
    this.choice.choose(view, { from, to, accepts: verdict === "all" ? null : verdict, hide: null });
    const { rows, count, seen } = this.choice;
    if (count === 0) return;
    const { entry } = this.labels;
    const codes = this.names === null ? null : this.codesOf(view);
    const of = codes?.codes ?? null;
    entry.openBlock(
      view.text,
      view.labels,
      codes === null
        ? view
        : {
            metadata: (row) => codes.pairs(of === null ? 0 : of[row]),
            sec: view.sec,
            nsec: view.nsec,
            metadataCodes: (names) => view.metadataCodes(names),
          },
    );
    const isHidden = block.hide === null ? null : this.hider.open(view, block.hide);
    const { lineStarts: starts, sec, nsec } = view;
    for (let i = 0; i < count && this.error === null; i++) {
      const row = rows[i];
      const interval = this.windows.find(sec[row], nsec[row]);
      if (interval === -1) continue;
      entry.openLine(starts[row], starts[row + 1] - 1, row);
      if (!this.labels.process(seen) || isHidden?.(row) === true) continue;
      this.takeSample(sec[row], nsec[row], row, interval);
    }
  }

  /** A row of `byCode` whose labels are its own. */
  private takeRow(view: BlockView, row: number): void {
    const { entry } = this.labels;
    const starts = view.lineStarts;
    const sec = view.sec[row];
    const nsec = view.nsec[row];
    const interval = this.windows.find(sec, nsec);
    if (interval === -1) return;
    entry.openLine(starts[row], starts[row + 1] - 1, row);
    if (this.labels.process()) this.takeSample(sec, nsec, row, interval);
  }

  /** The entry's line, which is of this time, has passed all stages. */
  private takeSample(sec: number, nsec: number, row: number, interval: number): void {
    const { place } = this;
    const { entry } = this.labels;
    let value = 1;
    if (this.sampleValue === "bytes") value = entry.lineBytes;
    else if (this.unwrap !== null) {
      const unwrapped = this.unwrap();
      if (unwrapped === null) return;
      value = unwrapped;
    }
    if (!this.checkError(entry)) return;
    this.stats.matched++;
    place.sec = sec;
    place.nsec = nsec;
    place.row = row;
    this.table.add(this.keys.series(), interval, value, place);
  }

  /** False for an error that nobody asked for, which fails the query. */
  private checkError(entry: Entry): boolean {
    if (entry.error === "" || this.keepsErrors) return true;
    entry.loadLabels();
    if (entry.find(PRESERVE_ERROR_LABEL) === "true") return true;
    this.error = pipelineError(entry.labels());
    return false;
  }
}

/** What is known of the codes of one block: the series of each, and its value. */
class CodeVerdicts {
  readonly series: Int32Array;
  readonly values: Float64Array;

  constructor(count: number) {
    this.series = new Int32Array(count).fill(UNKNOWN);
    this.values = new Float64Array(count);
  }
}

/** An empty value is the same as no label. */
function isLabel(labels: Labels, name: string): boolean {
  return Object.hasOwn(labels, name) && labels[name] !== "";
}
