import { codeOf, WeirError } from "../core/errors.ts";
import type { Labels } from "../core/labels.ts";
import type { Line, LineSink, StreamHandle } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { sleepFor } from "../core/wait.ts";
import type { ObjectStore } from "../objects/store.ts";
import type { Catalog } from "./catalog.ts";
import type { CatalogEntry } from "./catalog-entry.ts";
import { commitSources, putEntry, putSegment } from "./commit.ts";
import { Compressor } from "./compressor.ts";
import type { IntakeRange } from "./footer.ts";
import { Generation } from "./generation.ts";
import { OpenBlock } from "./open-block.ts";
import { OpenBlockView } from "./open-view.ts";
import { FLUSH_AGE_MS, type StoreOptions } from "./options.ts";
import type { PoolSlots } from "./pool-slots.ts";
import { type RetryDeps, retry } from "./retry.ts";
import { OpenStream, type SealedBlock } from "./sealed-block.ts";
import { StreamRegistry } from "./stream-registry.ts";
import { TextBuffers } from "./text-buffers.ts";
import type { BlockView, PendingBlock, SegmentInfo } from "./view.ts";
import { type WriterMetrics, writerMetrics } from "./writer-metrics.ts";

/** Part of the memory limit at which a segment is due; the rest is for what arrives while it is written. */
const FLUSH_MEMORY_PART = 0.6;
/** Uncompressed blocks that may wait for the pool before the caller is asked to wait: about half a second of work. */
const QUEUE_BYTES = 16 * 1024 * 1024;

/** How long a segment may wait for its entry before it is written again. Far below the age at which leftovers are swept. */
const UNNAMED_MS = 600_000;
const NEVER = new AbortController().signal;

export interface WriterDeps {
  readonly objects: ObjectStore;
  readonly catalog: Catalog;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Milliseconds of a steady clock. */
  readonly now: () => number;
  /** The intake log's partition whose lines these are. */
  readonly partition: number;
  /**
   * For a writer whose snapshots are for another thread, which has a catalog of its own: called with each entry in the tick in
   * which it gets into the catalog here. What it holds stays in snapshots until `forgetBelow`.
   */
  readonly onCommitted?: (entry: CatalogEntry) => void;
  /** Where several threads of a process write: what they may compress in libuv's pool together. */
  readonly slots?: PoolSlots | null;
  /** For tests; timers and Math.random otherwise. */
  readonly sleep?: RetryDeps["sleep"];
  readonly random?: () => number;
}

/** Which streams a caller of `snapshot` wants to see. */
export type StreamFilter = (labels: Labels, tenant: string, canonical: string) => boolean;

/** What a writer has in memory, streams' blocks in order of arrival. */
export interface WriterSnapshot {
  readonly pending: PendingBlock[];
  readonly open: BlockView[];
  /** All lines of entries from this intake offset on are here, or were not taken yet. */
  readonly from: number;
}

export type Tap = (stream: StreamHandle, line: Line) => void;

export function openStreamWriter(options: StoreOptions, deps: WriterDeps): StreamWriter {
  return new StreamWriter(options, deps);
}

/**
 * Collects the lines of one partition into blocks, and commits them as segments together with the intake offsets that
 * they came from. A line is visible in `snapshot` at once, and in exactly one of snapshot and catalog at any time.
 */
export class StreamWriter implements LineSink {
  /** Called with each line as it is appended (live tail). A tap copies what it keeps, and must not throw. */
  readonly taps: Set<Tap> = new Set();
  private readonly options: StoreOptions;
  private readonly deps: WriterDeps;
  private readonly metrics: WriterMetrics;
  private readonly buffers: TextBuffers;
  private readonly compressor: Compressor;
  private readonly registry = new StreamRegistry();
  private active = new Generation();
  /** Flushed and not committed yet, oldest first. */
  private flushing: Generation[] = [];
  /** Committed, and not known by then to whoever asks for snapshots; oldest first. */
  private kept: Generation[] = [];
  private commits: Promise<void> = Promise.resolve();
  /** Commits under way, with those that wait for them. */
  private committing = 0;
  /** Where the active generation begins, or null: where the catalog's chain ends. */
  private first: number | null = null;
  private taken: unknown = null;
  private abort = new AbortController();
  private openBytes = 0;
  private queuedBytes = 0;
  private pendingBytes = 0;
  private waiting: { promise: Promise<void>; resolve: () => void } | null = null;

  constructor(options: StoreOptions, deps: WriterDeps) {
    this.options = options;
    this.deps = deps;
    this.metrics = writerMetrics(deps.metrics, String(deps.partition), this);
    this.buffers = new TextBuffers(options.block_bytes);
    this.compressor = new Compressor(options, deps.log, (sealed) => this.promote(sealed), this.buffers, deps.slots);
  }

  stream(tenant: string, labels: Labels, canonical: string): StreamHandle {
    return this.registry.get(tenant, labels, canonical);
  }

  append(stream: StreamHandle, line: Line): void {
    if (!(stream instanceof OpenStream)) throw new Error("append: the stream is not a handle of a writer");
    let block = stream.block ?? this.begin(stream);
    let before = block.memoryBytes;
    if (!block.append(line)) {
      stream.rowsHint = block.rows;
      this.seal(stream, block);
      block = this.begin(stream);
      before = block.memoryBytes;
      block.append(line);
    }
    this.openBytes += block.memoryBytes - before;
    if (this.taps.size > 0) for (const tap of this.taps) tap(stream, line);
  }

  /**
   * Commits what was appended so far as intake offsets up to, but not including, `next`. Lines that are appended from now
   * on belong to the following flush. Resolves when this flush, and all before it, are committed. While the store is
   * unavailable it tries on and on, and the lines stay in memory. Rejects with `position_taken` (then `discard`, and begin
   * again where the catalog's chain ends), with `aborted` after `discard`, or with an error of the store that trying again
   * does not mend (then the next flush begins with what this one left).
   */
  flush(next: number): Promise<void> {
    if (this.taken !== null) return Promise.reject(this.taken);
    const generation = this.active;
    const firstOffset = this.firstOf(generation);
    if (next < firstOffset || (next === firstOffset && generation.streams.size > 0)) {
      throw new Error(`flush up to offset ${next}: offsets up to ${firstOffset} are flushed already`);
    }
    if (next > firstOffset) {
      for (const stream of generation.streams) {
        if (stream.block !== null) this.seal(stream, stream.block);
        if (generation.chunk(stream).length === 1) stream.rowsHint = 0;
      }
      generation.covers = { partition: this.deps.partition, firstOffset, nextOffset: next };
      this.flushing.push(generation);
      this.active = new Generation();
      this.first = next;
    }
    const last = this.flushing.at(-1);
    const { signal } = this.abort;
    this.committing++;
    this.commits = this.commits
      // Whoever asked for the flush before has its error.
      .catch(() => {})
      .then(() => this.commitUpTo(last, signal))
      .finally(() => {
        this.committing--;
        this.relieve();
      });
    return this.commits;
  }

  needsFlush(): boolean {
    const { active, options } = this;
    if (active.oldestMs === null) return false;
    if (active.pendingBytes >= options.segment_bytes) return true;
    if (this.deps.now() - active.oldestMs >= (options.flush_age_ms ?? FLUSH_AGE_MS)) return true;
    const flushingBytes = this.flushing.reduce((sum, { pendingBytes }) => sum + pendingBytes, 0);
    return this.memoryBytes() - flushingBytes >= options.memory_bytes * FLUSH_MEMORY_PART;
  }

  /** Bytes that open, waiting and pending blocks keep, roughly. */
  memoryBytes(): number {
    return this.openBytes + this.queuedBytes + this.pendingBytes;
  }

  /** Whether there is memory for more. Where there is none, and no flush under way either, one is due, or has failed. */
  hasRoom(): boolean {
    return this.memoryBytes() < this.options.memory_bytes;
  }

  /**
   * What to wait for before appending more, or null. Something is under way then that ends it: compression, or a flush.
   * Memory that only a flush would free, while none is under way, makes `needsFlush` true instead.
   */
  pressure(): Promise<void> | null {
    if (!this.isFull()) return null;
    if (this.waiting === null) {
      let resolve = () => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.waiting = { promise, resolve };
    }
    return this.waiting.promise;
  }

  /**
   * What is in memory and not in the catalog, streams' blocks in order of arrival. Copies no text, and what it shows never
   * changes. `accept` is asked once for a stream, so a query that needs few streams is served quickly. `inCatalog`: offsets below
   * are in the catalog of whoever asks, if that is another than this one.
   */
  snapshot(accept: StreamFilter = () => true, inCatalog: number | null = null): WriterSnapshot {
    const pending: PendingBlock[] = [];
    const open: BlockView[] = [];
    const answers = new Map<OpenStream, boolean>();
    const generations = [...this.kept, ...this.flushing, this.active];
    for (const generation of generations) {
      const { covers, streams } = generation;
      if (inCatalog === null) {
        // The catalog may have read the entry from the store before the answer to its commit came.
        if (covers !== null && this.deps.catalog.has(covers.partition, covers.firstOffset)) continue;
      } else if (this.firstOf(generation) < inCatalog) continue;
      for (const stream of streams) {
        const accepted = answers.get(stream) ?? accept(stream.labels, stream.tenant, stream.canonical);
        answers.set(stream, accepted);
        if (!accepted) continue;
        for (const sealed of generation.chunk(stream)) {
          if (sealed.pending !== null) pending.push(sealed.pending);
          else if (sealed.open !== null) open.push(OpenBlockView.of(stream, sealed.open));
        }
        if (generation === this.active && stream.block !== null) open.push(OpenBlockView.of(stream, stream.block));
      }
    }
    return { pending, open, from: this.firstOf(generations[0]) };
  }

  /** Lets go of what was committed below this offset: whoever asks for snapshots has it in a catalog by now. */
  forgetBelow(offset: number): void {
    this.kept = this.kept.filter(({ covers }) => covers !== null && covers.nextOffset > offset);
  }

  /** Streams with lines that are not flushed. */
  openStreams(): number {
    return this.active.streams.size;
  }

  /**
   * Says which intake offset the first line that comes is at or behind: what is committed next covers the offsets from there on, or
   * nothing, where another process has got ahead meanwhile. For a writer that has nothing in it. Without it the next flush begins where
   * the catalog's chain ends by then, which may have gone on since whoever reads the intake log looked.
   */
  beginAt(offset: number): void {
    this.first = offset;
  }

  /** Drops all that is not committed; flushes under way reject with `aborted`. The writer can then be used anew. */
  discard(): void {
    this.abort.abort();
    this.abort = new AbortController();
    this.compressor.clear();
    for (const stream of this.active.streams) stream.block = null;
    this.active = new Generation();
    this.flushing = [];
    this.first = null;
    this.taken = null;
    this.openBytes = 0;
    this.queuedBytes = 0;
    this.pendingBytes = 0;
    this.relieve();
  }

  /** The first intake offset that a generation covers, or will when it is flushed. */
  private firstOf({ covers }: Generation): number {
    return covers?.firstOffset ?? this.first ?? this.deps.catalog.chainEnd(this.deps.partition);
  }

  private begin(stream: OpenStream): OpenBlock {
    const { active } = this;
    active.oldestMs ??= this.deps.now();
    active.streams.add(stream);
    const block = new OpenBlock(this.buffers, stream.section.length, stream.rowsHint);
    stream.block = block;
    this.openBytes += block.memoryBytes;
    return block;
  }

  /** Closes a stream's block and queues it for compression. */
  private seal(stream: OpenStream, block: OpenBlock): void {
    stream.block = null;
    this.openBytes -= block.memoryBytes;
    this.queuedBytes += block.memoryBytes;
    this.metrics.sealed(block.rows, block.textBytes);
    this.compressor.add(this.active.seal(stream, block));
  }

  /** Takes a block back from the compressor. */
  private promote(sealed: SealedBlock): void {
    const { open, finished, generation } = sealed;
    if (open === null || finished === null) throw new Error("a block came back from compression twice");
    sealed.open = null;
    sealed.finished = null;
    sealed.pending = finished;
    this.queuedBytes -= open.memoryBytes;
    this.pendingBytes += finished.bytes.length;
    if (!open.viewed) this.buffers.giveBack(open.text);
    this.metrics.compressed(finished.bytes.length);
    generation.compressed(finished);
    this.relieve();
  }

  private async commitUpTo(last: Generation | undefined, signal: AbortSignal): Promise<void> {
    while (last !== undefined && (signal.aborted || this.flushing.includes(last))) {
      throwIfAborted(signal);
      const started = this.deps.now();
      try {
        await this.commit(this.flushing[0], signal);
      } catch (error) {
        this.metrics.flushed("failed", 0);
        if (codeOf(error) === "position_taken" && !signal.aborted) this.taken = error;
        throw error;
      }
      this.metrics.flushed("ok", (this.deps.now() - started) / 1000);
    }
  }

  /** Segments first, then the entry that makes them visible. What was done before a failure is not done again. */
  private async commit(generation: Generation, signal: AbortSignal): Promise<void> {
    const { objects, catalog } = this.deps;
    const { covers } = generation;
    if (covers === null) throw new Error("commit: the generation was not flushed");
    await generation.whenCompressed(signal);
    throwIfAborted(signal);
    const retries = this.retryDeps();
    const { partition, firstOffset: first, nextOffset: next } = covers;
    const segments = await retry(
      async () => {
        const fresh = await this.writeSegments(generation, covers, signal);
        await putEntry(objects, { partition, first, next, segments: fresh });
        return fresh;
      },
      signal,
      retries,
    );
    // Whoever has discarded the generation meanwhile goes on behind the entry.
    if (this.isOld(generation)) await retry(() => this.restoreSegments(generation, covers), NEVER, retries);
    // The entry at this offset may have been another's, long ago: such an entry is ignored by everyone.
    await retry(() => catalog.confirm(partition, first), signal, retries);
    // In one tick: what leaves the snapshot is in the catalog. After a `discard` the entry stands all the same.
    const entry = { partition, first, next, segments };
    catalog.add(entry);
    this.deps.onCommitted?.(entry);
    this.metrics.committed(segments);
    if (signal.aborted) return;
    this.flushing.shift();
    if (this.deps.onCommitted !== undefined) this.kept.push(generation);
    this.pendingBytes -= generation.pendingBytes;
    this.relieve();
  }

  /** The generation's segments, those that are not written yet, or too long ago: what nothing names is swept one day. */
  private async writeSegments(
    generation: Generation,
    covers: IntakeRange,
    signal: AbortSignal,
  ): Promise<readonly SegmentInfo[]> {
    const { objects, now } = this.deps;
    const { segments: written } = generation;
    const byTenant = [...generation.blocksByTenant()];
    do {
      if (this.isOld(generation)) written.clear();
      if (written.size === 0) {
        generation.writtenMs = now();
        generation.writtenAtMs = Date.now();
      }
      for (const [i, [tenant, blocks]] of byTenant.entries()) {
        if (written.has(tenant)) continue;
        const sources = commitSources(i, byTenant.length);
        written.set(tenant, await putSegment(objects, tenant, blocks, covers, signal, this.retryDeps(), sources));
      }
    } while (this.isOld(generation));
    return [...written.values()];
  }

  /**
   * Writes segments again, under their names, that are gone although the entry is there: the process was paused, or fought with the
   * store, for hours between the two, and they were taken for leftovers.
   */
  private async restoreSegments(generation: Generation, covers: IntakeRange): Promise<void> {
    const { objects } = this.deps;
    const byTenant = [...generation.blocksByTenant()];
    for (const [i, [tenant, blocks]] of byTenant.entries()) {
      const { key } = generation.segments.get(tenant) ?? { key: null };
      if (key === null || (await objects.head(key)) !== null) continue;
      const sources = commitSources(i, byTenant.length);
      await putSegment(objects, tenant, blocks, covers, NEVER, this.retryDeps(), sources, key);
    }
  }

  /** Whether the generation's segments were written so long ago that they may have been swept. */
  private isOld({ writtenMs, writtenAtMs }: Generation): boolean {
    return this.deps.now() - writtenMs > UNNAMED_MS || Date.now() - writtenAtMs > UNNAMED_MS;
  }

  private retryDeps(): RetryDeps {
    const { log, sleep = sleepFor, random = Math.random, partition } = this.deps;
    return {
      sleep,
      random,
      onRetry: ({ message, code }, attempt, waitMs) => {
        this.metrics.retried();
        log.warn({ partition, attempt, code }, `flush: ${message}; trying again in ${Math.round(waitMs)} ms`);
      },
    };
  }

  private isFull(): boolean {
    if (this.queuedBytes > QUEUE_BYTES) return true;
    return this.committing > 0 && !this.hasRoom();
  }

  private relieve(): void {
    if (this.waiting === null || this.isFull()) return;
    this.waiting.resolve();
    this.waiting = null;
  }
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new WeirError("aborted", "the writer's uncommitted work was discarded");
}
