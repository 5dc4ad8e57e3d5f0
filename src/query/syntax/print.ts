import type {
  Expr,
  Extraction,
  Grouping,
  LabelFilter,
  LineFilterOperand,
  LogExpr,
  LogRange,
  Matcher,
  MetricOf,
  Stage,
  Unwrap,
} from "./ast.ts";
import { quote } from "./strings.ts";
import { formatGoDuration, formatPromDuration } from "./units.ts";

/** One line of LogQL for `expr`, as Loki writes its own. Parsing it gives an equal tree. */
export function formatQuery(expr: Expr): string {
  switch (expr.type) {
    case "log":
      return formatLog(expr);
    case "number":
      return formatNumber(expr.value);
    case "vector":
      return `vector(${formatNumber(expr.value)})`;
    case "range_aggregation": {
      const parameter = expr.parameter === null ? "" : `${formatNumber(expr.parameter)},`;
      return `${expr.op}(${parameter}${formatRange(expr.range)})${formatGrouping(expr.grouping)}`;
    }
    case "vector_aggregation": {
      const parameter = expr.parameter === null ? "" : `${expr.parameter},`;
      return `${expr.op}${formatGrouping(expr.grouping)}(${parameter}${formatQuery(expr.inner)})`;
    }
    case "label_replace": {
      const texts = [expr.target, expr.replacement, expr.source, expr.regex].map(quote);
      return `label_replace(${formatQuery(expr.inner)},${texts.join(",")})`;
    }
    case "binary":
      return `(${formatQuery(expr.left)} ${formatOperator(expr)} ${formatQuery(expr.right)})`;
  }
}

/** `{a="b", c=~"d"}` */
export function formatMatchers(matchers: readonly Matcher[]): string {
  return `{${matchers.map(formatMatcher).join(", ")}}`;
}

function formatMatcher({ name, op, value }: Matcher): string {
  return `${name}${op}${quote(value)}`;
}

function formatLog({ matchers, stages }: LogExpr): string {
  return [formatMatchers(matchers), ...stages.map(formatStage)].join(" ");
}

export function formatStage(stage: Stage): string {
  switch (stage.type) {
    case "line_filter":
      return `${stage.op} ${stage.operands.map(formatOperand).join(" or ")}`;
    case "json":
      return stage.extractions === null ? "| json" : `| json ${formatExtractions(stage.extractions)}`;
    case "logfmt": {
      const flags = `${stage.strict ? " --strict" : ""}${stage.keepEmpty ? " --keep-empty" : ""}`;
      return `| logfmt${flags}${stage.extractions === null ? "" : ` ${formatExtractions(stage.extractions)}`}`;
    }
    case "regexp":
    case "pattern":
      return `| ${stage.type} ${quote(stage.pattern)}`;
    case "unpack":
    case "decolorize":
      return `| ${stage.type}`;
    case "label_filter":
      return `| ${formatFilter(stage.filter)}`;
    case "line_format":
      return `| line_format ${quote(stage.template)}`;
    case "label_format": {
      const items = stage.formats.map((f) => `${f.name}=${"from" in f ? f.from : quote(f.template)}`);
      return `| label_format ${items.join(",")}`;
    }
    case "drop":
    case "keep": {
      const items = stage.items.map((item) => (typeof item === "string" ? item : formatMatcher(item)));
      return `| ${stage.type} ${items.join(",")}`;
    }
  }
}

function formatOperand({ text, ip }: LineFilterOperand): string {
  return ip ? `ip(${quote(text)})` : quote(text);
}

function formatExtractions(extractions: readonly Extraction[]): string {
  return extractions.map(({ name, path }) => `${name}=${quote(path)}`).join(",");
}

export function formatFilter(filter: LabelFilter): string {
  switch (filter.type) {
    case "string":
      return formatMatcher(filter.matcher);
    case "number":
      return `${filter.name}${filter.op}${formatNumber(filter.value)}`;
    case "duration":
      return `${filter.name}${filter.op}${formatGoDuration(filter.ns)}`;
    case "bytes":
      return `${filter.name}${filter.op}${filter.bytes}B`;
    case "ip":
      return `${filter.name}${filter.op}ip(${quote(filter.pattern)})`;
    case "and":
    case "or": {
      const word = filter.type === "and" ? "," : "or";
      return `( ${formatFilter(filter.left)} ${word} ${formatFilter(filter.right)} )`;
    }
  }
}

function formatRange({ log, unwrap, rangeNs, offsetNs }: LogRange): string {
  const offset = offsetNs === 0 ? "" : ` offset ${formatGoDuration(offsetNs)}`;
  return `${formatLog(log)}${unwrap === null ? "" : formatUnwrap(unwrap)}[${formatPromDuration(rangeNs)}]${offset}`;
}

function formatUnwrap(unwrap: Unwrap): string {
  const filters = unwrap.filters.map((filter) => `| ${formatFilter(filter)}`);
  return [` | unwrap ${formatConversion(unwrap)}`, ...filters].join(" ");
}

/** What stands behind `unwrap`. */
export function formatConversion({ label, conversion }: Unwrap): string {
  return conversion === "" ? label : `${conversion}(${label})`;
}

function formatGrouping(grouping: Grouping | null): string {
  if (grouping === null) return "";
  return ` ${grouping.without ? "without" : "by"} (${grouping.labels.join(",")})`;
}

export function formatOperator({ op, returnBool, matching }: MetricOf<"binary">): string {
  let out = returnBool ? `${op} bool` : op;
  if (matching === null) return out;
  out += ` ${matching.on ? "on" : "ignoring"} (${matching.labels.join(",")})`;
  if (matching.group !== "") out += ` group_${matching.group} (${matching.include.join(",")})`;
  return out;
}

/** A number that reads back as itself. Literals have no notation for infinities, and none for NaN. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "(0 / 0)";
  if (!Number.isFinite(value)) return value > 0 ? "(1e308 * 10)" : "(-1e308 * 10)";
  return Object.is(value, -0) ? "-0" : String(value);
}
