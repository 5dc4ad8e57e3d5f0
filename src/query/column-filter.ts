import type { MetadataCodes } from "../store/metadata-codes.ts";
import type { BlockView } from "../store/view.ts";
import { type CompiledLog, compileLog } from "./compile.ts";
import { filterNames } from "./stages/needs.ts";
import type { LogExpr, StageOf } from "./syntax/ast.ts";

const NO_BYTES = Buffer.alloc(0);

/** Which rows of a block can pass: all, none, or those that `pass` says yes to. */
export type ColumnVerdict = "all" | "none" | ((row: number) => boolean);

/**
 * Label filters that come before any parser see only stream labels and structured metadata. So they are tried on the block's columns
 * first, once for each different set of values, and a block where none passes is never inflated.
 */
export class ColumnFilter {
  private readonly compiled: CompiledLog;
  private readonly names: ReadonlySet<string>;
  private view: BlockView | null = null;
  private verdict: ColumnVerdict = "all";

  private constructor(expr: LogExpr, filters: readonly StageOf<"label_filter">[]) {
    this.compiled = compileLog({ ...expr, stages: filters }, { labels: new Set(), line: false });
    this.names = metadataNames(filters.flatMap(({ filter }) => filterNames(filter)));
  }

  /** The filter of a query, null when none of its stages can be tried so. */
  static of(expr: LogExpr): ColumnFilter | null {
    const filters: StageOf<"label_filter">[] = [];
    for (const stage of expr.stages) {
      if (stage.type === "label_filter") filters.push(stage);
      // A line filter neither looks at labels nor changes them.
      else if (stage.type !== "line_filter") break;
    }
    return filters.length === 0 ? null : new ColumnFilter(expr, filters);
  }

  /** Never inflates. */
  open(view: BlockView): ColumnVerdict {
    // An open block is asked for in many slices.
    if (view !== this.view) {
      this.view = view;
      this.verdict = this.judge(view);
    }
    return this.verdict;
  }

  private judge(view: BlockView): ColumnVerdict {
    const codes = view.metadataCodes(this.names);
    if (codes === null) return "all";
    const passes = this.verdicts(view, codes);
    if (!passes.includes(0)) return "all";
    if (!passes.includes(1)) return "none";
    const of = codes.codes;
    return of === null ? "all" : (row) => passes[of[row]] === 1;
  }

  private verdicts(view: BlockView, codes: MetadataCodes): Uint8Array {
    const { entry } = this.compiled;
    entry.openBlock(NO_BYTES, view.labels, { metadata: (code) => codes.pairs(code) });
    return Uint8Array.from({ length: codes.count }, (_, code) => {
      entry.openLine(0, 0, code);
      return this.compiled.process() ? 1 : 0;
    });
  }
}

/** Names of metadata by which labels of these names come about: `x_extracted` may be metadata `x` beside a label `x`. */
export function metadataNames(labels: Iterable<string>): ReadonlySet<string> {
  const names = new Set<string>();
  for (const name of labels) {
    names.add(name);
    if (name.endsWith("_extracted")) names.add(name.slice(0, -"_extracted".length));
  }
  return names;
}
