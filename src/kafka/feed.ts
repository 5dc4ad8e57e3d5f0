import type { KafkaMessage as VendorMessage } from "kafkajs";

/** What a message takes beside its bytes, roughly, so that many tiny ones are bounded too. */
const OVERHEAD_BYTES = 256;
/** Records that the mean length goes by, about: beyond twice as many, all that were read so far count half. */
const MEAN_RECORDS = 16_384;

/** A record as it was read. */
export interface KafkaMessage {
  readonly offset: number;
  /** Milliseconds since 1970, as the writer or the broker has set it. */
  readonly timestampMs: number;
  readonly key: Buffer | null;
  /** null: a tombstone. */
  readonly value: Buffer | null;
  /** A header that is there twice: its last value. */
  readonly headers: Readonly<Record<string, Buffer>>;
}

export interface FeedDeps {
  /** Bytes that may wait here before the partition is not read any more. May change; `fit` is called then. */
  readonly bytesMax: number;
  /** The partition is to be read from `fetchOffset` on, whatever was read before. */
  readonly sought: () => void;
  /** `wantsMore` has changed. */
  readonly turned: () => void;
}

/**
 * The records of one partition on their way from the group's connection to whoever takes them, in order. Nothing is read
 * before `seek` has said from where.
 */
export class KafkaFeed {
  readonly topic: string;
  readonly partition: number;
  private readonly deps: FeedDeps;
  /** Those below `taken` are gone, and null: a record that nobody needs any more is not to be kept by its place here. */
  private waiting: (KafkaMessage | null)[] = [];
  private taken = 0;
  private bytes = 0;
  /** The offset that is to be read next from Kafka, or -1 while nobody has said it. */
  private next = -1;
  private end = -1;
  /** Records that were read, and their bytes; of many the older ones count half. */
  private readRecords = 0;
  private readBytes = 0;
  private isPaused = true;
  private isOver = false;
  private isShort = false;
  /** Where the last answer began that began behind what is next, and what was next. */
  private gap: { readonly next: number; readonly from: number } | null = null;
  /** One for all that wait: who looks at the clock meanwhile asks again and again. */
  private waiter: { readonly promise: Promise<void>; readonly wake: () => void } | null = null;

  constructor(topic: string, partition: number, deps: FeedDeps) {
    this.topic = topic;
    this.partition = partition;
    this.deps = deps;
  }

  /** Another member has the partition now, or the group is closed: nothing comes any more. */
  get isLost(): boolean {
    return this.isOver;
  }

  /** Where reading goes on, or -1 while nobody has said it. */
  get fetchOffset(): number {
    return this.next;
  }

  /** Whether the connection is to read the partition now. */
  get wantsMore(): boolean {
    return !this.isOver && !this.isPaused && this.next >= 0;
  }

  /** The offset behind the last record that there was when Kafka was read last; -1 before. */
  get highWatermark(): number {
    return this.end;
  }

  /**
   * Whether what came last was read before, all of it, from a log that ended before what is next: it was cut, or made anew. So it
   * seems; a broker may also be late. Holds until `seek` or `isWhole`.
   */
  get isCut(): boolean {
    return this.isShort;
  }

  /** Somebody has looked, and the log does not end before what is next. */
  isWhole(): void {
    this.isShort = false;
  }

  /** Bytes of key and value that a record has in the mean of those read lately; null before any was read. */
  get bytesARecord(): number | null {
    return this.readRecords === 0 ? null : this.readBytes / this.readRecords;
  }

  /** Reads from `offset` on. What waits is dropped. */
  seek(offset: number): void {
    if (this.isOver) return;
    this.waiting = [];
    this.taken = 0;
    this.bytes = 0;
    this.next = offset;
    this.isPaused = false;
    this.isShort = false;
    this.gap = null;
    this.deps.sought();
  }

  /** Bytes that wait for being taken. */
  get waitingBytes(): number {
    return this.bytes;
  }

  /** The record that `poll` will give, or null when none waits. */
  peek(): KafkaMessage | null {
    return this.isOver ? null : (this.waiting[this.taken] ?? null);
  }

  /** The next record, or null when none waits. */
  poll(): KafkaMessage | null {
    const message = this.peek();
    if (message === null) return null;
    this.waiting[this.taken++] = null;
    this.bytes -= sizeOf(message);
    if (this.taken > 1024 && this.taken * 2 > this.waiting.length) {
      this.waiting = this.waiting.slice(this.taken);
      this.taken = 0;
    }
    if (this.isPaused && this.bytes <= this.deps.bytesMax / 2) {
      this.isPaused = false;
      this.deps.turned();
    }
    return message;
  }

  /** Resolves when `poll` may give a record, or the feed is lost. */
  wait(): Promise<void> {
    if (this.isOver || this.isShort || this.taken < this.waiting.length) return Promise.resolve();
    if (this.waiter === null) {
      let wake = () => {};
      const promise = new Promise<void>((resolve) => {
        wake = resolve;
      });
      this.waiter = { promise, wake };
    }
    return this.waiter.promise;
  }

  /**
   * What the connection has read, of an answer that was asked for from the offset `from` on, and that tells of all below `to`: behind the
   * last message may be records that are nobody's, as those that end a transaction.
   *
   * The library takes an answer for one that goes on where it was told to, also when it was asked for before: of a broker that hung, and
   * led the partition until others gave it to another one. Taken here, it would leave out everything up to it. So one that begins
   * behind what is next is not believed before asking again has given the same: then Kafka has removed what was there.
   */
  push(messages: readonly VendorMessage[], highWatermark: number, from: number = this.next, to: number = 0): void {
    const { next } = this;
    if (this.isOver || next < 0) return;
    if (from > next && !(this.gap?.next === next && this.gap.from === from)) {
      this.gap = { next, from };
      this.deps.sought();
      return;
    }
    this.gap = null;
    this.end = Math.max(this.end, highWatermark);
    for (const vendor of messages) {
      const message = messageOf(vendor);
      // A batch begins where its writer began it, which may be before what was asked for.
      if (message.offset < this.next) continue;
      this.weigh(message);
      this.next = message.offset + 1;
      this.waiting.push(message);
      this.bytes += sizeOf(message);
    }
    this.next = Math.max(this.next, to);
    if (messages.length > 0 && this.next === next && highWatermark < next) this.isShort = true;
    if (!this.isPaused && this.bytes >= this.deps.bytesMax) {
      this.isPaused = true;
      this.deps.turned();
    }
    this.wake();
  }

  /** Goes by a bound that has changed; whoever calls it looks at `wantsMore` afterwards. */
  fit(): void {
    const { bytesMax } = this.deps;
    if (this.bytes >= bytesMax) this.isPaused = true;
    else if (this.bytes <= bytesMax / 2) this.isPaused = false;
  }

  private weigh(message: KafkaMessage): void {
    this.readRecords++;
    this.readBytes += sizeOf(message) - OVERHEAD_BYTES;
    if (this.readRecords < 2 * MEAN_RECORDS) return;
    this.readRecords /= 2;
    this.readBytes /= 2;
  }

  lose(): void {
    this.isOver = true;
    this.waiting = [];
    this.bytes = 0;
    this.wake();
  }

  private wake(): void {
    const { waiter } = this;
    this.waiter = null;
    waiter?.wake();
  }
}

function sizeOf({ key, value }: KafkaMessage): number {
  return OVERHEAD_BYTES + (key?.length ?? 0) + (value?.length ?? 0);
}

function messageOf({ offset, timestamp, key, value, headers }: VendorMessage): KafkaMessage {
  const plain: Record<string, Buffer> = {};
  for (const [name, given] of Object.entries(headers ?? {})) {
    const last = Array.isArray(given) ? given.at(-1) : given;
    if (last !== undefined) plain[name] = Buffer.isBuffer(last) ? last : Buffer.from(last);
  }
  return { offset: Number(offset), timestampMs: Number(timestamp), key, value, headers: plain };
}
