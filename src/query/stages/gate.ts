import type { LabelFilter } from "../syntax/ast.ts";
import type { Entry } from "./entry.ts";
import { filterNames } from "./needs.ts";
import { compileQuickTest, type QuickTest } from "./quick-reject.ts";
import type { LineStage } from "./stage.ts";

/** Lines after which it is reconsidered whether to look twice pays. */
const SAMPLE_LINES = 256;

/** Filters that a gate tries; the first few drop the most. */
const FILTERS_MAX = 16;

/** What a gate needs to build its parts. */
export interface GateParts {
  readonly parser: "json" | "logfmt";
  /** The filters right behind the parser. */
  readonly filters: readonly LabelFilter[];
  /** Whether the line's labels before the parser are those of stream and metadata. */
  readonly isFirst: boolean;
  /** The parser for these names only, reading no further than to the last of them; null where that would be the parser itself. */
  compileProbe(names: ReadonlySet<string>): LineStage | null;
  compileFilter(filter: LabelFilter): LineStage;
}

/**
 * A stage before `json` or `logfmt` that drops what the filters behind it would drop, at less cost than reading all of the line: by
 * its bytes, or by reading first only those labels that the filters look at.
 *
 * To read a line twice is without effect: labels found the first time are found again and the first stays. A line that turns out to
 * be broken only behind what the filters need is dropped by them all the same, since none of them looks at errors.
 * Null where there is nothing to gain.
 */
export function compileGate(
  { parser, filters, isFirst, compileProbe, compileFilter }: GateParts,
  entry: Entry,
): LineStage | null {
  const usable: LabelFilter[] = [];
  for (const filter of filters.slice(0, FILTERS_MAX)) {
    if (looksAtErrors(filter)) break;
    usable.push(filter);
  }
  if (usable.length === 0) return null;
  const whole = usable.reduce((left, right): LabelFilter => ({ type: "and", left, right }));
  const quick = isFirst ? compileQuickTest(whole, parser, entry) : null;
  const probe = compileProbe(new Set(usable.flatMap(filterNames)));
  const twice = probe === null ? null : new LookTwice(probe, usable.map(compileFilter));
  if (quick === null) return twice === null ? null : (line) => twice.passes(line);
  return quickGate(quick, twice);
}

function quickGate(quick: QuickTest, twice: LookTwice | null): LineStage {
  return (entry) => {
    const verdict = quick(entry);
    if (verdict !== "unknown") return verdict === "keep";
    return twice === null || twice.passes(entry);
  };
}

class LookTwice {
  private readonly probe: LineStage;
  private readonly filters: readonly LineStage[];
  private lines = 0;
  private passed = 0;
  /** While most lines pass it is not worth it. */
  private resting = false;

  constructor(probe: LineStage, filters: readonly LineStage[]) {
    this.probe = probe;
    this.filters = filters;
  }

  passes(entry: Entry): boolean {
    if (++this.lines > SAMPLE_LINES) {
      this.resting = !this.resting && this.passed > SAMPLE_LINES / 2;
      this.lines = 1;
      this.passed = 0;
    }
    if (this.resting) return true;
    this.probe(entry);
    for (const filter of this.filters) if (!filter(entry)) return false;
    this.passed++;
    return true;
  }
}

/** Text filters on the error, and address filters, which let every line with an error pass. */
function looksAtErrors(filter: LabelFilter): boolean {
  switch (filter.type) {
    case "and":
    case "or":
      return looksAtErrors(filter.left) || looksAtErrors(filter.right);
    case "ip":
      return true;
    default:
      return filterNames(filter).some((name) => name.startsWith("__error"));
  }
}
