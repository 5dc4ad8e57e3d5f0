import type { Labels } from "../../core/labels.ts";
import { joinNs } from "../../core/time.ts";
import type { MetadataCodes } from "../../store/metadata-codes.ts";
import { AsciiProbe } from "./ascii-probe.ts";
import { jsonText, LabelShape, sortedJson } from "./label-text.ts";
import { plainNumberAt } from "./plain-number.ts";

/** Where an entry's structured metadata and time come from; a block. */
export interface MetadataSource {
  metadata(row: number): readonly (readonly [name: string, value: string])[];
  /** Times of the rows: seconds since 1970 UTC and nanoseconds below 1e9. Without them every entry is of 1970. */
  readonly sec?: ArrayLike<number>;
  readonly nsec?: ArrayLike<number>;
  /** All there is of these names; null when that is not known without reading lines. Without it nothing is known. */
  metadataCodes?(names: ReadonlySet<string>): Pick<MetadataCodes, "count" | "pairs"> | null;
}

export const NO_METADATA_SOURCE: MetadataSource = { metadata: () => [] };

/** Character codes: one byte or two bytes each. */
export type Codes = Uint8Array | Uint16Array;
const EMPTY_CODES: Codes = new Uint8Array(0);

/** Labels of a processed entry by where they come from. Names are sorted. */
export interface LabelClasses {
  /** The very object that `openBlock` got, as long as no stage changed it. */
  readonly stream: Labels;
  readonly structuredMetadata: Labels;
  readonly parsed: Labels;
}

export const ERROR_LABEL = "__error__";
export const ERROR_DETAILS_LABEL = "__error_details__";
/** A label that, set to "true", says that the errors of its line are wanted: a metric query doesn't fail by them. */
export const PRESERVE_ERROR_LABEL = "__preserve_error__";

const ABSENT = 0;
const STREAM = 1;
const METADATA = 2;
const PARSED = 3;

/** More than labels can be changed on a line. */
const MARK_STEP = 2 ** 24;
/** Beyond this many different label names what is not in the query itself is forgotten. */
const NAMES_MAX = 20_000;

/**
 * One line on its way through the stages of a query: one object for all lines. The caller opens a block, then each line;
 * stages read and change it; then the caller takes what came out.
 *
 * Label names are numbers here. A name gets its number once for a whole scan, so a line's labels are a few array
 * stores instead of a map: with eight JSON keys that is 0.1 us a line instead of 0.5.
 * Clashes follow "Names: sanitising, clashes, precedence" of LogQL.
 */
export class Entry {
  // The line as it was stored: bytes[start, end).
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  row = 0;
  /** Counts blocks, so that what a stage remembers of a block's bytes is not used for the next. */
  block = 0;

  /**
   * The characters of `text` as numbers, once `loadCodes` has been called: character i of the text is codes[codesFrom + i].
   * The block's own bytes wherever each character is one byte. Scanning these is three times as fast as `charCodeAt`.
   */
  codes: Codes = EMPTY_CODES;
  codesFrom = 0;
  codesTo = 0;
  /** The same as `codes`, to be read several at once; null where these are two bytes each. */
  words: DataView | null = null;
  private bytesWords: DataView | null = null;
  private codesReady = false;
  /** Whether `codes` are the text to the last character, so that it can be read from them. */
  codesAreText = false;
  private readonly ascii = new AsciiProbe();
  private wide: Uint16Array = new Uint16Array(0);

  private textNow: string | null = null;
  private latin1Now: string | null = null;
  private changed = false;
  /** The changed line, where it is not text that a stage made. */
  private changedBytes: Buffer | null = null;

  error = "";
  errorDetails = "";

  private readonly ids = new Map<string, number>();
  private readonly names: string[] = [];
  private readonly extractedIds: number[] = [];
  private readonly classes: number[] = [];
  /** Null for what has not been made a text yet: the bytes valueFrom up to valueTo, in ASCII. */
  private readonly values: (string | null)[] = [];
  private readonly valueFrom: number[] = [];
  private readonly valueTo: number[] = [];
  /** Whether the stream has a label of that name, dropped or not. */
  private readonly isStream: boolean[] = [];
  /** Ids that this line changed, each once, and for which line each was noted. */
  private readonly touched: number[] = [];
  /** How many of `touched` are of this line. Counted, since setting an array's length costs more than all else of a short line. */
  private touchedCount = 0;
  private readonly touchedLine: number[] = [];
  /** Metadata whose place a parsed label has taken on this line: the first `replacedCount` of both. */
  private readonly replacedIds: number[] = [];
  private readonly replacedValues: string[] = [];
  private replacedCount = 0;
  private lineCount = 0;
  private reserved = 0;
  /** Changes when numbers of names have been given up; stages then forget theirs. */
  generation = 0;

  private readonly shape = new LabelShape();
  private streamLabels: Labels = {};
  private streamIds: number[] = [];
  private streamValues: string[] = [];
  private streamChanged = false;
  private source: MetadataSource = NO_METADATA_SOURCE;
  private metadataLoaded = false;

  /** The number of a name that a query itself mentions; it stays valid for good. Call before the first block. */
  reserve(name: string): number {
    const id = this.id(name);
    this.extractedId(id);
    this.reserved = this.names.length;
    return id;
  }

  /** The number of a name, valid for this `generation`. */
  id(name: string): number {
    const known = this.ids.get(name);
    if (known !== undefined) return known;
    const id = this.names.length;
    this.ids.set(name, id);
    this.names.push(name);
    this.extractedIds.push(-1);
    this.classes.push(ABSENT);
    this.values.push("");
    this.valueFrom.push(0);
    this.valueTo.push(0);
    this.isStream.push(false);
    this.touchedLine.push(-1);
    return id;
  }

  /** How many names have a number. */
  get nameCount(): number {
    return this.names.length;
  }

  private extractedId(id: number): number {
    const known = this.extractedIds[id];
    if (known !== -1) return known;
    const extracted = this.id(`${this.names[id]}_extracted`);
    this.extractedIds[id] = extracted;
    return extracted;
  }

  /** Lines that follow are in `bytes`, belong to the stream with `labels`, and have their metadata in `source`. */
  openBlock(bytes: Buffer, labels: Labels, source: MetadataSource = NO_METADATA_SOURCE): void {
    this.restore();
    this.bytes = bytes;
    this.bytesWords = null;
    this.source = source;
    this.block++;
    this.ascii.forget();
    if (this.names.length > NAMES_MAX) this.forgetNames();
    else if (labels === this.streamLabels) return;
    for (const id of this.streamIds) {
      this.isStream[id] = false;
      this.classes[id] = ABSENT;
    }
    this.streamLabels = labels;
    this.streamIds = [];
    this.streamValues = [];
    for (const name of Object.keys(labels)) {
      // An empty value is the same as no label.
      if (labels[name] === "") continue;
      const id = this.id(name);
      this.isStream[id] = true;
      this.classes[id] = STREAM;
      this.values[id] = labels[name];
      this.streamIds.push(id);
      this.streamValues.push(labels[name]);
    }
  }

  openLine(start: number, end: number, row = 0): void {
    this.restore();
    this.start = start;
    this.end = end;
    this.row = row;
    this.textNow = null;
    this.latin1Now = null;
    this.codesReady = false;
    this.changed = false;
    this.changedBytes = null;
    this.error = "";
    this.errorDetails = "";
    this.metadataLoaded = false;
  }

  /** Takes back what the last line did to the labels. */
  private restore(): void {
    this.lineCount++;
    const { touched, touchedCount, classes } = this;
    if (touchedCount === 0) return;
    for (let i = 0; i < touchedCount; i++) classes[touched[i]] = ABSENT;
    this.touchedCount = 0;
    this.replacedCount = 0;
    if (!this.streamChanged) return;
    this.streamChanged = false;
    for (let i = 0; i < this.streamIds.length; i++) {
      this.classes[this.streamIds[i]] = STREAM;
      this.values[this.streamIds[i]] = this.streamValues[i];
    }
  }

  private forgetNames(): void {
    this.generation++;
    this.shape.set([], []);
    for (const name of this.names.splice(this.reserved)) this.ids.delete(name);
    const { extractedIds, classes, values, valueFrom, valueTo, isStream, touchedLine } = this;
    for (const list of [extractedIds, classes, values, valueFrom, valueTo, isStream, touchedLine]) {
      list.length = this.reserved;
    }
    this.classes.fill(ABSENT);
    this.isStream.fill(false);
    this.touchedLine.fill(-1);
    for (let id = 0; id < this.reserved; id++) {
      if (this.extractedIds[id] >= this.reserved) this.extractedIds[id] = -1;
    }
    this.streamIds = [];
  }

  // The line

  /** The line as text: UTF-8, ill-formed bytes as U+FFFD. */
  get text(): string {
    this.textNow ??= this.changedBytes?.toString("utf8") ?? this.bytes.toString("utf8", this.start, this.end);
    return this.textNow;
  }

  /** One character for each byte of the line; for work that must see bytes as they are. */
  get latin1(): string {
    this.latin1Now ??= this.changed
      ? this.line.toString("latin1")
      : this.bytes.toString("latin1", this.start, this.end);
    return this.latin1Now;
  }

  /** Whether a stage replaced the line, so that it is no longer bytes[start, end). */
  get lineChanged(): boolean {
    return this.changed;
  }

  replaceLine(text: string): void {
    this.textNow = text;
    this.changedBytes = null;
    this.latin1Now = null;
    this.codesReady = false;
    this.changed = true;
  }

  /** The same with bytes that need not be UTF-8. They must stay as they are while the line is looked at. */
  replaceBytes(bytes: Buffer): void {
    this.textNow = null;
    this.changedBytes = bytes;
    this.latin1Now = null;
    this.codesReady = false;
    this.changed = true;
  }

  /** The line as it came out: a view of the block's bytes, or new bytes where a stage replaced it. */
  get line(): Buffer {
    if (!this.changed) return this.bytes.subarray(this.start, this.end);
    return this.changedBytes ?? Buffer.from(this.text, "utf8");
  }

  /** Bytes of the line as it came out. */
  get lineBytes(): number {
    if (!this.changed) return this.end - this.start;
    return this.changedBytes?.length ?? Buffer.byteLength(this.text);
  }

  loadCodes(): void {
    if (this.codesReady) return;
    this.codesReady = true;
    const isPlain = !this.changed && this.ascii.holds(this.bytes, this.start, this.end);
    this.codesAreText = isPlain;
    if (isPlain || (!this.changed && this.text.length === this.end - this.start)) {
      this.codes = this.bytes;
      this.bytesWords ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
      this.words = this.bytesWords;
      this.codesFrom = this.start;
      this.codesTo = this.end;
      return;
    }
    const { text } = this;
    if (this.wide.length < text.length) this.wide = new Uint16Array(text.length * 2);
    Buffer.from(this.wide.buffer).write(text, "utf16le");
    this.codes = this.wide;
    this.words = null;
    this.codesFrom = 0;
    this.codesTo = text.length;
  }

  /** The text of `codes` from one place to another. For a few characters of a long line, which then is not made a string. */
  textBetween(from: number, to: number): string {
    if (this.codesAreText) return this.bytes.toString("latin1", from, to);
    return this.text.slice(from - this.codesFrom, to - this.codesFrom);
  }

  // Labels

  /** Reads the metadata of the line, once. Everything below does it by itself, except `value` and `setParsed`. */
  loadLabels(): void {
    if (this.metadataLoaded) return;
    this.metadataLoaded = true;
    for (const [name, value] of this.source.metadata(this.row)) {
      if (value === "") continue;
      let id = this.id(name);
      if (this.isStream[id]) id = this.extractedId(id);
      this.set(id, METADATA, value);
    }
  }

  /** The value of a label, undefined when it is absent. `loadLabels` has been called. */
  value(id: number): string | undefined {
    return this.classes[id] === ABSENT ? undefined : this.textOf(id);
  }

  private textOf(id: number): string {
    const known = this.values[id];
    if (known !== null) return known;
    const text = this.bytes.toString("latin1", this.valueFrom[id], this.valueTo[id]);
    this.values[id] = text;
    return text;
  }

  /** The value of a label where it is a number that `plainNumberAt` reads and was not made a text; else NaN. */
  plainNumber(id: number): number {
    if (this.classes[id] === ABSENT || this.values[id] !== null) return Number.NaN;
    return plainNumberAt(this.bytes, this.valueFrom[id], this.valueTo[id]);
  }

  /** The value of a label by its name, "" when it is absent. `loadLabels` has been called. */
  find(name: string): string {
    const id = this.ids.get(name);
    return id === undefined ? "" : (this.value(id) ?? "");
  }

  /**
   * A label that a parser found. Beside a stream label or metadata of that name it becomes `<name>_extracted`; one that
   * an earlier parser, or an earlier key, has set stays. `loadLabels` has been called.
   */
  setParsed(id: number, value: string): void {
    const target = this.parsedId(id);
    if (this.classes[target] !== PARSED) this.set(target, PARSED, value);
  }

  /**
   * The same for a value whose text is bytes[from, to), in ASCII. It is made only when somebody asks for it: a call that takes longer
   * than to read most numbers from the bytes.
   */
  setParsedAt(id: number, from: number, to: number): void {
    const target = this.parsedId(id);
    if (this.classes[target] === PARSED) return;
    this.valueFrom[target] = from;
    this.valueTo[target] = to;
    this.set(target, PARSED, null);
  }

  /** Where a parsed label of that name goes. */
  private parsedId(id: number): number {
    return this.isStream[id] || this.classes[id] === METADATA ? this.extractedPlace(id) : id;
  }

  private extractedPlace(id: number): number {
    const place = this.extractedId(id);
    if (this.classes[place] === METADATA) {
      this.replacedIds[this.replacedCount] = place;
      this.replacedValues[this.replacedCount++] = this.textOf(place);
    }
    return place;
  }

  /** What a parser puts for something that it looked for in vain: the empty text, unless the name has a value. */
  setMissing(id: number): void {
    if (this.classes[id] === ABSENT) this.setParsed(id, "");
  }

  /** What `label_format` sets: it takes the place of whatever has the name. `loadLabels` has been called. */
  setFormatted(id: number, value: string): void {
    this.set(id, PARSED, value);
  }

  /** Whether the stream has a label of that name, whatever stages did to it. */
  isStreamName(id: number): boolean {
    return this.isStream[id];
  }

  /** Whether a parser has set the label on this line. */
  isParsed(id: number): boolean {
    return this.classes[id] === PARSED;
  }

  /** Whether structured metadata of this line has the name. `loadLabels` has been called. */
  isMetadata(id: number): boolean {
    return this.classes[id] === METADATA;
  }

  /** Whether some line of this block may have structured metadata of that name. */
  mayHaveMetadata(name: string): boolean {
    const codes = this.source.metadataCodes?.(new Set([name])) ?? null;
    if (codes === null) return true;
    for (let code = 0; code < codes.count; code++) if (codes.pairs(code).length > 0) return true;
    return false;
  }

  /** The entry's time, nanoseconds since 1970. */
  get timeNs(): bigint {
    const { sec, nsec } = this.source;
    return sec === undefined || nsec === undefined ? 0n : joinNs(sec[this.row], nsec[this.row]);
  }

  /** How many labels have been changed, for `takeBack`. */
  get mark(): number {
    return this.touchedCount + this.replacedCount * MARK_STEP;
  }

  /** Removes the labels that were set since `mark`. Only for parsed ones. */
  takeBack(mark: number): void {
    const { touched, touchedCount } = this;
    this.touchedCount = mark % MARK_STEP;
    for (let i = this.touchedCount; i < touchedCount; i++) {
      const id = touched[i];
      this.classes[id] = ABSENT;
      this.touchedLine[id] = -1;
    }
    const replaced = Math.floor(mark / MARK_STEP);
    for (let i = replaced; i < this.replacedCount; i++) {
      this.classes[this.replacedIds[i]] = METADATA;
      this.values[this.replacedIds[i]] = this.replacedValues[i];
    }
    this.replacedCount = replaced;
  }

  private set(id: number, kind: number, value: string | null): void {
    if (this.classes[id] === STREAM) this.streamChanged = true;
    this.classes[id] = kind;
    this.values[id] = value;
    this.touch(id);
  }

  private touch(id: number): void {
    if (this.touchedLine[id] === this.lineCount) return;
    this.touchedLine[id] = this.lineCount;
    this.touched[this.touchedCount++] = id;
  }

  remove(id: number): void {
    if (this.classes[id] === ABSENT) return;
    if (this.classes[id] === STREAM) this.streamChanged = true;
    this.classes[id] = ABSENT;
    this.touch(id);
  }

  /** Removes every label for which `keeps` says no. Errors are not asked about. */
  retain(keeps: (name: string, value: string) => boolean): void {
    for (const id of this.presentIds()) if (!keeps(this.names[id], this.textOf(id))) this.remove(id);
  }

  private presentIds(): number[] {
    const present = this.streamIds.filter((id) => this.classes[id] !== ABSENT);
    for (let i = 0; i < this.touchedCount; i++) {
      const id = this.touched[i];
      if (this.classes[id] !== ABSENT && !(this.isStream[id] && present.includes(id))) present.push(id);
    }
    return present;
  }

  fail(error: string, details: string): void {
    this.error = error;
    this.errorDetails = details;
  }

  /** All labels as one set, names sorted: what a plain answer groups by. */
  labels(): Labels {
    this.loadLabels();
    if (this.touchedCount === 0 && this.error === "") return this.streamLabels;
    const pairs = this.presentIds().map((id): [string, string] => [this.names[id], this.textOf(id)]);
    return sorted([...pairs, ...this.errorPairs()]);
  }

  /** Whether the line has just the labels of its stream. */
  get isAsStream(): boolean {
    this.loadLabels();
    return this.touchedCount === 0 && this.error === "";
  }

  /**
   * The same as JSON. Lines that follow each other mostly have the same names from the same places, so what order they come in is
   * remembered, and no object is made. Node 20, lines of eleven keys, parsed and judged: 3.3 us instead of 13; it loses a
   * comparison where each line has other names (bench/query.ts, "json and a numeric filter").
   */
  labelsText(): string {
    if (this.isAsStream || this.error !== "" || this.errorDetails !== "") return sortedJson(this.labels());
    const ids = this.presentIds();
    const { shape } = this;
    if (!shape.isOf(ids)) shape.set(ids, this.names);
    let out = "{";
    for (let i = 0; i < ids.length; i++) out += shape.heads[i] + jsonText(this.textOf(shape.order[i]));
    return `${out}}`;
  }

  labelClasses(): LabelClasses {
    this.loadLabels();
    const by: [string, string][][] = [[], [], [], []];
    for (const id of this.presentIds()) by[this.classes[id]].push([this.names[id], this.textOf(id)]);
    return {
      stream: this.streamChanged ? sorted(by[STREAM]) : this.streamLabels,
      structuredMetadata: sorted(by[METADATA]),
      parsed: sorted([...by[PARSED], ...this.errorPairs()]),
    };
  }

  private errorPairs(): [string, string][] {
    const pairs: [string, string][] = [];
    if (this.error !== "") pairs.push([ERROR_LABEL, this.error]);
    // Details that have lost their error are shown only beside other labels that the stream's own don't have, as in Loki.
    const isShown = this.error !== "" || this.touchedCount > 0;
    if (isShown && this.errorDetails !== "") pairs.push([ERROR_DETAILS_LABEL, this.errorDetails]);
    return pairs;
  }
}

/** An object with its names in order. `fromEntries` makes even `__proto__` a plain name. */
function sorted(pairs: [string, string][]): Labels {
  return Object.fromEntries(pairs.sort((a, b) => (a[0] < b[0] ? -1 : 1)));
}
