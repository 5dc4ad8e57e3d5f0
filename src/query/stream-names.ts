import type { Labels } from "../core/labels.ts";
import { Slices } from "../core/slices.ts";
import { byTime } from "../store/segment-order.ts";
import type { LabelValues, SegmentIndex, SegmentInfo, SegmentPart, StoreSnapshot } from "../store/view.ts";
import type { HiddenLines } from "./deletes-hide.ts";
import { timeSpanOf } from "./plan.ts";

/** Indexes that are read at one time at most: a far store answers them together as soon as one. */
const INDEXES_AT_ONCE = 16;

/** Streams of a segment between two looks at the clock. */
const STREAMS_A_SLICE = 256;

export interface StreamsWanted {
  readonly tenant: string;
  /** Inclusive, exclusive. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly accepts: (labels: Labels) => boolean;
  /** What `accepts` asks of labels' values, where it can be told so. */
  readonly labels: readonly LabelValues[];
  /** Streams that have expired are not there. Those whose lines are deleted are, as in Loki, until compaction. */
  readonly hidden: HiddenLines | null;
  /** Nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * The labels of all streams that have lines in a time range, as fine as segments are: a segment that reaches into the
 * range counts with all its streams. A segment whose index can't be read is passed over, and `onLost` told; so is `onLostPart` of a page of the catalog.
 */
export async function streamsIn(
  snapshot: StoreSnapshot,
  wanted: StreamsWanted,
  index: (info: SegmentInfo) => Promise<SegmentIndex>,
  onLost: (info: SegmentInfo, error: unknown) => void,
  onLostPart: (part: SegmentPart, error: unknown) => void,
): Promise<Labels[]> {
  const { tenant, startNs, endNs, accepts, labels, hidden, signal } = wanted;
  // By canonical text, so that a stream in a hundred segments is looked at once.
  const found = new Map<string, Labels | null>();
  const add = (canonical: string, labels: Labels): void => {
    if (!found.has(canonical)) found.set(canonical, accepts(labels) ? labels : null);
  };
  const slices = new Slices();
  const segments = await snapshot.segments.segments({ tenant, startNs, endNs, labels }, onLostPart);
  const shown = segments.filter(({ timeMaxNs }) => hidden?.isPast(timeMaxNs) !== true).sort(byTime);
  for await (const { info, reading } of readAhead(shown, index, signal)) {
    signal.throwIfAborted();
    try {
      const { streams, blocks } = await reading;
      const live = hidden === null ? null : liveStreams(hidden, info, { streams, blocks });
      for (let place = 0; place < streams.length; place++) {
        const { canonical, labels } = streams[place];
        if (live?.has(place) !== false) add(canonical, labels);
        if (place % STREAMS_A_SLICE === STREAMS_A_SLICE - 1) await slices.turn();
      }
    } catch (error) {
      onLost(info, error);
    }
    await slices.turn();
  }
  for (const { tenant: owner, canonical, labels, info } of snapshot.pending) {
    if (owner !== tenant) continue;
    if (info.timeMaxNs < startNs || info.timeMinNs >= endNs) continue;
    if (hidden?.isExpired(canonical, labels, info.timeMaxNs) !== true) add(canonical, labels);
  }
  for (const view of snapshot.open) {
    if (view.tenant !== tenant || view.rows === 0) continue;
    const { timeMinNs, timeMaxNs } = timeSpanOf(view);
    if (timeMaxNs < startNs || timeMinNs >= endNs) continue;
    if (hidden?.isExpired(view.canonical, view.labels, timeMaxNs) !== true) add(view.canonical, view.labels);
  }
  return [...found.values()].filter((labels) => labels !== null);
}

/** The segments in their order, each with its index under way; those after it are being read as well. */
async function* readAhead(
  segments: readonly SegmentInfo[],
  index: (info: SegmentInfo) => Promise<SegmentIndex>,
  signal: AbortSignal,
): AsyncGenerator<{ readonly info: SegmentInfo; readonly reading: Promise<SegmentIndex> }> {
  const begun: { info: SegmentInfo; reading: Promise<SegmentIndex> }[] = [];
  for (let next = 0; next < segments.length || begun.length > 0; ) {
    for (; next < segments.length && begun.length < INDEXES_AT_ONCE; next++) {
      signal.throwIfAborted();
      const reading = index(segments[next]);
      reading.catch(() => {}); // Whoever takes it hears of it; if nobody does, nobody waits for the answer any more.
      begun.push({ info: segments[next], reading });
    }
    const first = begun[0];
    yield first;
    // Its place is free only when it has been looked at: no more indexes are held at one time.
    begun.shift();
  }
}

/** Places of a segment's streams that have a line that is not expired. Null: all of them have. */
function liveStreams(
  hidden: HiddenLines,
  info: Pick<SegmentInfo, "timeMinNs">,
  { streams, blocks }: Pick<SegmentIndex, "streams" | "blocks">,
): ReadonlySet<number> | null {
  // Nothing has expired before the segment begins, so no block needs to be looked at: that is nearly every segment.
  const touched = streams.some(({ canonical, labels }) => hidden.isExpired(canonical, labels, info.timeMinNs));
  if (!touched) return null;
  const live = new Set<number>();
  for (const { stream, timeMaxNs } of blocks) {
    const { canonical, labels } = streams[stream];
    if (!hidden.isExpired(canonical, labels, timeMaxNs)) live.add(stream);
  }
  return live;
}
