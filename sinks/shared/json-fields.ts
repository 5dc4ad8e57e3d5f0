import type { FieldName, FieldNames } from "./field-names.ts";

/*
 * Writes a record's JSON anew for a destination that keeps a mapping of each field, as Elasticsearch does. Values are copied as
 * they stand, so numbers keep all their digits. What the destination would refuse, or what would cost it more names than it may
 * have, is left out here and handed over as text:
 *   a name for which there is no room, that has nothing in it, or that is too long
 *   a name that stands twice in an object, once dots are made `_`
 *   a field that is an object in one place of the document and something else in another
 *   what is nested too deep
 * The JSON is Weir's own (LineSource.json): well-formed, and without spaces between its parts.
 */

/** Objects and arrays that may stand in each other below the document's root; Elasticsearch takes 20 levels of fields. */
const DEPTH_MAX = 12;
const NAME_CHARS_MAX = 256;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const COMMA = 0x2c;
const LETTER_N = 0x6e;

/** A member of an object, in place of its general treatment: the JSON for it, or null for the general one. */
export type TakeMember = (name: string, value: string) => string | null;

export interface JsonFieldsOptions {
  /** `_`: dots in names become that; `levels`: they stand for objects within each other, as the destination reads them. */
  readonly dots: "_" | "levels";
}

/** What was left out of a document: the path of each field, and its value as JSON. */
export type LeftOut = [path: string, json: string];

/** Writes one document after the other. */
export class JsonFields {
  /** Of the present document. */
  readonly leftOut: LeftOut[] = [];
  private readonly names: FieldNames;
  private readonly dots: JsonFieldsOptions["dots"];
  private path: string[] = [];
  private document = 0;
  private text = "";
  private at = 0;
  private out = "";

  constructor(names: FieldNames, { dots }: JsonFieldsOptions) {
    this.names = names;
    this.dots = dots;
  }

  /** Begins a document. */
  begin(): void {
    this.document = this.names.newMark();
    this.leftOut.length = 0;
  }

  /**
   * The members of the object `json` as they go below `place`, without the braces around them: `"a":1,"b":{"c":2}`. `take` is
   * asked about each of the object's own members first, and may come here again.
   */
  members(
    json: string,
    place: FieldName,
    path: readonly string[],
    take?: TakeMember,
    object = this.newObject(),
  ): string {
    return this.apart(json, path, () => this.object(place, object, path.length, take));
  }

  /** One member of an object below `place`, or "" where it is left out. `value` is JSON. */
  member(place: FieldName, object: number, name: string, value: string, path: readonly string[]): string {
    if (value.charCodeAt(0) === QUOTE) return this.textMember(place, object, name, value, path);
    return this.apart(value, path, () => {
      this.oneMember(place, object, name, path.length, "");
    });
  }

  /** As `member`; most values are text, in which there is nothing to look at. */
  private textMember(place: FieldName, object: number, name: string, value: string, path: readonly string[]): string {
    const above = this.path;
    this.path = [...path, name];
    try {
      const field = this.fieldOf(place, object, name);
      if (field !== null && this.isAlways(field, false)) {
        return `"${this.dots === "_" ? field.name : name}":${value}`;
      }
      this.leftOut.push([this.path.join("."), value]);
      return "";
    } finally {
      this.path = above;
    }
  }

  /** A number for an object that the caller puts together from several calls: no name gets into it twice. */
  newObject(): number {
    return this.names.newMark();
  }

  /** Works on another text for a while; gives what came of it. */
  private apart(other: string, otherPath: readonly string[], work: () => void): string {
    const { text, at, out, path } = this;
    this.text = other;
    this.at = 0;
    this.out = "";
    this.path = [...otherPath];
    try {
      work();
      return this.out;
    } finally {
      this.text = text;
      this.at = at;
      this.out = out;
      this.path = path;
    }
  }

  private object(place: FieldName, object: number, depth: number, take?: TakeMember): void {
    let divider = "";
    this.at++; // {
    while (this.code() !== CLOSE_OBJECT) {
      if (this.code() === COMMA) this.at++;
      const name = this.name();
      const start = this.at;
      let own: string | null = null;
      if (take !== undefined) {
        this.skip();
        own = take(name, this.text.slice(start, this.at));
        if (own === null) this.at = start;
      }
      if (own !== null && own !== "") this.out += divider + own;
      if (own === null ? this.oneMember(place, object, name, depth, divider) : own !== "") divider = ",";
    }
    this.at++;
  }

  /** Adds a member, whose value is at `at`, and gives true; or puts it aside. */
  private oneMember(place: FieldName, object: number, name: string, depth: number, divider: string): boolean {
    const start = this.at;
    const before = this.out;
    const left = this.leftOut.length;
    this.path.push(name);
    const field = this.fieldOf(place, object, name);
    if (field !== null) {
      this.out += `${divider}"${this.dots === "_" ? field.name : name}":`;
      if (this.value(field, depth + 1)) {
        this.path.pop();
        return true;
      }
      this.out = before;
      this.leftOut.length = left;
      this.at = start;
    }
    this.skip();
    this.leftOut.push([this.path.join("."), this.text.slice(start, this.at)]);
    this.path.pop();
    return false;
  }

  /** The field that a member goes to, or null where it has to be left out. */
  private fieldOf(place: FieldName, object: number, name: string): FieldName | null {
    if (name.length > NAME_CHARS_MAX) return null;
    let field: FieldName | null = place;
    if (this.dots === "_" || !name.includes(".")) {
      const clean = name.replaceAll(".", "_");
      if (isBlank(clean)) return null;
      field = this.names.child(place, clean);
    } else {
      const levels = name.split(".");
      if (levels.length + this.path.length > DEPTH_MAX || levels.some(isBlank)) return null;
      for (const [i, level] of levels.entries()) {
        field = this.names.child(field, level);
        if (field === null || field.fixed === "refused") return null;
        if (i < levels.length - 1 && !this.isAlways(field, true)) return null;
      }
    }
    if (field === null || field.fixed === "refused" || field.object === object) return null;
    field.object = object;
    return field;
  }

  /** Writes the value at `at`, or gives false where the field can't have it. */
  private value(field: FieldName, depth: number): boolean {
    const first = this.text.charCodeAt(this.at);
    if (first === OPEN_OBJECT) {
      if (depth > DEPTH_MAX || !this.isAlways(field, true)) return false;
      this.out += "{";
      this.object(field, this.newObject(), depth);
      this.out += "}";
      return true;
    }
    if (first === OPEN_ARRAY) return this.array(field, depth);
    // Nothing, as the destination sees it: it fits everywhere.
    const start = this.at;
    if (first !== LETTER_N) {
      if (field.fixed === "text" && first !== QUOTE) return false;
      if (!this.isAlways(field, false)) return false;
    }
    this.skip();
    this.out += this.text.slice(start, this.at);
    return true;
  }

  private array(field: FieldName, depth: number): boolean {
    if (depth > DEPTH_MAX) return false;
    this.at++;
    let divider = "[";
    while (this.code() !== CLOSE_ARRAY) {
      if (this.code() === COMMA) this.at++;
      this.out += divider;
      if (!this.value(field, depth + 1)) return false;
      divider = ",";
    }
    this.at++;
    this.out += divider === "[" ? "[]" : "]";
    return true;
  }

  /** Whether the field is an object, or is none, wherever it has been in this document. */
  private isAlways(field: FieldName, isObject: boolean): boolean {
    if (field.fixed !== null && (field.fixed === "object") !== isObject) return false;
    if (field.document === this.document) return field.isObject === isObject;
    field.document = this.document;
    field.isObject = isObject;
    return true;
  }

  private code(): number {
    if (this.at >= this.text.length) throw new Error(`a record's JSON ends at character ${this.at}`);
    return this.text.charCodeAt(this.at);
  }

  /** The name at `at`, as it stands between its quotes; goes on behind the colon. */
  private name(): string {
    const start = this.at + 1;
    this.skipText();
    this.at++;
    return this.text.slice(start, this.at - 2);
  }

  private skip(): void {
    const { text } = this;
    let depth = 0;
    do {
      const code = text.charCodeAt(this.at);
      if (code === QUOTE) {
        this.skipText();
        continue;
      }
      if (code === OPEN_OBJECT || code === OPEN_ARRAY) depth++;
      else if (code === CLOSE_OBJECT || code === CLOSE_ARRAY) depth--;
      else if (depth === 0) {
        this.skipWord();
        return;
      }
      this.at++;
    } while (depth > 0 && this.at < text.length);
  }

  /** A number, true, false or null. */
  private skipWord(): void {
    const { text } = this;
    for (; this.at < text.length; this.at++) {
      const code = text.charCodeAt(this.at);
      if (code === COMMA || code === CLOSE_OBJECT || code === CLOSE_ARRAY) return;
    }
  }

  private skipText(): void {
    const { text } = this;
    let end = text.indexOf('"', this.at + 1);
    while (end !== -1 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
    this.at = end === -1 ? text.length : end + 1;
  }
}

/** Whether an odd number of backslashes stands before the quote. */
function isEscaped(text: string, quote: number): boolean {
  let at = quote - 1;
  while (text.charCodeAt(at) === BACKSLASH) at--;
  return (quote - at) % 2 === 0;
}

/** `name` is JSON, in which a space may be written out. */
function isBlank(name: string): boolean {
  if (!name.includes("\\")) return name.trim() === "";
  return (JSON.parse(`"${name}"`) as string).trim() === "";
}
