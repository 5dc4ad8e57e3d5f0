/** Part of the time limit after which a query that gives what it has stops looking: the rest is for making the answer. */
const TIME_PART = 0.8;

/**
 * Where a query ends that rather gives a part of its answer than an error: at its limit of time or of bytes. Must be ended, or
 * its timer keeps what the query has made.
 */
export class Cut {
  private why: string | null = null;
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly listeners = new Set<() => void>();

  /** `timeoutMs`: the query's time limit, 0 for none; `timeoutText` as it is configured. */
  constructor(timeoutMs: number, timeoutText: string) {
    if (timeoutMs === 0) return;
    const onTime = () => this.stop(`it reached the limit of its time (query_timeout: ${timeoutText})`);
    this.timer = setTimeout(onTime, Math.min(timeoutMs * TIME_PART, 2 ** 31 - 1)).unref();
  }

  get isOver(): boolean {
    return this.why !== null;
  }

  /** A sentence for the answer; null when it is whole. */
  get warning(): string | null {
    return this.why === null ? null : `the answer is not complete: the query was ended when ${this.why}`;
  }

  stop(why: string): void {
    if (this.why !== null) return;
    this.why = why;
    for (const listener of this.listeners) listener();
  }

  /** Calls `listener` when the query is over; gives what takes it away again. */
  onOver(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  end(): void {
    clearTimeout(this.timer);
  }
}
