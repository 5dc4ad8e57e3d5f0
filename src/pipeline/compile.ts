import type { ParserSpec } from "../core/component.ts";
import { messageOf, WeirError } from "../core/errors.ts";
import { compileGlob } from "../core/glob.ts";
import { ENTRY_PUSH, type IntakeEntry } from "../core/intake-entry.ts";
import type { LineSink } from "../core/line.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { PipelineBuilder } from "./builder.ts";
import { RecordContext } from "./context.ts";
import { FieldPlan } from "./field-plan.ts";
import { GroupCache } from "./group.ts";
import { PipelineCounts, PipelineMetrics } from "./metrics.ts";
import type { Limits } from "./options.ts";
import { Pipeline, type PipelineParts } from "./pipeline.ts";
import { PushRun } from "./push-run.ts";
import { Router } from "./route.ts";
import { type EntryRun, PipelineRun, type RunDeps } from "./run.ts";
import type { StepSpec } from "./step.ts";
import { steps } from "./steps/index.ts";
import { StreamTable } from "./streams.ts";

const FAILURE_LOG_MS = 60_000;

/** A pipeline as src/config reads it. */
export interface PipelineConfig {
  readonly name: string;
  /** Names of receivers. */
  readonly from: readonly string[];
  /** Tag globs; one of them has to fit. */
  readonly match: readonly string[];
  /** Fields that may hold the line, tried in order. */
  readonly line: readonly string[];
  /** `options` are what the step's schema gave. */
  readonly steps: readonly { readonly name: string; readonly options: unknown }[];
  /** Names of sinks. */
  readonly to: readonly string[];
}

export interface PipelineDeps {
  readonly parsers: Readonly<Record<string, ParserSpec>>;
  readonly sinks: Readonly<Record<string, LineSink>>;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly limits: Limits;
  /** Milliseconds since 1970. Default Date.now. */
  readonly now?: () => number;
}

/** Takes intake entries apart and puts their lines into the sinks. One entry at a time: a run ends before the next begins. */
export interface Pipelines {
  begin(entry: IntakeEntry): EntryRun;
}

/**
 * Compiles the pipelines of a configuration. A record goes to the first of them, in the order of the file, that names
 * its receiver and fits its tag, and to no other: so it is stored once.
 *
 * Throws `bad_pipeline` when a pipeline can't work; its context has the pipeline's name and the number of the step.
 */
export function compilePipelines(config: readonly PipelineConfig[], deps: PipelineDeps): Pipelines {
  const now = deps.now ?? Date.now;
  const metrics = new PipelineMetrics(deps.metrics);
  const record = new RecordContext();
  const streams = new StreamTable(deps.limits, (label) => metrics.droppedLabel(label));
  const countLabel = (label: string) => metrics.droppedLabel(label);
  const pipelines = config.map((one) => {
    const counts = new PipelineCounts(one.name);
    const own = { ...deps, record, streams, countLabel, counts, onFailed: failureLog(one.name, deps.log, now) };
    return compilePipeline(one, { ...own, plain: compilePipeline({ ...one, steps: [] }, { ...own, plain: null }) });
  });
  deps.metrics.gauge("weir_pipeline_active_streams", "Streams that had a line lately.", ["tenant"], (gauge) => {
    for (const [tenant, count] of streams.counts()) gauge.inc({ tenant }, count);
  });
  const router = new Router(
    pipelines.map((pipeline, i) => ({
      pipeline,
      from: new Set(config[i].from),
      fits: config[i].match.map((pattern) => compileGlob(pattern)),
    })),
    deps.limits.tags_max,
    deps.log,
  );
  const groups = new GroupCache();
  const runDeps: RunDeps = { router, record, groups, metrics, log: deps.log, now };
  return {
    begin: (entry) => (entry.kind === ENTRY_PUSH ? new PushRun(entry, runDeps) : new PipelineRun(entry, runDeps)),
  };
}

type CompileDeps = PipelineDeps & PipelineParts & { readonly counts: PipelineCounts };

/** Says what a step threw: in a log that the same mistake may fill with every record, once a minute. */
function failureLog(pipeline: string, log: Logger, now: () => number): (error: unknown) => void {
  let saidMs = Number.NEGATIVE_INFINITY;
  return (error) => {
    if (now() - saidMs < FAILURE_LOG_MS) return;
    saidMs = now();
    log.error(
      { err: error, pipeline },
      `pipelines.${pipeline}: a step failed (${messageOf(error)}); the record is stored without the pipeline's steps. This is a mistake in Weir: please report it`,
    );
  };
}

function compilePipeline(config: PipelineConfig, deps: CompileDeps): Pipeline {
  const sinks = config.to.map((name) => {
    const sink = Object.hasOwn(deps.sinks, name) ? deps.sinks[name] : undefined;
    if (sink === undefined) throw badPipeline(config.name, -1, `there is no sink ${JSON.stringify(name)}`);
    return sink;
  });
  const builder = new PipelineBuilder({
    counts: deps.counts,
    plan: new FieldPlan(config.line),
    parsers: deps.parsers,
    limits: deps.limits,
    ids: deps.record.ids,
  });
  for (const [i, { name, options }] of config.steps.entries()) {
    const spec: StepSpec | undefined = Object.hasOwn(steps, name) ? steps[name as keyof typeof steps] : undefined;
    if (spec === undefined) throw badPipeline(config.name, i, `there is no step ${JSON.stringify(name)}`);
    try {
      spec.compile(options, builder);
    } catch (error) {
      if (!(error instanceof WeirError)) throw error;
      throw badPipeline(config.name, i, messageOf(error), error);
    }
  }
  return new Pipeline(builder, sinks, deps);
}

function badPipeline(pipeline: string, step: number, what: string, cause?: unknown): WeirError {
  const where = step === -1 ? "" : `.steps[${step}]`;
  return new WeirError("bad_pipeline", `pipelines.${pipeline}${where}: ${what}`, {
    context: { pipeline, step },
    cause,
  });
}
