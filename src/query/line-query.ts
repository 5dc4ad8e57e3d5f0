import { type Labels, pairKey } from "../core/labels.ts";
import type { BlockView } from "../store/view.ts";
import { type CompiledLog, compileLogText, type Seen } from "./compile.ts";
import { LiteralSearch } from "./hits.ts";
import type { LineSearch } from "./line-search.ts";
import { Entry, NO_METADATA_SOURCE } from "./stages/entry.ts";
import { sortedJson } from "./stages/label-text.ts";

/** What a judged row needs of its block. */
export type JudgedView = Pick<BlockView, "labels" | "text" | "lineStarts" | "metadata" | "sec" | "nsec"> &
  Partial<Pick<BlockView, "metadataCodes">>;

/** A line that passed, as answers have it. `line` may be a view of the block's bytes. */
export interface JudgedLine {
  /** JSON of the labels that it is grouped by, names sorted. */
  readonly group: string;
  /** JSON of metadata and parsed labels for a categorised answer, or "". */
  readonly detail: string;
  readonly line: Uint8Array;
}

type Metadata = ReturnType<BlockView["metadata"]>;
type LabelTexts = Pick<JudgedLine, "group" | "detail">;

/** Sets of metadata whose texts are remembered: lines with ids have one each, which is of no use to the next. */
const TEXTS_MAX = 256;

/** Runs a log query on rows of blocks. One for each scan: it is no use to two at a time. */
export class LineQuery {
  /** The search for literals that every line of the result has; null where there is none. */
  readonly search: LiteralSearch | null;
  /** The search for lines where there are no literals to go by. */
  readonly rowSearch: LineSearch | null;
  private readonly compiled: CompiledLog | null;
  private readonly entry: Entry;
  private readonly categorize: boolean;
  private view: JudgedView | null = null;
  private text: Buffer = Buffer.alloc(0);
  private lineStarts: Uint32Array = new Uint32Array(0);
  private lastLabels: Labels | null = null;
  private lastGroup = "";
  /** Whether the labels that come out are those that the block has. */
  private readonly keepsLabels: boolean;
  /** Texts of labels by the metadata that they were made from, for one block. */
  private readonly texts = new Map<string, LabelTexts>();
  private pairsRow = -1;
  private pairs: Metadata = [];

  /** `query` is LogQL, or "" for every line. Throws QueryError. */
  constructor(query: string, categorize: boolean) {
    this.compiled = query === "" ? null : compileLogText(query);
    this.entry = this.compiled?.entry ?? new Entry();
    this.categorize = categorize;
    this.keepsLabels = this.compiled === null || !this.compiled.needsLabels;
    const literals = this.compiled?.prefilter?.requiredLiterals ?? [];
    const search = new LiteralSearch(literals);
    this.search = search.isUseful ? search : null;
    this.rowSearch = this.compiled?.rowSearch?.search ?? null;
  }

  /**
   * The row's line and labels as the query makes them, or null when it is dropped. `seen`: that `search`, or `rowSearch`, has named
   * the row, so that the same is not looked for again.
   */
  judge(view: JudgedView, row: number, seen: Seen = "nothing"): JudgedLine | null {
    const { compiled, entry } = this;
    if (view !== this.view) this.open(view);
    entry.openLine(this.lineStarts[row], this.lineStarts[row + 1] - 1, row);
    if (compiled !== null && !compiled.process(seen)) return null;
    const { group, detail } = this.keepsLabels && entry.error === "" ? this.knownTexts(row) : this.makeTexts();
    return { group, detail, line: entry.line };
  }

  /** The row's metadata, read once however often it is asked for. Where the entry gets it from. */
  metadata(row: number): Metadata {
    if (row !== this.pairsRow) {
      this.pairs = this.view?.metadata(row) ?? [];
      this.pairsRow = row;
    }
    return this.pairs;
  }

  // What else the entry asks its block for.

  get sec(): Float64Array | undefined {
    return this.view?.sec;
  }

  get nsec(): Uint32Array | undefined {
    return this.view?.nsec;
  }

  metadataCodes(names: ReadonlySet<string>): ReturnType<BlockView["metadataCodes"]> {
    return this.view?.metadataCodes?.(names) ?? null;
  }

  /**
   * Lines of a block share few sets of metadata (pod, node, level) unless they carry ids, and to look for a set's text
   * costs a tenth of making it: Node 20, a query for 1000 lines of one stream takes 18 ms of CPU instead of 40.
   */
  private knownTexts(row: number): LabelTexts {
    let key = "";
    for (const [name, value] of this.metadata(row)) key += pairKey(name, value);
    let texts = this.texts.get(key);
    if (texts === undefined) {
      texts = this.makeTexts();
      if (this.texts.size >= TEXTS_MAX) this.texts.clear();
      this.texts.set(key, texts);
    }
    return texts;
  }

  private makeTexts(): LabelTexts {
    const { entry } = this;
    if (!this.categorize) {
      return { group: entry.isAsStream ? this.groupOf(entry.labels()) : entry.labelsText(), detail: "" };
    }
    const { stream, structuredMetadata, parsed } = entry.labelClasses();
    return { group: this.groupOf(stream), detail: detailOf(structuredMetadata, parsed) };
  }

  /** Forgets the block that was looked at last, whose bytes may be used for another. */
  close(): void {
    this.view = null;
    this.pairsRow = -1;
    this.entry.openBlock(Buffer.alloc(0), {}, NO_METADATA_SOURCE);
  }

  private open(view: JudgedView): void {
    this.view = view;
    this.text = view.text;
    this.lineStarts = view.lineStarts;
    this.pairsRow = -1;
    this.texts.clear();
    this.entry.openBlock(this.text, view.labels, this);
  }

  /** Most lines of a block have the very same stream labels: one text for them all. */
  private groupOf(labels: Labels): string {
    if (labels !== this.lastLabels) {
      this.lastLabels = labels;
      this.lastGroup = sortedJson(labels);
    }
    return this.lastGroup;
  }
}

function detailOf(structuredMetadata: Labels, parsed: Labels): string {
  const parts: string[] = [];
  if (Object.keys(structuredMetadata).length > 0) parts.push(`"structuredMetadata":${sortedJson(structuredMetadata)}`);
  if (Object.keys(parsed).length > 0) parts.push(`"parsed":${sortedJson(parsed)}`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}
