import {
  itemCount,
  itemHead,
  kindAt,
  readFloat,
  readInteger,
  skip,
  textHead,
  textLength,
  u32,
} from "../codec/msgpack.ts";
import { formatRfc3339, joinNs } from "../core/time.ts";
import { cutEnd } from "./text.ts";

/*
 * MessagePack values as JSON text, for records without a line and for maps in a place that wants text.
 *
 * Keys are sorted as fast-json-stable-stringify sorts them (by UTF-16 unit), and a key that stands twice keeps its last
 * value. What JSON lacks:
 *   integers of 64 bits   all their digits
 *   NaN and infinities    null
 *   bin                   its text where that is UTF-8, else base64
 *   str that is no UTF-8  U+FFFD for what is none
 *   EventTime (ext 0)     RFC 3339 text; other ext {"data": base64, "ext": type}
 *   keys that are no text their JSON text
 */

/** A value on its way to text: text that is JSON already, or what may still be edited. */
export type JsonTree = string | JsonTree[] | Map<string, JsonTree>;

/** Deeper values are written as this text: no log needs them, and the stack has an end. */
const DEPTH_MAX = 200;
const TOO_DEEP = '"[nested too deep]"';
/**
 * Values of one record, or of one field, that are written, keys counted: a list of them in a message may take a byte each, and here a
 * hundred. What would make more is this text.
 */
const VALUES_MAX = 262_144;
const TOO_MANY = '"[too many values]"';
/** Bytes of texts in it, which JSON may write six times as long; what is beyond is cut off. No line is longer. */
const TEXT_BYTES_MAX = 16_777_216;
/** Keys up to this length are no such texts. */
const KEY_BYTES_MAX = 256;

/** Reads the value at `at` as a tree. The bytes are one whole value, as the receiver has checked. */
export function jsonTree(bytes: Buffer, at: number, end: number): JsonTree {
  return new TreeReader(bytes, at, end).read(0);
}

/** Walks once over the bytes, keeping its place. */
class TreeReader {
  private readonly bytes: Buffer;
  private at: number;
  private readonly end: number;
  private valuesLeft = VALUES_MAX;
  private textLeft = TEXT_BYTES_MAX;

  constructor(bytes: Buffer, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  read(depth: number): JsonTree {
    const head = itemHead(this.bytes[this.at]);
    if (head === 0) return this.scalar();
    if (depth === DEPTH_MAX) {
      this.at = skip(this.bytes, this.at, this.end);
      return TOO_DEEP;
    }
    const isArray = kindAt(this.bytes, this.at) === "array";
    const count = itemCount(this.bytes, this.at);
    const values = isArray ? count : count * 2;
    if (values > this.valuesLeft) {
      this.at = skip(this.bytes, this.at, this.end);
      return TOO_MANY;
    }
    this.valuesLeft -= values;
    this.at += head;
    if (isArray) {
      const items: JsonTree[] = [];
      for (let i = 0; i < count; i++) items.push(this.read(depth + 1));
      return items;
    }
    const pairs = new Map<string, JsonTree>();
    for (let i = 0; i < count; i++) {
      const key = this.key(depth + 1);
      pairs.set(key, this.read(depth + 1));
    }
    return pairs;
  }

  private key(depth: number): string {
    const head = textHead(this.bytes[this.at]);
    if (head === 0) return render(this.read(depth));
    const { at } = this;
    const length = textLength(this.bytes, at);
    this.at = at + head + length;
    // Names stay what they are where values are cut off.
    return length <= KEY_BYTES_MAX ? textOf(this.bytes, at) : this.text(at);
  }

  /** The text at `at`, as far as texts may go. */
  private text(at: number): string {
    const most = this.textLeft;
    this.textLeft = Math.max(0, most - textLength(this.bytes, at));
    return textOf(this.bytes, at, most);
  }

  private scalar(): string {
    const at = this.at;
    this.at = skip(this.bytes, at, this.end);
    if (textHead(this.bytes[at]) > 0) return JSON.stringify(this.text(at));
    return scalarJson(this.bytes, at, this.at);
  }
}

/** Of a value that is neither text nor holds others. */

function scalarJson(bytes: Buffer, at: number, next: number): string {
  switch (kindAt(bytes, at)) {
    case "ext": {
      const time = eventTimeText(bytes, at, next);
      if (time !== "") return JSON.stringify(time);
      const head = bytes[at] >= 0xd4 && bytes[at] <= 0xd8 ? 2 : bytes[at] - 0xc7 + (bytes[at] === 0xc9 ? 4 : 3);
      const type = (bytes[at + head - 1] << 24) >> 24;
      return `{"data":"${bytes.toString("base64", at + head, next)}","ext":${type}}`;
    }
    default:
      return plainText(bytes, at) ?? "null";
  }
}

/** Text of the str or bin at `at`, of its first `most` bytes: its UTF-8; base64 for a bin that is no UTF-8. */
function textOf(bytes: Buffer, at: number, most: number = Number.POSITIVE_INFINITY): string {
  const start = at + textHead(bytes[at]);
  const whole = textLength(bytes, at);
  const end = whole <= most ? start + whole : cutEnd(bytes, start, start + most);
  const text = bytes.toString("utf8", start, end);
  const isBin = bytes[at] >= 0xc4 && bytes[at] <= 0xc6;
  return isBin && text.includes("\ufffd") && !bytes.subarray(start, end).equals(Buffer.from(text))
    ? bytes.toString("base64", start, end)
    : text;
}

/** RFC 3339 text of an EventTime (ext type 0, 8 bytes) or "". */
function eventTimeText(bytes: Buffer, at: number, next: number): string {
  const isFixext = bytes[at] === 0xd7 && bytes[at + 1] === 0;
  const isExt8 = bytes[at] === 0xc7 && bytes[at + 1] === 8 && bytes[at + 2] === 0;
  if (!isFixext && !isExt8) return "";
  const nsec = u32(bytes, next - 4);
  return nsec < 1e9 ? formatRfc3339(joinNs(u32(bytes, next - 8), nsec)) : "";
}

/** A number or boolean as text; undefined for nil and numbers that JSON lacks. */
function plainText(bytes: Buffer, at: number): string | undefined {
  const c = bytes[at];
  if (c === 0xc2) return "false";
  if (c === 0xc3) return "true";
  const integer = readInteger(bytes, at);
  if (integer !== null) return String(integer);
  const float = readFloat(bytes, at);
  return float !== null && Number.isFinite(float) ? String(float) : undefined;
}

/** The JSON text of a tree, without spaces and with sorted keys. */
export function render(tree: JsonTree): string {
  if (typeof tree === "string") return tree;
  if (Array.isArray(tree)) return `[${tree.map(render).join(",")}]`;
  let out = "";
  for (const key of [...tree.keys()].sort()) {
    out += `${out === "" ? "" : ","}${JSON.stringify(key)}:${render(tree.get(key) ?? "null")}`;
  }
  return `{${out}}`;
}

/** Takes the value at `path` out of the tree and gives it, or undefined. */
export function takeOut(tree: JsonTree, path: readonly string[]): JsonTree | undefined {
  let map: JsonTree | undefined = tree;
  for (const name of path.slice(0, -1)) map = map instanceof Map ? map.get(name) : undefined;
  const last = path.at(-1);
  if (!(map instanceof Map) || last === undefined) return undefined;
  const value = map.get(last);
  map.delete(last);
  return value;
}

/** Puts a value at `path`, making the maps that lead there. */
export function putIn(tree: JsonTree, path: readonly string[], value: JsonTree): void {
  let map = tree;
  for (const name of path.slice(0, -1)) {
    if (!(map instanceof Map)) return;
    let next = map.get(name);
    if (!(next instanceof Map)) {
      next = new Map();
      map.set(name, next);
    }
    map = next;
  }
  const last = path.at(-1);
  if (map instanceof Map && last !== undefined) map.set(last, value);
}

/**
 * The value at `at` as a label, a metadata entry or a pattern sees it: text as it is, numbers and booleans written out,
 * maps and arrays as JSON. "" for nil and for numbers that are none.
 */
export function valueText(bytes: Buffer, at: number, end: number): string {
  const c = bytes[at];
  if (textHead(c) > 0) return textOf(bytes, at);
  if (itemHead(c) > 0) return render(jsonTree(bytes, at, end));
  if (kindAt(bytes, at) !== "ext") return plainText(bytes, at) ?? "";
  const next = skip(bytes, at, end);
  return eventTimeText(bytes, at, next) || scalarJson(bytes, at, next);
}
