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
export const SLICE_BYTES = 524_288;

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

/** The run of a message of the forward protocol. */
export class PipelineRun implements EntryRun {
  private readonly deps: RunDeps;
  private readonly entry: IntakeEntry;
  private readonly cursor = new EventCursor();
  private readonly pipeline: Pipeline | null = null;
  private readonly tag: string = "";
  private lastGroup: EventGroup | null = null;
  private isDone = false;

  constructor(entry: IntakeEntry, deps: RunDeps) {
    this.deps = deps;
    this.entry = entry;
    try {
      const message = readForwardMessage(entry.payload);
      this.tag = message.tag;
      this.pipeline = deps.router.find(entry.source, message.tag);
      this.cursor.open(entry.payload, message, entry.inflated);
    } catch (error) {
      this.fail(error);
    }
  }

  step(maxLines: number): boolean {
    if (this.isDone) return false;
    const { cursor, pipeline, deps } = this;
    try {
      if (pipeline === null) this.countUnrouted(maxLines);
      else this.process(pipeline, maxLines);
    } catch (error) {
      // The receiver has checked the message, so this is damage done since; what came before it is kept.
      this.fail(error);
    }
    if (pipeline !== null) deps.metrics.take(pipeline.counts);
    deps.metrics.takeRejected(deps.record.ids.rejected);
    // Nothing of the entry's memory is kept.
    if (this.isDone) cursor.bytes = NO_BYTES;
    return !this.isDone;
  }

  private process(pipeline: Pipeline, maxLines: number): void {
    const { cursor, entry } = this;
    const { record, now } = this.deps;
    const nowMs = now();
    record.tenant = entry.tenant;
    record.source = entry.source;
    record.tag = this.tag;
    record.given = null;
    record.bytes = cursor.bytes;
    const stopAt = cursor.at + SLICE_BYTES;
    for (let left = maxLines; left > 0 && cursor.at < stopAt; left--) {
      if (!cursor.next()) {
        this.isDone = true;
        break;
      }
      record.sec = cursor.sec;
      record.nsec = cursor.nsec;
      record.recordStart = cursor.recordStart;
      record.recordEnd = cursor.recordEnd;
      record.metadataStart = cursor.metadataStart;
      record.metadataEnd = cursor.metadataEnd;
      if (cursor.group !== this.lastGroup || left === maxLines) this.takeGroup(cursor.group);
      pipeline.process(record, nowMs);
    }
    // The record must not keep the entry's memory.
    record.bytes = NO_BYTES;
    record.lineBytes = NO_BYTES;
  }

  private takeGroup(group: EventGroup | null): void {
    this.lastGroup = group;
    this.deps.record.group = group === null ? NO_GROUP : this.deps.groups.get(this.cursor.bytes, group);
  }

  private countUnrouted(max: number): void {
    let count = 0;
    while (count < max && this.cursor.next()) count++;
    if (count < max) this.isDone = true;
    this.deps.metrics.unrouted.inc(count);
  }

  private fail(error: unknown): void {
    if (!(error instanceof WeirError)) throw error;
    this.isDone = true;
    this.deps.metrics.broken.inc();
    const { offset, source } = this.entry;
    this.deps.log.error(
      { offset, receiver: source, tag: this.tag },
      `pipeline: entry can't be read to its end: ${messageOf(error)}`,
    );
  }
}

export const NO_BYTES = Buffer.alloc(0);
