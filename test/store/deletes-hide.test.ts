import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import { checkDeleteQuery, type DeleteFilter } from "../../src/query/deletes.ts";
import { HiddenLines, type HiddenScope } from "../../src/query/deletes-hide.ts";
import {
  ALL_TIMES,
  entriesOf,
  type Given,
  makeStore,
  SECOND,
  T0,
  type TestStore,
  textsOf,
} from "../query/run/harness.ts";
import { SEED } from "../random.ts";

const KEPT: HiddenScope = { floorNs: null, cutoffNs: () => null, deletes: [] };
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function storeWith(scope: { now: HiddenScope | null }, folder?: string): Promise<TestStore> {
  const store = await makeStore({ hidden: () => scope.now, ...(folder === undefined ? {} : { folder }) });
  cleanups.push(() => store.close());
  return store;
}

async function temporary(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "weir-hide-"));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Lines of three apps, `<app> <n> <word>`, one a second; a third of them has metadata `user`. */
function linesOf(count: number, random: Random): Given[] {
  return Array.from({ length: count }, (_, n) => {
    const app = `a${random.below(3)}`;
    return {
      labels: { app },
      ns: T0 + BigInt(n) * SECOND,
      text: `${app} ${n} ${random.pick(["keep", "drop", "panic", "level=warn"])}`,
      ...(n % 3 === 0 ? { metadata: { user: `u${random.below(4)}` } } : {}),
    };
  });
}

/** Whether a request means a line, the plain way. */
type Means = (line: Given) => boolean;
const appIs = (app: string) => (line: Given) => line.labels.app === app;
const textHas = (text: string) => (line: Given) => String(line.text).includes(text);
const QUERIES: readonly { readonly query: string; readonly means: Means }[] = [
  { query: '{app="a1"}', means: appIs("a1") },
  { query: '{app=~"a[02]"} |= "drop"', means: (line) => !appIs("a1")(line) && textHas("drop")(line) },
  { query: '{app=~".+"} |~ "pan(ic|da)" != "7"', means: (line) => textHas("panic")(line) && !textHas("7")(line) },
  { query: '{app=~".+"} | user="u1"', means: (line) => line.metadata?.user === "u1" },
  { query: '{app="a0"} | logfmt | level="warn"', means: (line) => appIs("a0")(line) && textHas("level=warn")(line) },
  { query: '{app="nowhere"}', means: () => false },
];

describe.each([
  { where: "in this thread", folder: false },
  { where: "in worker threads", folder: true },
])("what is deleted or expired is hidden $where", ({ folder }) => {
  test(`from log queries, whatever part of the store it is in (seed ${SEED})`, async () => {
    const random = new Random(SEED);
    const scope: { now: HiddenScope | null } = { now: null };
    const store = await storeWith(scope, folder ? await temporary() : undefined);
    const given = linesOf(1500, random);
    for (const [i, line] of given.entries()) {
      store.append(line);
      if (i === 500 || i === 1000) await store.flush();
    }
    for (let round = 0; round < 25; round++) {
      const deletes: { filter: DeleteFilter; means: Means }[] = [];
      for (let left = random.below(3); left > 0; left--) {
        const { query, means } = random.pick(QUERIES);
        const startNs = T0 + BigInt(random.below(1500)) * SECOND;
        const endNs = startNs + BigInt(random.below(1500)) * SECOND;
        deletes.push({ filter: { query, startNs, endNs }, means });
      }
      const cutoffs = new Map(
        [0, 1, 2].map((a) => [`a${a}`, random.below(3) === 0 ? T0 + BigInt(random.below(1500)) * SECOND : null]),
      );
      scope.now = {
        floorNs: null,
        cutoffNs: (_canonical, labels) => cutoffs.get(labels.app) ?? null,
        deletes: deletes.map(({ filter }) => filter),
      };
      const isSeen = (line: Given) =>
        line.ns >= (cutoffs.get(line.labels.app) ?? 0n) &&
        !deletes.some(({ filter, means }) => filter.startNs <= line.ns && line.ns <= filter.endNs && means(line));
      const limit = random.pick([1, 10, 5000]);
      const backward = random.below(2) === 0;
      const [query, keeps] = random.pick<[string, Means]>([
        ['{app=~".+"}', () => true],
        ['{app=~".+"} |= "panic"', textHas("panic")],
        ['{app="a1"}', appIs("a1")],
      ]);
      const want = given.filter((line) => isSeen(line) && keeps(line)).map(({ text }) => String(text));
      if (backward) want.reverse();
      const result = await store.engine.queryRange({ query, ...ALL_TIMES, limit, backward });
      expect(textsOf(result), `round ${round}: ${query}`).toEqual(want.slice(0, limit));
      expect(result.warnings).toEqual([]);
    }
  });
});

describe("every way to a line", () => {
  const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
  const line = (n: number, more: Partial<Given> = {}): Given => ({
    labels: { app: "web" },
    ns: T0 + BigInt(n) * SECOND,
    text: `line ${n}`,
    ...more,
  });
  const secret: DeleteFilter = { query: '{app="web"} |= "2"', startNs: T0, endNs: T0 + 100n * SECOND };

  test.each(["open", "stored"])("a trace's lines, %s", async (part) => {
    const scope = { now: KEPT };
    const store = await storeWith(scope);
    for (let n = 0; n < 4; n++) store.append(line(n, { trace: TRACE }));
    if (part === "stored") await store.flush();
    const lines = async () => textsOf(await store.engine.trace({ id: TRACE, limit: 10 }));
    expect(await lines()).toEqual(["line 0", "line 1", "line 2", "line 3"]);
    scope.now = { ...KEPT, deletes: [secret] };
    expect(await lines()).toEqual(["line 0", "line 1", "line 3"]);
    scope.now = { ...KEPT, cutoffNs: () => T0 + 3n * SECOND };
    expect(await lines()).toEqual(["line 3"]);
  });

  test("the lines with which a live tail begins", async () => {
    const store = await storeWith({ now: { ...KEPT, deletes: [secret] } });
    for (let n = 0; n < 4; n++) store.append(line(n));
    const left = new AbortController();
    const seen: string[] = [];
    await store.engine.tail({
      query: '{app="web"}',
      startNs: T0,
      limit: 10,
      signal: left.signal,
      onEntries: (entries) => {
        seen.push(...entries.map(({ line: bytes }) => bytes.toString()));
        left.abort();
      },
    });
    expect(seen).toEqual(["line 0", "line 1", "line 3"]);
  });

  test("lines an interval apart", async () => {
    const store = await storeWith({ now: { ...KEPT, deletes: [secret] } });
    for (let n = 0; n < 6; n++) store.append(line(n));
    const result = await store.engine.queryRange({
      query: '{app="web"}',
      ...ALL_TIMES,
      limit: 10,
      backward: false,
      intervalNs: 2n * SECOND,
    });
    expect(textsOf(result)).toEqual(["line 0", "line 3", "line 5"]);
  });

  test("streams: what has expired is gone, what is deleted is still there", async () => {
    const scope: { now: HiddenScope } = { now: KEPT };
    const store = await storeWith(scope);
    const old = (n: number) => line(n, { labels: { app: "old" } });
    store.append(old(0));
    store.append(line(1));
    await store.flush();
    store.append(old(2));
    const apps = async () => (await store.engine.labelValues("app", { ...ALL_TIMES, selectors: [] })).join();
    const cutoffs: Record<string, bigint> = {};
    expect(await apps()).toBe("old,web");
    scope.now = { ...KEPT, cutoffNs: (_canonical, labels) => cutoffs[labels.app] ?? null };
    cutoffs.old = T0 + 2n * SECOND;
    expect(await apps()).toBe("old,web");
    cutoffs.old = T0 + 3n * SECOND;
    expect(await apps()).toBe("web");
    scope.now = { ...KEPT, floorNs: T0 + 2n * SECOND, cutoffNs: () => T0 + 2n * SECOND };
    expect(await apps()).toBe("old");
    scope.now = { ...KEPT, deletes: [{ ...secret, query: '{app="web"}' }] };
    expect(await apps()).toBe("old,web");
  });

  test("nothing is hidden from another tenant", async () => {
    const store = await makeStore({ hidden: (tenant) => (tenant === "a" ? { ...KEPT, deletes: [secret] } : null) });
    cleanups.push(() => store.close());
    for (const tenant of ["a", "b"]) store.append({ ...line(2), tenant });
    const lines = async (tenant: string) =>
      textsOf(await store.engine.queryRange({ tenant, query: '{app="web"}', ...ALL_TIMES, limit: 9, backward: true }));
    expect(await lines("a")).toEqual([]);
    expect(await lines("b")).toEqual(["line 2"]);
  });

  test("a query that has begun hides what was hidden then", async () => {
    const scope: { now: HiddenScope } = { now: { ...KEPT, deletes: [secret] } };
    const store = await storeWith(scope);
    for (let n = 0; n < 4; n++) store.append(line(n));
    await store.flush();
    const running = store.engine.queryRange({ query: '{app="web"}', ...ALL_TIMES, limit: 9, backward: false });
    // It has its snapshot by now; the request is done, and whoever comes later sees segments without its lines.
    await Promise.resolve();
    scope.now = KEPT;
    expect(entriesOf(await running).length).toBe(3);
  });
});

describe("what is said of a block without reading it", () => {
  const labels: Labels = { app: "web" };
  const hide = (scope: Partial<HiddenScope>, min = 10n, max = 20n) =>
    new HiddenLines({ ...KEPT, ...scope }).blockHide(canonicalLabels(labels), labels, min, max);
  const whole = { query: '{app="web"}', startNs: 10n, endNs: 20n };
  const some = { ...whole, query: '{app="web"} |= "x"' };
  test.each([
    { name: "nothing is hidden", scope: {}, want: null },
    { name: "the cutoff is its first line", scope: { cutoffNs: () => 10n }, want: null },
    { name: "the cutoff is within", scope: { cutoffNs: () => 11n }, want: { fromNs: 11n, deletes: [] } },
    { name: "the cutoff is its last line", scope: { cutoffNs: () => 20n }, want: { fromNs: 20n, deletes: [] } },
    { name: "it has expired", scope: { cutoffNs: () => 21n }, want: "all" },
    { name: "a request takes all of it", scope: { deletes: [whole] }, want: "all" },
    {
      name: "a request ends before its last line",
      scope: { deletes: [{ ...whole, endNs: 19n }] },
      want: { fromNs: null, deletes: [{ ...whole, endNs: 19n }] },
    },
    {
      name: "a request begins after its first line",
      scope: { deletes: [{ ...whole, startNs: 11n }] },
      want: { fromNs: null, deletes: [{ ...whole, startNs: 11n }] },
    },
    {
      name: "a request takes what has not expired",
      scope: { cutoffNs: () => 15n, deletes: [{ ...whole, startNs: 15n }] },
      want: "all",
    },
    { name: "a request chooses lines", scope: { deletes: [some] }, want: { fromNs: null, deletes: [some] } },
    { name: "a request is over before", scope: { deletes: [{ ...some, endNs: 9n, startNs: 1n }] }, want: null },
    { name: "a request begins later", scope: { deletes: [{ ...some, startNs: 21n, endNs: 30n }] }, want: null },
    { name: "a request means another stream", scope: { deletes: [{ ...whole, query: '{app="api"}' }] }, want: null },
    {
      name: "a request with a parser that chooses nothing",
      scope: { deletes: [{ ...whole, query: '{app="web"} | json' }] },
      want: "all",
    },
  ] satisfies { name: string; scope: Partial<HiddenScope>; want: unknown }[])("$name", ({ scope, want }) => {
    expect(hide(scope)).toEqual(want);
  });
});

describe("the query of a request", () => {
  test.each([
    { query: '{app="web"}', hasFilter: false },
    { query: '{app="web"} |= "x"', hasFilter: true },
    { query: '{app="web"} | json | status=500', hasFilter: true },
    { query: '{app="web"} | json', hasFilter: false },
  ])("$query is taken", ({ query, hasFilter }) => {
    expect(checkDeleteQuery(query)).toEqual({ hasFilter });
  });

  test.each([
    { query: "{app=", want: /^invalid query expression: parse error/ },
    { query: '{app=~".*"}', want: /^invalid query expression: .*at least one/ },
    { query: 'count_over_time({app="web"}[1m])', want: /^invalid query expression: / },
    { query: '{app="web"} |~ "("', want: /^invalid query expression: / },
    { query: '{app="web"} | line_format "x"', want: /^invalid query expression: line_format has no meaning/ },
    { query: '{app="web"} | label_format a=b', want: /^invalid query expression: label_format has no meaning/ },
  ])("$query is refused", ({ query, want }) => {
    expect(() => checkDeleteQuery(query)).toThrow(want);
  });
});
