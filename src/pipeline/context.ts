import type { Fields } from "../core/component.ts";
import type { Labels } from "../core/labels.ts";
import type { LineSource } from "../core/line.ts";
import { type GroupInfo, NO_GROUP } from "./group.ts";
import type { LineScan } from "./line-scan.ts";
import { Candidates } from "./trace/candidates.ts";

/** Fields of a record that may hold ids, at most; further ones are not looked at. */
const ID_FIELDS_MAX = 32;

/** The stream that a pushed line came with. Its labels stay, whatever the steps say. */
export interface GivenStream {
  /** `canonicalLabels(labels)`. */
  readonly canonical: string;
  readonly labels: Labels;
}

/**
 * The record that a pipeline is working on. One object, filled again for every record: offsets are into `bytes`
 * unless said otherwise, and -1 stands for what is not there.
 */
export class RecordContext implements LineSource {
  tenant = "";
  tag = "";
  source = "";
  bytes: Buffer = Buffer.alloc(0);
  recordStart = 0;
  recordEnd = 0;
  /** Where a map of the record stands that has the bytes with this number (codec's RecordWalk); -1 without. */
  repeatAt = -1;
  repeatId = 0;
  metadataStart = -1;
  metadataEnd = -1;
  group: GroupInfo = NO_GROUP;
  /** Set for a pushed line, which `lineBytes` then has already; record and metadata are both its structured metadata. */
  given: GivenStream | null = null;
  sec = 0;
  nsec = 0;

  /** The line, which a parser may have put elsewhere than `bytes`. */
  lineBytes: Buffer = Buffer.alloc(0);
  lineStart = 0;
  lineEnd = 0;
  /** The level by everything but labels and configured metadata, once somebody asked for it; "" until then. */
  level = "";
  /** How the pipeline at work finds the level. */
  findLevel: (record: RecordContext) => string = () => "";
  /** What each `parse` step found, in the order of the steps; null where it found nothing. */
  readonly parsed: (Fields | null)[] = [];
  /** Parsers that all refused the line, for metadata `parse_error`; "" for none. */
  parseError = "";

  /** Value of each top-level field that the plan looks at, by the plan's number for it. */
  rootAt: Int32Array = new Int32Array(16);
  rootEnd: Int32Array = new Int32Array(16);
  /** The best of the plan's line fields that the record has. */
  lineField = -1;
  lineFieldRank = 0;
  /** Values of top-level fields whose name may be an id's. */
  readonly idCode = new Uint8Array(ID_FIELDS_MAX);
  readonly idAt = new Int32Array(ID_FIELDS_MAX);
  readonly idEnd = new Int32Array(ID_FIELDS_MAX);
  idCount = 0;
  /** A top-level field that is named like a level, the best by its name. */
  levelField = -1;
  levelRank = 0;

  readonly ids = new Candidates();
  /** What a scan of the line has found, for the level; null while nobody has scanned it. */
  scan: LineScan | null = null;

  addIdField(code: number, at: number, end: number): void {
    if (this.idCount === ID_FIELDS_MAX) return;
    this.idCode[this.idCount] = code;
    this.idAt[this.idCount] = at;
    this.idEnd[this.idCount] = end;
    this.idCount++;
  }

  /** Source of `json`, set by the pipeline at work. */
  makeJson: (record: RecordContext, keep?: ReadonlySet<string>) => string = () => "{}";

  /** The record with what parsers found, as JSON: see LineSource. */
  json(keep?: ReadonlySet<string>): string {
    return this.makeJson(this, keep);
  }

  readLevel(): string {
    if (this.level === "") this.level = this.findLevel(this);
    return this.level;
  }

  /** Makes room for a plan's top-level fields. */
  reserve(roots: number): void {
    if (roots <= this.rootAt.length) return;
    this.rootAt = new Int32Array(roots);
    this.rootEnd = new Int32Array(roots);
  }
}
