import { PushBatchWriter } from "../codec/push-batch.ts";
import { messageOf } from "../core/errors.ts";
import { canonicalLabels, type Labels } from "../core/labels.ts";
import { joinNs } from "../core/time.ts";
import { labelFault, withServiceName } from "../push/checks.ts";
import { ItemBudget } from "../push/item-budget.ts";
import { cleanMetadata, encodeMetadata } from "../push/metadata.ts";
import type { TenantLimits } from "../push/options.ts";
import { otlpStreams } from "../push/otlp.ts";
import { readOtlpJson } from "../push/otlp-json.ts";
import { readOtlpProto } from "../push/otlp-proto.ts";
import { type Metadata, type Pieces, PushError, type Sliced } from "../push/stream.ts";
import { type EventTime, isEventTime } from "./event-writer.ts";
import type { Pair } from "./facts.ts";
import { unreadable } from "./unreadable.ts";

/** What one message may take in memory while it is taken apart: far more than an exporter's batch does. */
const DECODED_BYTES_MAX = 256 << 20;
/** What the lines of one message may become: each has its resource's and scope's attributes, so few bytes can say much. */
const WRITTEN_BYTES_MAX = 64 << 20;

export interface OtlpOptions {
  readonly format: "otlp_proto" | "otlp_json";
  /** Of the tenant: which attributes become labels, what those may be, and where `service_name` comes from. */
  readonly limits: TenantLimits;
}

/** Writes the lines of OpenTelemetry's logs as a batch of pushed lines. */
export class LineWriter {
  private readonly out: PushBatchWriter;
  private count = 0;

  constructor(tag: string) {
    this.out = new PushBatchWriter(4096);
    this.out.tag(tag);
  }

  get size(): number {
    return this.count;
  }

  get length(): number {
    return this.out.length;
  }

  /**
   * Adds the lines of a message; `time` is that of records that say none that can be kept. Gives how many. Throws
   * `topic_unreadable`, and then nothing of it was added.
   */
  *add(value: Buffer, time: EventTime, facts: readonly Pair[], options: OtlpOptions): Sliced<number> {
    const before = this.out.length;
    try {
      const count = yield* this.write(value, time, facts, options);
      this.count += count;
      return count;
    } catch (error) {
      this.out.rewind(before);
      throw error instanceof PushError ? unreadable(`not OTLP: ${messageOf(error)}`, error) : error;
    }
  }

  finish(): Buffer {
    return this.out.finish();
  }

  private *write(value: Buffer, time: EventTime, facts: readonly Pair[], options: OtlpOptions): Sliced<number> {
    const before = this.out.length;
    let count = 0;
    for (const stream of decode(value, time, options)) {
      if (stream === undefined || stream.lines.length === 0) {
        yield;
        continue;
      }
      const { labels, extra } = streamLabels(stream.labels, options.limits);
      this.out.stream(canonicalLabels(labels));
      for (const { sec, nsec, line, metadata } of stream.lines) {
        const at = isEventTime({ sec, nsec }) ? { sec, nsec } : time;
        const all = cleanMetadata([...facts, ...extra, ...metadata]);
        this.out.line(at.sec, at.nsec, encodeMetadata(all), line);
        if (this.out.length - before > WRITTEN_BYTES_MAX)
          throw unreadable(`its lines with their attributes are more than ${WRITTEN_BYTES_MAX} bytes`);
        if (++count % 256 === 0) yield;
      }
    }
    return count;
  }
}

function decode(value: Buffer, time: EventTime, { format, limits }: OtlpOptions): Pieces {
  let held = 0;
  const budget = new ItemBudget((bytes) => {
    held += bytes;
    if (held > DECODED_BYTES_MAX) throw new PushError(413, `it takes more than ${DECODED_BYTES_MAX} bytes of memory`);
  });
  const resources = format === "otlp_proto" ? readOtlpProto(value, budget) : readOtlpJson(value, budget);
  return otlpStreams(resources, limits, joinNs(time.sec, time.nsec));
}

/** Labels that a stream may have; where its own are none, they are metadata of its lines. */
function streamLabels(given: Labels, limits: TenantLimits): { labels: Labels; extra: Metadata } {
  const labels = withServiceName(given, limits.discover_service_name);
  if (labels !== null && labelFault(labels, limits) === null) return { labels, extra: [] };
  return { labels: { service_name: "unknown_service" }, extra: Object.entries(given) };
}
