import type { Random } from "../../../bench/lines.ts";
import type { PlainEntry } from "../plain/metric.ts";

const APPS = ["web", "db", "mail"];
const LEVELS = ["info", "warn", "error"];
const VALUES = ["1", "2.5", "-3", "40", "1e3", "0.125", "NaN", "+Inf", "7", "12", "x"];
const SECOND = 1_000_000_000n;

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
    const ns = BigInt(random.below(300)) * SECOND + BigInt(random.pick([0, 0, 1, 500_000_000, 999_999_999]));
    return { labels, metadata, ns: ns + 1_700_000_000n * SECOND, text: randomText(random) };
  });
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
  const stepNs = random.pick([SECOND, 7n * SECOND, 10n * SECOND, 60n * SECOND, 2_500_000_000n, 33n]);
  return { startNs, endNs: startNs + stepNs * BigInt(random.below(15)) + BigInt(random.below(2)), stepNs };
}

/** A metric query of which most give something on `randomEntries`. */
export function randomMetric(random: Random, depth = 2): string {
  if (depth === 0) return leaf(random);
  switch (random.below(9)) {
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
      const number = random.pick(["2", "0", "0.5", "3"]);
      const op = random.pick(["+", "-", "*", "/", "%", ">", "<=", "== bool", ">= bool", "!="]);
      const vector = randomMetric(random, depth - 1);
      return random.below(2) === 0 ? `(${vector} ${op} ${number})` : `(${number} ${op} ${vector})`;
    }
    case 7:
      return `label_replace(${randomMetric(random, depth - 1)}, "${random.pick(["app", "new", "env"])}", "${random.pick(["$1", "x-$1", ""])}", "app", "${random.pick(["(.*)", "w(.+)", "(d)b"])}")`;
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
  ]);
  if (random.below(3) === 0) {
    return random.pick(["and", "or", "unless"]) + (matching.includes("group") ? "" : matching);
  }
  return random.pick(["+", "-", "*", "/", ">", "<", "== bool", "!=", ">= bool"]) + matching;
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
    "sort",
  ]);
  // An aggregation over no logs at all is refused, and so is grouping with sort.
  const over = inner.startsWith("vector") ? leaf(random) : inner;
  if (op === "topk" || op === "bottomk") {
    // Of values that are rounded differently another one may be the greatest.
    const exact = /rate|avg|std|quantile|[-+*/%^]/.test(over) ? `count_over_time(${selector(random)}[20s])` : over;
    return `${op}${grouping(random)} (${1 + random.below(3)}, ${exact})`;
  }
  return op === "sort" ? `sort(${over})` : `${op}${grouping(random)} (${over})`;
}

function grouping(random: Random): string {
  return random.pick([
    "",
    "",
    " by (app)",
    " by (app, detected_level)",
    " by (level)",
    " by (env, env_extracted)",
    " by ()",
    " without (env)",
    " without (detected_level, pod, v)",
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
    ]);
    if (random.below(2) === 0) {
      out += random.pick([
        ' | __error__=""',
        ' | level="warn"',
        " | drop __error__, __error_details__",
        " | v > 20",
        ' | level!="info" or v < 10',
        ' |= "info"',
      ]);
    }
  }
  return out;
}

function leaf(random: Random): string {
  const range = `[${random.pick(["10s", "20s", "1m", "7s", "90s", "1500ms", "5m", "0s"])}]`;
  const offset = random.pick(["", "", "", " offset 30s", " offset -20s"]);
  if (random.below(2) === 0) {
    const log = selector(random) + stages(random, true);
    const op = random.pick(["count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"]);
    return `${op}(${log}${range}${offset})`;
  }
  // Of two parsers the second one reads no further once all that is needed was found, and what it would have failed on counts.
  const log = selector(random) + stages(random, false);
  const parser = random.pick([" | logfmt", " | logfmt", " | json", ' | regexp "v=(?P<v>[0-9.]+)"']);
  const unwrap = random.pick(["v", "v", "v", "duration(took)", "bytes(size)"]);
  const filter = random.pick(["", ' | __error__=""', ' | __error__=""', ' | __error__="" | v > 3']);
  const op = random.pick([
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
  const by = mayGroup && random.below(2) === 0 ? grouping(random) : "";
  return `${op}(${parameter}${log}${parser} | unwrap ${unwrap}${filter} ${range}${offset})${by}`;
}
