import { Random } from "../../random.ts";

/** A seeded source of LogQL: valid queries of every construct, and broken ones. */
export interface RandomQuery {
  query(): string;
  log(): string;
  mutated(): string;
  noise(): string;
  below(n: number): number;
  chance(p: number): boolean;
  pick<T>(list: readonly T[]): T;
}

const NAMES = [
  "a",
  "b",
  "app",
  "status",
  "level",
  "rate",
  "sum",
  "ip",
  "bytes",
  "_x1",
  "__error__",
  "trace_id",
  "duration",
  "vector",
  "Topk",
  "count_over_time",
  "duration_seconds",
  "A9",
];
const TEMPLATES = [
  '"{{.a}}"',
  "`{{.a | upper}} {{.nope}}`",
  '`{{if eq .status "500"}}bad{{else}}{{.level}}{{end}}`',
  "`{{range $k, $v := .}}{{$k}}={{$v}} {{end}}`",
  "`{{div 1 (int .a)}}`",
  "`{{__line__ | trunc 5}}{{__timestamp__ | unixEpoch}}`",
  "`{{with .x}}{{.}}{{end}}{{repeat 3 .b}}`",
  '`{{regexReplaceAll "[0-9]+" __line__ "#"}}`',
  "`{{fromJson __line__}}`",
  "`{{.a`",
];
const STRINGS = [
  '"x"',
  '"a b"',
  "`c\\d`",
  '"\\"q\\""',
  '"é"',
  '"\\x41"',
  '"1.2.3.4"',
  '"10.0.0.0/8"',
  '""',
  '".+"',
  '"a|b"',
  '"\\n"',
  "`x\ny`",
  "`a\\`",
  '"\\U0001f600\\v\\101\\a"',
  '"\\xff\\xc3\\xa9"',
  '"# not a comment"',
  '"\u2028\u00ad\ufeff"',
];
const REGEXES = ['"a.*"', '".+"', '"x|y"', "`\\d+`", '"(?i)b"', '"[a-c]+"'];
const DURATIONS = [
  "5m",
  "1h30m",
  "1.5h",
  "100us",
  "2d",
  "0s",
  "-3s",
  "-1d",
  "-1w2d",
  "-1.5h",
  "1w2d",
  "90s",
  "15ms",
  "3µs",
  "7ns",
  ".5s",
  "1y",
  "1h1h",
];
const SIZES = ["1KB", "2MiB", "10B", "1.5GB", "3K", "4Gi", "1PB", "0.1KiB", "7kB", "2T", "1TiB", "0B"];
const NUMBERS = [
  "0",
  "1",
  "2.5",
  ".5",
  "5.",
  "1e3",
  "1E-7",
  "100",
  "0x1p3",
  "-4",
  "+7",
  "1e21",
  "123456789.125",
  "-.5e-3",
];
const RANGES = ["[5m]", "[1h30m]", "[1d]", "[0s]", "[0]", "[15s]", "[1y2w]", "[1w1d1h1m1s1ms]", "[90m]"];
const TOKENS = [
  ..."{}()[]|,=!<>~+-*/%^#\"`'.@;\\\n \t\0",
  ..."|= != |~ !~ |> !> =~ == >= <= or and unless by without on ignoring group_left group_right bool offset unwrap".split(
    " ",
  ),
  ..."json logfmt regexp pattern unpack line_format label_format decolorize drop keep --strict --keep-empty ip( sum( rate( topk(5,".split(
    " ",
  ),
  ...'vector(1) label_replace( quantile_over_time(0.9, count_over_time( by(a) 5m [5m] [5 1kb 1KB 0x10 0b1 1e 08 1_0 é 😀 \udcff "\\'.split(
    " ",
  ),
  '"\\d"',
  '{a="b"}',
  '"(((("',
  '"(?P<n>a)"',
];

export function makeRandomQuery(seed: number): RandomQuery {
  const random = new Random(seed);
  const chance = (p: number) => random.chance(p);
  const below = (n: number) => random.below(n);
  const pick = <T>(list: readonly T[]): T => random.pick(list);
  const list = (max: number, one: () => string, joint: () => string = () => ", ") => {
    let out = one();
    for (let n = below(max); n > 0; n--) out += joint() + one();
    return out;
  };
  const name = () => pick(NAMES);
  const matcher = () =>
    chance(0.6) ? `${name()}${pick(["=", "!="])}${pick(STRINGS)}` : `${name()} ${pick(["=~", "!~"])} ${pick(REGEXES)}`;
  const selector = () => `{a=~".+"${chance(0.5) ? `, ${list(3, matcher)}` : ""}}`;
  const compare = () => pick(["=", "==", "!=", ">", ">=", "<", "<="]);
  /** What may stand between two words: mostly a space. */
  const gap = () => (chance(0.9) ? " " : pick(["  ", "\n", "\t", " # and why\n", "\r\n"]));
  /** Keywords and functions are the same in any case. */
  const cased = (word: string) =>
    chance(0.9) ? word : chance(0.5) ? word.toUpperCase() : word[0].toUpperCase() + word.slice(1);
  const filterOne = (depth: number): string => {
    const kind = random.fraction();
    if (kind < 0.35) return matcher();
    if (kind < 0.5) return `${name()} ${compare()} ${pick(NUMBERS)}`;
    if (kind < 0.65) return `${name()}${compare()}${pick(DURATIONS)}`;
    if (kind < 0.8) return `${name()}${compare()}${pick(SIZES)}`;
    if (kind < 0.87) return `${name()}${pick(["=", "!="])}ip("10.0.0.0/8")`;
    return depth > 2 ? matcher() : `(${filter(depth + 1)})`;
  };
  const filter = (depth = 0): string =>
    list(
      3,
      () => filterOne(depth),
      () => pick([" and ", " or ", ", ", " ", " AND ", "\nor "]),
    );
  const operand = () => (chance(0.15) ? 'ip("1.2.3.4")' : pick(STRINGS));
  const extraction = () =>
    chance(0.5) ? name() : `${name()}=${pick(['"x"', '"a.b[0]"', '"c"', '"[\\"a b\\"].c"', '`a["b"][1]`', '"[0]"'])}`;
  const stage = (): string => {
    switch (below(12)) {
      case 0:
      case 1:
        return `${pick(["|=", "!="])} ${list(2, operand, () => " or ")}`;
      case 2:
        return `${pick(["|~", "!~"])} ${list(
          2,
          () => pick(REGEXES),
          () => " or ",
        )}`;
      case 3:
        return `${pick(["|>", "!>"])} ${list(
          2,
          () => pick(['"a <_> b"', '"<_>x"', '""', '"x <_>"']),
          () => " or ",
        )}`;
      case 4:
        return chance(0.5) ? "| json" : `| json ${list(2, extraction)}`;
      case 5:
        return `| logfmt${pick(["", " --strict", " --keep-empty", " --strict --keep-empty"])}${chance(0.4) ? ` ${list(2, extraction)}` : ""}`;
      case 6:
        return pick([
          '| regexp "(?P<x>\\\\d+)"',
          "| pattern `<a> - <b>`",
          "| unpack",
          "| regexp `^(?<a>.)(?i:(?P<b_1>x))?$`",
          '| pattern "<_> [<a>] \\"<b>\\" <_>"',
          "|json",
          "|UNPACK",
        ]);
      case 7:
      case 8:
        return `| ${filter()}`;
      case 9:
        return `| ${pick(["drop", "keep"])} ${list(3, () => (chance(0.5) ? name() : matcher()))}`;
      case 10:
        return chance(0.3) ? "| decolorize" : `| line_format ${pick(TEMPLATES)}`;
      default:
        return `| label_format ${list(2, () => `${name()}=${chance(0.5) ? name() : pick(chance(0.5) ? STRINGS : TEMPLATES)}`)}`;
    }
  };
  const pipeline = () => {
    let out = "";
    for (let n = below(4); n > 0; n--) out += gap() + stage();
    return out;
  };
  const log = (): string => {
    const text = selector() + pipeline();
    return chance(0.9) ? text : chance(0.8) ? `(${text})` : `(( ${text} ) )`;
  };
  const grouping = () => `${pick(["by", "without"])} (${chance(0.2) ? "" : list(2, name)})`;
  const range = (unwrap: boolean) => {
    const tail = unwrap
      ? ` | ${cased("unwrap")} ${pick(["x", "bytes(x)", "duration(x)", "duration_seconds(x)", "bytes", "Duration( sum )"])}${chance(0.3) ? ` | ${filter()}` : ""}${chance(0.1) ? ` | ${filter()}` : ""}`
      : "";
    const offset = chance(0.2) ? ` ${cased("offset")} ${pick(DURATIONS)}` : "";
    switch (below(8)) {
      case 0:
      case 1:
        return `${selector()}${pick(RANGES)}${offset}${pipeline()}${tail}`;
      case 2:
        return unwrap
          ? `(${selector()}${pick(RANGES)}${offset}${tail})`
          : `(${selector()}${pipeline()})${pick(RANGES)}${offset}`;
      case 3:
        return `(${selector()})${pick(RANGES)}${offset}${tail}`;
      case 4:
        return `(${selector()}${pipeline()}${tail} ${pick(RANGES)}${offset})`;
      default:
        return `${selector()}${pipeline()}${tail} ${pick(RANGES)}${offset}`;
    }
  };
  const metric = (depth: number): string => {
    const kind = random.fraction();
    if (kind < 0.3 || depth > 3) {
      const op = pick(["rate", "count_over_time", "bytes_rate", "bytes_over_time", "absent_over_time"]);
      return `${cased(op)}${chance(0.1) ? " " : ""}(${range(/^(?:rate|absent)/.test(op) && chance(0.3))})`;
    }
    if (kind < 0.42) {
      const op = pick(["sum", "avg", "max", "min", "first", "last", "stddev", "stdvar", "rate_counter"]);
      if (op === "rate_counter") return `rate_counter(${range(true)})`;
      return `${op}_over_time(${range(true)})${op === "sum" || chance(0.5) ? "" : ` ${grouping()}`}`;
    }
    if (kind < 0.47) {
      return `quantile_over_time(${pick(["0.9", "0", "1", ".5", "1e-1", "2"])}, ${range(true)})${chance(0.5) ? "" : grouping()}`;
    }
    if (kind < 0.62) {
      const inner = metric(depth + 1);
      const op = cased(pick(["sum", "avg", "min", "max", "count", "stddev", "stdvar"]));
      return chance(0.4)
        ? `${op}(${inner})`
        : chance(0.5)
          ? `${op} ${grouping()} (${inner})`
          : `${op}(${inner}) ${grouping()}`;
    }
    if (kind < 0.68) {
      const inner = metric(depth + 1);
      switch (below(5)) {
        case 0:
          return `${pick(["sort", "sort_desc"])}(${inner})`;
        case 1:
          return `approx_topk(${1 + below(9)}, ${inner})`;
        case 2:
          return `${pick(["topk", "bottomk"])} ${grouping()} (${1 + below(9)}, ${inner})`;
        case 3:
          return `${pick(["topk", "bottomk"])}(${1 + below(9)}, ${inner}) ${grouping()}`;
        default:
          return `${pick(["topk", "bottomk"])}(${1 + below(9)}, ${inner})`;
      }
    }
    if (kind < 0.72) {
      return `label_replace(${metric(depth + 1)}, ${pick(['"d"', '"a-b"', '""'])}, ${pick(['"$1"', "`$x`", '"\\xff"', '""'])}, "s", ${pick(['"(.*)"', "`(?P<x>\\d+)|`", '""'])})`;
    }
    if (kind < 0.8)
      return pick([
        "vector(1)",
        "1",
        "2.5",
        "-3",
        "(4)",
        "vector(0.5)",
        "vector(1e3)",
        "+1",
        "1e-9",
        "0x1p-2",
        "( (7) )",
      ]);
    const operand = () => (chance(0.6) ? `(${metric(depth + 1)})` : metric(depth + 1));
    // A chain without parentheses is grouped by precedence, and must be printed so that it stays grouped so.
    let chain = operand();
    for (let n = chance(0.6) ? 1 : 1 + below(4); n > 0; n--) chain += `${gap()}${operator()}${gap()}${operand()}`;
    return chain;
  };
  const operator = () => {
    const op = pick(["+", "-", "*", "/", "%", "^", "^", "==", "!=", ">", "<=", "<", ">=", "and", "or", "unless"]);
    const isSet = /^[a-z]/.test(op);
    const labels = () => (chance(0.2) ? "" : list(2, name, () => " , "));
    const group = () =>
      chance(0.4) && !isSet ? ` ${pick(["group_left", "group_right"])}${chance(0.7) ? ` (${labels()})` : ""}` : "";
    const matching = chance(0.3) ? ` ${cased(pick(["on", "ignoring"]))} (${labels()})${group()}` : "";
    return `${isSet ? cased(op) : op}${chance(0.2) && !isSet ? " bool" : ""}${matching}`;
  };
  const query = () => (chance(0.55) ? log() : metric(0));
  const noise = () => {
    let out = chance(0.5) ? '{a="b"} ' : "";
    for (let n = below(14); n > 0; n--) out += pick(TOKENS) + (chance(0.5) ? " " : "");
    return out;
  };
  const mutated = () => {
    let text = query();
    for (let n = 1 + below(3); n > 0; n--) {
      const at = below(text.length + 1);
      const end = Math.min(text.length, at + below(6));
      const kind = random.fraction();
      if (kind < 0.3) text = text.slice(0, at) + text.slice(end);
      else if (kind < 0.6) text = text.slice(0, at) + pick(TOKENS) + text.slice(at);
      else if (kind < 0.75) text = text.slice(0, at) + text.slice(at, end) + text.slice(at);
      else if (kind < 0.9) text = text.slice(0, at);
      else text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    }
    return text;
  };
  return { query, log, mutated, noise, below, chance, pick };
}
