import { PushBatchWriter } from "../codec/push-batch.ts";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import { ENTRY_PUSH, type EntryDraft } from "../core/intake-entry.ts";
import { canonicalLabels, formatLabels, type Labels } from "../core/labels.ts";
import type { Metrics } from "../core/metrics.ts";
import { formatRfc3339 } from "../core/time.ts";
import { blockedUntil, type Fault, LineCheck, labelFault, withServiceName } from "./checks.ts";
import { DistinctTimes, type LineTime } from "./distinct-times.ts";
import { ID_BYTES, streamId, writeLineId } from "./line-id.ts";
import { cleanMetadata, encodeMetadata, metadataBytes } from "./metadata.ts";
import { PushMetrics } from "./metrics.ts";
import { type IngestOptions, limitsOf, type TenantLimits } from "./options.ts";
import { Rates } from "./rates.ts";
import { runSliced } from "./slices.ts";
import { type Metadata, PushError, type PushedStream, type Sliced, Turns } from "./stream.ts";

/** Refused lines of one stream that are named in an answer. Loki's. */
const FAULTS_A_STREAM = 10;
/** Lines and bytes of one intake entry; a push with more becomes several, so that no step holds the event loop for more than some 10 ms. */
const ENTRY_LINES_MAX = 8192;
const ENTRY_TEXT_BYTES_MAX = 8 << 20;
/** What an entry of metadata counts for in slices, in bytes: it is cleaned and sorted. */
const METADATA_WORK = 512;
/** Texts in one answer; there may be as many streams as a body has room for. */
const FAULTS_MAX = 1000;
/** What a line takes in an entry beside its text, about. */
const LINE_EXTRA_BYTES = 40;
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

/** Lines of one stream that are taken. */
interface TakenStream {
  readonly labels: Labels;
  readonly canonical: string;
  readonly lines: TakenLine[];
  bytes: number;
  /** Faults so far; only the first ones are named. */
  faults: number;
  /** Null where lines keep the times that they came with. */
  readonly times: DistinctTimes | null;
}

interface TakenLine extends LineTime {
  readonly line: Buffer;
  readonly metadata: Metadata;
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
   * Stores what a tenant may store of `streams`. 204 when that is all of them; else the answer names what was refused and
   * why, and the rest is stored. Rejects with PushError: 422 without any stream, 429 above the tenant's rate, 503 while nothing
   * can be stored. `source` is the receiver's name.
   */
  async store(source: string, tenant: string, streams: readonly PushedStream[]): Promise<PushAnswer> {
    if (streams.length === 0) throw new PushError(422, "error at least one valid stream is required for ingestion");
    const limits = limitsOf(this.options, tenant);
    const nowMs = this.deps.now();
    const faults: string[] = [];
    const taken = await runSliced(this.check(source, streams, limits, nowMs, faults));
    const blocked = this.blockedAnswer(source, tenant, taken, limits, nowMs);
    if (blocked !== null) return blocked;
    this.takeRate(source, tenant, taken, limits, nowMs);
    const allowed = this.takeStreams(source, tenant, taken, limits, nowMs);
    if (allowed.streams.length > 0) await this.appendAll(source, tenant, allowed.streams, nowMs);
    const texts = [...faults, ...allowed.faults];
    if (texts.length === 0) return { status: 204, text: "" };
    return { status: allowed.faults.length > 0 ? 429 : 400, text: texts.join("\n") };
  }

  /** Streams with equal labels become one; what is refused is named in `faults`. */
  private *check(
    source: string,
    streams: readonly PushedStream[],
    limits: TenantLimits,
    nowMs: number,
    faults: string[],
  ): Sliced<TakenStream[]> {
    const taken = new Map<string, TakenStream>();
    const known = new Map<Labels, TakenStream | null>();
    const check = new LineCheck(limits, nowMs);
    const turns = new Turns();
    let work = 0;
    for (const { labels, lines } of streams) {
      if (lines.length === 0) continue;
      let stream = known.get(labels);
      if (stream === undefined) {
        stream = this.streamOf(source, labels, lines.length, limits, taken, faults);
        known.set(labels, stream);
      } else if (stream === null) this.metrics.refused(source, "labels", lines.length);
      if (stream === null) continue;
      for (const { sec, nsec, line, metadata } of lines) {
        const clean = cleanMetadata(metadata);
        const fault = check.fault(stream.labels, sec, nsec, line.length, clean);
        if (fault === null) {
          const most = limits.max_line_size > 0 ? limits.max_line_size : line.length;
          const kept = line.length > most ? line.subarray(0, most) : line;
          const time = stream.times?.of({ sec, nsec }, kept) ?? { sec, nsec };
          stream.lines.push({ ...time, line: kept, metadata: clean });
          stream.bytes += kept.length + metadataBytes(clean);
        } else this.refuse(source, stream, fault, faults);
        work += metadata.length * METADATA_WORK;
        if (turns.isDue(work)) yield;
      }
    }
    return [...taken.values()].filter(({ lines }) => lines.length > 0);
  }

  private streamOf(
    source: string,
    given: Labels,
    lines: number,
    limits: TenantLimits,
    taken: Map<string, TakenStream>,
    faults: string[],
  ): TakenStream | null {
    const labels = withServiceName(given, limits.discover_service_name);
    const fault =
      labels === null
        ? { reason: "labels" as const, text: "error at least one label pair is required per stream" }
        : labelFault(labels, limits);
    if (labels === null || fault !== null) {
      this.metrics.refused(source, "labels", lines);
      if (fault !== null) noteFault(faults, fault.text);
      return null;
    }
    const canonical = canonicalLabels(labels);
    let stream = taken.get(canonical);
    if (stream === undefined) {
      const times = limits.increment_duplicate_timestamp ? new DistinctTimes() : null;
      stream = { labels, canonical, lines: [], bytes: 0, faults: 0, times };
      taken.set(canonical, stream);
    }
    return stream;
  }

  private refuse(source: string, stream: TakenStream, { reason, text }: Fault, faults: string[]): void {
    this.metrics.refused(source, reason, 1);
    if (stream.faults++ < FAULTS_A_STREAM) noteFault(faults, text);
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
    this.metrics.refused(source, "blocked", lineCount(streams));
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
    const lines = lineCount(streams);
    this.metrics.refused(source, "rate", lines);
    throw new PushError(
      429,
      `ingestion rate limit exceeded for user ${tenant} (limit: ${limits.ingestion_rate_mb * MB} bytes/sec) while attempting to ingest '${lines}' lines totaling '${bytes}' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased`,
    );
  }

  private takeStreams(
    source: string,
    tenant: string,
    taken: readonly TakenStream[],
    limits: TenantLimits,
    nowMs: number,
  ): { streams: TakenStream[]; faults: string[] } {
    const streams: TakenStream[] = [];
    const faults: string[] = [];
    for (const stream of taken) {
      const verdict = this.rates.takeStream(tenant, stream.canonical, stream.bytes, limits, nowMs);
      if (verdict === "ok") {
        streams.push(stream);
        continue;
      }
      const text = formatLabels(stream.labels);
      this.metrics.refused(source, verdict === "too fast" ? "rate" : "streams", stream.lines.length);
      noteFault(
        faults,
        verdict === "too fast"
          ? `Per stream rate limit exceeded (limit: ${limits.per_stream_rate_limit_mb}MB/sec) while attempting to ingest for stream '${text}' totaling ${stream.bytes}B, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased`
          : `maximum active stream limit exceeded when trying to create stream ${text}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: '${tenant}'`,
      );
    }
    return { streams, faults };
  }

  /** Rejects when one of the entries could not be stored: of a push that is sent again the others are known. */
  private async appendAll(
    source: string,
    tenant: string,
    streams: readonly TakenStream[],
    nowMs: number,
  ): Promise<void> {
    const appended: Promise<void>[] = [];
    // One after the other, so that lines of equal times stay in their order; but without waiting for the disk in between.
    for (const part of parts(streams)) {
      const { done } = await this.append(source, tenant, part, nowMs);
      appended.push(done);
    }
    const failed = (await Promise.allSettled(appended)).find(({ status }) => status === "rejected");
    if (failed?.status === "rejected") throw failed.reason;
  }

  /** Hands an entry to the intake log; `done` ends when it is durable. */
  private async append(
    source: string,
    tenant: string,
    streams: readonly TakenStream[],
    nowMs: number,
  ): Promise<{ done: Promise<void> }> {
    const { intake } = this.deps;
    const whole = await runSliced(encode(tenant, streams, null));
    const claim = await intake.claimLines(whole.ids);
    const repeats = whole.ids.length / ID_BYTES - claim.newCount;
    if (repeats > 0) this.metrics.repeats(source, repeats);
    let batch = whole;
    try {
      if (repeats > 0) batch = await runSliced(encode(tenant, streams, claim.isNew));
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

const lineCount = (streams: readonly TakenStream[]): number =>
  streams.reduce((sum, { lines }) => sum + lines.length, 0);

function noteFault(faults: string[], text: string): void {
  if (faults.length < FAULTS_MAX) faults.push(text);
}

interface Batch {
  readonly payload: Buffer;
  readonly ids: Buffer;
}

/** The streams in parts of at most ENTRY_LINES_MAX lines, and about ENTRY_TEXT_BYTES_MAX of text; a line is never cut. */
function* parts(streams: readonly TakenStream[]): Generator<TakenStream[]> {
  let part: TakenStream[] = [];
  let room = ENTRY_LINES_MAX;
  let bytes = ENTRY_TEXT_BYTES_MAX;
  for (const stream of streams) {
    for (let from = 0; from < stream.lines.length; ) {
      let to = from;
      for (; to < stream.lines.length && to - from < room && bytes > 0; to++) bytes -= stream.lines[to].line.length;
      const lines = stream.lines.slice(from, to);
      part.push(lines.length === stream.lines.length ? stream : { ...stream, lines });
      room -= lines.length;
      from = to;
      if (room > 0 && bytes > 0) continue;
      yield part;
      part = [];
      room = ENTRY_LINES_MAX;
      bytes = ENTRY_TEXT_BYTES_MAX;
    }
  }
  if (part.length > 0) yield part;
}

/** The lines as an entry has them, with their ids; of those only that `isNew` names, where it is not null. */
function* encode(tenant: string, streams: readonly TakenStream[], isNew: Uint8Array | null): Sliced<Batch> {
  let count = 0;
  let bytes = 0;
  for (const { canonical, lines } of streams) {
    count += lines.length;
    bytes += canonical.length;
    for (const { line } of lines) bytes += line.length + LINE_EXTRA_BYTES;
  }
  const ids = Buffer.allocUnsafe(count * ID_BYTES);
  const writer = new PushBatchWriter(bytes);
  const turns = new Turns();
  let kept = 0;
  let place = 0;
  for (const { canonical, lines } of streams) {
    const stream = streamId(tenant, canonical);
    writer.stream(canonical);
    for (const { sec, nsec, line, metadata } of lines) {
      if (isNew === null || isNew[place] === 1) {
        const start = writer.line(sec, nsec, encodeMetadata(metadata), line);
        writeLineId(ids, kept * ID_BYTES, stream, writer.written(start, writer.length));
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
