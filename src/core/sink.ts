import type { z } from "zod";
import type { OptionsSpec } from "./component.ts";
import type { Labels } from "./labels.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";

/** One record as a sink sends it on. */
export interface SinkRecord {
  /**
   * `<partition>-<offset>-<place in the entry>`, from the record's place in the intake log: the same on every try and after
   * every restart, so that a destination which knows ids stores it once.
   */
  readonly id: string;
  readonly tenant: string;
  /** Seconds since 1970 UTC, and nanoseconds 0 to 999,999,999. */
  readonly sec: number;
  readonly nsec: number;
  readonly labels: Labels;
  /** `canonicalLabels(labels)`. */
  readonly canonical: string;
  /** Structured metadata as queries show it, ids and `detected_level` among it. */
  readonly metadata: readonly (readonly [name: string, value: string])[];
  /** The line, without a newline at its end. */
  readonly line: Buffer;
  /** When Weir received it, milliseconds since 1970; absent where that is no longer known (a dead letter). */
  readonly receivedMs?: number;
  /** The whole record as a JSON object (LineSource.json); "" for a sink that has not asked for it. */
  readonly json: string;
}

/** A record that the destination has not taken. */
export interface Refused {
  /** Place in the batch. */
  readonly position: number;
  /** The destination's own words, where it has any. */
  readonly reason: string;
  /** Whether the same record may be taken later. Otherwise it goes to the dead letters. */
  readonly retriable: boolean;
}

export interface WriteResult {
  /** Empty when everything was taken. */
  readonly failed: readonly Refused[];
}

export const ALL_TAKEN: WriteResult = { failed: [] };

/**
 * A destination. One `write` at a time; it resolves when the destination has taken the records durably, or as durably as it
 * ever says. Rejects with a WeirError when nothing is known of any of them; they are all written again, so it may take some
 * twice unless it knows ids. `signal` is aborted when the process stops.
 */
export interface RecordSink {
  write(batch: readonly SinkRecord[], signal: AbortSignal): Promise<WriteResult>;
  /**
   * Of a sink that tells its destination at intervals what its records have come to: `write` takes them into memory, and the
   * position stays until `run` has brought them out. Nobody writes meanwhile. After a crash they are written again, to a new sink.
   */
  readonly flush?: { readonly everyMs: number; run(signal: AbortSignal): Promise<void> };
  /**
   * The intake log of a partition was replaced: ids of its records may come again, for others. For a sink that keeps by itself which
   * it has.
   */
  beginAnew?(partition: number): void;
  close(): Promise<void>;
}

/** A connection that sends chunks by the forward protocol. */
export interface ForwardConnection {
  /**
   * Sends `size` MessagePack entries `[time, record]`, one after the other, as one chunk, and resolves when the server has
   * acknowledged it. Rejects with a WeirError, and then the connection is of no more use.
   */
  sendPacked(tag: string, entries: Buffer, options: { chunk: string; size: number }): Promise<void>;
  close(): Promise<void>;
}

export interface ForwardTarget {
  /** `tcp://HOST:PORT`, `tls://HOST:PORT` or `unix:///PATH`. */
  readonly url: string;
  readonly sharedKey?: string;
  readonly user?: { readonly name: string; readonly password: string };
  /** For tls://: certificates that are trusted, PEM, and whether the server's is checked. */
  readonly tls?: { readonly ca?: string; readonly rejectUnauthorized?: boolean };
  readonly timeoutMs: number;
  /** Chunks that may wait for their acknowledgement at a time. */
  readonly inFlightMax: number;
}

/** What the process gives to a sink beside its options. */
export interface RecordSinkDeps {
  /** The sink's name in the pipeline file. */
  readonly name: string;
  /** A folder of this sink alone, for what it has to know after a restart; it need not be there yet. */
  readonly folder: string;
  /** Rejects with a WeirError when there is no connection. */
  readonly connectForward: (target: ForwardTarget) => Promise<ForwardConnection>;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** A sink that sends records on, at its own pace. */
export interface RecordSinkSpec<S extends z.ZodObject = z.ZodObject> extends OptionsSpec<S> {
  /** Whether `SinkRecord.json` is wanted with these options. */
  readonly wantsJson?: (options: z.output<S>) => boolean;
  /** Top-level fields that `SinkRecord.json` need have with these options; absent: all. */
  readonly fields?: (options: z.output<S>) => ReadonlySet<string>;
  /** Does not reach for the destination: one that is away at the start is waited for like any other time. */
  readonly open: (options: z.output<S>, deps: RecordSinkDeps) => RecordSink;
}

export function defineRecordSink<S extends z.ZodObject>(spec: RecordSinkSpec<S>): RecordSinkSpec<S> {
  return spec;
}
