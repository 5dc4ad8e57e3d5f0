/**
 * How long a peer has been silent, and how long its unfinished message has been under way. Time in which Weir itself
 * does not read is not counted: it is not the peer's. All times in milliseconds of one steady clock.
 */
export class ReadingClock {
  /** When the unfinished message began; -1 without one. */
  private partialSince = -1;
  private began = -1;
  private quietSince: number;
  private stoppedAt = -1;

  constructor(now: number) {
    this.quietSince = now;
  }

  /** Whether Weir does not read at present. */
  get isStopped(): boolean {
    return this.stoppedAt !== -1;
  }

  /** When the unfinished message began, or -1. One that has not been read for longest has the least. */
  get partialStart(): number {
    return this.partialSince;
  }

  /** The same with all time counted, that in which Weir did not read too. */
  get partialBegan(): number {
    return this.began;
  }

  heard(now: number): void {
    this.quietSince = now;
  }

  /** Says whether a message is unfinished, and whether it is another one than before. */
  setPartial(isPartial: boolean, isNew: boolean, now: number): void {
    if (isPartial && !isNew && this.partialSince !== -1) return;
    this.partialSince = isPartial ? now : -1;
    this.began = this.partialSince;
  }

  partialMs(now: number): number {
    return this.partialSince === -1 ? 0 : now - this.partialSince;
  }

  quietMs(now: number): number {
    return now - this.quietSince;
  }

  /** How long Weir has not read; 0 if it does. */
  stoppedMs(now: number): number {
    return this.stoppedAt === -1 ? 0 : now - this.stoppedAt;
  }

  stop(now: number): void {
    this.stoppedAt = now;
  }

  start(now: number): void {
    const stopped = now - this.stoppedAt;
    this.stoppedAt = -1;
    this.quietSince += stopped;
    if (this.partialSince !== -1) this.partialSince += stopped;
  }
}
