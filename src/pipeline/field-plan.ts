import { itemCount, itemHead, skip, textHead, textLength } from "../codec/msgpack.ts";
import type { RecordContext } from "./context.ts";
import { KeyTable } from "./key-table.ts";
import { NAME_NONE } from "./trace/names.ts";

const NONE = -1;
const NIL = 0xc0;

/**
 * Which top-level fields of a record a plan looks at, and the one walk over a record that finds them all. A key's
 * class stands in a table by its bytes, so a key that means nothing costs about 10 ns.
 */
export class FieldPlan {
  private readonly roots: string[] = [];
  private readonly keys: KeyTable;
  private readonly lineFields: readonly string[];
  /** Which kind of id a field of this name may hold (trace/names.ts). */
  idCodeOf: (key: string) => number = () => NAME_NONE;
  /** The rank of a field of this name as a level, the least one wins; -1 for none. */
  levelRankOf: (key: string) => number = () => NONE;
  /** What the classes mean; class 0 means nothing. */
  private readonly classRoot: number[] = [NONE];
  private readonly classLine: number[] = [NONE];
  private readonly classId: number[] = [NAME_NONE];
  private readonly classLevel: number[] = [NONE];

  constructor(lineFields: readonly string[]) {
    this.lineFields = lineFields;
    this.keys = new KeyTable((key) => this.classify(key));
  }

  /** The number of the top-level field `name`. To be called before the first record is scanned. */
  root(name: string): number {
    const known = this.roots.indexOf(name);
    return known === NONE ? this.roots.push(name) - 1 : known;
  }

  get rootCount(): number {
    return this.roots.length;
  }

  /** Finds the fields of the record that `context` stands at. Where a key stands twice, the last one counts. */
  scan(context: RecordContext): void {
    const { bytes, recordStart, recordEnd, rootAt } = context;
    for (let i = 0; i < this.roots.length; i++) rootAt[i] = NONE;
    context.lineField = NONE;
    context.lineFieldRank = Number.MAX_SAFE_INTEGER;
    context.idCount = 0;
    context.levelField = NONE;
    context.levelRank = Number.MAX_SAFE_INTEGER;
    let at = recordStart + itemHead(bytes[recordStart]);
    for (let left = itemCount(bytes, recordStart); left > 0; left--) {
      const head = textHead(bytes[at]);
      if (head === 0) {
        // A key that is no text has no name.
        at = skip(bytes, skip(bytes, at, recordEnd), recordEnd);
        continue;
      }
      const length = textLength(bytes, at);
      const value = at + head + length;
      // The last value ends where the record ends. It often is the Kubernetes map, the longest one to skip.
      const c = bytes[value];
      const next =
        left === 1
          ? recordEnd
          : c >= 0xa0 && c < 0xc0
            ? value + 1 + (c & 0x1f)
            : c === 0xd9
              ? value + 2 + bytes[value + 1]
              : skip(bytes, value, recordEnd);
      const meaning = this.keys.lookup(bytes, at + head, length);
      if (meaning !== 0 && c !== NIL) this.note(context, meaning, value, next);
      at = next;
    }
  }

  private note(context: RecordContext, meaning: number, value: number, next: number): void {
    const root = this.classRoot[meaning];
    if (root !== NONE) {
      context.rootAt[root] = value;
      context.rootEnd[root] = next;
    }
    const lineRank = this.classLine[meaning];
    if (lineRank !== NONE && lineRank <= context.lineFieldRank) {
      context.lineFieldRank = lineRank;
      context.lineField = value;
    }
    const code = this.classId[meaning];
    if (code !== NAME_NONE) context.addIdField(code, value, next);
    const rank = this.classLevel[meaning];
    if (rank !== NONE && rank <= context.levelRank) {
      context.levelRank = rank;
      context.levelField = value;
    }
  }

  private classify(key: string): number {
    const root = this.roots.indexOf(key);
    const line = this.lineFields.indexOf(key);
    const id = this.idCodeOf(key);
    const level = this.levelRankOf(key);
    if (root === NONE && line === NONE && id === NAME_NONE && level === NONE) return 0;
    for (let i = 1; i < this.classRoot.length; i++) {
      const isSame =
        this.classRoot[i] === root &&
        this.classLine[i] === line &&
        this.classId[i] === id &&
        this.classLevel[i] === level;
      if (isSame) return i;
    }
    this.classRoot.push(root);
    this.classLine.push(line);
    this.classId.push(id);
    this.classLevel.push(level);
    return this.classRoot.length - 1;
  }
}
