import type { RecordSink, SinkRecord, WriteResult } from "../core/sink.ts";

/** Lets the runners of several partitions have one destination: their writes follow each other, and the last one closes it. */
export class SharedSink {
  private readonly sink: RecordSink;
  private turn: Promise<unknown> = Promise.resolve();
  private users = 0;
  /** Writes that have ended; and how many of them the last good flush has, with when it was, as `performance.now()` counts. */
  private writes = 0;
  private flushed = { writes: 0, ms: Number.NEGATIVE_INFINITY };

  constructor(sink: RecordSink) {
    this.sink = sink;
  }

  /** The destination as one of its users has it. */
  user(): RecordSink {
    this.users++;
    let isOpen = true;
    let written = 0;
    const { flush } = this.sink;
    return {
      write: async (batch, signal) => {
        const result = await this.write(batch, signal);
        written = this.writes;
        return result;
      },
      ...(flush === undefined
        ? {}
        : { flush: { everyMs: flush.everyMs, run: (signal) => this.flush(flush, written, signal) } }),
      beginAnew: (partition) => this.sink.beginAnew?.(partition),
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        this.users--;
        if (this.users === 0) await this.sink.close();
      },
    };
  }

  private write(batch: readonly SinkRecord[], signal: AbortSignal): Promise<WriteResult> {
    const written = this.turn.then(async () => {
      signal.throwIfAborted();
      const result = await this.sink.write(batch, signal);
      this.writes++;
      return result;
    });
    this.turn = written.catch(() => {}); // Whoever wrote hears of it.
    return written;
  }

  /** One flush is for all users: one that has their writes, and is not long ago, will do. */
  private flush(flush: NonNullable<RecordSink["flush"]>, written: number, signal: AbortSignal): Promise<void> {
    const flushed = this.turn.then(async () => {
      signal.throwIfAborted();
      if (this.flushed.writes >= written && performance.now() - this.flushed.ms < flush.everyMs / 2) return;
      const { writes } = this;
      await flush.run(signal);
      this.flushed = { writes, ms: performance.now() };
    });
    this.turn = flushed.catch(() => {}); // As above.
    return flushed;
  }
}
