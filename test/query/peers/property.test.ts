import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { codeOf, messageOf } from "../../../src/core/errors.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import type { Engine, LogRequest, LogResult, MetricResult } from "../../../src/query/engine.ts";
import { SEED } from "../../random.ts";
import { givenOf, randomEntries, randomMetric, randomTimes } from "../metric/random-metric.ts";
import { entriesOf, makeStore, type TestStore } from "../run/harness.ts";
import { engineOver, FAULTS, FaultyQuerier, scansOver, untilUp } from "./support.ts";

const LINES = 1200;
const QUERIES = 30;
const SECOND = 1_000_000_000n;

/** A result, or the error that took its place, as something to compare. Numbers to the last digit: batches are merged in one order. */
async function outcome<T extends LogResult | MetricResult>(
  work: Promise<T>,
  show: (result: T) => unknown,
): Promise<unknown> {
  try {
    const result = await work;
    return { shown: show(result), warnings: result.warnings };
  } catch (error) {
    // Which of several lines that fail is told of depends on which batch is back first.
    return { code: codeOf(error), message: messageOf(error).replace(/^(pipeline error): .*/s, "$1") };
  }
}

const showMetric = ({ series }: MetricResult) =>
  series.map(({ labels, points, values }) => ({ labels, points: [...points], values: [...values] }));
const showLog = (result: LogResult) => entriesOf(result).map(({ ns, ...entry }) => ({ ns: String(ns), ...entry }));

function randomLog(random: Random): LogRequest {
  const selector = random.pick(['{app=~".+"}', '{app=~".+"}', '{app="web"}', '{app=~"web|db", env="p"}']);
  const stages = random.pick([
    "",
    "",
    "",
    ' |= "level"',
    ' |= "warn" or "error"',
    ' |~ "v=\\\\d+"',
    ' | detected_level="error"',
    " | logfmt",
    " | json | v > 20",
    ' | logfmt | level="warn" | line_format "{{.v}} {{.took}}"',
    ' | pod=~"pod-[01]" |= "v="',
    ' |= "nowhere to be found"',
  ]);
  const startNs = (1_700_000_000n + BigInt(random.below(300) - 20)) * SECOND;
  return {
    query: selector + stages,
    startNs,
    endNs: startNs + BigInt(random.pick([1, 30, 200, 400])) * SECOND,
    limit: random.pick([1, 3, 20, 100, 5000]),
    backward: random.below(2) === 0,
    categorize: random.below(2) === 0,
    ...(random.below(5) === 0 ? { intervalNs: BigInt(1 + random.below(10)) * SECOND } : {}),
  };
}

interface Ground {
  readonly store: TestStore;
  readonly peers: readonly FaultyQuerier[];
  readonly fanned: Engine;
  readonly metrics: Metrics;
}

describe("queries spread over other queriers give what one gives by itself", () => {
  const ends: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const end of ends.splice(0)) await end();
  });

  async function prepare(random: Random, count: number, timeoutMs = 120_000): Promise<Ground> {
    const store = await makeStore({ query: { max_query_series: 100_000 }, store: { block_bytes: 4096 } });
    ends.push(() => store.close());
    // A batch has at least 64 KiB of compressed lines, and a query should have several.
    const entries = randomEntries(random, LINES).map((entry) => {
      const isPlain = typeof entry.text === "string" && /^[pv]/.test(entry.text);
      return isPlain ? { ...entry, text: `${entry.text} pad=${random.hex(400)}` } : entry;
    });
    for (const [i, entry] of entries.entries()) {
      store.append(givenOf(entry));
      // Many segments; the last lines stay in memory, where no other querier can see them.
      if (i % 100 === 99 && i < LINES - 100) await store.flush();
    }
    const peers = Array.from(
      { length: count },
      (_, i) => new FaultyQuerier(scansOver(store.objects, `peer-${i}`), new Random(random.u32())),
    );
    for (const peer of peers) {
      await peer.start();
      ends.push(() => peer.kill());
    }
    const metrics = new Metrics();
    const fanned = engineOver(
      store,
      { max_query_series: 100_000, queriers: peers.map(({ address }) => address), querier_timeout_ms: timeoutMs },
      { metrics },
    );
    ends.unshift(() => fanned.close());
    await untilUp(metrics, count);
    return { store, peers, fanned, metrics };
  }

  async function compareMany(
    { store, fanned }: Ground,
    random: Random,
    about: string,
    before: () => Promise<void>,
  ): Promise<void> {
    for (let i = 0; i < QUERIES; i++) {
      await before();
      if (i % 2 === 0) {
        const request = randomLog(random);
        const [there, here] = await Promise.all([
          outcome(fanned.queryRange(request), showLog),
          outcome(store.engine.queryRange(request), showLog),
        ]);
        expect(there, `${about}, ${text(request)}`).toEqual(here);
      } else {
        const request = { query: randomMetric(random), ...randomTimes(random) };
        const [there, here] = await Promise.all([
          outcome(fanned.metric(request), showMetric),
          outcome(store.engine.metric(request), showMetric),
        ]);
        expect(there, `${about}, ${text(request)}`).toEqual(here);
      }
    }
  }

  test.each([1, 2, 3])("%i of them, all well", { timeout: 600_000 }, async (count) => {
    const seed = SEED + count;
    const random = new Random(seed);
    const ground = await prepare(random, count);
    await compareMany(ground, random, `seed ${seed}`, async () => undefined);
    for (const peer of ground.peers) expect(peer.answered).toBeGreaterThan(0);
    expect(await failures(ground)).toBe(0);
  });

  test.each([1, 2, 3])(
    "%i of them that fail in every way, and are killed and come back",
    { timeout: 600_000 },
    async (count) => {
      const seed = SEED + 10 + count;
      const random = new Random(seed);
      const ground = await prepare(random, count, 500);
      for (const peer of ground.peers) {
        // Of its own, so that the queries are those of the seed, whoever is asked what first.
        const faults = new Random(random.u32());
        peer.faultOf = () => {
          // The first one surely; how many there are after that depends on how long it rests.
          if (peer.asked === 1) return "reset";
          // In the middle of a query, now and then.
          if (faults.below(12) === 0) void peer.kill();
          return faults.below(3) === 0 ? faults.pick(FAULTS) : null;
        };
      }
      await compareMany(ground, random, `seed ${seed}`, async () => {
        for (const peer of ground.peers) if (!peer.isUp && random.below(2) === 0) await peer.start();
        // What rests after a failure is asked again, a little later than that.
        if (random.below(4) === 0) await new Promise((resolve) => setTimeout(resolve, 100));
      });
      expect(ground.peers.some(({ asked }) => asked > 0)).toBe(true);
      expect(await failures(ground)).toBeGreaterThan(0);
    },
  );
});

async function failures({ metrics }: Ground): Promise<number> {
  const found = (await metrics.render()).matchAll(/^weir_query_peer_requests_total\{[^}]*outcome="failed"\} (\d+)$/gm);
  return [...found].reduce((sum, [, count]) => sum + Number(count), 0);
}

const text = (request: object) =>
  JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value));
