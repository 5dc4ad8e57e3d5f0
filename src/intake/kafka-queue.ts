import type { KafkaRecord } from "../kafka/producer.ts";

/** What a record takes in a batch beside its key, value and headers, at most. */
export const RECORD_BYTES = 40;

/** A record, and how much of a batch it takes. */
export interface SizedRecord {
  readonly record: KafkaRecord;
  readonly bytes: number;
}

export interface Waiting extends SizedRecord {
  readonly resolve: (offset: number) => void;
  readonly reject: (error: unknown) => void;
}

export interface QueueBounds {
  readonly batch_bytes_max: number;
  readonly batch_entries_max: number;
}

/** Records that wait for being written, in order; what is taken counts until it is done with. */
export class AppendQueue {
  private readonly bounds: QueueBounds;
  private waiting: Waiting[] = [];
  private readonly taken = new Set<Waiting>();
  private waitingBytes = 0;
  private takenBytes = 0;
  private partitionBytes = Number.POSITIVE_INFINITY;
  private emptyWaiters: (() => void)[] = [];

  constructor(bounds: QueueBounds) {
    this.bounds = bounds;
  }

  /** Of all that is not durable yet. */
  get bytes(): number {
    return this.waitingBytes + this.takenBytes;
  }

  /** Nothing waits for being taken. */
  get isEmpty(): boolean {
    return this.waiting.length === 0;
  }

  /** There is enough for one write. */
  get isLarge(): boolean {
    return this.waitingBytes >= this.bounds.batch_bytes_max || this.waiting.length >= this.bounds.batch_entries_max;
  }

  /** Most bytes of one partition in one write. */
  setPartitionBytes(bytes: number): void {
    this.partitionBytes = bytes;
  }

  /** Resolves to the record's offset when it is durable. */
  add({ record, bytes }: SizedRecord): Promise<number> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ record, bytes, resolve, reject });
      this.waitingBytes += bytes;
    });
  }

  /** What the next write has: of each partition as much as fits, and of the rest nothing that stands behind it. */
  take(): Waiting[] {
    const batch: Waiting[] = [];
    const rest: Waiting[] = [];
    const partitions = new Map<number, number>();
    let bytes = 0;
    for (const item of this.waiting) {
      const { partition } = item.record;
      const before = partitions.get(partition) ?? 0;
      const fits =
        batch.length < this.bounds.batch_entries_max &&
        (batch.length === 0 || bytes + item.bytes <= this.bounds.batch_bytes_max) &&
        (before === 0 || before + item.bytes <= this.partitionBytes);
      if (!fits) {
        rest.push(item);
        partitions.set(partition, Number.POSITIVE_INFINITY);
        continue;
      }
      partitions.set(partition, before + item.bytes);
      bytes += item.bytes;
      batch.push(item);
      this.taken.add(item);
    }
    this.waiting = rest;
    this.waitingBytes -= bytes;
    this.takenBytes += bytes;
    return batch;
  }

  /** `offsets`: of the first record of each partition, by `topic/partition`. */
  done(batch: readonly Waiting[], offsets: ReadonlyMap<string, number>): void {
    const next = new Map<string, number>();
    for (const item of batch) {
      const place = `${item.record.topic}/${item.record.partition}`;
      const offset = next.get(place) ?? offsets.get(place) ?? 0;
      next.set(place, offset + 1);
      this.release(item);
      item.resolve(offset);
    }
    this.changed();
  }

  fail(batch: readonly Waiting[], error: unknown): void {
    for (const item of batch) {
      this.release(item);
      item.reject(error);
    }
    this.changed();
  }

  /** Gives up on everything that is not durable. */
  refuse(error: unknown): void {
    const { waiting } = this;
    this.waiting = [];
    this.waitingBytes = 0;
    for (const { reject } of waiting) reject(error);
    this.fail([...this.taken], error);
  }

  /** Resolves when nothing waits or is under way. */
  whenEmpty(): Promise<void> {
    if (this.bytes === 0) return Promise.resolve();
    return new Promise((resolve) => this.emptyWaiters.push(resolve));
  }

  private release(item: Waiting): void {
    if (this.taken.delete(item)) this.takenBytes -= item.bytes;
  }

  private changed(): void {
    if (this.bytes > 0) return;
    const waiters = this.emptyWaiters;
    this.emptyWaiters = [];
    for (const wake of waiters) wake();
  }
}
