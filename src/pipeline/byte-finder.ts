/**
 * Finds the next occurrence of one byte by a native search over the whole buffer, and remembers it: lines of a message stand one
 * after the other, so most of those without the byte are answered by a comparison.
 */
export class ByteFinder {
  private readonly byte: number;
  private bytes: Buffer | null = null;
  private from = 0;
  private next = -1;

  constructor(byte: number) {
    this.byte = byte;
  }

  /** The offset of the first such byte in bytes[start, end), or -1. The buffer must not change until `forget`. */
  find(bytes: Buffer, start: number, end: number): number {
    if (bytes !== this.bytes || start < this.from || (this.next !== -1 && this.next < start)) {
      this.bytes = bytes;
      this.from = start;
      this.next = bytes.indexOf(this.byte, start);
    }
    return this.next < end ? this.next : -1;
  }

  forget(): void {
    this.bytes = null;
  }
}
