import { CUT, skip, textHead, textLength } from "./msgpack.ts";
import { skipNested } from "./nesting.ts";
import { isSameRange } from "./same-range.ts";

/** Maps of a record that are remembered, by the place of their field. */
const PLACES = 4;
/** Numbers of remembered maps: each is another one's in the whole thread. */
let nextId = 1;

/**
 * Finds where records end. The maps among a record's fields are compared with those of the record before: the Kubernetes map,
 * often half of a record, is nearly always the same bytes, and comparing takes half the time of walking. What is the same is said
 * (`repeatAt`, `repeatId`), so that whoever took that map apart once need not look at it again. A map that is another each time
 * costs a few bytes' comparison more.
 */
export class RecordWalk {
  /** Where the longest map of the last record stands that is the same as one before, or that may come again; -1 without. */
  repeatAt = -1;
  /** Equal for equal bytes only. */
  repeatId = 0;
  private bytes: Buffer = NO_BYTES;
  private view: DataView = NO_VIEW;
  private readonly starts = new Int32Array(PLACES);
  private readonly ends = new Int32Array(PLACES);
  private readonly ids: number[] = new Array<number>(PLACES).fill(0);
  private repeatBytes = 0;

  /** Begins with other bytes, and keeps nothing of those before. */
  open(bytes: Buffer): void {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.starts.fill(0);
    this.ends.fill(0);
    this.repeatAt = -1;
  }

  /** Lets go of the bytes. */
  close(): void {
    this.bytes = NO_BYTES;
    this.view = NO_VIEW;
  }

  /**
   * The offset after the map at `at`, CUT, or TOO_DEEP where it is nested deeper than `depthMax`; 0 checks no depth. Throws
   * `bad_msgpack` as `skip` does.
   */
  recordEnd(at: number, end: number, depthMax: number): number {
    const { bytes } = this;
    this.repeatAt = -1;
    this.repeatBytes = 0;
    const c = bytes[at];
    // Records of more than 15 fields are walked as a whole.
    if ((c & 0xf0) !== 0x80) return depthMax > 0 ? skipNested(bytes, at, end, depthMax) : skip(bytes, at, end);
    let p = at + 1;
    for (let left = c & 0x0f; left > 0; left--) {
      p = this.fieldEnd(p, end, depthMax);
      if (p < 0) return p;
      p = this.valueEnd(p, end, depthMax, left % PLACES);
      if (p < 0) return p;
    }
    return p;
  }

  /** The offset after the key at `p`. */
  private fieldEnd(p: number, end: number, depthMax: number): number {
    if (p >= end) return CUT;
    const c = this.bytes[p];
    if (c >= 0xa0 && c < 0xc0) {
      p += c - 0x9f;
      return p <= end ? p : CUT;
    }
    return this.otherEnd(p, end, depthMax);
  }

  private valueEnd(p: number, end: number, depthMax: number, place: number): number {
    if (p >= end) return CUT;
    const c = this.bytes[p];
    if (((c & 0xf0) === 0x80 && c > 0x80) || c === 0xde) return this.mapEnd(p, end, depthMax, place);
    return this.otherEnd(p, end, depthMax);
  }

  private otherEnd(p: number, end: number, depthMax: number): number {
    const { bytes } = this;
    const head = textHead(bytes[p]);
    if (head > 0 && p + head <= end) {
      p += head + textLength(bytes, p);
      return p <= end ? p : CUT;
    }
    return depthMax > 0 ? skipNested(bytes, p, end, depthMax - 1) : skip(bytes, p, end);
  }

  private mapEnd(p: number, end: number, depthMax: number, place: number): number {
    const start = this.starts[place];
    let length = this.ends[place] - start;
    if (length === 0 || p + length > end || !isSameRange(this.bytes, this.view, start, p, length)) {
      const after = this.otherEnd(p, end, depthMax);
      if (after < 0) return after;
      this.starts[place] = p;
      this.ends[place] = after;
      this.ids[place] = nextId++;
      length = after - p;
    }
    if (length > this.repeatBytes) {
      this.repeatBytes = length;
      this.repeatAt = p;
      this.repeatId = this.ids[place];
    }
    return p + length;
  }
}

const NO_BYTES = Buffer.alloc(0);
const NO_VIEW = new DataView(NO_BYTES.buffer, 0, 0);
