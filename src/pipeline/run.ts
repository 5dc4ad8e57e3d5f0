import { EventCursor, type EventGroup } from "../codec/event-cursor.ts";
import { readForwardMessage } from "../codec/forward-message.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { Logger } from "../core/log.ts";
import type { RecordContext } from "./context.ts";
import { type GroupCache, NO_GROUP } from "./group.ts";
import type { PipelineMetrics } from "./metrics.ts";
import type { Pipeline } from "./pipeline.ts";
import type { Router } from "./route.ts";

/** Bytes of records after which a slice ends, however few they are: about 3 ms for lines made to be slow. */
const SLICE_BYTES = 524_288;

export interface RunDeps {
  readonly router: Router;
  readonly record: RecordContext;
  readonly groups: GroupCache;
  readonly metrics: PipelineMetrics;
  readonly log: Logger;
  readonly now: () => number;
}

/** One intake entry on its way through its pipeline, in slices so that the caller can give others a turn. */
export interface EntryRun {
  /** Works through at most `maxLines` more records, fewer where they are long; true while there are more. */
  step(maxLines: number): boolean;
}

/** What gives the records of an entry one after the other. */
export interface RecordCursor {
  readonly at: number;
  readonly bytes: Buffer;
  next(): boolean;
  /** Lets go of the bytes. */
  close(): void;
}

/** The work that all kinds of entries share: slices, counts, and what becomes of an entry that is damaged. */
export abstract class SlicedRun<C extends RecordCursor> implements EntryRun {
  protected readonly deps: RunDeps;
  protected readonly entry: IntakeEntry;
  private readonly tag: string;
  /** null: the entry can't be read at all. */
  private cursor: C | null = null;
  private pipeline: Pipeline | null = null;
  private isDone = false;

  /** `open` and `begin` may throw a WeirError. The tag is what pipelines are chosen by. */
  protected constructor(entry: IntakeEntry, deps: RunDeps, open: () => { tag: string; begin: () => C }) {
    this.deps = deps;
    this.entry = entry;
    let tag = "";
    try {
      const opened = open();
      tag = opened.tag;
      this.pipeline = deps.router.find(entry.source, tag);
      this.cursor = opened.begin();
    } catch (error) {
      this.fail(error, tag);
    }
    this.tag = tag;
  }

  step(maxLines: number): boolean {
    const { cursor, pipeline, deps } = this;
    if (this.isDone || cursor === null) return false;
    try {
      if (pipeline === null) this.countUnrouted(cursor, maxLines);
      else this.process(cursor, pipeline, maxLines);
    } catch (error) {
      // The receiver has checked the entry, so this is damage done since; what came before it is kept.
      this.fail(error, this.tag);
    }
    if (pipeline !== null) deps.metrics.take(pipeline.counts);
    deps.metrics.takeRejected(deps.record.ids.rejected);
    // Nothing of the entry's memory is kept.
    if (this.isDone) cursor.close();
    return !this.isDone;
  }

  /** Puts what the cursor has found into the record. `isFirst`: of this slice, so others have used the record meanwhile. */
  protected abstract load(record: RecordContext, cursor: C, isFirst: boolean): void;

  private process(cursor: C, pipeline: Pipeline, maxLines: number): void {
    const { entry } = this;
    const { record, now } = this.deps;
    const nowMs = now();
    record.tenant = entry.tenant;
    record.source = entry.source;
    record.tag = this.tag;
    record.bytes = cursor.bytes;
    const stopAt = cursor.at + SLICE_BYTES;
    for (let left = maxLines; left > 0 && cursor.at < stopAt; left--) {
      if (!cursor.next()) {
        this.isDone = true;
        break;
      }
      this.load(record, cursor, left === maxLines);
      pipeline.process(record, nowMs);
    }
    // The record must not keep the entry's memory.
    record.given = null;
    record.bytes = NO_BYTES;
    record.lineBytes = NO_BYTES;
  }

  private countUnrouted(cursor: C, max: number): void {
    let count = 0;
    while (count < max && cursor.next()) count++;
    if (count < max) this.isDone = true;
    this.deps.metrics.unrouted.inc(count);
  }

  private fail(error: unknown, tag: string): void {
    if (!(error instanceof WeirError)) throw error;
    this.isDone = true;
    this.deps.metrics.broken.inc();
    const { offset, source } = this.entry;
    this.deps.log.error(
      { offset, receiver: source, tag },
      `pipeline: entry can't be read to its end: ${messageOf(error)}`,
    );
  }
}

/** The run of a message of the forward protocol. */
export class PipelineRun extends SlicedRun<EventCursor> {
  private lastGroup: EventGroup | null = null;

  constructor(entry: IntakeEntry, deps: RunDeps) {
    super(entry, deps, () => {
      const message = readForwardMessage(entry.payload);
      const begin = () => {
        const cursor = new EventCursor();
        cursor.open(entry.payload, message, entry.inflated);
        return cursor;
      };
      return { tag: message.tag, begin };
    });
  }

  protected load(record: RecordContext, cursor: EventCursor, isFirst: boolean): void {
    record.sec = cursor.sec;
    record.nsec = cursor.nsec;
    record.recordStart = cursor.recordStart;
    record.recordEnd = cursor.recordEnd;
    record.repeatAt = cursor.records.repeatAt;
    record.repeatId = cursor.records.repeatId;
    record.metadataStart = cursor.metadataStart;
    record.metadataEnd = cursor.metadataEnd;
    if (!isFirst && cursor.group === this.lastGroup) return;
    this.lastGroup = cursor.group;
    record.group = cursor.group === null ? NO_GROUP : this.deps.groups.get(cursor.bytes, cursor.group);
  }
}

const NO_BYTES = Buffer.alloc(0);
