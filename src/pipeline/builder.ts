import type { ParserSpec } from "../core/component.ts";
import type { RecordContext } from "./context.ts";
import { FieldNames } from "./field-names.ts";
import type { FieldPlan } from "./field-plan.ts";
import type { LevelFinder } from "./level-finder.ts";
import type { PipelineCounts } from "./metrics.ts";
import type { Limits } from "./options.ts";
import type { Candidates } from "./trace/candidates.ts";
import type { TraceFinder } from "./trace/finder.ts";
import type { Scope, ValueSource } from "./value-source.ts";

/** Works on one record; false when the record is dropped. */
export type RunStep = (record: RecordContext) => boolean;

/** A label or metadata entry of the configuration, its name made valid. */
export interface NamedSource {
  readonly name: string;
  readonly source: ValueSource;
}

/**
 * What the steps of a pipeline leave behind while it is compiled, one after the other. Only steps that must look at each
 * record become work (`run`); labels, metadata, new names and dropped fields change what is read, and when.
 */
export class PipelineBuilder {
  readonly counts: PipelineCounts;
  readonly plan: FieldPlan;
  readonly parsers: Readonly<Record<string, ParserSpec>>;
  readonly limits: Limits;
  /** Where ids are collected, one record after the other. */
  readonly ids: Candidates;
  /** What names mean to the step being compiled. */
  names: FieldNames = new FieldNames();
  /** For each `parse` step so far, how many edits of names came before it. */
  readonly layers: number[] = [];
  readonly runs: RunStep[] = [];
  readonly labels: NamedSource[] = [];
  readonly metadata: NamedSource[] = [];
  trace: TraceFinder | null = null;
  level: LevelFinder | null = null;
  /** Parts of an event that are not kept as metadata by themselves. */
  readonly hidden: Set<string> = new Set<string>();

  constructor(deps: {
    counts: PipelineCounts;
    plan: FieldPlan;
    parsers: Readonly<Record<string, ParserSpec>>;
    limits: Limits;
    ids: Candidates;
  }) {
    this.counts = deps.counts;
    this.plan = deps.plan;
    this.parsers = deps.parsers;
    this.limits = deps.limits;
    this.ids = deps.ids;
  }

  get scope(): Scope {
    return { names: this.names, layers: [...this.layers], plan: this.plan, labels: [...this.labels] };
  }
}
