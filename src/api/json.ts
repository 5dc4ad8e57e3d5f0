import { Slices } from "../core/slices.ts";
import { nsText } from "../core/time.ts";
import type { LogResult, TailEntry } from "../query/engine.ts";
import type { ResultEntry } from "../query/merge.ts";
import { sortedInSlices } from "../query/sliced-sort.ts";

/*
 * Answers as JSON text in pieces. Labels come from the scan as JSON already; lines are escaped here, with U+FFFD for
 * what is not UTF-8. Source: "Loki's HTTP contract", 5.2, 5.3 and 10.
 */

/** Characters that a piece should have before it is given away: one write to a socket. */
const PIECE_CHARS = 64 * 1024;
/** How long a piece may be worked on, and texts between two looks at the clock. */
const PIECE_MS = 4;
const TEXTS_AT_ONCE = 16;
/** Entries between two looks at the clock. */
const SLICE_ENTRIES = 64;

/** The value of a log line or of anything else: a JSON string. Bytes that are not UTF-8 become U+FFFD. */
export function lineJson(line: Buffer): string {
  return JSON.stringify(line.toString("utf8"));
}

/** The text that Loki sorts a label set by, `{app="a", env="b"}`, near enough from its JSON: same order of names and values. */
const sortText = (group: string): string => group.replaceAll('":"', '="');

/** A result's entries by their labels, in the order in which an answer has them. */
export type Groups = readonly { readonly group: string; readonly places: readonly number[] }[];

/**
 * Groups sorted by label text, each with the places of its entries, in the result's order. In slices, because thousands of entries
 * may have as many groups.
 */
export async function groupsOf({ entries }: LogResult): Promise<Groups> {
  const slices = new Slices();
  const groups = new Map<string, { key: string; group: string; places: number[] }>();
  for (let i = 0; i < entries.size; i++) {
    const group = entries.groupText(i);
    const known = groups.get(group);
    if (known === undefined) groups.set(group, { key: sortText(group), group, places: [i] });
    else known.places.push(i);
    if (i % SLICE_ENTRIES === 0) await slices.turn();
  }
  await slices.turn();
  return sortedInSlices([...groups.values()], (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0), slices);
}

function valueJson(entry: ResultEntry, categorize: boolean): string {
  const head = `["${nsText(entry.sec, entry.nsec)}",${lineJson(entry.line)}`;
  return categorize ? `${head},${entry.detail === "" ? "{}" : entry.detail}]` : `${head}]`;
}

/** `"encodingFlags":[…],`, or nothing. Must come before `result`: Grafana's reader decides by it how to read entries. */
const flagsJson = (flags: readonly string[]): string =>
  flags.length === 0 ? "" : `"encodingFlags":${JSON.stringify(flags)},`;

const warningsJson = (warnings: readonly string[]): string =>
  warnings.length === 0 ? "" : `"warnings":${JSON.stringify(warnings)},`;

/** `[{"stream":…,"values":[…]},…]`. */
function* streamsJson(result: LogResult, groups: Groups): Generator<string> {
  yield "[";
  let first = true;
  for (const { group, places } of groups) {
    yield `${first ? "" : ","}{"stream":${group},"values":[`;
    first = false;
    for (let i = 0; i < places.length; i++) {
      yield (i === 0 ? "" : ",") + valueJson(result.entries.entry(places[i]), result.categorize);
    }
    yield "]}";
  }
  yield "]";
}

/** A `streams` answer, ending in a newline. */
export function* streamsAnswer(result: LogResult, groups: Groups, flags: readonly string[]): Generator<string> {
  yield `{"status":"success",${warningsJson(result.warnings)}"data":{"resultType":"streams",${flagsJson(flags)}"result":`;
  yield* streamsJson(result, groups);
  yield `,"stats":${JSON.stringify(result.stats.toLoki())}}}\n`;
}

const CATEGORIZED = ["categorize-labels"] as const;

/**
 * A trace: Loki's `streams` form (so that code which reads Loki reads this), and `lines`, the same lines over all
 * streams in the order of their times.
 */
export function* traceAnswer(result: LogResult, groups: Groups, traceId: string): Generator<string> {
  yield `{"status":"success",${warningsJson(result.warnings)}"data":{"trace_id":${JSON.stringify(traceId)},`;
  yield `"resultType":"streams",${flagsJson(CATEGORIZED)}"result":`;
  yield* streamsJson(result, groups);
  yield ',"lines":[';
  for (let i = 0; i < result.entries.size; i++) yield (i === 0 ? "" : ",") + traceLineJson(result.entries.entry(i));
  yield `],"stats":${JSON.stringify(result.stats.toLoki())}}}\n`;
}

/** The lines of a trace, one JSON object each. */
export function* traceLines(result: LogResult): Generator<string> {
  for (const entry of result.entries) yield `${traceLineJson(entry)}\n`;
}

function traceLineJson(entry: ResultEntry): string {
  const detail: unknown = entry.detail === "" ? {} : JSON.parse(entry.detail);
  const metadata =
    typeof detail === "object" && detail !== null && "structuredMetadata" in detail ? detail.structuredMetadata : {};
  return `{"timestamp":"${nsText(entry.sec, entry.nsec)}","labels":${entry.group},"metadata":${JSON.stringify(metadata)},"line":${lineJson(entry.line)}}`;
}

/** One message of a live tail. Neighbours with the same labels share a group, so the order of lines is kept. */
export function tailMessage(
  entries: readonly TailEntry[],
  dropped: readonly { timeNs: bigint; labels: Readonly<Record<string, string>> }[],
  flags: readonly string[],
  categorize: boolean,
): string {
  const streams: string[] = [];
  for (let i = 0; i < entries.length; ) {
    const { group } = entries[i];
    const values: string[] = [];
    for (; i < entries.length && entries[i].group === group; i++) {
      const { timeNs, line, detail } = entries[i];
      const third = categorize ? `,${detail === "" ? "{}" : detail}` : "";
      values.push(`["${timeNs}",${lineJson(line)}${third}]`);
    }
    streams.push(`{"stream":${group},"values":[${values.join(",")}]}`);
  }
  const lost = dropped.map(({ timeNs, labels }) => ({ timestamp: String(timeNs), labels }));
  return (
    `{"streams":[${streams.join(",")}]` +
    (lost.length === 0 ? "" : `,"dropped_entries":${JSON.stringify(lost)}`) +
    (flags.length === 0 ? "}" : `,"encodingFlags":${JSON.stringify(flags)}}`)
  );
}

/** Joins small texts to pieces, each of about 64 KiB or of some milliseconds' work, whichever is less. */
export class Pieces {
  private readonly texts: Iterator<string>;
  private ended = false;

  constructor(texts: Iterable<string>) {
    this.texts = texts[Symbol.iterator]();
  }

  /** Whether there is no further piece. Not known of one that ends just where it is full. */
  get isDone(): boolean {
    return this.ended;
  }

  next(): string {
    const piece: string[] = [];
    const deadline = performance.now() + PIECE_MS;
    for (let chars = 0; chars < PIECE_CHARS; ) {
      const step = this.texts.next();
      if (step.done === true) {
        this.ended = true;
        break;
      }
      piece.push(step.value);
      chars += step.value.length;
      if (piece.length % TEXTS_AT_ONCE === 0 && performance.now() >= deadline) break;
    }
    return piece.join("");
  }
}
