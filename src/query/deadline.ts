import { WeirError } from "../core/errors.ts";

/** Node's timers take 31 bits, 24 days, and fire at once for more. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * The end of a query before its time: the client leaves, or it has taken too long. Must be ended, whatever happens, or
 * the timer keeps what the query has made.
 */
export class Deadline {
  readonly signal: AbortSignal;
  /** When it comes, as `performance.now()` counts; Infinity where there is no limit of time. */
  readonly endsAtMs: number;
  private readonly controller = new AbortController();
  private readonly client: AbortSignal | undefined;
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly onLeave = () => this.controller.abort();
  private late = false;

  /** `ms` 0 is no limit. */
  constructor(ms: number, client?: AbortSignal) {
    this.signal = this.controller.signal;
    this.client = client;
    this.endsAtMs = ms > 0 ? performance.now() + ms : Number.POSITIVE_INFINITY;
    if (ms > 0) {
      const onLate = () => {
        this.late = true;
        this.controller.abort();
      };
      this.timer = setTimeout(onLate, Math.min(ms, TIMER_MS_MAX)).unref();
    }
    client?.addEventListener("abort", this.onLeave, { once: true });
    if (client?.aborted === true) this.onLeave();
  }

  /** Whether the time has run out, rather than the client left. */
  get isLate(): boolean {
    return this.late;
  }

  /**
   * The outcome of `work`, or a rejection as soon as the deadline comes: what the work waits for may not come back in time. The
   * work itself is expected to end by `signal`.
   */
  async race<T>(work: Promise<T>): Promise<T> {
    let stop: () => void = () => undefined;
    const aborted = new Promise<never>((_resolve, reject) => {
      stop = () => reject(new WeirError("query_aborted", "the query was ended before its time"));
    });
    if (this.signal.aborted) stop();
    else this.signal.addEventListener("abort", stop, { once: true });
    try {
      return await Promise.race([work, aborted]);
    } finally {
      this.signal.removeEventListener("abort", stop);
    }
  }

  /** What to say of a query that `signal` has ended. */
  error(cause: unknown): WeirError {
    if (!this.late) return new WeirError("query_cancelled", "the request was cancelled by the client", { cause });
    return new WeirError(
      "query_timeout",
      "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed",
      { cause },
    );
  }

  end(): void {
    clearTimeout(this.timer);
    this.client?.removeEventListener("abort", this.onLeave);
  }
}
