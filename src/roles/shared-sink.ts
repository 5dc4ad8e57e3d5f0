import type { RecordSink, SinkRecord, WriteResult } from "../core/sink.ts";

/** Lets the runners of several partitions have one destination: their writes follow each other, and the last one closes it. */
export class SharedSink {
  private readonly sink: RecordSink;
  private turn: Promise<unknown> = Promise.resolve();
  private users = 0;

  constructor(sink: RecordSink) {
    this.sink = sink;
  }

  /** The destination as one of its users has it. */
  user(): RecordSink {
    this.users++;
    let isOpen = true;
    return {
      write: (batch, signal) => this.write(batch, signal),
      close: async () => {
        if (!isOpen) return;
        isOpen = false;
        this.users--;
        if (this.users === 0) await this.sink.close();
      },
    };
  }

  private write(batch: readonly SinkRecord[], signal: AbortSignal): Promise<WriteResult> {
    const written = this.turn.then(() => {
      signal.throwIfAborted();
      return this.sink.write(batch, signal);
    });
    this.turn = written.catch(() => {}); // Whoever wrote hears of it.
    return written;
  }
}
