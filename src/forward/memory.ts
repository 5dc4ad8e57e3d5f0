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

  add(bytes: number): void {
    this.usedBytes += bytes;
    // Back below three quarters, so that thousands of sockets aren't stopped and started with every message.
    const isOver = this.over ? this.usedBytes > this.limitBytes * 0.75 : this.usedBytes > this.limitBytes;
    if (isOver === this.over) return;
    this.over = isOver;
    this.onChange();
  }
}
