import type { ReadCounter } from "./kafka-read-metrics.ts";

/** Memory of one thing in a window: its 16 bytes as text, its place in a Map and in two lists. Measured; `docs/kafka.md` says it too. */
const THING_BYTES = 200;
/** The largest window gives up this part of itself when there is no room: so seldom that looking for it costs nothing. */
const PART = 8;

/** What the windows of one reader ask of each other. */
export interface RoomUser {
  readonly size: number;
  /** Forgets `count` things at least, those seen longest ago, or all; gives how many. */
  shed(count: number): number;
}

/**
 * What the windows of repeats of all partitions that one reader has may remember together. When it is too much, the window
 * with most in it forgets what it saw longest ago. So each has seven eighths of an even share for sure.
 */
export class WindowRoom {
  private readonly thingsMax: number;
  private readonly forgotten: ReadCounter;
  private readonly onFull: () => void;
  private readonly users = new Set<RoomUser>();
  private things = 0;
  private isFull = false;

  /** `forgotten` counts what had to go before its time; `onFull` is called once. */
  constructor(bytesMax: number, forgotten: ReadCounter, onFull: () => void = () => {}) {
    this.thingsMax = Math.floor(bytesMax / THING_BYTES);
    this.forgotten = forgotten;
    this.onFull = onFull;
  }

  /** Things in all windows. */
  get size(): number {
    return this.things;
  }

  enter(user: RoomUser): void {
    if (this.users.has(user)) return;
    this.users.add(user);
    this.grew(user.size);
  }

  /** What a user remembers counts no more: it is about to be thrown away. */
  leave(user: RoomUser): void {
    if (this.users.delete(user)) this.things -= user.size;
  }

  /** A user has so many things more, or less. Nothing to do with those that have left. */
  changed(user: RoomUser, by: number): void {
    if (this.users.has(user)) this.grew(by);
  }

  private grew(by: number): void {
    this.things += by;
    while (this.things > this.thingsMax) {
      let largest: RoomUser | null = null;
      for (const user of this.users) if (largest === null || user.size > largest.size) largest = user;
      const shed = largest?.shed(Math.ceil(largest.size / PART)) ?? 0;
      if (shed === 0) return;
      this.things -= shed;
      this.forgotten.inc(shed);
      if (!this.isFull) this.onFull();
      this.isFull = true;
    }
  }
}
