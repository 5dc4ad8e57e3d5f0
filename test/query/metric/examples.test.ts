import { afterEach, describe, expect, test } from "vitest";
import { messageOf } from "../../../src/core/errors.ts";
import type { Labels } from "../../../src/core/labels.ts";
import { makeStore, SECOND, type TestStore } from "../run/harness.ts";

/* Every example of "LogQL, as Loki evaluates it" on metric queries, and the sentences around them. */

const EMPTY_LOGS: readonly Given[] = [];

interface Given {
  /** Seconds. */
  readonly at: number;
  readonly line: string | Buffer;
  readonly labels?: Labels;
  readonly metadata?: Labels;
}

/** `@10 text` in the stream `{job="w"}`. */
function lines(...texts: readonly string[]): Given[] {
  return texts.map((text) => {
    const [, at = "", line = ""] = /^@(\S+) (.*)$/s.exec(text) ?? [];
    return { at: Number(at), line };
  });
}

const stores: TestStore[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

async function storeOf(given: readonly Given[]): Promise<TestStore> {
  const store = await makeStore();
  stores.push(store);
  for (const { at, line, labels = { job: "w" }, metadata = {} } of given) {
    store.append({ labels, metadata, ns: BigInt(Math.round(at * 1000)) * 1_000_000n, text: line });
  }
  await store.flush();
  return store;
}

/** `{a=b} 1` for each series of an instant query, or the error's text. */
async function instant(store: TestStore, query: string, at = 60): Promise<string[] | string> {
  const ns = BigInt(at) * SECOND;
  try {
    const { series } = await store.engine.metric({ query, startNs: ns, endNs: ns, stepNs: 1n });
    return series.map(({ labels, values }) => `${shown(labels)} ${values[0]}`);
  } catch (error) {
    return messageOf(error);
  }
}

function shown(labels: Labels): string {
  const pairs = Object.keys(labels)
    .sort()
    .map((name) => `${name}=${labels[name]}`);
  return `{${pairs.join(", ")}}`;
}

describe("errors in pipelines", () => {
  const given = lines('@10 {"v":"1"}', "@20 oops");
  const told =
    `pipeline error: 'JSONParserErr' for series: '{__error__="JSONParserErr", __error_details__="Value looks like object, but can't find closing '}' symbol", job="w"}'.\n` +
    'Use a label filter to intentionally skip this error. (e.g | __error__!="JSONParserErr").\n' +
    'To skip all potential errors you can match empty errors.(e.g __error__="")\n' +
    'The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__="" )\n';

  test("fail the whole query in Loki's words", async () => {
    const text = await instant(await storeOf(given), 'sum by (v) (count_over_time({job="w"} | json [1m]))');
    expect(String(text).replace(/__error_details__="(?:[^"\\]|\\.)*"/, "__error_details__=D")).toBe(
      told.replace(/__error_details__="[^"]*"/, "__error_details__=D"),
    );
  });

  test.each([
    { query: 'sum(count_over_time({job="w"} | json [1m]))', gives: ["{} 2"] },
    {
      query: 'sum by (__error__) (count_over_time({job="w"} | json [1m]))',
      gives: ["{} 1", "{__error__=JSONParserErr} 1"],
    },
    { query: 'count_over_time({job="w"} | json | drop __error__ [1m])', gives: ["{job=w} 1", "{job=w, v=1} 1"] },
    {
      query: 'count_over_time({job="w"} | json | drop __error__, __error_details__ [1m])',
      gives: ["{job=w} 1", "{job=w, v=1} 1"],
    },
    { query: 'count_over_time({job="w"} | json | v > 0 [1m])', gives: ["{job=w, v=1} 1"] },
    { query: 'count_over_time({job="w"} | json | __error__="" [1m])', gives: ["{job=w, v=1} 1"] },
    { query: 'sum_over_time({job="w"} | json | unwrap v [1m])', gives: ["{job=w} 1"] },
    { query: 'sum(bytes_over_time({job="w"} | json [1m]))', gives: ["{} 13"] },
  ])("$query", async ({ query, gives }) => {
    expect(await instant(await storeOf(given), query)).toEqual(gives);
  });

  test.each([
    { query: 'sum(sum_over_time({job="w"} | logfmt | unwrap v [1m]))', error: "SampleExtractionErr" },
    { query: 'count_over_time({job="w"} | logfmt | v > 5 [1m])', error: "LabelFilterErr" },
    { query: 'absent_over_time({job="w"} | logfmt | v > 5 [1m])', error: "LabelFilterErr" },
    { query: 'max by (__error__) (count_over_time({job="w"} | logfmt | v > 5 [1m]))', error: "LabelFilterErr" },
    { query: 'max by (__error__) (max_over_time({job="w"} | logfmt | unwrap v [1m]))', error: "SampleExtractionErr" },
  ])("$query fails with $error", async ({ query, error }) => {
    expect(await instant(await storeOf(lines("@10 v=ten")), query)).toMatch(
      new RegExp(`^pipeline error: '${error}' for series: '\\{__error__="${error}", `),
    );
  });

  const preserve = '{job="w"} | logfmt | v > 5 | label_format __preserve_error__="true"';
  test.each([
    { query: `sum(count_over_time(${preserve} [1m]))`, gives: ["{} 2"] },
    { query: `sum by (v) (count_over_time(${preserve} [1m]))`, gives: ["{v=7} 1", "{v=ten} 1"] },
    { query: `sum(count_over_time(${preserve} | keep v [1m]))`, gives: ["{} 2"] },
    {
      query: `count_over_time(${preserve} | drop __error_details__ [1m])`,
      gives: [
        "{__error__=LabelFilterErr, __preserve_error__=true, job=w, v=ten} 1",
        "{__preserve_error__=true, job=w, v=7} 1",
      ],
    },
    { query: `absent_over_time(${preserve} [1m])`, gives: [] },
  ])("are no reason to fail where they are preserved: $query", async ({ query, gives }) => {
    expect(await instant(await storeOf(lines("@10 v=ten", "@20 v=7")), query)).toEqual(gives);
  });

  test("are preserved by that very value alone", async () => {
    const query = 'sum(count_over_time({job="w"} | logfmt | v > 5 | label_format __preserve_error__="yes" [1m]))';
    expect(await instant(await storeOf(lines("@10 v=ten")), query)).toMatch(/^pipeline error: 'LabelFilterErr'/);
  });

  test("outside of all windows do not count", async () => {
    const store = await storeOf(lines("@10 v=ten", "@50 v=7"));
    expect(await instant(store, 'sum_over_time({job="w"} | logfmt | unwrap v [20s])')).toEqual(["{job=w} 7"]);
  });

  test("of a value that does not convert are seen by filters after unwrap", async () => {
    const store = await storeOf(lines("@10 v=ten", "@50 v=7"));
    expect(await instant(store, 'sum_over_time({job="w"} | logfmt | unwrap v | __error__="" [1m])')).toEqual([
      "{job=w} 7",
    ]);
  });
});

describe("windows", () => {
  const given = lines("@10 x", "@20 x", "@30 x");

  test("are open on the left and closed on the right", async () => {
    const store = await storeOf(given);
    expect(await instant(store, 'count_over_time({job="w"}[20s])', 30)).toEqual(["{job=w} 2"]);
    const { series } = await store.engine.metric({
      query: 'count_over_time({job="w"}[20s])',
      startNs: 0n,
      endNs: 60n * SECOND,
      stepNs: 20n * SECOND,
    });
    expect(series).toEqual([{ labels: { job: "w" }, points: [1, 2], values: [2, 1] }]);
  });

  test.each([
    { query: 'count_over_time({job="w"}[30s] offset 1m)', at: 90, gives: ["{job=w} 1"] },
    { query: 'count_over_time({job="w"}[30s] offset -10s)', at: 60, gives: ["{job=w} 1"] },
    { query: 'count_over_time({job="w"}[0s])', at: 60, gives: [] },
    { query: 'count_over_time({job="w"}[20s])', at: 1000, gives: [] },
  ])("$query at $at", async ({ query, at, gives }) => {
    expect(await instant(await storeOf(lines("@10 x", "@70 x", "@75 x")), query, at)).toEqual(gives);
  });
});

describe("series", () => {
  test("are told apart by stream labels, structured metadata and parsed labels", async () => {
    const store = await storeOf([
      { at: 10, line: "a=1", metadata: { level: "info" } },
      { at: 20, line: "a=1", metadata: { level: "warn" } },
      { at: 30, line: "a=2", metadata: { level: "warn" } },
    ]);
    expect(await instant(store, 'count_over_time({job="w"}[1m])')).toEqual([
      "{job=w, level=info} 1",
      "{job=w, level=warn} 2",
    ]);
    expect(await instant(store, 'count_over_time({job="w"} | logfmt [1m])')).toEqual([
      "{a=1, job=w, level=info} 1",
      "{a=1, job=w, level=warn} 1",
      "{a=2, job=w, level=warn} 1",
    ]);
    expect(await instant(store, 'sum by (level) (count_over_time({job="w"}[1m]))')).toEqual([
      "{level=info} 1",
      "{level=warn} 2",
    ]);
  });

  test("whose metadata only look alike are different ones", async () => {
    const store = await storeOf([
      { at: 10, line: "x", metadata: { a: "1", b: "2" } },
      { at: 20, line: "x", metadata: { a: "1\0b\x002" } },
    ]);
    expect(await instant(store, 'count_over_time({job="w"}[1m])')).toEqual([
      "{a=1, b=2, job=w} 1",
      "{a=1\0b\x002, job=w} 1",
    ]);
    const range = { startNs: 0n, endNs: 60n * SECOND, limit: 10, backward: false, categorize: false };
    const { entries } = await store.engine.queryRange({ query: '{job="w"}', ...range });
    expect([...entries].map(({ group }) => JSON.parse(group))).toEqual([
      { a: "1", b: "2", job: "w" },
      { a: "1\0b\x002", job: "w" },
    ]);
  });

  test("with a label that is set but empty stand for themselves", async () => {
    const store = await storeOf(lines("@10 a=", "@20 b=1"));
    expect(await instant(store, 'sum by (a) (count_over_time({job="w"} | logfmt --keep-empty [1m]))')).toEqual([
      "{} 1",
      "{a=} 1",
    ]);
  });

  test("lose the unwrapped label unless it is grouped by", async () => {
    const store = await storeOf(lines("@10 v=1 k=a", "@20 v=3 k=a"));
    const log = '{job="w"} | logfmt | unwrap v [1m]';
    expect(await instant(store, `max_over_time(${log})`)).toEqual(["{job=w, k=a} 3"]);
    expect(await instant(store, `max_over_time(${log}) by (v)`)).toEqual(["{v=1} 1", "{v=3} 3"]);
    expect(await instant(store, `sum without (job) (sum_over_time(${log}))`)).toEqual(["{k=a} 4"]);
    expect(await instant(store, `sum by (v) (sum_over_time(${log}))`)).toEqual(["{v=1} 1", "{v=3} 3"]);
    // Of these only `sum` hands its grouping on to the samples.
    expect(await instant(store, `max by (v, k) (max_over_time(${log}))`)).toEqual(["{k=a} 3"]);
    expect(await instant(store, `min by (v) (min_over_time(${log}))`)).toEqual(["{} 1"]);
  });
});

describe("range aggregations", () => {
  const values = lines("@10 v=10", "@20 v=20", "@30 v=40");
  const unwrap = '{job="w"} | logfmt | unwrap v [1m]';
  test.each([
    { given: lines("@10 v=30", "@20 v=60"), query: `rate(${unwrap})`, gives: "1.5" },
    { given: lines("@15 c=100", "@45 c=160"), query: 'rate_counter({job="w"} | logfmt | unwrap c [1m])', gives: "2" },
    { given: lines("@15 c=100"), query: 'rate_counter({job="w"} | logfmt | unwrap c [1m])', gives: "0" },
    // 100 and then 60 after a reset: 10 + 60.
    {
      given: lines("@0.001 c=90", "@30 c=100", "@60 c=60"),
      query: 'rate_counter({job="w"} | logfmt | unwrap c [1m])',
      gives: String((70 * ((59.999 + 0.001) / 59.999)) / 60),
    },
    { given: lines("@10 ab", "@20 né"), query: 'bytes_over_time({job="w"}[1m])', gives: "5" },
    { given: lines("@10 ab", "@20 né"), query: 'bytes_rate({job="w"}[10s])', gives: null },
    { given: lines("@10 ab", "@20 cd"), query: 'bytes_rate({job="w"}[1m])', gives: String(4 / 60) },
    { given: lines("@10 a", "@20 b", "@30 c"), query: 'rate({job="w"}[1m])', gives: "0.05" },
    { given: values, query: `quantile_over_time(0.75, ${unwrap})`, gives: "30" },
    { given: values, query: `quantile_over_time(0, ${unwrap})`, gives: "10" },
    { given: values, query: `quantile_over_time(1, ${unwrap})`, gives: "40" },
    { given: values, query: `quantile_over_time(1.1, ${unwrap})`, gives: "Infinity" },
    {
      given: lines("@10 v=2", "@20 v=4", "@30 v=6"),
      query: `stdvar_over_time(${unwrap})`,
      gives: "2.6666666666666665",
    },
    { given: lines("@10 v=2", "@20 v=4", "@30 v=6"), query: `stddev_over_time(${unwrap})`, gives: "1.632993161855452" },
    { given: values, query: `avg_over_time(${unwrap})`, gives: String(70 / 3) },
    { given: values, query: `sum_over_time(${unwrap})`, gives: "70" },
    { given: values, query: `min_over_time(${unwrap})`, gives: "10" },
    { given: values, query: `max_over_time(${unwrap})`, gives: "40" },
    { given: values, query: `first_over_time(${unwrap})`, gives: "10" },
    { given: values, query: `last_over_time(${unwrap})`, gives: "40" },
    { given: lines("@10 v=NaN", "@20 v=4"), query: `min_over_time(${unwrap})`, gives: "4" },
    { given: lines("@10 v=NaN", "@20 v=4"), query: `max_over_time(${unwrap})`, gives: "4" },
    { given: lines("@10 v=NaN"), query: `max_over_time(${unwrap})`, gives: "NaN" },
    { given: lines("@10 v=NaN", "@20 v=4"), query: `first_over_time(${unwrap})`, gives: "NaN" },
    { given: lines("@10 v=+Inf", "@20 v=1e3"), query: `sum_over_time(${unwrap})`, gives: "Infinity" },
    {
      given: lines("@10 v=1", "@20 w=2", "@30 v="),
      query: `sum_over_time(${unwrap.replace("logfmt", "logfmt v")})`,
      gives: "1",
    },
  ])("$query gives $gives", async ({ given, query, gives }) => {
    const result = await instant(await storeOf(given), query);
    expect(result).toEqual(gives === null ? [] : [`{job=w} ${gives}`]);
  });

  test("count the bytes of a line that is not UTF-8 as they are, without its colours too", async () => {
    const store = await storeOf([{ at: 10, line: Buffer.from("\x1b[31m\xff\xe2\x82\x1b[0m", "latin1") }]);
    expect(await instant(store, 'bytes_over_time({job="w"}[1m])')).toEqual(["{job=w} 12"]);
    expect(await instant(store, 'bytes_over_time({job="w"} | decolorize [1m])')).toEqual(["{job=w} 3"]);
  });

  test("convert durations and sizes", async () => {
    const store = await storeOf(lines("@10 d=1m30s s=2KiB"));
    expect(await instant(store, 'sum_over_time({job="w"} | logfmt | unwrap duration(d) [1m])')).toEqual([
      "{job=w, s=2KiB} 90",
    ]);
    expect(await instant(store, 'sum_over_time({job="w"} | logfmt | unwrap duration_seconds(d) [1m])')).toEqual([
      "{job=w, s=2KiB} 90",
    ]);
    expect(await instant(store, 'sum_over_time({job="w"} | logfmt | unwrap bytes(s) [1m])')).toEqual([
      "{d=1m30s, job=w} 2048",
    ]);
  });

  test.each([
    { query: 'absent_over_time({job="nope", env=~".+", zone="z", zone2!="q"}[1m])', gives: ["{job=nope, zone=z} 1"] },
    { query: 'absent_over_time({job="nope", job=~"n.+"}[1m])', gives: ["{} 1"] },
    { query: 'absent_over_time({job="nope", zone="", job2=~"n.+"}[1m])', gives: ["{job=nope} 1"] },
    { query: 'absent_over_time({job="nope", job="nope", a="1"}[1m])', gives: ["{a=1} 1"] },
    { query: 'absent_over_time({job="w"}[1m])', gives: [] },
    { query: 'absent_over_time({job="w"} |= "nope" [1m])', gives: ["{job=w} 1"] },
    { query: 'sum(absent_over_time({job="nope"}[1m]))', gives: ["{} 1"] },
  ])("$query", async ({ query, gives }) => {
    expect(await instant(await storeOf(lines("@10 x")), query)).toEqual(gives);
  });

  test("group samples before they reduce them", async () => {
    const store = await storeOf([
      { at: 10, line: "v=1", labels: { app: "e", h: "1" } },
      { at: 20, line: "v=2", labels: { app: "e", h: "2" } },
      { at: 30, line: "v=9", labels: { app: "e", h: "2" } },
    ]);
    const log = '{app="e"} | logfmt | unwrap v [1m]';
    expect(await instant(store, `avg_over_time(${log}) by (app)`)).toEqual(["{app=e} 4"]);
    expect(await instant(store, `avg_over_time(${log}) by ()`)).toEqual(["{} 4"]);
    expect(await instant(store, `avg_over_time(${log}) without (h)`)).toEqual(["{app=e} 4"]);
    expect(await instant(store, `quantile_over_time(0.5, ${log}) by (app)`)).toEqual(["{app=e} 2"]);
    expect(await instant(store, `last_over_time(${log}) by (app)`)).toEqual(["{app=e} 9"]);
    expect(await instant(store, `first_over_time(${log}) by (app)`)).toEqual(["{app=e} 1"]);
  });
});

/** `{app="e",h="1"}` twice, `{app="e",h="2"}` once, `{app="t"}` four times. */
const VECTORS: readonly Given[] = [
  ...[10, 11].map((at) => ({ at, line: "x", labels: { app: "e", h: "1" } })),
  { at: 12, line: "x", labels: { app: "e", h: "2" } },
  ...[13, 14, 15, 16].map((at) => ({ at, line: "x", labels: { app: "t" } })),
];
const E = 'count_over_time({app="e"}[1m])';
const T = 'count_over_time({app="t"}[1m])';
const ALL = 'count_over_time({app=~"e|t"}[1m])';

describe("vector aggregations", () => {
  test.each([
    { query: `max without (h) (${E})`, gives: ["{app=e} 2"] },
    { query: `stddev(${E})`, gives: ["{} 0.5"] },
    { query: `stdvar(${E})`, gives: ["{} 0.25"] },
    { query: `bottomk(1, ${ALL}) by (app)`, gives: ["{app=e, h=2} 1", "{app=t} 4"] },
    { query: `topk(2, ${ALL})`, gives: ["{app=e, h=1} 2", "{app=t} 4"] },
    { query: `approx_topk(1, ${ALL})`, gives: ["{app=t} 4"] },
    { query: `sum(${ALL})`, gives: ["{} 7"] },
    { query: `sum by () (${ALL})`, gives: ["{} 7"] },
    { query: `sum by (h) (${ALL})`, gives: ["{} 4", "{h=1} 2", "{h=2} 1"] },
    { query: `sum without () (${ALL})`, gives: ["{app=e, h=1} 2", "{app=e, h=2} 1", "{app=t} 4"] },
    { query: `avg(${E})`, gives: ["{} 1.5"] },
    { query: `min(${ALL})`, gives: ["{} 1"] },
    { query: `count by (app) (${ALL})`, gives: ["{app=e} 2", "{app=t} 1"] },
    { query: `sort(${ALL})`, gives: ["{app=e, h=2} 1", "{app=e, h=1} 2", "{app=t} 4"] },
    { query: `sort_desc(${ALL})`, gives: ["{app=t} 4", "{app=e, h=1} 2", "{app=e, h=2} 1"] },
    { query: `sum(count by (app) (${ALL}))`, gives: ["{} 3"] },
    { query: `max(${ALL} / 0)`, gives: ["{} NaN"] },
    { query: 'sum(count_over_time({app="none"}[1m]))', gives: [] },
  ])("$query", async ({ query, gives }) => {
    expect(await instant(await storeOf(VECTORS), query)).toEqual(gives);
  });

  test("give a range query's series sorted by labels, whatever the sort", async () => {
    const store = await storeOf(VECTORS);
    const times = { startNs: 20n * SECOND, endNs: 40n * SECOND, stepNs: 20n * SECOND };
    const { series } = await store.engine.metric({ query: `sort_desc(${ALL})`, ...times });
    expect(series.map(({ labels }) => shown(labels))).toEqual(["{app=e, h=1}", "{app=e, h=2}", "{app=t}"]);
    const one = await store.engine.metric({ query: `sort_desc(${ALL})`, ...times, startNs: times.endNs });
    expect(one.series.map(({ labels }) => shown(labels))).toEqual(["{app=e, h=1}", "{app=e, h=2}", "{app=t}"]);
  });
});

describe("binary operators", () => {
  test.each([
    {
      query: `sum by (h) (${E}) / on () group_left sum(${T})`,
      gives: ["{h=1} 0.5", "{h=2} 0.25"],
    },
    { query: `sum(${T}) / on () group_right sum by (h) (${E})`, gives: ["{h=1} 2", "{h=2} 4"] },
    { query: `${E} unless count_over_time({app="e",h="1"}[1m])`, gives: ["{app=e, h=2} 1"] },
    { query: `${E} and count_over_time({app="e",h="1"}[1m])`, gives: ["{app=e, h=1} 2"] },
    { query: `${E} and on (app) ${E}`, gives: ["{app=e, h=1} 2", "{app=e, h=2} 1"] },
    { query: `${T} or ${E}`, gives: ["{app=e, h=1} 2", "{app=e, h=2} 1", "{app=t} 4"] },
    { query: `${T} or on () ${E}`, gives: ["{app=t} 4"] },
    { query: `${E} + ${T}`, gives: [] },
    { query: `${E} + ${E}`, gives: ["{app=e, h=1} 4", "{app=e, h=2} 2"] },
    { query: `sum by (app) (${E}) + on (app) sum by (app) (${E})`, gives: ["{app=e} 6"] },
    { query: `sum by (app) (${E}) + ignoring (app) sum by (app) (${T})`, gives: ["{} 7"] },
    { query: `${E} > 1`, gives: ["{app=e, h=1} 2"] },
    { query: `1 < ${E}`, gives: ["{app=e, h=1} 2"] },
    { query: `${E} > bool 1`, gives: ["{app=e, h=1} 1", "{app=e, h=2} 0"] },
    { query: `${E} == ${E}`, gives: ["{app=e, h=1} 2", "{app=e, h=2} 1"] },
    { query: `${E} != bool ${E}`, gives: ["{app=e, h=1} 0", "{app=e, h=2} 0"] },
    { query: `2 ^ ${E}`, gives: ["{app=e, h=1} 4", "{app=e, h=2} 2"] },
    { query: `${E} % 2`, gives: ["{app=e, h=1} 0", "{app=e, h=2} 1"] },
    { query: `${E} / 0`, gives: ["{app=e, h=1} NaN", "{app=e, h=2} NaN"] },
    { query: "vector(1) + vector(1)", gives: ["{} 2"] },
    { query: "vector(4) / vector(0)", gives: ["{} NaN"] },
    { query: "vector(4) > bool vector(3)", gives: ["{} 1"] },
    { query: "vector(4) > vector(5)", gives: [] },
    { query: "3 < vector(4)", gives: ["{} 4"] },
    { query: "vector(1) unless vector(2)", gives: [] },
    { query: "vector(1) and vector(2)", gives: ["{} 1"] },
    { query: "(vector(1) > 2) or vector(3)", gives: ["{} 3"] },
    { query: `${E} or vector(0)`, gives: ["{} 0", "{app=e, h=1} 2", "{app=e, h=2} 1"] },
    { query: `sum by (h) (${E}) + on (h) group_left (app) ${E}`, gives: ["{app=e, h=1} 4", "{app=e, h=2} 2"] },
  ])("$query", async ({ query, gives }) => {
    expect(await instant(await storeOf(VECTORS), query)).toEqual(gives);
  });

  test.each([
    {
      query: `sum by (h, app) (${E}) + on (app) sum by (app) (${E})`,
      says: "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    },
    {
      query: `sum by (app) (${E}) + on (app) sum by (h, app) (${E})`,
      says: "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels must be unique on one side",
    },
    {
      query: `${E} + on (app) group_right ${E}`,
      says: "found duplicate series on the left hand-side;many-to-many matching not allowed: matching labels must be unique on one side",
    },
  ])("$query", async ({ query, says }) => {
    expect(await instant(await storeOf(VECTORS), query)).toBe(says);
  });

  test("on numbers alone are a scalar", async () => {
    const store = await storeOf(EMPTY_LOGS);
    const result = await store.engine.metric({ query: "2 ^ 3 ^ 2 - 4 % 3", startNs: 0n, endNs: 0n, stepNs: 1n });
    expect(result).toMatchObject({ isScalar: true, series: [{ values: [511] }] });
  });
});

describe("label_replace", () => {
  test.each([
    {
      query: `label_replace(sum by (h) (${E}), "host", "n-$1", "h", "(.*)")`,
      gives: ["{h=1, host=n-1} 2", "{h=2, host=n-2} 1"],
    },
    { query: `label_replace(${T}, "app", "", "app", ".*")`, gives: ["{} 4"] },
    { query: `label_replace(${T}, "new", "x", "app", "q")`, gives: ["{app=t} 4"] },
    { query: `label_replace(${T}, "new", "x", "nope", "")`, gives: ["{app=t, new=x} 4"] },
    {
      query: `label_replace(${T}, "new", "\${first}-$first-$$-$9-$1x", "app", "(?P<first>.)")`,
      gives: ["{app=t, new=t-t-$--} 4"],
    },
    { query: `label_replace(${T}, "new", "$1-$01-$0-$1é-\${1}", "app", "(.)")`, gives: ["{app=t, new=t--t--t} 4"] },
    { query: `sum by (app) (label_replace(${E}, "h", "", "h", ".*"))`, gives: ["{app=e} 3"] },
  ])("$query", async ({ query, gives }) => {
    expect(await instant(await storeOf(VECTORS), query)).toEqual(gives);
  });

  test("refuses an answer with two series of the same labels", async () => {
    expect(await instant(await storeOf(VECTORS), `label_replace(${E}, "h", "", "h", ".*")`)).toBe(
      "vector cannot contain metrics with the same labelset",
    );
  });
});
