import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { codeOf, messageOf } from "../../../src/core/errors.ts";
import type { Engine } from "../../../src/query/engine.ts";
import { SEED } from "../../random.ts";
import { keyOf, type PlainResult, plainQuery } from "../plain/metric.ts";
import { makeStore, type TestStore } from "../run/harness.ts";
import { randomHidden } from "../run/random-hidden.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";
import { givenOf, type RandomTimes, randomEntries, randomMetric, randomTimes } from "./random-metric.ts";

const QUERIES = 150;
const NOTHING_HIDDEN = { scope: null, hides: () => false };

async function ask(engine: Engine, query: string, times: RandomTimes): Promise<PlainResult> {
  try {
    const { series, warnings } = await engine.metric({ query, ...times });
    expect(warnings).toEqual([]);
    return {
      series: new Map(
        series.map(({ labels, points, values }) => [
          keyOf(labels),
          new Map(points.map((point, i): [number, number] => [point, values[i]])),
        ]),
      ),
    };
  } catch (error) {
    return { error: messageOf(error), mayPass: false };
  }
}

/** Sums are rounded differently when blocks are merged, and differences of nearly equal numbers show it. */
function isClose(a: number | undefined, b: number): boolean {
  if (a === undefined) return false;
  return Object.is(a, b) || a === b || Math.abs(a - b) <= 1e-6 * Math.max(1e-3, Math.abs(a), Math.abs(b));
}

function compare(got: PlainResult, wanted: PlainResult, about: string): void {
  if ("error" in wanted && wanted.mayPass) return;
  if ("error" in wanted || "error" in got) {
    expect("error" in got ? "fails" : [...got.series], about).toEqual("error" in wanted ? "fails" : [...wanted.series]);
    return;
  }
  expect([...got.series.keys()].sort(), about).toEqual([...wanted.series.keys()].sort());
  for (const [key, points] of wanted.series) {
    const mine = got.series.get(key) ?? new Map<number, number>();
    const same = mine.size === points.size && [...points].every(([point, value]) => isClose(mine.get(point), value));
    if (!same) expect([...mine], `${about} ${key}`).toEqual([...points]);
  }
}

describe("metric queries give what the plain evaluation gives", () => {
  const stores: TestStore[] = [];
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
  });

  test.each([0, 1, 2, 3])(
    "random streams and queries (%i)",
    async (round) => {
      const seed = SEED + round;
      const random = new Random(seed);
      // In every second round some lines are expired or deleted.
      const { scope, hides } = round % 2 === 0 ? NOTHING_HIDDEN : randomHidden(random);
      const store = await makeStore({
        query: { max_query_series: 100_000 },
        store: { block_bytes: 4096 },
        hidden: () => scope,
      });
      const entries = randomEntries(random, 500);
      const visible = entries.filter((entry) => !hides(entry));
      let flushing: Promise<void> = Promise.resolve();
      stores.push(store);
      for (let i = 0; i < entries.length; i++) {
        store.append(givenOf(entries[i]));
        // Segments, blocks that wait to be committed, and open blocks.
        if (i === 200) await store.flush();
        if (i === 350) flushing = store.flush();
      }
      let failed = 0;
      let empty = 0;
      for (let i = 0; i < QUERIES; i++) {
        const query = randomMetric(random);
        const times = randomTimes(random);
        const wanted = plainQuery(query, visible, times);
        const got = await ask(store.engine, query, times);
        await flushing;
        compare(
          got,
          wanted,
          `seed ${seed}, ${query} at ${JSON.stringify(times, (_, v) => (typeof v === "bigint" ? String(v) : v))}`,
        );
        if ("error" in wanted) failed++;
        else if (wanted.series.size === 0) empty++;
      }
      // The generator is worth something only if most queries give something.
      expect(failed + empty).toBeLessThan(QUERIES * 0.7);
    },
    300_000,
  );

  test("queries of the whole grammar end in an answer or in an error with a code of its own", async () => {
    const random = new Random(SEED + 100);
    const store = await makeStore({ store: { block_bytes: 4096 } });
    stores.push(store);
    for (const entry of randomEntries(random, 300)) store.append(givenOf(entry));
    await store.flush();
    const codes = new Set<string>();
    const source = makeRandomQuery(SEED + 100);
    for (let i = 0; i < 600; i++) {
      const query = source.query();
      // Of a selector that is asked for nearly nothing there is something.
      const asked = query.replace(/\{[^}]*\}/g, '{app=~".+"}');
      try {
        if (store.engine.kindOf(asked).kind === "log") continue;
        await store.engine.metric({ query: asked, ...randomTimes(random) });
        codes.add("answered");
      } catch (error) {
        codes.add(codeOf(error));
        expect(["bad_query", "query_vector_matching"], `seed ${SEED}, ${asked}: ${messageOf(error)}`).toContain(
          codeOf(error),
        );
      }
    }
    expect(codes).toContain("answered");
  });
});
