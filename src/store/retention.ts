import type { Labels } from "../core/labels.ts";
import { parseDurationMs } from "../core/time.ts";
import { mayHoldLabels } from "./label-filter.ts";
import type { RetentionOptions } from "./retention-options.ts";
import type { LabelValues, SegmentInfo } from "./view.ts";

const NS_PER_MS = 1_000_000n;
/** Streams whose rule is remembered, over all tenants. A label set in JSON is some 200 bytes. */
const REMEMBERED_MAX = 100_000;

/** Compiles a stream selector of LogQL; handed in by whoever knows the language. */
export type CompileSelector = (selector: string) => {
  readonly matches: (labels: Labels) => boolean;
  /** Labels that every selected stream has. */
  readonly labels: readonly LabelValues[];
};

interface StreamRule {
  readonly matches: (labels: Labels) => boolean;
  readonly labels: readonly LabelValues[];
  readonly periodMs: number;
  readonly priority: number;
}

interface TenantRules {
  readonly periodMs: number;
  readonly streams: readonly StreamRule[];
  /** Periods that occur, ascending; 0 (for ever) left out. */
  readonly periodsMs: readonly number[];
  /** The longest; null when some stream is kept for ever. */
  readonly longestMs: number | null;
  /** Periods of streams by their canonical labels. */
  readonly known: Map<string, number>;
}

/**
 * How long each stream's lines are kept. A line is past its retention when it is older than its stream's period, by its
 * own time and not by when it came. Which rule counts is as in Loki: of those that select the stream the one with the
 * highest priority, among equals the shortest period; the tenant's period where none does.
 * Source: "Loki's default limits", retention.
 */
export class Retention {
  private readonly options: RetentionOptions;
  private readonly compile: CompileSelector;
  private readonly byTenant = new Map<string, TenantRules>();
  private readonly standard: TenantRules;

  /** Throws what `compile` throws for a selector that it does not understand. */
  constructor(options: RetentionOptions, compile: CompileSelector) {
    this.options = options;
    this.compile = compile;
    this.standard = this.rulesOf({});
    for (const [tenant, own] of Object.entries(options.tenants)) this.byTenant.set(tenant, this.rulesOf(own));
  }

  /** Whether the tenant's lines are kept for ever, all of them. */
  keepsAll(tenant: string): boolean {
    return this.rules(tenant).periodsMs.length === 0;
  }

  /** The time before which lines of the stream are past their retention, or null when it is kept for ever. */
  cutoffNs(tenant: string, canonical: string, labels: Labels, nowMs: number): bigint | null {
    const rules = this.rules(tenant);
    if (rules.periodsMs.length === 0) return null;
    let periodMs = rules.known.get(canonical);
    if (periodMs === undefined) {
      periodMs = periodFor(rules, labels);
      if (rules.known.size >= REMEMBERED_MAX) rules.known.clear();
      rules.known.set(canonical, periodMs);
    }
    return periodMs === 0 ? null : cutoff(nowMs, periodMs);
  }

  /** The time before which all lines of the tenant are past their retention; null when some are kept for ever. */
  floorNs(tenant: string, nowMs: number): bigint | null {
    const { longestMs } = this.rules(tenant);
    return longestMs === null ? null : cutoff(nowMs, longestMs);
  }

  /**
   * How many of the tenant's distinct periods have passed since `timeMaxNs`. While it is the same, no stream that
   * ends there has expired as a whole; when it has grown, some may have.
   */
  periodsPast(tenant: string, timeMaxNs: bigint, nowMs: number): number {
    const { periodsMs } = this.rules(tenant);
    let count = 0;
    while (count < periodsMs.length && timeMaxNs < cutoff(nowMs, periodsMs[count])) count++;
    return count;
  }

  /**
   * Whether streams of the segment have expired as a whole: all of them, certainly none of them, or some may have. By what the
   * catalog says of the segment alone.
   */
  expiry({ tenant, timeMaxNs, labelFilter }: SegmentInfo, nowMs: number): "all" | "none" | "some" {
    const { periodMs, periodsMs, longestMs, streams } = this.rules(tenant);
    const isPast = (ms: number) => ms > 0 && timeMaxNs < cutoff(nowMs, ms);
    if (periodsMs.length === 0 || !isPast(periodsMs[0])) return "none";
    if (longestMs !== null && isPast(longestMs)) return "all";
    if (isPast(periodMs)) return "some";
    return streams.some((rule) => isPast(rule.periodMs) && mayHoldLabels(labelFilter, rule.labels)) ? "some" : "none";
  }

  private rules(tenant: string): TenantRules {
    return this.byTenant.get(tenant) ?? this.standard;
  }

  private rulesOf({ period, streams }: RetentionOptions["tenants"][string]): TenantRules {
    const periodMs = parseDurationMs(period ?? this.options.period);
    const rules = (streams ?? this.options.streams).map((rule) => ({
      ...this.compile(rule.selector),
      periodMs: parseDurationMs(rule.period),
      priority: rule.priority,
    }));
    const all = [periodMs, ...rules.map((rule) => rule.periodMs)];
    return {
      periodMs,
      streams: rules,
      periodsMs: [...new Set(all)].filter((ms) => ms > 0).sort((a, b) => a - b),
      longestMs: all.includes(0) ? null : Math.max(...all),
      known: new Map(),
    };
  }
}

function cutoff(nowMs: number, periodMs: number): bigint {
  return BigInt(nowMs - periodMs) * NS_PER_MS;
}

function periodFor({ periodMs, streams }: TenantRules, labels: Labels): number {
  let best: StreamRule | null = null;
  for (const rule of streams) {
    if (!rule.matches(labels)) continue;
    if (best === null || isBefore(rule, best)) best = rule;
  }
  return best === null ? periodMs : best.periodMs;
}

/** Whether `a` counts rather than `b`. For ever is the longest period there is. */
function isBefore(a: StreamRule, b: StreamRule): boolean {
  if (a.priority !== b.priority) return a.priority > b.priority;
  if (a.periodMs === 0 || b.periodMs === 0) return b.periodMs === 0 && a.periodMs !== 0;
  return a.periodMs < b.periodMs;
}
