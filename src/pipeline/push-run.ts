import { PushBatchCursor } from "../codec/push-batch.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { Labels } from "../core/labels.ts";
import type { GivenStream } from "./context.ts";
import { NO_GROUP } from "./group.ts";
import type { Pipeline } from "./pipeline.ts";
import { type EntryRun, NO_BYTES, type RunDeps, SLICE_BYTES } from "./run.ts";

/** Pushed lines have no tag: `match: "**"` takes them, and pipelines tell them apart by the receiver. */
export const PUSH_TAG = "";

/**
 * One intake entry of pushed lines on its way through its pipeline. The line is there, and so are its labels, which stay; its
 * structured metadata are the fields of the record that the steps see.
 */
export class PushRun implements EntryRun {
  private readonly deps: RunDeps;
  private readonly entry: IntakeEntry;
  private readonly cursor: PushBatchCursor | null = null;
  private readonly pipeline: Pipeline | null = null;
  private given: GivenStream | null = null;
  private givenAt = -1;
  private isDone = false;

  constructor(entry: IntakeEntry, deps: RunDeps) {
    this.deps = deps;
    this.entry = entry;
    try {
      this.pipeline = deps.router.find(entry.source, PUSH_TAG);
      this.cursor = new PushBatchCursor(entry.payload);
    } catch (error) {
      this.fail(error);
    }
  }

  step(maxLines: number): boolean {
    const { cursor, pipeline, deps } = this;
    if (this.isDone || cursor === null) return false;
    try {
      if (pipeline === null) this.countUnrouted(cursor, maxLines);
      else this.process(cursor, pipeline, maxLines);
    } catch (error) {
      // The receiver has written the batch, so this is damage done since; what came before it is kept.
      this.fail(error);
    }
    if (pipeline !== null) deps.metrics.take(pipeline.counts);
    deps.metrics.takeRejected(deps.record.ids.rejected);
    return !this.isDone;
  }

  private process(cursor: PushBatchCursor, pipeline: Pipeline, maxLines: number): void {
    const { entry } = this;
    const { record, now } = this.deps;
    const nowMs = now();
    record.tenant = entry.tenant;
    record.source = entry.source;
    record.tag = PUSH_TAG;
    record.group = NO_GROUP;
    record.bytes = cursor.bytes;
    const stopAt = cursor.at + SLICE_BYTES;
    for (let left = maxLines; left > 0 && cursor.at < stopAt; left--) {
      if (!cursor.next()) {
        this.isDone = true;
        break;
      }
      if (cursor.streamStart !== this.givenAt) this.given = this.streamOf(cursor);
      record.given = this.given;
      record.sec = cursor.sec;
      record.nsec = cursor.nsec;
      record.recordStart = cursor.metadataStart;
      record.recordEnd = cursor.metadataEnd;
      record.metadataStart = cursor.metadataStart;
      record.metadataEnd = cursor.metadataEnd;
      record.lineBytes = cursor.bytes;
      record.lineStart = cursor.lineStart;
      record.lineEnd = cursor.lineEnd;
      pipeline.process(record, nowMs);
    }
    // The record must not keep the entry's memory.
    record.given = null;
    record.bytes = NO_BYTES;
    record.lineBytes = NO_BYTES;
  }

  private streamOf({ bytes, streamStart, streamEnd }: PushBatchCursor): GivenStream {
    this.givenAt = streamStart;
    const canonical = bytes.toString("utf8", streamStart, streamEnd);
    return { canonical, labels: readLabels(canonical) };
  }

  private countUnrouted(cursor: PushBatchCursor, max: number): void {
    let count = 0;
    while (count < max && cursor.next()) count++;
    if (count < max) this.isDone = true;
    this.deps.metrics.unrouted.inc(count);
  }

  private fail(error: unknown): void {
    if (!(error instanceof WeirError)) throw error;
    this.isDone = true;
    this.deps.metrics.broken.inc();
    const { offset, source } = this.entry;
    this.deps.log.error(
      { offset, receiver: source },
      `pipeline: pushed lines can't be read to their end: ${messageOf(error)}`,
    );
  }
}

function readLabels(canonical: string): Labels {
  try {
    const labels: unknown = JSON.parse(canonical);
    if (typeof labels === "object" && labels !== null && !Array.isArray(labels)) {
      // Canonical labels are an object of texts, and the entry's checksum says that these are as they were written.
      return labels as Labels;
    }
  } catch {
    // Said below.
  }
  throw new WeirError("bad_push_batch", `pushed lines: got the labels ${canonical.slice(0, 200)}`);
}
