import { afterEach, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { SEED } from "../../random.ts";
import { keyOf, type PlainEntry, plainQuery } from "../plain/metric.ts";
import { makeStore, type TestStore } from "../run/harness.ts";

/*
 * Lines that a filter chooses, counted where all of a block's lines have the same labels: then the times of a block are not looked at one by
 * one, but walked through to where intervals end. So times lie close to such ends, many are equal, and blocks hold several intervals.
 */
const SECOND = 1_000_000_000n;
const T0 = 1_700_000_000n * SECOND;
const SPAN_SEC = 240;

let store: TestStore | null = null;
afterEach(async () => {
  await store?.close();
});

function entriesOf(random: Random): PlainEntry[] {
  return Array.from({ length: 1500 }, () => ({
    labels: { app: random.pick(["web", "db"]) },
    metadata: {},
    ns: T0 + BigInt(random.below(SPAN_SEC)) * SECOND + BigInt(random.pick([0, 0, 0, 1, 999_999_999, 250_000_000])),
    text: `${random.pick(["error", "warn", "info"])} ${random.below(1000)} ${random.pick(["", "\u00fc", "x y"])}`,
  }));
}

/** A sum of rates depends on their order in its last digits. */
function rounded(value: number): number {
  return Number(value.toPrecision(12));
}

test("are counted in the same intervals as by the plain evaluation", async () => {
  const random = new Random(SEED);
  store = await makeStore({ store: { block_bytes: 4096 } });
  const entries = entriesOf(random);
  for (const { labels, ns, text } of entries) store.append({ labels, ns, text });
  await store.flush();
  let results = 0;
  for (let i = 0; i < 120; i++) {
    const filter = random.pick([
      '|= "error"',
      '|~ "[0-9]{2}"',
      '!= "info"',
      '!~ "^w"',
      '|= "absent"',
      '|= "error" |= "\u00fc"',
    ]);
    const selector = random.pick(['{app=~".+"}', '{app="web"}']);
    const range = random.pick(["1s", "7s", "10s", "1m", "10m", "1500ms"]);
    const leaf = `${random.pick(["count_over_time", "rate"])}(${selector} ${filter} [${range}])`;
    const query = random.pick([
      leaf,
      `sum(${leaf})`,
      `sum by (app) (${leaf})`,
      `absent_over_time(${selector} ${filter} [${range}])`,
    ]);
    // Mostly all blocks lie inside of the windows as a whole; now and then some only in part.
    const early = random.below(3) === 0 ? BigInt(random.below(SPAN_SEC)) : 0n;
    const stepNs = random.pick([SECOND, 5n * SECOND, 30n * SECOND, 60n * SECOND]);
    const times = { startNs: T0 + early * SECOND, endNs: T0 + BigInt(SPAN_SEC + 5) * SECOND, stepNs };
    const wanted = plainQuery(query, entries, times);
    if ("error" in wanted) throw new Error(`${query}: ${wanted.error}`);
    const { series } = await store.engine.metric({ query, ...times });
    const got = new Map(
      series.map(({ labels, points, values }) => [
        keyOf(labels),
        points.map((point, n) => [point, rounded(values[n])]),
      ]),
    );
    const all = new Map(
      [...wanted.series].map(([key, points]) => [
        key,
        [...points].sort((a, b) => a[0] - b[0]).map(([point, value]) => [point, rounded(value)]),
      ]),
    );
    expect(got, `WEIR_TEST_SEED=${SEED}, ${query} from ${early} by ${stepNs}`).toEqual(all);
    results += got.size;
  }
  expect(results).toBeGreaterThan(60);
});
