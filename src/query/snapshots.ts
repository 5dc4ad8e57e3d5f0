import type { Labels } from "../core/labels.ts";
import type { StoreSnapshot } from "../store/view.ts";
import { compileSelector } from "./compile.ts";
import type { DroppedEntry, TailEntry } from "./engine.ts";
import type { WantedId } from "./scan-job.ts";
import type { Matcher } from "./syntax/ast.ts";

/** What a query wants to look at. Plain data, so that a thread can be asked for it. */
export interface WantedLines {
  readonly tenant: string;
  /** Stream selectors, united; none: all streams. */
  readonly selectors: readonly (readonly Matcher[])[];
  /** Nanoseconds since 1970: blocks without a line at `startNs` up to, not including, `endNs` may be left out. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** When set, blocks that certainly have none of these may be left out. */
  readonly ids: readonly WantedId[] | null;
  /** False: only which streams and blocks there are, and their times, not what stands in the lines. */
  readonly withText: boolean;
}

/** A query for lines from now on. */
export interface TailWanted {
  readonly tenant: string;
  /** LogQL. */
  readonly query: string;
  readonly categorize: boolean;
  /** Bytes of lines that wait to be taken at most. */
  readonly queueBytes: number;
}

/** New lines of a live tail, oldest first, and what had no room. */
export interface TakenLines {
  readonly entries: readonly TailEntry[];
  readonly dropped: readonly DroppedEntry[];
}

/** A live tail that has begun: each line is in `snapshot` or comes by `take`, and none is in both. */
export interface TailSource {
  readonly snapshot: StoreSnapshot;
  /** What has waited for at least `delayMs`. */
  take(delayMs: number): Promise<TakenLines>;
  close(): void;
}

/**
 * Where an engine sees all lines: those in the store, and those that only workers have, in this thread, in others, or nowhere
 * that can be asked (a process without workers).
 */
export interface Snapshots {
  /** Everything that can be read now, each line once; of what only workers have, at least what is wanted. Asked once a query. */
  take(wanted: WantedLines): Promise<StoreSnapshot>;
  /** The same, and all lines from that moment on. Throws QueryError. */
  tail(tail: TailWanted, wanted: WantedLines): Promise<TailSource>;
}

/** Whether a stream has lines that are wanted. */
export function streamTest({
  tenant,
  selectors,
}: Pick<WantedLines, "tenant" | "selectors">): (labels: Labels, tenant: string) => boolean {
  const tests = selectors.map(compileSelector);
  return (labels, owner) => owner === tenant && (tests.length === 0 || tests.some((test) => test(labels)));
}
