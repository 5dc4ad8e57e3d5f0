import type { EntryKind } from "../core/intake-entry.ts";
import type { LogLevel } from "../core/log.ts";
import type { MetricsJson } from "../core/metrics.ts";
import type { TailWanted, TakenLines, WantedLines } from "../query/snapshots.ts";
import type { CatalogEntry } from "../store/catalog-entry.ts";
import type { PackedOpenBlock } from "../store/open-view.ts";
import type { PackedPending } from "./pack-snapshot.ts";
import type { WorkerConfig } from "./partition-worker.ts";

/*
 * What a process's main thread and its worker threads say to each other. Messages of one side arrive in the order in which
 * they were sent; all that is said of exactness builds on that.
 */

/** What a worker thread is started with. */
export interface ThreadSetup {
  /** With the thread's share of what is the whole process's. */
  readonly config: WorkerConfig;
  /** Where the thread opens the object store. */
  readonly objectsUrl: string;
  readonly partitions: readonly number[];
  readonly logLevel: LogLevel;
  /** Number of the thread, and PoolSlots.memory; null where it is the only one. */
  readonly thread: number;
  readonly slots: SharedArrayBuffer | null;
}

/** An intake entry on its way. The memory of its bytes is handed over. */
export interface PostedEntry {
  readonly offset: number;
  readonly kind: EntryKind;
  readonly tenant: string;
  readonly source: string;
  readonly receivedMs: number;
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly inflated: Uint8Array<ArrayBuffer> | null;
}

/** By partition an offset of the intake log. */
export type Offsets = Readonly<Record<number, number>>;

/** Main thread to worker. `id` names the question that is to be answered. */
export type ToThread =
  /** Entries in order, for the reader that asked; all below `through` have been sent now, or are lost. */
  | {
      readonly type: "entries";
      readonly reader: number;
      readonly entries: readonly PostedEntry[];
      readonly through: number;
    }
  /** The main thread's catalog reaches that far. */
  | { readonly type: "known"; readonly partition: number; readonly next: number }
  /** `inCatalog`: how far the catalog reaches that the asker looks at. */
  | { readonly type: "snapshot"; readonly id: number; readonly wanted: WantedLines; readonly inCatalog: Offsets }
  | {
      readonly type: "tail";
      readonly id: number;
      readonly tail: TailWanted;
      readonly wanted: WantedLines;
      readonly inCatalog: Offsets;
    }
  /** New lines of the tail that was asked for as `tail`. */
  | { readonly type: "take"; readonly id: number; readonly tail: number; readonly delayMs: number }
  | { readonly type: "untail"; readonly tail: number }
  /** `ends`: where the intake log's partitions end now. */
  | { readonly type: "metrics"; readonly id: number; readonly ends: Offsets }
  | { readonly type: "flush"; readonly id: number }
  | { readonly type: "drain"; readonly id: number; readonly ends: Offsets }
  | { readonly type: "stop" };

/** A part of an answer to `snapshot` and `tail`. */
export interface SnapshotPart {
  readonly pending: readonly PackedPending[];
  readonly open: readonly PackedOpenBlock[];
}

/** The end of such an answer: from which offset on the parts have all lines. */
export interface SnapshotEnd {
  readonly from: Offsets;
}

/** Answers by question. */
export interface Answers {
  readonly snapshot: SnapshotEnd;
  readonly tail: SnapshotEnd;
  readonly take: TakenLines;
  readonly metrics: MetricsJson;
  readonly flush: null;
  readonly drain: null;
}

/** Worker to main thread. */
export type FromThread =
  /** Everything is open, and the partitions' entries are asked for. */
  | { readonly type: "started" }
  /** Entries of a partition are wanted from an offset on; `reader` names who gets them. */
  | { readonly type: "read"; readonly reader: number; readonly partition: number; readonly from: number }
  /** The reader has taken entries with so many bytes. */
  | { readonly type: "taken"; readonly reader: number; readonly entries: number; readonly bytes: number }
  | { readonly type: "unread"; readonly reader: number }
  /** An entry of the catalog was committed. What it covers is in no snapshot that is asked for after `known`. */
  | { readonly type: "committed"; readonly entry: CatalogEntry }
  /** All entries below are in the store. */
  | { readonly type: "done"; readonly partition: number; readonly next: number }
  | { readonly type: "part"; readonly id: number; readonly part: SnapshotPart }
  | { readonly type: "answer"; readonly id: number; readonly answer: Answers[keyof Answers] }
  | { readonly type: "refused"; readonly id: number; readonly code: string; readonly message: string };
