import { canonicalLabels, type Labels } from "../core/labels.ts";
import type { Limits } from "./options.ts";

/** A stream that lines went to lately. */
export interface ActiveStream {
  readonly labels: Labels;
  readonly canonical: string;
  /** Milliseconds since 1970 at which to look it up again, because it has fewer labels than it should; else Infinity. */
  readonly retryMs: number;
  readonly state: StreamState;
}

interface StreamState {
  /** Milliseconds since 1970 of the last entry that had a line of it. */
  seenMs: number;
  /** False once it was forgotten as idle. */
  isActive: boolean;
}

/** Label that is left when all others had to go: the receiver's name, of which there are few. */
const LAST_RESORT = "receiver";
/** Streams with fewer labels than they should have come on top of the limit, one for each so many within it. */
const RESERVE_PART = 10;
/** Looking for idle streams costs a walk over all, so it is done at most so often. */
const SWEEP_MS = 10_000;

interface Tenant {
  readonly streams: Map<string, StreamState>;
  sweptMs: number;
}

/**
 * The active streams of each tenant. Beyond the limit a stream gives up labels, the least important first, until what is left
 * is a stream that exists or has room in the reserve: the line is kept, and memory stays bounded.
 */
export class StreamTable {
  private readonly limits: Limits;
  private readonly onDropped: (label: string) => void;
  private readonly tenants = new Map<string, Tenant>();

  constructor(limits: Limits, onDropped: (label: string) => void) {
    this.limits = limits;
    this.onDropped = onDropped;
  }

  private get sweepMs(): number {
    return Math.min(SWEEP_MS, this.limits.stream_idle_ms);
  }

  /** Active streams of each tenant. */
  counts(): [tenant: string, count: number][] {
    return [...this.tenants].map(([tenant, { streams }]) => [tenant, streams.size]);
  }

  /** The stream of `labels`, of which there is at least one. `nowMs` is the present time; `source` the receiver's name. */
  get(tenantName: string, labels: Labels, source: string, nowMs: number): ActiveStream {
    let tenant = this.tenants.get(tenantName);
    if (tenant === undefined) {
      tenant = { streams: new Map(), sweptMs: nowMs };
      this.tenants.set(tenantName, tenant);
    }
    const max = this.limits.streams_max;
    const { streams } = tenant;
    const canonical = canonicalLabels(labels);
    if (streams.size >= max && !streams.has(canonical)) this.forgetIdle(tenant, nowMs);
    const state = open(streams, canonical, max, nowMs);
    if (state !== null) return { labels, canonical, retryMs: Number.POSITIVE_INFINITY, state };
    return this.reduced(streams, labels, source, nowMs);
  }

  private reduced(streams: Map<string, StreamState>, labels: Labels, source: string, nowMs: number): ActiveStream {
    const max = this.limits.streams_max + Math.ceil(this.limits.streams_max / RESERVE_PART);
    const left: Record<string, string> = { ...labels };
    const found = (state: StreamState, kept: Labels, canonical: string): ActiveStream => ({
      labels: kept,
      canonical,
      retryMs: nowMs + this.sweepMs,
      state,
    });
    for (const name of leastImportantFirst(Object.keys(labels), this.limits.drop_order)) {
      delete left[name];
      this.onDropped(name);
      if (Object.keys(left).length === 0) break;
      const canonical = canonicalLabels(left);
      const state = open(streams, canonical, max, nowMs);
      if (state !== null) return found(state, left, canonical);
    }
    const last = { [LAST_RESORT]: source };
    const canonical = canonicalLabels(last);
    // One stream more for each receiver does no harm, and no line is lost.
    const state = open(streams, canonical, Number.POSITIVE_INFINITY, nowMs) ?? newState(nowMs);
    return found(state, last, canonical);
  }

  private forgetIdle(tenant: Tenant, nowMs: number): void {
    if (nowMs - tenant.sweptMs < this.sweepMs) return;
    tenant.sweptMs = nowMs;
    for (const [canonical, state] of tenant.streams) {
      if (nowMs - state.seenMs <= this.limits.stream_idle_ms) continue;
      state.isActive = false;
      tenant.streams.delete(canonical);
    }
  }
}

function newState(nowMs: number): StreamState {
  return { seenMs: nowMs, isActive: true };
}

/** The stream's state, made if there are fewer than `max` streams; else null. */
function open(streams: Map<string, StreamState>, canonical: string, max: number, nowMs: number): StreamState | null {
  const known = streams.get(canonical);
  if (known !== undefined) return known;
  if (streams.size >= max) return null;
  const state = newState(nowMs);
  streams.set(canonical, state);
  return state;
}

/** `drop_order` first, then the others, the last configured first. */
export function leastImportantFirst(names: readonly string[], dropOrder: readonly string[]): string[] {
  const ordered = dropOrder.filter((name) => names.includes(name));
  return [...ordered, ...names.filter((name) => !ordered.includes(name)).reverse()];
}
