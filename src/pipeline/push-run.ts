import { PushBatchCursor } from "../codec/push-batch.ts";
import { WeirError } from "../core/errors.ts";
import type { IntakeEntry } from "../core/intake-entry.ts";
import type { Labels } from "../core/labels.ts";
import type { GivenStream, RecordContext } from "./context.ts";
import { NO_GROUP } from "./group.ts";
import { type RunDeps, SlicedRun } from "./run.ts";

/** What is pushed over HTTP has no tag: `match: "**"` takes it, and pipelines tell it apart by the receiver. */
export const PUSH_TAG = "";

/**
 * One intake entry of pushed lines on its way through its pipeline. The line is there, and so are its labels, which stay; its
 * structured metadata are the fields of the record that the steps see.
 */
export class PushRun extends SlicedRun<PushBatchCursor> {
  private given: GivenStream | null = null;
  private givenAt = -1;

  constructor(entry: IntakeEntry, deps: RunDeps) {
    super(entry, deps, () => {
      const cursor = new PushBatchCursor(entry.payload);
      return { tag: cursor.tag, begin: () => cursor };
    });
  }

  protected load(record: RecordContext, lines: PushBatchCursor): void {
    if (lines.streamStart !== this.givenAt) this.given = this.streamOf(lines);
    record.given = this.given;
    record.group = NO_GROUP;
    record.sec = lines.sec;
    record.nsec = lines.nsec;
    record.recordStart = lines.metadataStart;
    record.recordEnd = lines.metadataEnd;
    record.repeatAt = -1;
    record.metadataStart = lines.metadataStart;
    record.metadataEnd = lines.metadataEnd;
    record.lineBytes = lines.bytes;
    record.lineStart = lines.lineStart;
    record.lineEnd = lines.lineEnd;
  }

  private streamOf({ bytes, streamStart, streamEnd }: PushBatchCursor): GivenStream {
    this.givenAt = streamStart;
    const canonical = bytes.toString("utf8", streamStart, streamEnd);
    return { canonical, labels: readLabels(canonical) };
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
