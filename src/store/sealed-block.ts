import type { Labels } from "../core/labels.ts";
import type { StreamHandle } from "../core/line.ts";
import { joinNs } from "../core/time.ts";
import { encodeStream } from "./block-encode.ts";
import type { Generation } from "./generation.ts";
import { mayHoldId } from "./id-filter.ts";
import type { OpenBlock } from "./open-block.ts";
import type { SegmentBlock } from "./segment.ts";
import type { BlockInfo, PendingBlock } from "./view.ts";

/** A stream as the writer knows it; what the pipeline holds as its handle. */
export class OpenStream implements StreamHandle {
  readonly tenant: string;
  readonly labels: Labels;
  readonly canonical: string;
  /** The block that lines go to, or null between blocks. */
  block: OpenBlock | null = null;
  /** Rows of the stream's last block if that was full: expect the same again. 0 otherwise. */
  rowsHint = 0;
  private encoded: Buffer | null = null;

  constructor(tenant: string, labels: Labels, canonical: string) {
    this.tenant = tenant;
    this.labels = labels;
    this.canonical = canonical;
  }

  /** The stream's section of each block's header. */
  get section(): Buffer {
    this.encoded ??= encodeStream(this);
    return this.encoded;
  }
}

/** A block that takes no more lines: it waits for compression (`open` is set) or for its segment (`pending` is set). */
export class SealedBlock {
  readonly stream: OpenStream;
  readonly generation: Generation;
  open: OpenBlock | null;
  /** Compressed, but an earlier block is not: shown as open until it is its turn, so that order of arrival holds. */
  finished: CompressedBlock | null = null;
  pending: CompressedBlock | null = null;

  constructor(stream: OpenStream, open: OpenBlock, generation: Generation) {
    this.stream = stream;
    this.open = open;
    this.generation = generation;
  }
}

/** A compressed block in memory. */
export class CompressedBlock implements PendingBlock, SegmentBlock {
  readonly tenant: string;
  readonly labels: Labels;
  readonly canonical: string;
  readonly bytes: Buffer;
  readonly rows: number;
  readonly textBytes: number;
  readonly minSec: number;
  readonly minNsec: number;
  readonly maxSec: number;
  readonly maxNsec: number;
  readonly metadataBytes: number;
  readonly ids: SegmentBlock["ids"];

  constructor(stream: StreamHandle, block: Omit<SegmentBlock, "canonical">) {
    this.tenant = stream.tenant;
    this.labels = stream.labels;
    this.canonical = stream.canonical;
    this.bytes = block.bytes;
    this.rows = block.rows;
    this.textBytes = block.textBytes;
    this.minSec = block.minSec;
    this.minNsec = block.minNsec;
    this.maxSec = block.maxSec;
    this.maxNsec = block.maxNsec;
    this.metadataBytes = block.metadataBytes;
    this.ids = block.ids;
  }

  get info(): BlockInfo {
    return {
      stream: 0,
      offset: 0,
      length: this.bytes.length,
      rows: this.rows,
      textBytes: this.textBytes,
      metadataBytes: this.metadataBytes,
      timeMinNs: joinNs(this.minSec, this.minNsec),
      timeMaxNs: joinNs(this.maxSec, this.maxNsec),
    };
  }

  mayHoldId(slot: number, low8: Uint8Array): boolean {
    return mayHoldId(this.ids, slot, low8);
  }
}
