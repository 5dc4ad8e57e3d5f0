import type { Labels } from "../core/labels.ts";
import { splitNs } from "../core/time.ts";
import type { BlockView, LabelValues } from "../store/view.ts";
import { type CompiledLog, compileLog, compileSelector } from "./compile.ts";
import { labelValues } from "./label-values.ts";
import type { LogExpr, Stage } from "./syntax/ast.ts";
import { QueryError } from "./syntax/errors.ts";
import { parseLogQuery, parseSelector } from "./syntax/parse.ts";

/** Lines that a deletion request removes: those that `query` gives with times in [startNs, endNs]. Plain data, fit for a thread. */
export interface DeleteFilter {
  /** A log query: a selector, and stages that choose lines. */
  readonly query: string;
  /** Nanoseconds since 1970, both inclusive. */
  readonly startNs: bigint;
  readonly endNs: bigint;
}

/** Whether a row of a block is one of those that are meant. May inflate; throws what reading the block throws. */
export type RowTest = (view: BlockView, row: number) => boolean;

/** Stages that change a line or its labels for show. They choose nothing, so in a deletion they can only be a mistake. */
const FORMAT_STAGES: ReadonlySet<Stage["type"]> = new Set(["line_format", "label_format", "decolorize"]);

export interface CheckedDeleteQuery {
  /** Whether the query chooses among the lines of its streams. */
  readonly hasFilter: boolean;
}

/** Checks the query of a deletion request. Throws QueryError that begins with Loki's `invalid query expression`. */
export function checkDeleteQuery(query: string): CheckedDeleteQuery {
  try {
    const expr = parseLogQuery(query);
    const format = expr.stages.find(({ type }) => FORMAT_STAGES.has(type));
    if (format !== undefined) throw new QueryError(`${format.type} has no meaning in a deletion`);
    compileLog(expr);
    return { hasFilter: choosesLines(expr) };
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    throw new QueryError(`invalid query expression: ${error.message}`);
  }
}

function choosesLines({ stages }: LogExpr): boolean {
  return stages.some(({ type }) => type === "line_filter" || type === "label_filter");
}

/** A stream selector, ready for use. */
export interface CompiledSelector {
  readonly matches: (labels: Labels) => boolean;
  /** Labels that every selected stream has: enough to pass over segments, not to select a stream. */
  readonly labels: readonly LabelValues[];
}

/** Compiles a stream selector as retention rules have them. Throws QueryError. */
export function compileStreamSelector(selector: string): CompiledSelector {
  const matchers = parseSelector(selector);
  return { matches: compileSelector(matchers), labels: labelValues(matchers) };
}

/**
 * The filters of deletion requests, compiled at their first use, for one thread. Compiled ones are kept as long as this
 * is, so the owner bounds how many there are.
 */
export class CompiledDeletes {
  private readonly byQuery = new Map<string, CompiledDelete>();

  /** The compiled form of a query that `checkDeleteQuery` has taken. Throws QueryError for another. */
  query(text: string): CompiledDelete {
    let compiled = this.byQuery.get(text);
    if (compiled === undefined) {
      compiled = new CompiledDelete(text);
      this.byQuery.set(text, compiled);
    }
    return compiled;
  }

  /** Whether the row is deleted by `filter`, given that its stream is selected. */
  rowTest({ query, startNs, endNs }: DeleteFilter): RowTest {
    const compiled = this.query(query);
    const start = splitNs(startNs);
    const end = splitNs(endNs);
    return (view, row) => {
      const sec = view.sec[row];
      const nsec = view.nsec[row];
      if (sec < start.sec || (sec === start.sec && nsec < start.nsec)) return false;
      if (sec > end.sec || (sec === end.sec && nsec > end.nsec)) return false;
      return !compiled.hasFilter || compiled.takes(view, row);
    };
  }
}

/** One query of a deletion request. Its state is one line's, so it is no use to two threads. */
export class CompiledDelete {
  readonly hasFilter: boolean;
  readonly matchesStream: (labels: Labels) => boolean;
  /** Labels that every selected stream has. */
  readonly labels: readonly LabelValues[];
  private readonly compiled: CompiledLog;
  private view: BlockView | null = null;

  constructor(query: string) {
    const expr = parseLogQuery(query);
    this.compiled = compileLog(expr);
    this.hasFilter = choosesLines(expr);
    this.matchesStream = compileSelector(expr.matchers);
    this.labels = labelValues(expr.matchers);
  }

  /** Whether the stages let the row's line pass. */
  takes(view: BlockView, row: number): boolean {
    const { compiled } = this;
    const { text, lineStarts } = view;
    if (view !== this.view) {
      this.view = view;
      compiled.entry.openBlock(text, view.labels, view);
    }
    compiled.entry.openLine(lineStarts[row], lineStarts[row + 1] - 1, row);
    return compiled.process();
  }
}
