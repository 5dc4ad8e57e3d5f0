/**
 * Counts the bytes that all connections hold together. Over the limit nothing is read any more, until a good part has
 * gone: agents then wait at their sockets, which is what pressure is for.
 */
export class MemoryBudget {
  /** Called when `isOver` changes. */
  onChange: () => void = () => {};
  private usedBytes = 0;
  private over = false;
  private readonly limitBytes: number;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get used(): number {
    return this.usedBytes;
  }

  get isOver(): boolean {
    return this.over;
  }

  /** Once over the limit, reading goes on below this. Three quarters, so that thousands of sockets aren't stopped and started with every message. */
  get resumeBytes(): number {
    return this.limitBytes * 0.75;
  }

  add(bytes: number): void {
    this.usedBytes += bytes;
    const isOver = this.usedBytes > (this.over ? this.resumeBytes : this.limitBytes);
    if (isOver === this.over) return;
    this.over = isOver;
    this.onChange();
  }
}
