import { itemHead, textHead, textLength } from "../codec/msgpack.ts";
import type { LineSink } from "../core/line.ts";
import type { PipelineBuilder, RunStep } from "./builder.ts";
import type { RecordContext } from "./context.ts";
import { Emitter } from "./emitter.ts";
import { type JsonTree, jsonTree, render, valueText } from "./json.ts";
import { fieldRank, LevelFinder } from "./level-finder.ts";
import type { PipelineCounts } from "./metrics.ts";
import type { Limits } from "./options.ts";
import { fieldJson } from "./parsed.ts";
import { StreamContexts } from "./stream-contexts.ts";
import type { StreamTable } from "./streams.ts";

export interface PipelineParts {
  readonly limits: Limits;
  readonly streams: StreamTable;
  readonly record: RecordContext;
  readonly countLabel: (label: string) => void;
  /** The pipeline without its steps; null for that one itself. */
  readonly plain: Pipeline | null;
  /** Told of what a step threw. */
  readonly onFailed: (error: unknown) => void;
}

/** A compiled pipeline: what it does to each record. */
export class Pipeline {
  readonly counts: PipelineCounts;
  private readonly builder: PipelineBuilder;
  private readonly runs: readonly RunStep[];
  private readonly emitter: Emitter;
  private readonly findLevel: (record: RecordContext) => string;
  /** Whether its records have no sink here: another process or thread of work has them. */
  private readonly isNowhere: boolean;
  private readonly plain: Pipeline | null;
  private readonly onFailed: (error: unknown) => void;

  constructor(builder: PipelineBuilder, sinks: readonly LineSink[], deps: PipelineParts) {
    this.plain = deps.plain;
    this.onFailed = deps.onFailed;
    this.builder = builder;
    this.counts = builder.counts;
    this.runs = builder.runs;
    const contexts = new StreamContexts({
      labels: builder.labels,
      metadata: builder.metadata,
      hidden: builder.hidden,
      sinks,
      streams: deps.streams,
      limits: deps.limits,
      counts: builder.counts,
      dropLabel: deps.countLabel,
    });
    this.emitter = new Emitter(builder, contexts, sinks);
    this.isNowhere = sinks.length === 0;
    // `$level` may be asked for without a level step.
    const level = builder.level ?? new LevelFinder(null, builder.layers.length);
    if (builder.level === null) builder.plan.levelRankOf = fieldRank;
    this.findLevel = (record) => level.find(record);
    deps.record.reserve(builder.plan.rootCount);
  }

  /**
   * Runs the steps over the record that `record` stands at, and gives its line to the sinks. A record that a step stumbles
   * over, which no record should make it do, goes on without the steps: one line must not stop all that come after it.
   */
  process(record: RecordContext, nowMs: number): void {
    this.counts.records++;
    if (this.isNowhere) return;
    try {
      this.run(record, nowMs);
    } catch (error) {
      if (this.plain === null) throw error;
      this.counts.failed++;
      this.onFailed(error);
      this.plain.run(record, nowMs);
    }
  }

  private run(record: RecordContext, nowMs: number): void {
    const { builder, runs } = this;
    builder.plan.scan(record);
    record.level = "";
    record.scan = null;
    record.parseError = "";
    record.findLevel = this.findLevel;
    record.makeJson = this.sourceJson;
    if (record.given === null) this.takeLine(record);
    for (let i = 0; i < runs.length; i++) {
      if (runs[i](record)) continue;
      this.counts.dropped++;
      return;
    }
    this.emitter.emit(record, nowMs);
  }

  /** The bytes of the line field; the JSON of one that is no text; of the whole record where there is none. */
  private takeLine(record: RecordContext): void {
    const { bytes, lineField } = record;
    const head = lineField === -1 ? 0 : textHead(bytes[lineField]);
    if (head > 0) {
      record.lineBytes = bytes;
      record.lineStart = lineField + head;
      record.lineEnd = record.lineStart + textLength(bytes, lineField);
      return;
    }
    const text = lineField === -1 ? this.recordJson(record) : valueText(bytes, lineField, record.recordEnd);
    record.lineBytes = Buffer.from(text);
    record.lineStart = 0;
    record.lineEnd = record.lineBytes.length;
  }

  /** The record as a sink may send it on: a parsed field takes the place of one of the record's own with the same name. */
  private readonly sourceJson = (
    { bytes, recordStart, recordEnd, parsed }: RecordContext,
    keep?: ReadonlySet<string>,
  ): string => {
    const tree = jsonTree(bytes, recordStart, recordEnd);
    const fields: Map<string, JsonTree> = tree instanceof Map ? tree : new Map();
    for (let i = 0; i < this.builder.layers.length; i++) {
      for (const [name, value] of Object.entries(parsed[i] ?? {})) fields.set(name, fieldJson(value));
    }
    this.builder.names.apply(fields);
    if (keep !== undefined) for (const name of [...fields.keys()]) if (!keep.has(name)) fields.delete(name);
    return render(fields);
  };

  private recordJson({ bytes, recordStart, recordEnd }: RecordContext): string {
    const tree = jsonTree(bytes, recordStart, recordEnd);
    if (itemHead(bytes[recordStart]) > 0) this.builder.names.apply(tree);
    return render(tree);
  }
}
