import { formatLabels, type Labels } from "../core/labels.ts";
import { parseDurationMs, parseRfc3339 } from "../core/time.ts";
import { metadataBytes } from "./metadata.ts";
import type { TenantLimits } from "./options.ts";
import type { Metadata } from "./stream.ts";

/*
 * What a tenant may push, with Loki's texts for what it may not. Source: "Loki's HTTP contract", 3.4.
 */

const SEE =
  "Please see `max_structured_metadata_size` and `max_structured_metadata_entries_count`, or contact your administrator";

/** Why something was refused: a word for the metric, and Loki's text for the client. */
export interface Fault {
  readonly reason: "labels" | "time" | "line_size" | "metadata" | "rate" | "streams" | "blocked";
  readonly text: string;
}

/** Adds `service_name` where it is missing. Null for a stream that has no label at all then. */
export function withServiceName(labels: Labels, from: readonly string[]): Labels | null {
  if (from.length === 0) return Object.keys(labels).length === 0 ? null : labels;
  if (Object.hasOwn(labels, "service_name")) return labels;
  const name = from.find((one) => Object.hasOwn(labels, one));
  return { ...labels, service_name: name === undefined ? "unknown_service" : labels[name] };
}

/** Why a stream's labels are refused, or null. */
export function labelFault(labels: Labels, limits: TenantLimits): Fault | null {
  const fault = (text: string): Fault => ({ reason: "labels", text });
  const names = Object.keys(labels);
  const counted = names.length - (Object.hasOwn(labels, "service_name") ? 1 : 0);
  if (counted > limits.max_label_names_per_series) {
    const text = formatLabels(labels);
    return fault(`entry for stream '${text}' has ${counted} label names; limit ${limits.max_label_names_per_series}`);
  }
  for (const name of names) {
    if (Buffer.byteLength(name) > limits.max_label_name_length) {
      return fault(`stream '${formatLabels(labels)}' has label name too long: '${name}'`);
    }
    if (Buffer.byteLength(labels[name]) > limits.max_label_value_length) {
      return fault(`stream '${formatLabels(labels)}' has label value too long: '${labels[name]}'`);
    }
  }
  return null;
}

/** Until when a tenant's pushes are refused, in nanoseconds since 1970; null while they are not. */
export function blockedUntil({ block_ingestion_until: until }: TenantLimits, nowMs: number): bigint | null {
  const ns = until === "" ? null : parseRfc3339(until);
  return ns !== null && BigInt(nowMs) * 1_000_000n < ns ? ns : null;
}

/** What the lines of one push may be, as of one moment. */
export class LineCheck {
  private readonly limits: TenantLimits;
  private readonly oldestSec: number;
  private readonly newestSec: number;
  private labels: Labels | null = null;
  private labelsText = "";

  /** `nowMs`: milliseconds since 1970. */
  constructor(limits: TenantLimits, nowMs: number) {
    this.limits = limits;
    const nowSec = nowMs / 1000;
    this.oldestSec = limits.reject_old_samples ? nowSec - parseDurationMs(limits.reject_old_samples_max_age) / 1000 : 0;
    this.newestSec = nowSec + parseDurationMs(limits.creation_grace_period) / 1000;
  }

  /** Why a line is refused, or null. Its length is looked at before it is cut, its metadata after it was cleaned. */
  fault(labels: Labels, sec: number, nsec: number, lineBytes: number, metadata: Metadata): Fault | null {
    const { limits, oldestSec, newestSec } = this;
    const at = sec + nsec / 1e9;
    if (at < oldestSec || sec < 0) {
      return {
        reason: "time",
        text: `entry for stream '${this.textOf(labels)}' has timestamp too old: ${utc(sec)}, oldest acceptable timestamp is: ${utc(oldestSec)}`,
      };
    }
    if (at > newestSec) {
      return { reason: "time", text: `entry for stream '${this.textOf(labels)}' has timestamp too new: ${utc(sec)}` };
    }
    if (limits.max_line_size > 0 && lineBytes > limits.max_line_size && !limits.max_line_size_truncate) {
      return {
        reason: "line_size",
        text: `max entry size '${limits.max_line_size}' bytes exceeded for stream '${this.textOf(labels)}' while adding an entry with length '${lineBytes}' bytes`,
      };
    }
    return metadata.length === 0 ? null : this.metadataFault(labels, metadata);
  }

  /** Of neighbours with the same labels once: a push may have hundreds of thousands of lines that are refused. */
  private textOf(labels: Labels): string {
    if (labels !== this.labels) {
      this.labels = labels;
      this.labelsText = formatLabels(labels);
    }
    return this.labelsText;
  }

  private metadataFault(labels: Labels, metadata: Metadata): Fault | null {
    const fault = (text: string): Fault => ({ reason: "metadata", text });
    const { limits } = this;
    if (!limits.allow_structured_metadata) {
      return fault(
        `stream '${this.textOf(labels)}' includes structured metadata, but this feature is disallowed. Please see \`limits_config.allow_structured_metadata\` or contact your Loki administrator to enable it`,
      );
    }
    const bytes = metadataBytes(metadata);
    const { max_structured_metadata_size: size, max_structured_metadata_entries_count: count } = limits;
    if (size > 0 && bytes > size) {
      return fault(
        `stream '${this.textOf(labels)}' has structured metadata too large: '${bytes}' bytes, limit: '${size}' bytes. ${SEE}`,
      );
    }
    if (count > 0 && metadata.length > count) {
      return fault(
        `stream '${this.textOf(labels)}' has too many structured metadata labels: '${metadata.length}', limit: '${count}'. ${SEE}`,
      );
    }
    return null;
  }
}

/** RFC 3339 to the second, as the messages have it. Times beyond JavaScript's calendar as their seconds. */
function utc(sec: number): string {
  const date = new Date(Math.floor(sec) * 1000);
  return Number.isNaN(date.getTime()) ? `${sec} s` : `${date.toISOString().slice(0, 19)}Z`;
}
