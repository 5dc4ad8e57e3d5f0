import type { Labels } from "../core/labels.ts";
import type { ItemBudget } from "./item-budget.ts";
import { parseLabels } from "./label-text.ts";
import { ProtoReader, type Span } from "./proto-reader.ts";
import { type Metadata, type Pieces, type PushedLine, Turns } from "./stream.ts";

/*
 * The protobuf body of `POST /loki/api/v1/push`, package logproto. Fields that are not named here are skipped.
 *   PushRequest       1 streams: StreamAdapter
 *   StreamAdapter     1 labels: text such as {a="b"}   2 entries: EntryAdapter
 *   EntryAdapter      1 timestamp: Timestamp           2 line           3 structuredMetadata: LabelPairAdapter
 *   Timestamp         1 seconds: int64                 2 nanos: int32
 *   LabelPairAdapter  1 name                           2 value
 * Source: "Loki's HTTP contract", 3.2.
 */

const NO_LINE = Buffer.alloc(0);
const NO_METADATA: Metadata = [];

/** Decodes a body. Throws PushError 400. */
export function* readLokiProto(body: Buffer, items: ItemBudget): Pieces {
  const reader = new ProtoReader(body, items);
  const context = { known: new Map<string, Labels>(), items, turns: new Turns() };
  const end = body.length;
  for (let field = reader.next(end); field !== 0; field = reader.next(end)) {
    if (reader.isDue()) yield;
    if (field !== 1) continue;
    const span = reader.span(end);
    items.begin();
    items.take();
    yield* readStream(reader, span, context);
    if (context.turns.isDue(span.end)) yield;
    reader.enter({ start: span.end, end });
  }
}

/** Gives lines as they come where the labels stand before them, as all clients have it. */
function* readStream(
  reader: ProtoReader,
  span: Span,
  { known, items, turns }: { known: Map<string, Labels>; items: ItemBudget; turns: Turns },
): Pieces {
  let lines: PushedLine[] = [];
  let labels: Labels | null = null;
  reader.enter(span);
  for (let field = reader.next(span.end); field !== 0; field = reader.next(span.end)) {
    if (reader.isDue()) yield;
    if (field === 1) labels = labelsOf(reader.text(span.end), known);
    else if (field === 2) {
      const entry = reader.span(span.end);
      items.begin();
      items.take();
      lines.push(readEntry(reader, entry, items));
      reader.enter({ start: entry.end, end: span.end });
      if (!turns.isDue(entry.end)) continue;
      if (labels === null) yield;
      else {
        items.given(lines.length);
        yield { labels, lines };
        lines = [];
      }
    }
  }
  items.given(lines.length);
  yield { labels: labels ?? labelsOf("{}", known), lines };
}

function labelsOf(text: string, known: Map<string, Labels>): Labels {
  let labels = known.get(text);
  if (labels === undefined) {
    labels = parseLabels(text);
    known.set(text, labels);
  }
  return labels;
}

function readEntry(reader: ProtoReader, span: Span, items: ItemBudget): PushedLine {
  let sec = 0;
  let nsec = 0;
  let line: Buffer = NO_LINE;
  let metadata: (readonly [string, string])[] | null = null;
  reader.enter(span);
  for (let field = reader.next(span.end); field !== 0; field = reader.next(span.end)) {
    if (field === 1) {
      const time = reader.span(span.end);
      reader.enter(time);
      for (let part = reader.next(time.end); part !== 0; part = reader.next(time.end)) {
        if (part === 1) sec = reader.integer(time.end);
        else if (part === 2) nsec = reader.integer(time.end);
      }
      reader.enter({ start: time.end, end: span.end });
    } else if (field === 2) line = reader.view(span.end);
    else if (field === 3) {
      const pair = reader.span(span.end);
      metadata ??= [];
      items.take();
      metadata.push(readPair(reader, pair));
      reader.enter({ start: pair.end, end: span.end });
    }
  }
  if (nsec < 0 || nsec > 999_999_999) throw reader.bad(`got ${nsec} ns in a time, want 0 to 999999999`);
  return { sec, nsec, line, metadata: metadata ?? NO_METADATA };
}

function readPair(reader: ProtoReader, span: Span): readonly [string, string] {
  let name = "";
  let value = "";
  reader.enter(span);
  for (let field = reader.next(span.end); field !== 0; field = reader.next(span.end)) {
    if (field === 1) name = reader.text(span.end);
    else if (field === 2) value = reader.text(span.end);
  }
  return [name, value];
}
