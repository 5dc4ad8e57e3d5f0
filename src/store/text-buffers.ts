import { ByteCopier } from "./byte-copier.ts";
import type { TextPool } from "./open-block.ts";

/** Free buffers that are kept: a few blocks are closed and begun at any time, and more would only be idle memory. */
const KEPT = 8;

/** Full-size text buffers that go from block to block, so that a busy writer does not allocate a gigabyte per gigabyte. */
export class TextBuffers implements TextPool {
  readonly textMax: number;
  readonly copier: ByteCopier = new ByteCopier();
  private readonly free: Buffer[] = [];

  constructor(textMax: number) {
    this.textMax = textMax;
  }

  take(): Buffer {
    return this.free.pop() ?? Buffer.allocUnsafeSlow(this.textMax);
  }

  /** A buffer for so many bytes or more. */
  room(bytes: number): Buffer {
    return bytes > this.textMax ? Buffer.allocUnsafeSlow(bytes) : this.take();
  }

  /** Nobody may hold a view of it any more. */
  giveBack(text: Buffer): void {
    if (text.length === this.textMax && this.free.length < KEPT) this.free.push(text);
  }
}
