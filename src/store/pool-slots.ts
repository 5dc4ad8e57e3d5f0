/*
 * Places in libuv's pool, which all threads of a process share, as 32-bit integers in shared memory:
 *
 *   [0]      places that are free
 *   [1 + t]  places that thread t has taken, so that those of one that dies can be given back
 */
const FREE = 0;

/** Lets the blocks that all threads compress in the pool never be so many that the intake log's writes wait behind them. */
export class PoolSlots {
  readonly memory: SharedArrayBuffer;
  private readonly counts: Int32Array;
  private readonly own: number;

  /** `thread`: number of the thread that takes and gives back. */
  constructor(memory: SharedArrayBuffer, thread: number) {
    this.memory = memory;
    this.counts = new Int32Array(memory);
    this.own = 1 + thread;
  }

  /** Memory for so many places and threads. */
  static create(places: number, threads: number): SharedArrayBuffer {
    const memory = new SharedArrayBuffer((1 + threads) * Int32Array.BYTES_PER_ELEMENT);
    new Int32Array(memory)[FREE] = places;
    return memory;
  }

  /** False when there is none left. */
  take(): boolean {
    if (Atomics.sub(this.counts, FREE, 1) > 0) {
      Atomics.add(this.counts, this.own, 1);
      return true;
    }
    Atomics.add(this.counts, FREE, 1);
    return false;
  }

  give(): void {
    Atomics.sub(this.counts, this.own, 1);
    Atomics.add(this.counts, FREE, 1);
  }

  /** Gives back what the thread had when it died. */
  giveAll(): void {
    Atomics.add(this.counts, FREE, Atomics.exchange(this.counts, this.own, 0));
  }
}
