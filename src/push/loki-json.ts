import { formatLabels, type Labels } from "../core/labels.ts";
import { parseRfc3339, splitNs } from "../core/time.ts";
import type { ItemBudget } from "./item-budget.ts";
import { ARRAY, JsonCursor, keyOf, OBJECT, STRING } from "./json-cursor.ts";
import { checkLabelsBytes, isLabelName, parseLabels } from "./label-text.ts";
import { type Metadata, type Pieces, PushError, type PushedLine, type PushedStream, Turns } from "./stream.ts";

/*
 * The JSON body of `POST /loki/api/v1/push`, and that of the older `/api/prom/push`, which has labels as text and entries as
 * objects. Source: "Loki's HTTP contract", 3.1.
 */

const NO_METADATA: Metadata = [];
const INT64_DIGITS = 19;

/** Decodes a body. Throws PushError 400 for anything that is not as it should be: nothing of it is stored then. */
export function* readLokiJson(body: Buffer, items: ItemBudget): Pieces {
  const cursor = new JsonCursor(body, items);
  const reader = new StreamsReader(cursor, items);
  if (!cursor.takeNull()) {
    cursor.open(OBJECT);
    for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) {
      if ((yield* cursor.whole(keyOf)) === "streams") yield* reader.read();
      else yield* cursor.skipping();
    }
  }
  cursor.end();
}

class StreamsReader {
  private readonly cursor: JsonCursor;
  private readonly items: ItemBudget;
  /** Label sets by their text: clients such as pino-loki send one stream object a line. */
  private readonly known = new Map<string, Labels>();
  private readonly turns = new Turns();

  constructor(cursor: JsonCursor, items: ItemBudget) {
    this.cursor = cursor;
    this.items = items;
  }

  *read(): Pieces {
    const { cursor } = this;
    if (cursor.takeNull()) return;
    cursor.open(ARRAY);
    for (let isFirst = true; cursor.more(ARRAY, isFirst); isFirst = false) yield* this.stream();
  }

  /** Gives lines as they come where the labels stand before them, as all clients have it. */
  private *stream(): Pieces {
    const { cursor } = this;
    let labels: Labels | null = null;
    let lines: PushedLine[] = [];
    this.items.begin();
    this.items.take();
    if (this.turns.isDue(cursor.at)) yield;
    cursor.open(OBJECT);
    for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) {
      const key = yield* cursor.whole(keyOf);
      if (key === "stream") labels = yield* cursor.whole(() => this.labels());
      else if (key === "labels" && cursor.peek() === STRING) labels = parseLabels(yield* cursor.whole(textOf));
      else if (key === "values") lines = yield* this.lines(readValue, labels);
      else if (key === "entries") lines = yield* this.lines(readEntry, labels);
      else yield* cursor.skipping();
    }
    this.items.given(lines.length);
    yield { labels: labels ?? {}, lines };
  }

  /** Gives the lines in pieces where their labels are known, and returns those that were not given. */
  private *lines(
    read: (cursor: JsonCursor, items: ItemBudget) => PushedLine,
    labels: Labels | null,
  ): Generator<PushedStream | undefined, PushedLine[]> {
    const { cursor } = this;
    let lines: PushedLine[] = [];
    if (cursor.takeNull()) return lines;
    cursor.open(ARRAY);
    const readOne = () => read(cursor, this.items);
    for (let isFirst = true; cursor.more(ARRAY, isFirst); isFirst = false) {
      this.items.begin();
      this.items.take();
      let line = cursor.attempt(readOne);
      for (; line === null; line = cursor.attempt(readOne)) yield;
      lines.push(line);
      if (!this.turns.isDue(cursor.at)) continue;
      if (labels === null) yield;
      else {
        this.items.given(lines.length);
        yield { labels, lines };
        lines = [];
      }
    }
    return lines;
  }

  private labels(): Labels {
    const { cursor } = this;
    cursor.peek();
    const start = cursor.at;
    cursor.skip();
    checkLabelsBytes(cursor.at - start);
    const text = cursor.bytes.toString("latin1", start, cursor.at);
    let labels = this.known.get(text);
    if (labels === undefined) {
      cursor.at = start;
      labels = readLabels(cursor, this.items);
      this.known.set(text, labels);
    }
    return labels;
  }
}

const textOf = (cursor: JsonCursor): string => cursor.text();

/** `{"app":"web"}`: values that are no strings are taken as their JSON text, and empty ones are none. */
function readLabels(cursor: JsonCursor, items: ItemBudget): Labels {
  const found = new Map<string, string>();
  if (!cursor.takeNull()) {
    cursor.open(OBJECT);
    for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) {
      const name = cursor.key();
      items.take();
      found.set(name, cursor.peek() === STRING ? cursor.text() : cursor.raw());
    }
  }
  const labels: Labels = Object.fromEntries([...found].filter(([, value]) => value !== ""));
  // Loki writes the labels down as text and reads that; whoever has a bad name is told the place in it.
  if (![...found.keys()].every(isLabelName)) parseLabels(formatLabels(Object.fromEntries(found)));
  return labels;
}

/** `["<ns>", "<line>", {…}]`; what follows is ignored, and so is a missing line. */
function readValue(cursor: JsonCursor, items: ItemBudget): PushedLine {
  cursor.open(ARRAY);
  let time: { sec: number; nsec: number } | null = null;
  let line: Buffer = NO_LINE;
  let metadata = NO_METADATA;
  let place = 0;
  for (let isFirst = true; cursor.more(ARRAY, isFirst); isFirst = false) {
    if (place === 0) time = readNs(cursor);
    else if (place === 1) line = cursor.textBytes();
    else if (place === 2) metadata = readMetadata(cursor, items);
    else cursor.skip();
    place++;
  }
  if (time === null) throw cursor.bad("want a time in nanoseconds, as text, in every entry");
  return { sec: time.sec, nsec: time.nsec, line, metadata };
}

const NO_LINE = Buffer.alloc(0);

function readNs(cursor: JsonCursor): { sec: number; nsec: number } {
  const bytes = cursor.textBytes();
  // Nearly always 19 digits; what is not goes the long way.
  if (bytes.length === INT64_DIGITS) {
    let sec = 0;
    let nsec = 0;
    let i = 0;
    for (; i < INT64_DIGITS; i++) {
      const digit = bytes[i] - 0x30;
      if (digit < 0 || digit > 9) break;
      if (i < 10) sec = sec * 10 + digit;
      else nsec = nsec * 10 + digit;
    }
    if (i === INT64_DIGITS && sec < 9_223_372_036) return { sec, nsec };
  }
  return splitNs(parseNs(bytes.toString()));
}

function parseNs(text: string): bigint {
  if (!/^[+-]?[0-9]{1,64}$/.test(text))
    throw new PushError(400, `parse time ${JSON.stringify(text)}: want nanoseconds since 1970`);
  const ns = BigInt(text.startsWith("+") ? text.slice(1) : text);
  if (BigInt.asIntN(64, ns) !== ns) throw new PushError(400, `parse time ${JSON.stringify(text)}: value out of range`);
  return ns;
}

function readMetadata(cursor: JsonCursor, items: ItemBudget): Metadata {
  const pairs: [string, string][] = [];
  cursor.open(OBJECT);
  for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) {
    const name = cursor.key();
    items.take();
    if (cursor.peek() !== STRING) throw cursor.bad("want texts as structured metadata");
    pairs.push([name, cursor.text()]);
  }
  return pairs;
}

/** `{"ts": "<RFC 3339>", "line": "…"}`. */
function readEntry(cursor: JsonCursor, items: ItemBudget): PushedLine {
  let ns: bigint | null = null;
  let line: Buffer = NO_LINE;
  let metadata = NO_METADATA;
  cursor.open(OBJECT);
  for (let isFirst = true; cursor.more(OBJECT, isFirst); isFirst = false) {
    const key = cursor.key();
    if (key === "ts" || key === "timestamp") {
      const text = cursor.text();
      ns = parseRfc3339(text);
      if (ns === null) throw new PushError(400, `parse time ${JSON.stringify(text)}: want RFC 3339`);
    } else if (key === "line") line = cursor.textBytes();
    else if (key === "structuredMetadata") metadata = readMetadata(cursor, items);
    else cursor.skip();
  }
  if (ns === null) throw cursor.bad("want a time in every entry");
  return { ...splitNs(ns), line, metadata };
}
