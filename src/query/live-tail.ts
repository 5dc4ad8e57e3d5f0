import type { Labels } from "../core/labels.ts";
import { type Line, lineMetadata, type StreamHandle } from "../core/line.ts";
import { joinNs } from "../core/time.ts";
import { compileSelector } from "./compile.ts";
import type { DroppedEntry, TailEntry } from "./engine.ts";
import { type JudgedView, LineQuery } from "./line-query.ts";
import { parseLogQuery } from "./syntax/parse.ts";

/** What a line that waits takes beside its bytes, roughly, so that many empty ones are bounded too. */
const OVERHEAD_BYTES = 256;
/** Dropped lines that are reported one by one; the others are only left out. */
const DROPPED_MAX = 100;

/**
 * The receiving end of a live tail: judges lines as they are appended and queues those that pass, up to a number of
 * bytes. What does not fit is dropped and reported: a slow reader must not hold up the pipeline.
 */
export class LiveTail {
  private readonly tenant: string;
  private readonly matches: (labels: Labels) => boolean;
  private readonly query: LineQuery;
  private readonly bytesMax: number;
  private readonly wanted = new WeakMap<StreamHandle, boolean>();
  private readonly view = new LineView();
  private queue: { entry: TailEntry; atMs: number }[] = [];
  private queuedBytes = 0;
  private dropped: DroppedEntry[] = [];

  /** Throws QueryError. */
  constructor(request: { tenant: string; query: string; categorize: boolean; queueBytes: number }) {
    this.tenant = request.tenant;
    this.matches = compileSelector(parseLogQuery(request.query).matchers);
    this.query = new LineQuery(request.query, request.categorize);
    this.bytesMax = request.queueBytes;
  }

  /** A tap of the store's writer. Never throws for what a line holds. */
  readonly tap = (stream: StreamHandle, line: Line): void => {
    let wanted = this.wanted.get(stream);
    if (wanted === undefined) {
      wanted = stream.tenant === this.tenant && this.matches(stream.labels);
      this.wanted.set(stream, wanted);
    }
    if (!wanted) return;
    this.view.show(stream.labels, line);
    const found = this.query.judge(this.view, 0);
    // The view shows another line next: nothing of this one may be taken for it.
    this.query.close();
    if (found === null) return;
    const timeNs = joinNs(line.sec, line.nsec);
    const bytes = sizeOf(found);
    if (this.queuedBytes + bytes > this.bytesMax) {
      if (this.dropped.length < DROPPED_MAX) this.dropped.push({ timeNs, labels: stream.labels });
      return;
    }
    this.queuedBytes += bytes;
    const entry = { timeNs, group: found.group, detail: found.detail, line: Buffer.from(found.line) };
    this.queue.push({ entry, atMs: performance.now() });
  };

  /** What has waited for at least `delayMs`, oldest first, and what was dropped. */
  take(delayMs: number): { entries: TailEntry[]; dropped: DroppedEntry[] } {
    const until = performance.now() - delayMs;
    const due = this.queue.filter(({ atMs }) => atMs <= until).map(({ entry }) => entry);
    this.queue = this.queue.filter(({ atMs }) => atMs > until);
    for (const entry of due) this.queuedBytes -= sizeOf(entry);
    const { dropped } = this;
    this.dropped = [];
    return { entries: due.sort((a, b) => (a.timeNs < b.timeNs ? -1 : a.timeNs > b.timeNs ? 1 : 0)), dropped };
  }
}

function sizeOf({ line, group, detail }: Pick<TailEntry, "group" | "detail"> & { readonly line: Uint8Array }): number {
  return OVERHEAD_BYTES + line.length + group.length + detail.length;
}

/** One line as a block of one row. */
class LineView implements JudgedView {
  labels: Labels = {};
  text: Buffer = Buffer.alloc(0);
  readonly lineStarts = new Uint32Array(2);
  readonly sec = new Float64Array(1);
  readonly nsec = new Uint32Array(1);
  private line: Line | null = null;

  show(labels: Labels, line: Line): void {
    this.labels = labels;
    this.line = line;
    this.text = line.bytes.subarray(line.start, line.end);
    this.lineStarts[1] = line.end - line.start + 1;
    this.sec[0] = line.sec;
    this.nsec[0] = line.nsec;
  }

  metadata(): (readonly [string, string])[] {
    return this.line === null ? [] : lineMetadata(this.line);
  }
}
