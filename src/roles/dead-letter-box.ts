import { z } from "zod";
import { crc32 } from "../codec/crc32.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import { canonicalLabels } from "../core/labels.ts";
import type { Logger } from "../core/log.ts";
import type { RecordSink, SinkRecord } from "../core/sink.ts";
import { sleepFor } from "../core/wait.ts";
import { PrefixedObjects } from "../objects/prefixed.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Catalog } from "../store/catalog.ts";
import { mergeSegments } from "../store/compact/merge.ts";
import { Pace } from "../store/compact/pace.ts";
import type { RowFilter } from "../store/compact/removals.ts";
import { SegmentReader } from "../store/reader.ts";
import type { BlockView, SegmentInfo } from "../store/view.ts";
import { collectDead, DEAD_PREFIX, deadSegments, openDeadCatalog } from "./dead-letters.ts";
import { type BatchBounds, batchesOf } from "./sink-batches.ts";
import { recordBytes } from "./sink-collector.ts";

const INDEX_CACHE_BYTES = 16 << 20;
const REMOVED = "removed";
const NEVER = new AbortController().signal;
/** Dead letters are few: what is left of a segment is written anew as a whole. */
const REWRITE = {
  level: 6,
  blockBytes: 256 << 10,
  segmentBytes: 64 << 20,
  fullPart: 1,
  indexMemoryBytes: 64 << 20,
  readMemoryBytes: 16 << 20,
};

/** A dead letter as it is kept. */
export interface Letter {
  readonly sink: string;
  readonly reason: string;
  /** When it was refused, milliseconds since 1970. */
  readonly atMs: number;
  readonly record: SinkRecord;
}

/** Which letters are meant; what is left out means all. */
export interface LetterFilter {
  readonly sink?: string;
  readonly tenant?: string;
  /** Text within the reason. */
  readonly reason?: string;
  /** Refused before that, milliseconds since 1970. */
  readonly beforeMs?: number;
}

export interface ReplayReport {
  taken: number;
  /** Refused again: they stay. */
  refused: number;
  /** The destination's words for one of them, or "". */
  reason: string;
  /** Not taken now: they stay too. */
  later: number;
  /** Why the replay ended before its end, or null. */
  trouble: string | null;
}

const labelsSchema = z.record(z.string(), z.string());
const metadataSchema = z.array(z.tuple([z.string(), z.string()]));

/** The dead letters of a store, to be looked at and changed, also while a Weir adds to them. */
export class DeadLetterBox {
  private readonly objects: ObjectStore;
  private readonly catalog: Catalog;
  private readonly reader: SegmentReader;
  private readonly pace: Pace;

  private constructor(objects: ObjectStore, catalog: Catalog) {
    this.objects = objects;
    this.catalog = catalog;
    this.reader = new SegmentReader(objects, { cacheBytes: INDEX_CACHE_BYTES });
    this.pace = new Pace(1, { sleep: sleepFor, signal: NEVER, now: () => performance.now() });
  }

  /** `objects`: the whole object store. */
  static async open(objects: ObjectStore, log: Logger): Promise<DeadLetterBox> {
    return new DeadLetterBox(new PrefixedObjects(objects, DEAD_PREFIX), await openDeadCatalog(objects, log));
  }

  /** All letters that are meant, segment by segment; repeats too. Errors: those of the object store, damage, `dead_letter`. */
  async *letters(filter: LetterFilter): AsyncGenerator<Letter> {
    await this.catalog.refresh();
    for (const segment of await deadSegments(this.catalog)) {
      if (filter.tenant === undefined || segment.tenant === filter.tenant) yield* this.lettersOf(segment, filter);
    }
  }

  /** Removes the letters that are meant and gives how many they were; others that come meanwhile stay. */
  remove(filter: LetterFilter): Promise<number> {
    return this.rewrite(filter.tenant, (sink) => {
      if (filter.sink !== undefined && filter.sink !== sink) return null;
      return (view, row) => isMeant(partsOf(view, row), filter);
    });
  }

  /**
   * Sends a sink's letters again, and removes those that it takes, segment by segment: what is refused again stays, as does
   * everything when the destination is away. A crash in between sends those of one segment again the next time, with the same
   * ids. A record with several letters is sent once.
   */
  async replay(
    name: string,
    sink: RecordSink,
    { limit, bounds, signal }: { limit: number; bounds: BatchBounds; signal: AbortSignal },
  ): Promise<ReplayReport> {
    const report: ReplayReport = { taken: 0, refused: 0, reason: "", later: 0, trouble: null };
    const seen = new Set<string>();
    await this.catalog.refresh();
    for (const segment of await deadSegments(this.catalog)) {
      if (report.trouble !== null || seen.size >= limit) break;
      const waiting: SinkRecord[] = [];
      for await (const { record } of this.lettersOf(segment, { sink: name })) {
        if (seen.has(keyOf(record)) || seen.size >= limit) continue;
        seen.add(keyOf(record));
        waiting.push(record);
      }
      const taken = await send(sink, waiting, bounds, signal, report);
      if (taken.size > 0) await this.removeRecords(name, segment.tenant, taken);
      report.taken += taken.size;
    }
    return report;
  }

  private removeRecords(name: string, tenant: string, taken: ReadonlySet<string>): Promise<number> {
    return this.rewrite(tenant, (sink) =>
      sink === name
        ? (view, row) => {
            const id = partsOf(view, row).get("dead_record") ?? "";
            return taken.has(keyOf({ tenant, id, sec: view.sec[row], nsec: view.nsec[row], line: lineOf(view, row) }));
          }
        : null,
    );
  }

  /**
   * Writes segments anew without the rows that `test` gives true for, and puts them in place of the old ones; a segment that
   * somebody else has replaced meanwhile is looked at again.
   */
  private async rewrite(
    tenant: string | undefined,
    testOf: (sink: string) => ((view: BlockView, row: number) => boolean) | null,
  ): Promise<number> {
    const filter: RowFilter = (_tenant, labels) => {
      const test = testOf(labels.sink ?? "");
      if (test === null) return null;
      return { block: () => "rows", rows: (view) => (row) => (test(view, row) ? REMOVED : null) };
    };
    let removed = 0;
    for (let again = true; again; ) {
      again = false;
      await this.catalog.refresh();
      for (const segment of await deadSegments(this.catalog)) {
        if (tenant !== undefined && segment.tenant !== tenant) continue;
        if (!(await this.hasAny(segment, testOf))) continue;
        const { objects, pace } = this;
        const merged = await mergeSegments([segment], REWRITE, { objects, pace, filter });
        const add = merged.outputs;
        const done = await this.catalog.replace({ tenant: segment.tenant, remove: [segment.key], add });
        if (done) removed += merged.removed.get(REMOVED)?.lines ?? 0;
        else {
          again = true;
          await this.objects.deleteMany(add.map(({ key }) => key));
        }
      }
    }
    await collectDead(this.catalog);
    return removed;
  }

  private async hasAny(
    segment: SegmentInfo,
    testOf: (sink: string) => ((view: BlockView, row: number) => boolean) | null,
  ): Promise<boolean> {
    for await (const block of this.blocksOf(segment)) {
      const test = testOf(block.labels.sink ?? "");
      if (test === null) continue;
      for (let row = 0; row < block.rows; row++) if (test(block, row)) return true;
    }
    return false;
  }

  private async *blocksOf(segment: SegmentInfo): AsyncGenerator<BlockView> {
    const { blocks } = await this.reader.index(segment);
    for (const block of blocks) yield await this.reader.openBlock(segment, block);
  }

  private async *lettersOf(segment: SegmentInfo, filter: LetterFilter): AsyncGenerator<Letter> {
    for await (const block of this.blocksOf(segment)) {
      if (filter.sink !== undefined && block.labels.sink !== filter.sink) continue;
      for (let row = 0; row < block.rows; row++) {
        const parts = partsOf(block, row);
        if (isMeant(parts, filter)) yield letterOf(block, row, parts, segment.key);
      }
    }
  }
}

/** Sends records in batches; gives `keyOf` of those that were taken, and made durable where the sink has to be asked for that. */
async function send(
  sink: RecordSink,
  records: readonly SinkRecord[],
  bounds: BatchBounds,
  signal: AbortSignal,
  report: ReplayReport,
): Promise<Set<string>> {
  const taken = new Set<string>();
  for (const batch of batchesOf(records, bounds, recordBytes)) {
    if (report.trouble !== null) break;
    try {
      const { failed } = await sink.write(batch, signal);
      await sink.flush?.run(signal);
      const places = new Set(failed.map(({ position }) => position));
      for (const [place, record] of batch.entries()) if (!places.has(place)) taken.add(keyOf(record));
      const later = failed.filter(({ retriable }) => retriable);
      report.reason = failed.find(({ retriable }) => !retriable)?.reason ?? report.reason;
      report.refused += failed.length - later.length;
      report.later += later.length;
      if (later.length > 0) report.trouble = later[0].reason;
    } catch (error) {
      if (!(error instanceof WeirError) && !signal.aborted) throw error;
      report.later += batch.length;
      report.trouble = signal.aborted ? "interrupted" : messageOf(error);
    }
  }
  return taken;
}

/** The same for letters of one record. The id alone is not: it comes again after the intake log was replaced. */
function keyOf({ tenant, id, sec, nsec, line }: Pick<SinkRecord, "tenant" | "id" | "sec" | "nsec" | "line">): string {
  return `${tenant} ${id} ${sec}.${nsec} ${line.length} ${crc32(line)}`;
}

function lineOf(view: BlockView, row: number): Buffer {
  return view.text.subarray(view.lineStarts[row], view.lineStarts[row + 1] - 1);
}

function partsOf(view: BlockView, row: number): Map<string, string> {
  return new Map(view.metadata(row));
}

function isMeant(parts: ReadonlyMap<string, string>, { reason, beforeMs }: LetterFilter): boolean {
  if (reason !== undefined && parts.get("dead_reason")?.includes(reason) !== true) return false;
  return beforeMs === undefined || Number(parts.get("dead_at_ms")) < beforeMs;
}

function letterOf(block: BlockView, row: number, parts: ReadonlyMap<string, string>, key: string): Letter {
  try {
    const labels = labelsSchema.parse(JSON.parse(parts.get("dead_labels") ?? ""));
    const record: SinkRecord = {
      id: z.string().parse(parts.get("dead_record")),
      tenant: block.tenant,
      sec: block.sec[row],
      nsec: block.nsec[row],
      labels,
      canonical: canonicalLabels(labels),
      metadata: metadataSchema.parse(JSON.parse(parts.get("dead_metadata") ?? "")),
      line: Buffer.from(lineOf(block, row)),
      json: parts.get("dead_json") ?? "",
    };
    return {
      sink: block.labels.sink ?? "",
      reason: parts.get("dead_reason") ?? "",
      atMs: Number(parts.get("dead_at_ms")),
      record,
    };
  } catch (error) {
    throw new WeirError("dead_letter", `a dead letter in ${key} can't be understood: ${messageOf(error)}`, {
      context: { key },
      cause: error,
    });
  }
}
