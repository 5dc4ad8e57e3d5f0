import { itemHead, textHead, textLength } from "../codec/msgpack.ts";
import type { LineSink } from "../core/line.ts";
import type { PipelineBuilder, RunStep } from "./builder.ts";
import type { RecordContext } from "./context.ts";
import { Emitter } from "./emitter.ts";
import { jsonTree, render, valueText } from "./json.ts";
import { fieldRank, LevelFinder } from "./level-finder.ts";
import type { PipelineCounts } from "./metrics.ts";
import type { Limits } from "./options.ts";
import { StreamContexts } from "./stream-contexts.ts";
import type { StreamTable } from "./streams.ts";

/** A compiled pipeline: what it does to each record. */
export class Pipeline {
  readonly counts: PipelineCounts;
  private readonly builder: PipelineBuilder;
  private readonly runs: readonly RunStep[];
  private readonly emitter: Emitter;
  private readonly findLevel: (record: RecordContext) => string;

  constructor(
    builder: PipelineBuilder,
    sinks: readonly LineSink[],
    deps: { limits: Limits; streams: StreamTable; record: RecordContext; countLabel: (label: string) => void },
  ) {
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
    // `$level` may be asked for without a level step.
    const level = builder.level ?? new LevelFinder(null, builder.layers.length);
    if (builder.level === null) builder.plan.levelRankOf = fieldRank;
    this.findLevel = (record) => level.find(record);
    deps.record.reserve(builder.plan.rootCount);
  }

  /** Runs the steps over the record that `record` stands at, and gives its line to the sinks. */
  process(record: RecordContext, nowMs: number): void {
    const { builder, runs } = this;
    this.counts.records++;
    builder.plan.scan(record);
    record.level = "";
    record.scan = null;
    record.parseError = "";
    record.findLevel = this.findLevel;
    this.takeLine(record);
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

  private recordJson({ bytes, recordStart, recordEnd }: RecordContext): string {
    const tree = jsonTree(bytes, recordStart, recordEnd);
    if (itemHead(bytes[recordStart]) > 0) this.builder.names.apply(tree);
    return render(tree);
  }
}
