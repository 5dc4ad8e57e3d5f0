import type { Labels } from "../core/labels.ts";
import { type LineSink, NO_METADATA, type StreamHandle } from "../core/line.ts";
import { BoundedCache } from "./bounded-cache.ts";
import type { NamedSource } from "./builder.ts";
import type { RecordContext } from "./context.ts";
import { LEVEL_NAMES, levelRank, normalLevel } from "./level-names.ts";
import type { PipelineCounts } from "./metrics.ts";
import type { Limits } from "./options.ts";
import { freeName, OWN_NAMES, RANK_DETECTED, RANK_LABEL, RANK_NONE, StreamContext } from "./stream-context.ts";
import { type ActiveStream, leastImportantFirst, type StreamTable } from "./streams.ts";
import { cutText } from "./text.ts";
import { readValue } from "./value-source.ts";

/** A field's bytes up to this length are compared one by one: a native call costs more. */
const SHORT_BYTES = 24;
/** Memory for contexts, roughly: fields such as annotations may be long. */
const CONTEXT_BYTES_MAX = 33_554_432;
/** A field that changed in more than a quarter of so many records is not compared as a whole any more. */
const WINDOW = 1024;

export interface StreamContextDeps {
  readonly labels: readonly NamedSource[];
  readonly metadata: readonly NamedSource[];
  /** Parts of events that are not kept by themselves: `resource`, `scope`. */
  readonly hidden: ReadonlySet<string>;
  readonly sinks: readonly LineSink[];
  readonly streams: StreamTable;
  readonly limits: Limits;
  readonly counts: PipelineCounts;
  readonly dropLabel: (label: string) => void;
}

/**
 * Finds what a record shares with others. The top-level fields that labels and shared metadata depend on are compared as bytes
 * with those of the record before, nearly always equal, and then nothing is decoded (architecture, D1). A second look goes to a
 * bounded map by those bytes. A field that proves to change from record to record is read value by value instead.
 */
export class StreamContexts {
  private readonly deps: StreamContextDeps;
  private readonly contexts: BoundedCache<StreamContext>;
  private last: StreamContext | null = null;
  /** Top-level fields that turned out to change all the time. */
  private readonly changing = new Set<number>();
  private roots: readonly number[] = [];
  private misses = new Uint32Array(0);
  private seen = 0;
  /** What gives `values`: whole labels, or what parsers found for labels that are else fixed. */
  private valueReads: readonly ((record: RecordContext) => string)[] = [];
  private values: string[] = [];
  private sharedMetadata: readonly NamedSource[] = [];
  /** Configured metadata that is read for every line. */
  lineMetadata: readonly NamedSource[] = [];

  constructor(deps: StreamContextDeps) {
    this.deps = deps;
    this.contexts = new BoundedCache(deps.limits.contexts_max, CONTEXT_BYTES_MAX);
    this.arrange();
  }

  /** The record's context, its stream open and marked as seen at `nowMs`. */
  resolve(record: RecordContext, nowMs: number): StreamContext {
    if (++this.seen === WINDOW) this.demote();
    const { valueReads, values } = this;
    for (let i = 0; i < valueReads.length; i++) values[i] = valueReads[i](record);
    let context = this.last;
    if (context === null || !this.isLast(context, record)) {
      context = this.find(record, nowMs);
      this.last = context;
    }
    const { stream } = context;
    if (!stream.state.isActive || nowMs >= stream.retryMs) this.admit(context, nowMs);
    context.stream.state.seenMs = nowMs;
    return context;
  }

  private isLast(last: StreamContext, record: RecordContext): boolean {
    if (last.group !== record.group || last.tag !== record.tag || last.source !== record.source) return false;
    if (last.tenant !== record.tenant || last.given?.canonical !== record.given?.canonical) return false;
    const { roots, values } = this;
    for (let i = 0; i < values.length; i++) if (values[i] !== last.values[i]) return false;
    for (let i = 0; i < roots.length; i++) {
      const isRepeat = record.repeatAt !== -1 && record.repeatAt === record.rootAt[roots[i]];
      if (isRepeat && record.repeatId === last.repeats[i]) continue;
      if (isSame(record, roots[i], last.roots[i])) {
        if (isRepeat) last.repeats[i] = record.repeatId;
        continue;
      }
      this.misses[i]++;
      return false;
    }
    return true;
  }

  private find(record: RecordContext, nowMs: number): StreamContext {
    const key = this.keyOf(record);
    const known = this.contexts.get(key);
    if (known !== undefined) return known;
    const context = this.build(record, nowMs);
    // The key, the roots, and the values decoded from them.
    this.contexts.set(key, context, key.length * 3 + 1024);
    return context;
  }

  /** All that a context depends on, as a text in which no two lists of values look alike. */
  private keyOf({ tenant, tag, source, group, given, bytes, rootAt, rootEnd }: RecordContext): string {
    const labels = given?.canonical ?? "";
    let lengths = `${group.id},${tenant.length},${tag.length},${source.length},${labels.length}`;
    let texts = tenant + tag + source + labels;
    for (const value of this.values) {
      lengths += `,${value.length}`;
      texts += value;
    }
    for (const root of this.roots) {
      const at = rootAt[root];
      lengths += at === -1 ? ",-" : `,${rootEnd[root] - at}`;
      if (at !== -1) texts += bytes.toString("latin1", at, rootEnd[root]);
    }
    return `${lengths};${texts}`;
  }

  private build(record: RecordContext, nowMs: number): StreamContext {
    const { limits, counts, hidden } = this.deps;
    const wanted = this.labelsOf(record);
    const names = new Set<string>([...OWN_NAMES, ...Object.keys(wanted), ...this.lineMetadata.map(({ name }) => name)]);
    const pairs: [string, string][] = [];
    let sharedBytes = 0;
    const add = (name: string, value: string) => {
      const bytes = Buffer.byteLength(name) + Buffer.byteLength(value);
      if (pairs.length >= limits.metadata_entries_max || sharedBytes + bytes > limits.metadata_bytes_max)
        counts.droppedMetadata++;
      else {
        pairs.push([name, value]);
        names.add(name);
        sharedBytes += bytes;
      }
    };
    for (const { name, source } of this.sharedMetadata) {
      const value = readValue(source, record);
      if (value !== "") add(name, value);
    }
    const own = new Map(pairs);
    const fromGroup = [
      ...(hidden.has("scope") ? [] : record.group.scope),
      ...(hidden.has("resource") ? [] : record.group.resource),
    ];
    for (const [name, value] of fromGroup) {
      // What is a label or configured metadata already is not said twice; another value of the name gets Loki's suffix.
      if (wanted[name] === value || own.get(name) === value) continue;
      const free = freeName(name, names);
      if (free !== "") add(free, value);
    }
    const stream = this.deps.streams.get(record.tenant, wanted, record.source, nowMs);
    return new StreamContext({
      tenant: record.tenant,
      tag: record.tag,
      source: record.source,
      group: record.group,
      given: record.given,
      roots: this.roots.map((root) => copyRoot(record, root)),
      values: [...this.values],
      shared: pairs.length === 0 ? NO_METADATA : { pairs },
      sharedBytes,
      names,
      ...levelOf(wanted, pairs),
      severityNumber: pairs.find(([name]) => name === "severity_number")?.[1] ?? "",
      wanted,
      stream,
      handles: this.handlesOf(record.tenant, stream),
    });
  }

  private admit(context: StreamContext, nowMs: number): void {
    context.stream = this.deps.streams.get(context.tenant, context.wanted, context.source, nowMs);
    context.handles = this.handlesOf(context.tenant, context.stream);
  }

  private handlesOf(tenant: string, { labels, canonical }: ActiveStream): StreamHandle[] {
    return this.deps.sinks.map((sink) => sink.stream(tenant, labels, canonical));
  }

  private labelsOf(record: RecordContext): Labels {
    const { labels: rules, limits, counts, dropLabel } = this.deps;
    const given: Labels = record.given?.labels ?? {};
    const labels: Record<string, string> = { ...given };
    for (const { name, source } of rules) {
      if (Object.hasOwn(given, name)) continue;
      const value = readValue(source, record);
      const cut = cutText(value, limits.label_value_bytes_max);
      if (cut !== value) counts.cutLabels++;
      if (cut !== "") labels[name] = cut;
    }
    const present = Object.keys(labels);
    if (present.length === 0) labels.tag = cutText(record.tag, limits.label_value_bytes_max) || record.source || "none";
    const tooMany = Math.max(0, present.length - limits.labels_max);
    // Labels that were given have been within their receiver's limits.
    const mayGo = present.filter((name) => !Object.hasOwn(given, name));
    for (const name of leastImportantFirst(mayGo, limits.drop_order).slice(0, tooMany)) {
      delete labels[name];
      dropLabel(name);
    }
    return labels;
  }

  /** Decides what is compared as a whole, what is read for each record, and what is shared. */
  private arrange(): void {
    const { labels, metadata } = this.deps;
    const isKept = ({ source }: NamedSource) => source.isFixed && !source.roots.some((root) => this.changing.has(root));
    const isShared = (named: NamedSource) => isKept(named) && named.source.isNested && !named.source.hasParsed;
    this.sharedMetadata = metadata.filter(isShared);
    this.lineMetadata = metadata.filter((named) => !isShared(named));
    const whole = [...labels.filter(isKept), ...this.sharedMetadata];
    this.roots = [...new Set(whole.flatMap(({ source }) => source.roots))];
    this.misses = new Uint32Array(this.roots.length);
    this.valueReads = labels.flatMap((named) => {
      const { source } = named;
      if (!isKept(named)) return [(record: RecordContext) => readValue(source, record)];
      return source.hasParsed ? [source.parsed] : [];
    });
    this.values = this.valueReads.map(() => "");
    this.contexts.clear();
    this.last = null;
  }

  private demote(): void {
    this.seen = 0;
    const before = this.changing.size;
    // Only as long as contexts don't fit into the cache does it cost more to keep them than to read the values.
    if (this.contexts.size >= this.deps.limits.contexts_max / 4) {
      for (let i = 0; i < this.roots.length; i++) if (this.misses[i] > WINDOW / 4) this.changing.add(this.roots[i]);
    }
    this.misses.fill(0);
    if (this.changing.size > before) this.arrange();
  }
}

function isSame({ bytes, rootAt, rootEnd }: RecordContext, root: number, known: Buffer | null): boolean {
  const at = rootAt[root];
  if (known === null || at === -1) return known === null && at === -1;
  const { length } = known;
  if (rootEnd[root] - at !== length) return false;
  if (length > SHORT_BYTES) return known.compare(bytes, at, at + length) === 0;
  for (let i = 0; i < length; i++) if (known[i] !== bytes[at + i]) return false;
  return true;
}

function copyRoot({ bytes, rootAt, rootEnd }: RecordContext, root: number): Buffer | null {
  return rootAt[root] === -1 ? null : Buffer.from(bytes.subarray(rootAt[root], rootEnd[root]));
}

/** The level that labels or shared metadata say (specs: "detected_level", rules 1 and 2). */
function levelOf(labels: Labels, pairs: readonly [string, string][]): { level: string; levelRank: number } {
  let level = "";
  let rank = RANK_NONE;
  for (const [name, value] of pairs) {
    const own = name === "detected_level" ? RANK_DETECTED : levelRank(name);
    if (own === -1 || own >= rank) continue;
    rank = own;
    level = value;
  }
  if (rank !== RANK_DETECTED) {
    const label = LEVEL_NAMES.find((name) => labels[name] !== undefined);
    if (label !== undefined) {
      rank = RANK_LABEL;
      level = labels[label];
    }
  }
  return { level: rank === RANK_NONE ? "" : normalLevel(level), levelRank: rank };
}
