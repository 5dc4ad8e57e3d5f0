import { canonicalLabels, type Labels } from "../core/labels.ts";
import { type Fault, LineCheck, labelFault, withServiceName } from "./checks.ts";
import { DistinctTimes } from "./distinct-times.ts";
import { cleanMetadata, encodeMetadata, metadataBytes } from "./metadata.ts";
import type { TenantLimits } from "./options.ts";
import { PackedLines } from "./packed-lines.ts";
import { type Pieces, type PushedStream, type Sliced, Turns } from "./stream.ts";

/** Refused lines of one stream that are named in an answer. Loki's. */
const FAULTS_A_STREAM = 10;
/** Texts in one answer, and characters at which no more are added; there may be as many streams as a body has room for. */
const FAULTS_MAX = 1000;
const FAULT_CHARS_MAX = 256 << 10;
/** What an entry of metadata counts for in slices, in bytes: it is cleaned and sorted. */
const METADATA_WORK = 512;
const MB = 1 << 20;

/** Lines of one stream that are taken. */
export interface TakenStream {
  readonly labels: Labels;
  readonly canonical: string;
  /** Places in `TakenStreams.packed`, in the order in which the lines came. */
  readonly lines: number[];
  lineCount: number;
  /** Of lines and metadata, as limits count them. */
  bytes: number;
  /** Refused lines so far; only the first ones are named. */
  faults: number;
  /** Null where lines keep the times that they came with. */
  readonly times: DistinctTimes | null;
}

/** What a tenant may store of a push. Streams with equal labels become one; what is refused is counted and named. */
export class TakenStreams {
  readonly packed: PackedLines;
  /** Texts for the client. */
  readonly faults: string[] = [];
  /** Refused lines by reason. */
  readonly refused = new Map<Fault["reason"], number>();
  /** Streams that the body had, those without lines too. */
  seen = 0;
  private readonly limits: TenantLimits;
  private readonly check: LineCheck;
  private readonly taken = new Map<string, TakenStream>();
  /** By the decoder's labels, which it has once for many lines. Null: refused. */
  private known = new Map<Labels, TakenStream | null>();
  private readonly turns = new Turns();
  private work = 0;
  /** More than this is refused as a whole, so no line of it has to be kept. */
  private readonly bytesMax: number;
  private bytes = 0;
  private faultChars = 0;

  /** `hold` is told of the memory that lines take, and throws when there is none. */
  constructor(limits: TenantLimits, nowMs: number, hold: (bytes: number) => void) {
    this.limits = limits;
    this.check = new LineCheck(limits, nowMs);
    this.packed = new PackedLines(hold);
    this.bytesMax = limits.ingestion_rate_mb === 0 ? Number.POSITIVE_INFINITY : limits.ingestion_burst_size_mb * MB;
  }

  /** Takes all that a decoder gives. Throws what it throws. */
  *takeAll(pieces: Pieces): Sliced<void> {
    for (const piece of pieces) {
      if (piece !== undefined) yield* this.take(piece);
      yield;
    }
    this.known = new Map();
  }

  /** Those with lines. */
  get streams(): TakenStream[] {
    return [...this.taken.values()].filter(({ lineCount }) => lineCount > 0);
  }

  private *take({ labels, lines }: PushedStream): Sliced<void> {
    this.seen++;
    if (lines.length === 0) return;
    let stream = this.known.get(labels);
    if (stream === undefined) {
      stream = this.streamOf(labels, lines.length);
      this.known.set(labels, stream);
    } else if (stream === null) this.count("labels", lines.length);
    if (stream === null) return;
    const { max_line_size: lineMax } = this.limits;
    for (const { sec, nsec, line, metadata } of lines) {
      const clean = cleanMetadata(metadata);
      const fault = this.check.fault(stream.labels, sec, nsec, line.length, clean);
      if (fault === null) {
        const kept = lineMax > 0 && line.length > lineMax ? line.subarray(0, lineMax) : line;
        const bytes = kept.length + metadataBytes(clean);
        stream.lineCount++;
        stream.bytes += bytes;
        this.bytes += bytes;
        if (this.bytes <= this.bytesMax) {
          const time = stream.times?.of({ sec, nsec }, kept) ?? { sec, nsec };
          stream.lines.push(this.packed.add(time, encodeMetadata(clean), kept));
        }
      } else this.refuse(stream, fault);
      this.work += metadata.length * METADATA_WORK + line.length;
      if (this.turns.isDue(this.work)) yield;
    }
  }

  private streamOf(given: Labels, lines: number): TakenStream | null {
    const labels = withServiceName(given, this.limits.discover_service_name);
    const fault =
      labels === null
        ? { reason: "labels" as const, text: "error at least one label pair is required per stream" }
        : labelFault(labels, this.limits);
    if (labels === null || fault !== null) {
      this.count("labels", lines);
      if (fault !== null) this.note(fault.text);
      return null;
    }
    const canonical = canonicalLabels(labels);
    let stream = this.taken.get(canonical);
    if (stream === undefined) {
      const times = this.limits.increment_duplicate_timestamp ? new DistinctTimes() : null;
      stream = { labels, canonical, lines: [], lineCount: 0, bytes: 0, faults: 0, times };
      this.taken.set(canonical, stream);
    }
    return stream;
  }

  private refuse(stream: TakenStream, { reason, text }: Fault): void {
    this.count(reason, 1);
    if (stream.faults++ < FAULTS_A_STREAM) this.note(text);
  }

  private count(reason: Fault["reason"], lines: number): void {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + lines);
  }

  /** Adds a text to the client's answer, while there is room. */
  note(text: string): void {
    if (this.faults.length >= FAULTS_MAX || this.faultChars >= FAULT_CHARS_MAX) return;
    this.faultChars += text.length;
    this.faults.push(text);
  }
}
