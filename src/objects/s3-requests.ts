import { setMaxListeners } from "node:events";
import { WeirError } from "../core/errors.ts";
import type { Metrics } from "../core/metrics.ts";
import { sleepFor } from "../core/wait.ts";
import { Limiter } from "./limiter.ts";
import type { S3Options } from "./options.ts";
import { type RequestMetrics, requestMetrics } from "./request-metrics.ts";
import { isThrottling, isTransient, type S3Where, s3Failure } from "./s3-errors.ts";

const FIRST_WAIT_MS = 100;
/** A server that asks for fewer requests is left alone for longer. */
const FIRST_THROTTLED_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;

export interface S3RequestDeps {
  readonly metrics?: Metrics;
  /** Resolves after `ms`, or when the signal is aborted. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** 0 to below 1. */
  readonly random?: () => number;
}

/** One try of a request: sends it with `signal`, which ends it when it takes too long. `retries` counts the tries before. */
export type Attempt<T> = (signal: AbortSignal, retries: number) => Promise<T>;

/** Sends requests: so many at a time, none longer than its time, each tried again when that may help. */
export class S3Requests {
  readonly where: S3Where;
  private readonly options: S3Options;
  private readonly limiter: Limiter;
  private readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  private readonly random: () => number;
  private readonly closing = new AbortController();
  private readonly underWay = new Set<AbortController>();
  private readonly metrics: RequestMetrics | null;

  constructor(where: S3Where, options: S3Options, deps: S3RequestDeps = {}) {
    const { metrics, sleep = sleepFor, random = Math.random } = deps;
    this.where = where;
    this.options = options;
    this.limiter = new Limiter(options.requests_at_once);
    this.sleep = sleep;
    this.random = random;
    // As many wait for it as there are requests between two tries; Node would take more than ten for a leak and say so.
    setMaxListeners(0, this.closing.signal);
    this.metrics = metrics === undefined ? null : requestMetrics(metrics);
  }

  /**
   * Runs `attempt` until it succeeds, fails for good, or has failed `attempts` times. `op` is S3's name of the operation, `what` says
   * in words what is done to `key`. Rejects with a WeirError.
   */
  async run<T>(op: string, what: string, key: string, attempt: Attempt<T>): Promise<T> {
    for (let retries = 0; ; retries++) {
      try {
        return await this.limiter.run(() => this.once(op, retries, attempt));
      } catch (error) {
        const isLast = retries + 1 >= this.options.attempts || this.closing.signal.aborted || !isTransient(error);
        if (!isLast) {
          this.metrics?.requests.inc({ op, result: "retry" });
          await this.sleep(this.waitMs(retries, error), this.closing.signal);
          continue;
        }
        const failure = s3Failure(what, key, this.where, error);
        this.metrics?.requests.inc({ op, result: resultOf(failure) });
        throw failure;
      }
    }
  }

  /** Ends what is under way, and refuses what comes later. */
  close(): void {
    this.closing.abort();
    for (const controller of this.underWay) controller.abort();
  }

  private async once<T>(op: string, retries: number, attempt: Attempt<T>): Promise<T> {
    const controller = new AbortController();
    if (this.closing.signal.aborted) throw closed();
    this.underWay.add(controller);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      controller.abort();
    }, this.options.request_timeout_ms);
    const started = performance.now();
    try {
      const result = await attempt(controller.signal, retries);
      this.metrics?.requests.inc({ op, result: "ok" });
      return result;
    } catch (error) {
      if (this.closing.signal.aborted) throw closed();
      if (isLate) throw new Error(`no whole answer within ${this.options.request_timeout_ms} ms`, { cause: error });
      throw error;
    } finally {
      clearTimeout(timer);
      this.underWay.delete(controller);
      this.metrics?.seconds.observe({ op }, (performance.now() - started) / 1000);
    }
  }

  /** Twice as long each time, less a random part up to half, so that many clients do not come back at once. */
  private waitMs(retries: number, error: unknown): number {
    const first = isThrottling(error) ? FIRST_THROTTLED_WAIT_MS : FIRST_WAIT_MS;
    return Math.min(LONGEST_WAIT_MS, first * 2 ** retries) * (1 - this.random() / 2);
  }
}

function resultOf({ code }: WeirError): string {
  if (code === "object_missing") return "missing";
  return code === "object_exists" ? "exists" : "failed";
}

function closed(): WeirError {
  return new WeirError("store_unavailable", "the object store was closed", { retriable: true });
}
