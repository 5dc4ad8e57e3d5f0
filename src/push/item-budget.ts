import { PushError } from "./stream.ts";

/** What a decoded line, stream, attribute or metadata entry takes in memory beside its text, about. */
const ITEM_BYTES = 320;
/** Items between two looks at the memory. */
const STEP = 64;
/** Items of one push: a hundred times what clients send at once, and little enough to hold several of them. */
const ITEMS_MAX = 500_000;
/** Of them those of one line, or of one resource or scope, which are read and sorted at once: some ten milliseconds, and far more than a line may keep. */
const ITEMS_AT_ONCE_MAX = 16_384;

/** Bytes of names and values there, which are made texts of at once. A line's own text is not made one. */
const TEXT_AT_ONCE_MAX = 1 << 20;

/**
 * Counts what is decoded of a body: in a body of two bytes each there may be millions, which take a hundred times their size. Lines and
 * streams count to the end; what else belongs to them, until they are given on. `hold` is told of the memory, and throws when there
 * is none.
 */
export class ItemBudget {
  private readonly hold: (bytes: number) => void;
  private count = 0;
  /** Lines and streams that were given on. */
  private givenOn = 0;
  /** Items that `hold` was told of. */
  private held = 0;
  /** Before the present line. */
  private begun = 0;
  /** Of the present line. */
  private textBytes = 0;

  constructor(hold: (bytes: number) => void) {
    this.hold = hold;
  }

  /** What follows belongs to one line, resource or scope. */
  begin(): void {
    this.begun = this.count;
    this.textBytes = 0;
  }

  /** A name or value of so many bytes is to be made a text. Throws PushError 413 beyond the most. */
  takeText(bytes: number): void {
    this.textBytes += bytes;
    if (this.textBytes > TEXT_AT_ONCE_MAX) {
      throw new PushError(
        413,
        `request body too large: got more than ${TEXT_AT_ONCE_MAX} bytes of names and values at one place`,
      );
    }
  }

  /** One item more. Throws PushError 413 beyond the most, and what `hold` throws. */
  take(): void {
    this.count++;
    if (this.count - this.begun > ITEMS_AT_ONCE_MAX) {
      throw new PushError(
        413,
        `request body too large: got more than ${ITEMS_AT_ONCE_MAX} attributes or values at one place`,
      );
    }
    if (this.count <= this.held) return;
    if (this.count > ITEMS_MAX) {
      throw new PushError(413, `request body too large: got more than ${ITEMS_MAX} lines, streams and attributes`);
    }
    this.hold(STEP * ITEM_BYTES);
    this.held += STEP;
  }

  /** All that was taken is given on: so many lines of a stream. */
  given(lines: number): void {
    this.givenOn += lines + 1;
    this.count = this.givenOn;
    this.begun = this.count;
  }
}
