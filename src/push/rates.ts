import type { TenantLimits } from "./options.ts";

const MB = 1 << 20;
/** A stream without a line for so long counts no more. As Loki's chunk_idle_period. */
const STREAM_IDLE_MS = 1_800_000;
/** Looking for idle streams costs a walk over all, so it is done at most so often. */
const SWEEP_MS = 10_000;
/** Tenants that are remembered: each costs its streams. One beyond begins with the oldest one's place. */
const TENANTS_MAX = 10_000;
/** Streams of a tenant without a limit on them that are watched one by one. */
const WATCHED_MAX = 100_000;

/** Bytes a second, with a burst: a bucket that fills up to the burst. */
class Bucket {
  private level: number;
  private atMs: number;

  constructor(burst: number, nowMs: number) {
    this.level = burst;
    this.atMs = nowMs;
  }

  /** Takes `bytes`, all or nothing. */
  take(bytes: number, rate: number, burst: number, nowMs: number): boolean {
    this.level = Math.min(burst, this.level + (Math.max(0, nowMs - this.atMs) / 1000) * rate);
    this.atMs = nowMs;
    if (bytes > this.level) return false;
    this.level -= bytes;
    return true;
  }
}

interface Stream {
  readonly bucket: Bucket;
  seenMs: number;
}

interface Tenant {
  readonly bucket: Bucket;
  readonly streams: Map<string, Stream>;
  sweptMs: number;
}

export type StreamVerdict = "ok" | "too many streams" | "too fast";

/** What each tenant has pushed lately: bytes a second, in all and for each stream, and the number of its streams. */
export class Rates {
  private readonly tenants = new Map<string, Tenant>();

  /** Whether the tenant may push `bytes` now; they are counted then. */
  takeBytes(name: string, bytes: number, limits: TenantLimits, nowMs: number): boolean {
    if (limits.ingestion_rate_mb === 0) return true;
    const burst = limits.ingestion_burst_size_mb * MB;
    return this.tenant(name, limits, nowMs).bucket.take(bytes, limits.ingestion_rate_mb * MB, burst, nowMs);
  }

  /** Whether a stream may exist and take `bytes` now; they are counted then. */
  takeStream(name: string, canonical: string, bytes: number, limits: TenantLimits, nowMs: number): StreamVerdict {
    const tenant = this.tenant(name, limits, nowMs);
    const { streams } = tenant;
    const burst = limits.per_stream_rate_limit_burst_mb * MB;
    let stream = streams.get(canonical);
    if (stream === undefined) {
      const max = limits.max_global_streams_per_user;
      const most = max > 0 ? max : WATCHED_MAX;
      if (streams.size >= most) forgetIdle(tenant, nowMs);
      if (streams.size >= most) return max > 0 ? "too many streams" : "ok";
      stream = { bucket: new Bucket(burst, nowMs), seenMs: nowMs };
      streams.set(canonical, stream);
    }
    stream.seenMs = nowMs;
    if (limits.per_stream_rate_limit_mb === 0) return "ok";
    return stream.bucket.take(bytes, limits.per_stream_rate_limit_mb * MB, burst, nowMs) ? "ok" : "too fast";
  }

  private tenant(name: string, limits: TenantLimits, nowMs: number): Tenant {
    let tenant = this.tenants.get(name);
    if (tenant === undefined) {
      const [oldest] = this.tenants.keys();
      if (this.tenants.size >= TENANTS_MAX && oldest !== undefined) this.tenants.delete(oldest);
      const bucket = new Bucket(limits.ingestion_burst_size_mb * MB, nowMs);
      tenant = { bucket, streams: new Map(), sweptMs: nowMs };
      this.tenants.set(name, tenant);
    }
    return tenant;
  }
}

function forgetIdle(tenant: Tenant, nowMs: number): void {
  if (nowMs - tenant.sweptMs < SWEEP_MS) return;
  tenant.sweptMs = nowMs;
  for (const [canonical, { seenMs }] of tenant.streams) {
    if (nowMs - seenMs >= STREAM_IDLE_MS) tenant.streams.delete(canonical);
  }
}
