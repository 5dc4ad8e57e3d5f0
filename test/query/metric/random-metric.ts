import type { Random } from "../../../bench/lines.ts";
import type { SharedMetadata } from "../../../src/core/line.ts";
import type { PlainEntry } from "../plain/metric.ts";
import type { Given } from "../run/harness.ts";

const APPS = ["web", "db", "mail"];
const LEVELS = ["info", "warn", "error"];
const VALUES = ["1", "2.5", "-3", "40", "1e3", "0.125", "NaN", "+Inf", "7", "12", "x"];
const TRACES = ["0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"];
const SECOND = 1_000_000_000n;
const DAY = 86_400n * SECOND;

/** Lines of few streams with few different times, so that every boundary of a window is hit. */
export function randomEntries(random: Random, count: number): PlainEntry[] {
  return Array.from({ length: count }, () => {
    const app = random.pick(APPS);
    const labels: Record<string, string> = random.below(4) === 0 ? { app } : { app, env: random.pick(["p", "q"]) };
    const metadata: Record<string, string> = {};
    if (random.below(3) > 0) metadata.detected_level = random.pick(LEVELS);
    if (random.below(4) === 0) metadata.pod = `pod-${random.below(3)}`;
    // Beside a stream label: becomes env_extracted.
    if (random.below(8) === 0) metadata.env = "m";
    if (random.below(40) === 0) metadata.pod = random.pick(["a\0b", "\0", "\u00fc\n"]);
    // In every second stretch of time, so that there are blocks without any.
    const sec = random.below(300);
    if (sec % 100 < 50 && random.below(6) === 0) metadata.trace_id = random.pick(TRACES);
    const ns = BigInt(sec) * SECOND + BigInt(random.pick([0, 0, 1, 500_000_000, 999_999_999]));
    const odd = random.below(25) === 0 ? oddText(random, app) : null;
    const text = odd ?? randomText(random) + (random.below(3) === 0 ? ` ${metadata.trace_id ?? ""}` : "");
    return { labels, metadata, ns: ns + 1_700_000_000n * SECOND, text };
  });
}

/** Lines that are no lines of text, or hardly. */
function oddText(random: Random, app: string): string | Buffer {
  const broken = Buffer.from(
    random.pick(["v=1 level=\xff", "\xe2\x82", "\x1b[31mv=2\xc3\x1b[0m level=warn", "v=\xf0\x9f\x98"]),
    "latin1",
  );
  const texts = [
    "v=3 level=info\r",
    "\r",
    "\0",
    "v=4\0 level=warn",
    "\tlevel=info\tv=5",
    "\u2028v=6",
    `v=7 ${"x".repeat(5000)}`,
  ];
  // Blocks with newlines in their lines are found by other means, so not every stream has them.
  if (app === "mail") texts.push("v=8\nlevel=error v=9", "\n", "plain\n\nlevel");
  return random.below(2) === 0 ? broken : random.pick(texts);
}

const shared = new Map<string, SharedMetadata>();

/** An entry as the store gets it: what a pipeline finds is in places of its own. */
export function givenOf({ labels, metadata, ns, text }: PlainEntry): Given {
  const { detected_level: level, trace_id: trace, pod, ...rest } = metadata;
  const set = pod === undefined ? undefined : (shared.get(pod) ?? { pairs: [["pod", pod] as const] });
  if (pod !== undefined && set !== undefined) shared.set(pod, set);
  return {
    labels,
    ns,
    text,
    metadata: rest,
    ...(level === undefined ? {} : { level }),
    ...(trace === undefined ? {} : { trace }),
    ...(set === undefined ? {} : { shared: set }),
  };
}

function randomText(random: Random): string {
  const value = random.below(20) === 0 ? random.pick(VALUES) : String(random.below(1000) / 8);
  const level = random.pick(LEVELS);
  const took = random.pick(["5ms", "1.5s", "2m", "300us"]);
  const size = random.pick(["1KB", "2KiB", "77"]);
  switch (random.below(5)) {
    case 0:
      return `{"v":${/^[\d.]+$/.test(value) ? value : `"${value}"`},"level":"${level}","took":"${took}","size":"${size}","n":{"k":"${random.below(3)}"}}`;
    case 1:
      return "";
    case 2:
      return `plain ${level} über ${random.below(5)}`;
    default:
      return `v=${value} level=${level} took=${took} size=${size}`;
  }
}

export interface RandomTimes {
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly stepNs: bigint;
}

export function randomTimes(random: Random): RandomTimes {
  const startNs = (1_700_000_000n + BigInt(random.below(350) - 20)) * SECOND;
  if (random.below(3) === 0) return { startNs, endNs: startNs, stepNs: 1n };
  const stepNs = random.pick([SECOND, 7n * SECOND, 10n * SECOND, 60n * SECOND, 2_500_000_000n, 33n, 130n * DAY]);
  return { startNs, endNs: startNs + stepNs * BigInt(random.below(15)) + BigInt(random.below(2)), stepNs };
}

/** A log query of which most give something on `randomEntries`. */
export function randomLog(random: Random): string {
  return (
    selector(random) +
    stages(random, true) +
    random.pick([
      "",
      "",
      "",
      ' |= "level"',
      ' | line_format "{{.v}} {{.level}}{{.trace_id}}"',
      ' | label_format v="{{.v}}!", app=level',
      " | keep app, v, level",
      ' | drop env, v=~"[0-9]"',
      ' | detected_level!="info"',
      " | v < 60",
      " | decolorize",
      ' != "v=1"',
    ])
  );
}

/** A metric query of which most give something on `randomEntries`. */
export function randomMetric(random: Random, depth = 2): string {
  if (depth === 0) return leaf(random);
  switch (random.below(10)) {
    case 0:
    case 1:
      return leaf(random);
    case 2:
    case 3:
    case 4:
      return aggregation(random, depth);
    case 5:
      return `(${randomMetric(random, depth - 1)} ${operator(random)} ${randomMetric(random, depth - 1)})`;
    case 6: {
      const number = random.pick(["2", "0", "0.5", "3", "-1", "1e3", "(1 + 2 * 3)", "-0.25"]);
      const op = random.pick([
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        ">",
        "<",
        "<=",
        "==",
        "== bool",
        ">= bool",
        "!=",
        "+ bool",
      ]);
      const vector = randomMetric(random, depth - 1);
      return random.below(2) === 0 ? `(${vector} ${op} ${number})` : `(${number} ${op} ${vector})`;
    }
    case 7:
      return `label_replace(${randomMetric(random, depth - 1)}, "${random.pick(["app", "new", "env", "v"])}", "${random.pick(["$1", "x-$1", "", "$0$1", "$2"])}", "${random.pick(["app", "app", "env", "nope", "level"])}", "${random.pick(["(.*)", "w(.+)", "(d)b", "", "(p|q)?", "(w|.*b)"])}")`;
    case 8: {
      // Without parentheses, so that precedence and associativity decide.
      const operand = () => (random.below(4) === 0 ? random.pick(["2", "-1", "vector(3)"]) : leaf(random));
      const op = () => random.pick(["+", "-", "*", "/", "%", "^", ">", "<= bool", "+ on (app)", "* ignoring (env)"]);
      const set = () => random.pick(["and", "or", "unless", "unless on (app)"]);
      const chain = `${leaf(random)} ${op()} ${operand()} ${op()} ${operand()}`;
      return `(${random.below(3) === 0 ? `${chain} ${set()} ${leaf(random)} ${set()} ${leaf(random)}` : chain})`;
    }
    default:
      return `vector(${random.below(3)})`;
  }
}

function operator(random: Random): string {
  const matching = random.pick([
    "",
    "",
    " on (app)",
    " ignoring (env)",
    " on (app) group_left ()",
    " ignoring (env) group_left (env)",
    " on (app) group_right (detected_level)",
    " on ()",
    " on (app, env, detected_level, pod)",
    " ignoring (env, detected_level, pod, trace_id, v, level, took, size)",
    " ignoring (env) group_right ()",
    " on (env, app) group_right (pod, level)",
    " on (app) group_left (env, nope)",
  ]);
  if (random.below(3) === 0) {
    return random.pick(["and", "or", "unless"]) + (matching.includes("group") ? "" : matching);
  }
  return (
    random.pick(["+", "-", "*", "/", "%", "^", ">", "<", "==", "<=", "== bool", "!=", ">= bool", "- bool"]) + matching
  );
}

function aggregation(random: Random, depth: number): string {
  const inner = randomMetric(random, depth - 1);
  const op = random.pick([
    "sum",
    "sum",
    "sum",
    "min",
    "max",
    "avg",
    "count",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "approx_topk",
    "sort",
    "sort_desc",
  ]);
  // What is handed on to the samples, and what looks as if it might be.
  const alike = /^(?:sum|min|max)$/.test(op) && random.below(3) === 0 ? `${op}_over_time` : undefined;
  // An aggregation over no logs at all is refused, and so is grouping with sort.
  const over = alike !== undefined || inner.startsWith("vector") ? leaf(random, alike) : inner;
  if (op.endsWith("k")) {
    // Of values that are rounded differently another one may be the greatest.
    const exact = /rate|avg|std|quantile|[-+*/%^]/.test(over) ? `count_over_time(${selector(random)}[20s])` : over;
    return `${op}${op === "approx_topk" ? "" : grouping(random)} (${1 + random.below(3)}, ${exact})`;
  }
  return op.startsWith("sort") ? `${op}(${over})` : `${op}${grouping(random)} (${over})`;
}

function grouping(random: Random): string {
  return random.pick([
    "",
    "",
    " by (app)",
    " by (app, detected_level)",
    " by (level)",
    " by (env, env_extracted)",
    " by (v)",
    " by (trace_id, app)",
    " by (pod)",
    " by ()",
    " without (env)",
    " without (detected_level, pod, v)",
    " without ()",
    " by (took, nope)",
    " by (__error__)",
  ]);
}

function selector(random: Random): string {
  return random.pick(['{app=~".+"}', '{app=~".+"}', '{app="web"}', '{app=~"web|db", env="p"}', '{app!="", env=""}']);
}

/** `parses`: whether a parser may be among them. */
function stages(random: Random, parses: boolean): string {
  let out = "";
  if (random.below(3) === 0) {
    out += random.pick([
      ' |= "level"',
      ' != "plain"',
      ' |~ "v=\\\\d"',
      ' |= "warn" or "error"',
      ' |= "level" |= "took"',
      ' !~ "^$"',
      ' |~ "[0-9]+[a-z ]"',
      ' !~ "[0-9]{2}"',
      ' |= "0af7651916cd43dd8448eb211c80319c"',
      ' |~ "(?i)LEVEL=(Warn|INFO)"',
      ' |> "v=<_> level=<_>"',
      ' |~ "[^ ]{4}$"',
      ' |~ "\\\\bv.*n\\\\b"',
      ' !> "v=<_> level=<_>"',
      ' |> "<_>level<_>" or "plain <_>"',
      ' != "warn" or "info"',
      ' |= ""',
      ' |= "v=" != "v=1" |~ "level"',
    ]);
  }
  if (random.below(4) === 0) {
    out += random.pick([
      ' | detected_level="error"',
      ' | detected_level!=""',
      ' | pod=~"pod-[01]"',
      ' | env="p" or env_extracted="m"',
      " | drop detected_level, pod",
      " | keep app, env",
      " | label_format lvl=detected_level",
      " | decolorize",
      ' | trace_id="0af7651916cd43dd8448eb211c80319c"',
      ' | trace_id!="" or pod!=""',
      " | drop trace_id",
      ' | line_format "{{.pod}} {{__line__}}"',
      ' | line_format "v={{len __line__}} level={{.detected_level}}"',
      ' | label_format app="{{.app}}-{{.env}}", env="x"',
      ' | label_format app=pod, pod="{{__line__ | trunc 3}}"',
      ' | drop app="web", env=~"p|x"',
      ' | keep app=~"w.*", detected_level!="info"',
      ' | detected_level="error" or pod="pod-1" and env!="q", app!="mail"',
      ' | app=ip("10.0.0.0/8") or app!=ip("10.0.0.0/8")',
    ]);
  }
  if (parses && random.below(2) === 0) {
    out += random.pick([
      " | logfmt",
      " | logfmt",
      " | json",
      ' | json v="v", level',
      " | json | logfmt",
      " | logfmt v, level",
      ' | regexp "(?P<word>w[a-z]+n)"',
      ' | pattern "v=<v> level=<level> <_>"',
      ' | pattern "<_>=<v> <rest>"',
      " | logfmt --strict",
      " | logfmt --keep-empty",
      ' | logfmt --strict v, lvl="level", size="size"',
      ' | json k="n.k", lvl="level", n="n"',
      " | unpack",
      ' | logfmt | label_format v="{{.level}}", level=took',
      ' | regexp "level=(?P<level>[a-z]+)(?: took=(?P<took>[^ ]+))?"',
    ]);
    if (random.below(2) === 0) {
      out += random.pick([
        ' | __error__=""',
        ' | level="warn"',
        " | drop __error__, __error_details__",
        " | v > 20",
        ' | level!="info" or v < 10',
        " | took > 2s",
        " | size <= 1KB or took = 5ms",
        " | v >= -3 and v != 40",
        ' | (v > 5 or level="warn") and took < 1m',
        ' | keep v, level=~"w.*|info"',
        ' | drop v="7", took',
        ' |= "info"',
      ]);
    }
  }
  return out;
}

/** `wanted`: a range aggregation of unwrapped values. */
function leaf(random: Random, wanted?: string): string {
  const range = `[${random.pick(["10s", "20s", "1m", "7s", "90s", "1500ms", "5m", "0s", "125d", "1y"])}]`;
  const offset = random.pick([
    "",
    "",
    "",
    " offset 30s",
    " offset -20s",
    " offset 1ns",
    " offset -500ms",
    " offset 1.5m",
    " offset -2h",
    " offset 30d",
  ]);
  if (wanted === undefined && random.below(2) === 0) {
    const log = selector(random) + stages(random, true);
    const op = random.pick(["count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"]);
    // The range may stand right behind the selector, and parentheses around the log query.
    const [, head = "", tail = ""] = /^(\{[^}]*\})(.*)$/.exec(log) ?? [];
    const written = random.pick([
      `${log}${range}${offset}`,
      `${head}${range}${offset}${tail}`,
      `(${log})${range}${offset}`,
    ]);
    return `${op}(${written})`;
  }
  // Of two parsers the second one reads no further once all that is needed was found, and what it would have failed on counts.
  const log = selector(random) + stages(random, false);
  const parser = random.pick([" | logfmt", " | logfmt", " | json", ' | regexp "v=(?P<v>[0-9.]+)"']);
  const unwrap = random.pick(["v", "v", "v", "duration(took)", "bytes(size)", "duration_seconds(took)", "level"]);
  const filter = random.pick([
    "",
    ' | __error__=""',
    ' | __error__=""',
    ' | __error__="" | v > 3',
    ' | __error__!="SampleExtractionErr"',
    ' | __error__="" | level!="info" or took > 1s',
  ]);
  const op =
    wanted ??
    random.pick([
      "sum_over_time",
      "rate",
      "avg_over_time",
      "min_over_time",
      "max_over_time",
      "stddev_over_time",
      "stdvar_over_time",
      "quantile_over_time",
      "first_over_time",
      "last_over_time",
      "rate_counter",
      "absent_over_time",
    ]);
  const parameter = op === "quantile_over_time" ? `${random.pick(["0", "0.5", "0.9", "1", "1.5"])}, ` : "";
  // Which of two lines of different streams comes first at equal times is nobody's business.
  const mayGroup = /^(avg|min|max|stddev|stdvar|quantile)_/.test(op);
  const by = wanted === undefined && mayGroup && random.below(2) === 0 ? grouping(random) : "";
  // In windows of months a nanosecond between two samples is lost or not, and a rate by it means nothing.
  const window = op === "rate_counter" ? range.replace(/125d|1y/, "2m") : range;
  return `${op}(${parameter}${log}${parser} | unwrap ${unwrap}${filter} ${window}${offset})${by}`;
}
