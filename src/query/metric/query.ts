import type { Labels } from "../../core/labels.ts";
import type { LabelValues } from "../../store/view.ts";
import { compileSelector } from "../compile.ts";
import type { MetricRequest } from "../engine.ts";
import { type LogRunDeps, lostWarnings } from "../log-run.ts";
import type { ScanJob } from "../scan-job.ts";
import { isLog, type Matcher } from "../syntax/ast.ts";
import { QueryError } from "../syntax/errors.ts";
import { parseQuery } from "../syntax/parse.ts";
import type { CellTable } from "./cells.ts";
import { type Evaluated, evaluate } from "./evaluate.ts";
import { MetricPass } from "./pass.ts";
import { type MetricPlan, planMetric } from "./plan-metric.ts";
import { checkRanges, emptyTables, leafLabels, reachOf } from "./reach.ts";
import type { EvalTimes } from "./windows.ts";

export interface MetricLimits {
  readonly maxSeries: number;
  /** Give so many series rather than fail. */
  readonly cutSeries: boolean;
  readonly maxPartialBytes: number;
}

/** What a pass over blocks takes that the engine knows. */
export interface PassSetup {
  readonly job: ScanJob;
  readonly deps: LogRunDeps;
}

/** Lines at `startNs` up to, not including, `endNs`. */
export type Reach = Pick<ScanJob, "startNs" | "endNs">;

/** One metric query on its way from text to series. */
export class MetricQuery {
  readonly times: EvalTimes;
  /** What the query asks of labels' values, for leaving out segments. */
  readonly labels: readonly LabelValues[];
  /** Of all its lines. */
  readonly selectors: readonly (readonly Matcher[])[];
  /** Where its windows reach from the first to the last; null when they reach nowhere. */
  readonly reach: Reach | null;
  private readonly plan: MetricPlan;
  private readonly limits: MetricLimits;
  private readonly tests: readonly ((labels: Labels) => boolean)[];

  /** `maxRange`: `max_query_range` as configured. Throws QueryError. */
  constructor({ query, startNs, endNs, stepNs }: MetricRequest, maxRange: string, limits: MetricLimits) {
    const expr = parseQuery(query);
    if (isLog(expr)) throw new QueryError("a log query has no samples");
    this.times = { startNs, endNs, stepNs };
    this.limits = limits;
    this.plan = planMetric(expr);
    checkRanges(this.plan, maxRange);
    this.labels = leafLabels(this.plan);
    this.reach = reachOf(this.plan, this.times);
    this.selectors = this.plan.leaves.map(({ range }) => range.log.matchers);
    this.tests = this.selectors.map(compileSelector);
  }

  /** Whether it needs no lines. */
  get isConstant(): boolean {
    return this.plan.leaves.length === 0;
  }

  /** Whether it is a number by itself. */
  get isScalar(): boolean {
    return this.plan.root.type === "number";
  }

  wantsStream(labels: Labels): boolean {
    return this.tests.some((test) => test(labels));
  }

  /** The partial results from every block that the query's windows reach. What could not be read is said in `warnings`. */
  async read(setup: (reach: Reach) => PassSetup, warnings: string[]): Promise<readonly CellTable[]> {
    const { plan, times, reach } = this;
    const { maxSeries, cutSeries, maxPartialBytes } = this.limits;
    if (reach === null) return emptyTables(plan);
    const { job, deps } = setup(reach);
    // Each series of a leaf that is the whole query is one of the answer.
    const maxLeafSeries = plan.root.type === "leaf" && !cutSeries ? maxSeries : null;
    const pass = new MetricPass(job, times, plan.leaves, { ...deps, maxPartialBytes, maxLeafSeries });
    const { tables, lost } = await pass.run();
    warnings.push(...lostWarnings(lost));
    return tables;
  }

  evaluate(tables: readonly CellTable[], signal: AbortSignal): Promise<Evaluated> {
    return evaluate(this.plan, this.times, tables, { ...this.limits, signal });
  }
}
