import { describe, expect, test } from "vitest";
import { BestEntries, type PackedEntries } from "../../../src/query/entries.ts";
import { CellTable, type PackedCells } from "../../../src/query/metric/cells.ts";
import { kindOf } from "../../../src/query/metric/kinds.ts";
import { ResultFits } from "../../../src/query/peers/fits.ts";
import {
  type BatchBlock,
  type BatchResult,
  emptyResult,
  ScanControl,
  type ScanJob,
} from "../../../src/query/scan-job.ts";

const SECOND = 1_000_000_000n;
const LOG: ScanJob = {
  ...{
    id: 0,
    tenant: "fake",
    mode: "scan",
    query: '{app="a"}',
    ids: null,
    startNs: 0n,
    endNs: 100n * SECOND,
    limit: 3,
  },
  ...{ backward: true, categorize: false, textBytesMax: 0, endsAtMs: Number.POSITIVE_INFINITY },
  control: ScanControl.create(true).memory,
};
/** Ten windows of a minute, and one kind of each: a sum, and samples with their times. */
const METRIC: ScanJob = {
  ...LOG,
  mode: "metric",
  query: 'sum(count_over_time({app="a"}[1m])) + sum(rate_counter({app="a"} | unwrap v [1m]))',
  evaluate: { startNs: 0n, endNs: 540n * SECOND, stepNs: 60n * SECOND },
};
const block = (order: number): BatchBlock => ({
  ...{ key: "", offset: 0, length: 1, order, timeMinNs: 0n, timeMaxNs: 0n, bytes: null, rows: null, hide: null },
});
const BLOCKS = [block(7), block(9)];

function entries(
  ...keys: readonly (readonly [sec: number, nsec: number, order: number, row: number])[]
): PackedEntries {
  const best = new BestEntries(100, true);
  for (const key of keys) best.add(...key, "{}", "", null);
  const packed = best.take();
  if (packed === null) throw new Error("no entries");
  return packed;
}

function cells(op: "count_over_time" | "rate_counter", { interval = 0, order = 7 } = {}): PackedCells {
  const table = new CellTable(kindOf(op));
  table.add(table.seriesOf("{}"), interval, 1, { sec: 1, nsec: 0, order, row: 0 });
  const packed = table.take();
  if (packed === null) throw new Error("no cells");
  return packed;
}

const logged = (packed: PackedEntries): BatchResult => ({ ...emptyResult(), entries: packed });
const metric = (...leaves: readonly (PackedCells | null)[]): BatchResult => ({
  ...emptyResult(),
  partial: { leaves, error: null },
});

describe("what fits a query", () => {
  test.each<{ name: string; job: ScanJob; result: BatchResult }>([
    { name: "nothing", job: LOG, result: emptyResult() },
    { name: "lines in order", job: LOG, result: logged(entries([5, 1, 9, 0], [5, 1, 7, 3], [4, 0, 9, 9])) },
    { name: "no samples", job: METRIC, result: metric(null, null) },
    { name: "samples", job: METRIC, result: metric(cells("count_over_time", { interval: 9 }), cells("rate_counter")) },
    {
      name: "the error of a sample",
      job: METRIC,
      result: { ...emptyResult(), partial: { leaves: [], error: "pipeline error" } },
    },
    { name: "a lost block", job: LOG, result: { ...emptyResult(), lost: [{ order: 9, reason: "broken" }] } },
  ])("$name", ({ job, result }) => {
    new ResultFits(job).check(result, BLOCKS);
  });

  const good = entries([5, 0, 7, 0], [4, 0, 7, 0]);
  test.each<{ name: string; job: ScanJob; result: BatchResult; says: RegExp }>([
    { name: "numbers for a log query", job: LOG, result: metric(null), says: /numbers for a log query/ },
    { name: "lines for a metric query", job: METRIC, result: logged(good), says: /lines for a metric query/ },
    { name: "neither for a metric query", job: METRIC, result: emptyResult(), says: /metric query/ },
    {
      name: "too many lines",
      job: LOG,
      result: logged(entries([5, 0, 7, 0], [4, 0, 7, 0], [3, 0, 7, 0], [2, 0, 7, 0])),
      says: /4 lines, which are more than 3/,
    },
    { name: "lines of another block", job: LOG, result: logged(entries([5, 0, 8, 0])), says: /not asked for/ },
    { name: "lines twice", job: LOG, result: logged(entries([5, 0, 7, 0], [5, 0, 7, 0])), says: /not in order/ },
    { name: "the other order", job: { ...LOG, backward: false }, result: logged(good), says: /not in order/ },
    {
      name: "a time that can't be",
      job: LOG,
      result: logged({ ...good, sec: Float64Array.of(Number.NaN, 4) }),
      says: /NaN s/,
    },
    {
      name: "nanoseconds of more than a second",
      job: LOG,
      result: logged({ ...good, nsec: Uint32Array.of(1e9, 0) }),
      says: /1000000000 ns/,
    },
    {
      name: "a lost block of others",
      job: LOG,
      result: { ...emptyResult(), lost: [{ order: 1, reason: "" }] },
      says: /lost/,
    },
    { name: "too few leaves", job: METRIC, result: metric(null), says: /1 leaves, where the query has 2/ },
    {
      name: "leaves that are mixed up",
      job: METRIC,
      result: metric(cells("rate_counter"), cells("count_over_time")),
      says: /0 numbers for 1 cells/,
    },
    {
      name: "an interval that the query has not",
      job: METRIC,
      result: metric(cells("count_over_time", { interval: 10 }), null),
      says: /an interval of 10, where there are 10/,
    },
    {
      name: "samples of another block",
      job: METRIC,
      result: metric(null, cells("rate_counter", { order: 8 })),
      says: /not asked for/,
    },
    {
      name: "samples without times",
      job: METRIC,
      result: metric(null, {
        ...cells("rate_counter"),
        kept: cells("rate_counter").kept && { ...cellsKept(), sec: new Float64Array(0) },
      }),
      says: /without their times/,
    },
  ])("and what does not: $name", ({ job, result, says }) => {
    expect(() => new ResultFits(job).check(result, BLOCKS)).toThrow(
      expect.objectContaining({ code: "bad_scan_result", message: expect.stringMatching(says) }),
    );
  });
});

function cellsKept(): NonNullable<PackedCells["kept"]> {
  const { kept } = cells("rate_counter");
  if (kept === null) throw new Error("no samples");
  return kept;
}
