import { setImmediate as nextTurn } from "node:timers/promises";
import { PushBatchWriter } from "../codec/push-batch.ts";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { ENTRY_PUSH, type EntryDraft } from "../core/intake-entry.ts";
import { formatLabels } from "../core/labels.ts";
import type { Metrics } from "../core/metrics.ts";
import { formatRfc3339 } from "../core/time.ts";
import { blockedUntil } from "./checks.ts";
import { ID_BYTES, streamId, writeLineId } from "./line-id.ts";
import { PushMetrics } from "./metrics.ts";
import { type IngestOptions, limitsOf, type TenantLimits } from "./options.ts";
import type { PackedLines } from "./packed-lines.ts";
import { Rates } from "./rates.ts";
import { runSliced } from "./slices.ts";
import { type Pieces, PushError, type Sliced, Turns } from "./stream.ts";
import { type TakenStream, TakenStreams } from "./taken-streams.ts";

/** Lines and bytes of one intake entry; a push with more becomes several, so that no step holds the event loop for more than some 10 ms. */
const ENTRY_LINES_MAX = 8192;
const ENTRY_BYTES_MAX = 8 << 20;
/** What a stream takes in an entry beside its labels, at most. */
const STREAM_EXTRA_BYTES = 40;
/** Sizes in limits that are printed. */
const MB = 1 << 20;

/** The part of the intake log that pushes need. */
export interface PushIntake {
  append(draft: EntryDraft): Promise<{ offset: number | null }>;
  claimLines(ids: Buffer): Promise<{ readonly isNew: Uint8Array; readonly newCount: number; end(): void }>;
}

export interface IngestDeps {
  readonly intake: PushIntake;
  readonly metrics: Metrics;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** What a client is told. */
export interface PushAnswer {
  readonly status: number;
  /** Empty for 204. */
  readonly text: string;
}

/**
 * Takes decoded streams: what may be stored goes to the intake log as one entry, and the answer comes when that is durable. One for
 * all receivers of a process, since a tenant's limits are over all of them.
 */
export class Ingest {
  readonly options: IngestOptions;
  private readonly deps: IngestDeps;
  private readonly metrics: PushMetrics;
  private readonly rates = new Rates();

  constructor(options: IngestOptions, deps: IngestDeps) {
    this.options = options;
    this.deps = deps;
    this.metrics = new PushMetrics(deps.metrics);
  }

  /**
   * Stores what a tenant may store of `pieces`, once all of them could be read. 204 when that is all; else the answer names what was refused and
   * why, and the rest is stored. Rejects with PushError: what reading throws, 422 without any stream, 429 above the tenant's rate, 503
   * while nothing can be stored. `source` is the receiver's name; `hold` is told of memory that lines take, and throws when there is none.
   */
  async store(source: string, tenant: string, pieces: Pieces, hold: (bytes: number) => void): Promise<PushAnswer> {
    const limits = limitsOf(this.options, tenant);
    const nowMs = this.deps.now();
    const taken = new TakenStreams(limits, nowMs, hold);
    await runSliced(taken.takeAll(pieces));
    if (taken.seen === 0) throw new PushError(422, "error at least one valid stream is required for ingestion");
    for (const [reason, lines] of taken.refused) this.metrics.refused(source, reason, lines);
    const { streams } = taken;
    const blocked = this.blockedAnswer(source, tenant, streams, limits, nowMs);
    if (blocked !== null) return blocked;
    this.takeRate(source, tenant, streams, limits, nowMs);
    const allowed = this.takeStreams(source, tenant, taken, limits, nowMs);
    if (allowed.length > 0) await this.appendAll(source, tenant, allowed, taken.packed, nowMs);
    if (taken.faults.length === 0) return { status: 204, text: "" };
    return { status: allowed.length < streams.length ? 429 : 400, text: taken.faults.join("\n") };
  }

  /** The answer to good lines of a tenant that is not to push; null when it may. */
  private blockedAnswer(
    source: string,
    tenant: string,
    streams: readonly TakenStream[],
    limits: TenantLimits,
    nowMs: number,
  ): PushAnswer | null {
    const until = streams.length === 0 ? null : blockedUntil(limits, nowMs);
    if (until === null) return null;
    this.metrics.refused(source, "blocked", countLines(streams));
    const status = limits.block_ingestion_status_code;
    if (status === 200) return { status: 204, text: "" };
    const text = `ingestion blocked for user ${tenant} until '${formatRfc3339(until)}' with status code '${status}'`;
    return { status, text };
  }

  private takeRate(
    source: string,
    tenant: string,
    streams: readonly TakenStream[],
    limits: TenantLimits,
    nowMs: number,
  ): void {
    const bytes = streams.reduce((sum, stream) => sum + stream.bytes, 0);
    if (this.rates.takeBytes(tenant, bytes, limits, nowMs)) return;
    const lines = countLines(streams);
    this.metrics.refused(source, "rate", lines);
    throw new PushError(
      429,
      `ingestion rate limit exceeded for user ${tenant} (limit: ${limits.ingestion_rate_mb * MB} bytes/sec) while attempting to ingest '${lines}' lines totaling '${bytes}' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased`,
    );
  }

  /** The streams that may exist and take their lines now. */
  private takeStreams(
    source: string,
    tenant: string,
    taken: TakenStreams,
    limits: TenantLimits,
    nowMs: number,
  ): TakenStream[] {
    return taken.streams.filter((stream) => {
      const verdict = this.rates.takeStream(tenant, stream.canonical, stream.bytes, limits, nowMs);
      if (verdict === "ok") return true;
      const text = formatLabels(stream.labels);
      this.metrics.refused(source, verdict === "too fast" ? "rate" : "streams", stream.lineCount);
      taken.note(
        verdict === "too fast"
          ? `Per stream rate limit exceeded (limit: ${limits.per_stream_rate_limit_mb}MB/sec) while attempting to ingest for stream '${text}' totaling ${stream.bytes}B, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased`
          : `maximum active stream limit exceeded when trying to create stream ${text}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: '${tenant}'`,
      );
      return false;
    });
  }

  /** Rejects when one of the entries could not be stored: of a push that is sent again the others are known. */
  private async appendAll(
    source: string,
    tenant: string,
    streams: readonly TakenStream[],
    packed: PackedLines,
    nowMs: number,
  ): Promise<void> {
    const appended: Promise<void>[] = [];
    // One after the other, so that lines of equal times stay in their order; but without waiting for the disk in between.
    for (const part of parts(streams, packed)) {
      const { done } = await this.append(source, tenant, part, packed, nowMs);
      appended.push(done);
      await nextTurn();
    }
    const failed = (await Promise.allSettled(appended)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
  }

  /** Hands an entry to the intake log; `done` ends when it is durable. */
  private async append(
    source: string,
    tenant: string,
    streams: readonly PartOfStream[],
    packed: PackedLines,
    nowMs: number,
  ): Promise<{ done: Promise<void> }> {
    const { intake } = this.deps;
    const whole = await runSliced(encode(tenant, streams, packed, null));
    const claim = await intake.claimLines(whole.ids);
    const repeats = whole.ids.length / ID_BYTES - claim.newCount;
    if (repeats > 0) this.metrics.repeats(source, repeats);
    let batch = whole;
    try {
      if (repeats > 0) batch = await runSliced(encode(tenant, streams, packed, claim.isNew));
    } catch (error) {
      claim.end();
      throw error;
    }
    const store = async () => {
      try {
        if (claim.newCount === 0) return;
        const { payload, ids: lineIds } = batch;
        // The bytes are the intake's from now on, and may be in another thread by the time they are durable.
        const bytes = payload.length;
        const origin = streams[0]?.canonical ?? "";
        const draft: EntryDraft = {
          kind: ENTRY_PUSH,
          tenant,
          source,
          receivedMs: nowMs,
          payload,
          isAlone: true,
          origin,
          lineIds,
        };
        await intake.append(draft);
        this.metrics.stored(source, claim.newCount, bytes);
      } catch (error) {
        throw unavailable(error);
      } finally {
        claim.end();
      }
    };
    const done = store();
    done.catch(() => {}); // Whoever has `done` hears of it; this one only keeps it from being nobody's until then.
    return { done };
  }
}

const countLines = (streams: readonly TakenStream[]): number => streams.reduce((sum, one) => sum + one.lineCount, 0);

interface Batch {
  readonly payload: Buffer;
  readonly ids: Buffer;
}

/** Some lines of a stream, by their places. */
type PartOfStream = Pick<TakenStream, "canonical" | "lines">;

/** The streams in parts of at most ENTRY_LINES_MAX lines, and about ENTRY_BYTES_MAX; a line is never cut. */
function* parts(streams: readonly TakenStream[], packed: PackedLines): Generator<PartOfStream[]> {
  let part: PartOfStream[] = [];
  let room = ENTRY_LINES_MAX;
  let bytes = ENTRY_BYTES_MAX;
  for (const { canonical, lines: all } of streams) {
    for (let from = 0; from < all.length; ) {
      let to = from;
      for (; to < all.length && to - from < room && bytes > 0; to++) bytes -= packed.itemBytes(all[to]);
      const lines = all.slice(from, to);
      part.push({ canonical, lines });
      room -= lines.length;
      from = to;
      if (room > 0 && bytes > 0) continue;
      yield part;
      part = [];
      room = ENTRY_LINES_MAX;
      bytes = ENTRY_BYTES_MAX;
    }
  }
  if (part.length > 0) yield part;
}

/** The lines as an entry has them, with their ids; of those only that `isNew` names, where it is not null. */
function* encode(
  tenant: string,
  streams: readonly PartOfStream[],
  packed: PackedLines,
  isNew: Uint8Array | null,
): Sliced<Batch> {
  let count = 0;
  let bytes = 0;
  for (const { canonical, lines } of streams) {
    count += lines.length;
    bytes += canonical.length + STREAM_EXTRA_BYTES;
    for (const line of lines) bytes += packed.itemBytes(line) + 1;
  }
  const ids = Buffer.allocUnsafe(count * ID_BYTES);
  const writer = new PushBatchWriter(bytes);
  const turns = new Turns();
  let kept = 0;
  let place = 0;
  for (const { canonical, lines } of streams) {
    const stream = streamId(tenant, canonical);
    writer.stream(canonical);
    for (const line of lines) {
      if (isNew === null || isNew[place] === 1) {
        const item = packed.item(line);
        writer.item(item);
        writeLineId(ids, kept * ID_BYTES, stream, item);
        kept++;
      }
      place++;
      if (turns.isDue(writer.length)) yield;
    }
  }
  return { payload: writer.finish(), ids: ids.subarray(0, kept * ID_BYTES) };
}

/** What a client is told of an intake log that takes nothing: to come again, or that it never will. */
function unavailable(error: unknown): unknown {
  if (!(error instanceof WeirError)) return error;
  const status = codeOf(error) === "intake_entry_too_large" ? 413 : 503;
  return new PushError(status, messageOf(error), error);
}
