import { afterEach, describe, expect, test, vi } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { canonicalLabels, DEFAULT_TENANT, type Labels } from "../../../src/core/labels.ts";
import { Line } from "../../../src/core/line.ts";
import { silentLogger } from "../../../src/core/log.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import { MemoryStore } from "../../../src/objects/memory.ts";
import { createEngine } from "../../../src/query/create.ts";
import type { Engine, LogResult } from "../../../src/query/engine.ts";
import { localSnapshots } from "../../../src/query/local-snapshots.ts";
import { queryOptions } from "../../../src/query/options.ts";
import { openCatalog } from "../../../src/store/catalog.ts";
import { storeOptions } from "../../../src/store/options.ts";
import { SegmentReader } from "../../../src/store/reader.ts";
import { openStreamWriter, type StreamWriter } from "../../../src/store/writer.ts";

const LEVELS = ["info", "warn", "error"];
const WORDS = ["get", "put", "panic", "timeout", "cache", "über", ""];

interface Stored {
  readonly labels: Labels;
  readonly sec: number;
  readonly nsec: number;
  readonly text: string;
  readonly level: string;
  readonly order: number;
}

interface Found {
  readonly timeNs: string;
  readonly stream: string;
  readonly text: string;
}

/** A store in memory with a writer, whose blocks are small enough that every query meets many. */
async function makeStore() {
  const objects = new MemoryStore();
  const metrics = new Metrics();
  const catalog = await openCatalog(objects, metrics, silentLogger);
  const options = storeOptions.parse({ block_bytes: 4096, level: 1 });
  const writer = openStreamWriter(options, {
    objects,
    catalog,
    metrics,
    log: silentLogger,
    now: Date.now,
    partition: 0,
  });
  const reader = new SegmentReader(objects, { cacheBytes: 1 << 20 });
  const engine = createEngine(queryOptions.parse({ threads: 0 }), {
    snapshots: localSnapshots(catalog, [writer]),
    reader,
    objectsUrl: "memory:",
    metrics,
    log: silentLogger,
  });
  return { writer, engine, objects, catalog };
}

const line = new Line();

function append(writer: StreamWriter, { labels, sec, nsec, text, level }: Stored): void {
  line.clear();
  line.sec = sec;
  line.nsec = nsec;
  line.bytes = Buffer.from(text);
  line.start = 0;
  line.end = line.bytes.length;
  line.level = level;
  writer.append(writer.stream(DEFAULT_TENANT, labels, canonicalLabels(labels)), line);
}

function entriesOf(result: LogResult): Found[] {
  return [...result.entries].map(({ sec, nsec, group, line: bytes }) => ({
    timeNs: `${BigInt(sec) * 1_000_000_000n + BigInt(nsec)}`,
    stream: group,
    text: bytes.toString(),
  }));
}

/** What a query over `stored` must give, the plain way: look at everything, sort, cut. */
function reference(
  stored: readonly Stored[],
  keep: (one: Stored) => boolean,
  range: { startNs: bigint; endNs: bigint; backward: boolean; limit: number },
): Found[] {
  const ns = ({ sec, nsec }: Stored) => BigInt(sec) * 1_000_000_000n + BigInt(nsec);
  const sign = range.backward ? -1 : 1;
  return stored
    .filter((one) => ns(one) >= range.startNs && ns(one) < range.endNs && keep(one))
    .sort((a, b) => sign * (a.sec - b.sec || a.nsec - b.nsec || a.order - b.order))
    .slice(0, range.limit)
    .map((one) => ({
      timeNs: `${ns(one)}`,
      stream: canonicalLabels({ ...one.labels, detected_level: one.level }),
      text: one.text,
    }));
}

describe("queries over segments, pending and open blocks", () => {
  const engines: Engine[] = [];
  afterEach(async () => {
    for (const engine of engines.splice(0)) await engine.close();
  });

  const QUERIES: readonly { readonly query: string; readonly keep: (one: Stored) => boolean }[] = [
    { query: '{app=~".+"}', keep: () => true },
    { query: '{app="a1"}', keep: ({ labels }) => labels.app === "a1" },
    { query: '{app=~"a[12]", env!="p"}', keep: ({ labels }) => /^a[12]$/.test(labels.app) && labels.env !== "p" },
    { query: '{app=~".+"} |= "panic"', keep: ({ text }) => text.includes("panic") },
    {
      query: '{app=~".+"} |= "panic" or "cache" != "über"',
      keep: ({ text }) => /panic|cache/.test(text) && !text.includes("über"),
    },
    { query: '{app=~".+"} |~ "time(out|r) n=1"', keep: ({ text }) => /time(out|r) n=1/.test(text) },
    { query: '{app=~".+"} |= "absent"', keep: () => false },
    { query: '{app=~".+"} | detected_level="error"', keep: ({ level }) => level === "error" },
  ];

  test.each([1, 2, 3, 4])("give what looking at every line gives (seed %i)", async (seed) => {
    const random = new Random(seed);
    const { writer, engine } = await makeStore();
    engines.push(engine);
    const streams = [1, 2, 3].flatMap((a) => ["p", "q"].map((env) => ({ app: `a${a}`, env })));
    const stored: Stored[] = [];
    let flushing: Promise<void> = Promise.resolve();
    for (let order = 0; order < 3000; order++) {
      const one: Stored = {
        labels: streams[random.below(streams.length)],
        // Few distinct times, out of order, so that equal ones occur within and across streams.
        sec: 1_700_000_000 + Math.floor(order / 10) - random.below(50),
        nsec: random.below(3) * 250_000_000,
        text: `${random.pick(WORDS)} ${random.pick(WORDS)} n=${random.below(100)}`,
        level: random.pick(LEVELS),
        order,
      };
      append(writer, one);
      stored.push(one);
      if (order % 700 === 699) {
        // While this one is written, lines go on coming.
        flushing = Promise.all([flushing, writer.flush(order + 1)]).then(() => undefined);
      }
      if (order % 500 === 250) await flushing;
    }
    for (const { query, keep } of QUERIES) {
      for (const backward of [true, false]) {
        const startNs = BigInt(1_700_000_000 + random.below(200)) * 1_000_000_000n;
        const endNs = startNs + BigInt(random.below(200)) * 1_000_000_000n;
        const range = { startNs, endNs, backward, limit: random.pick([1, 7, 100, 5000]) };
        const result = await engine.queryRange({ query, ...range });
        const wanted = reference(stored, keep, range);
        const got = entriesOf(result);
        // Between streams the order of equal times is nobody's: compare within each stream, and the times over all.
        expect(
          got.map(({ timeNs }) => timeNs),
          query,
        ).toEqual(wanted.map(({ timeNs }) => timeNs));
        if (range.limit === 5000) {
          const byStream = (found: readonly Found[]) =>
            [...found].sort((a, b) => (a.stream < b.stream ? -1 : a.stream > b.stream ? 1 : 0));
          expect(sortedWithin(byStream(got)), query).toEqual(sortedWithin(byStream(wanted)));
        }
        expect(result.warnings).toEqual([]);
      }
    }
    await flushing;
  });

  test("name the streams that there are", async () => {
    const { writer, engine } = await makeStore();
    engines.push(engine);
    const one = { sec: 1_700_000_000, nsec: 0, text: "x", level: "info", order: 0 };
    append(writer, { ...one, labels: { app: "a", env: "p" } });
    await writer.flush(1);
    append(writer, { ...one, labels: { app: "b" } });
    const range = { startNs: 1_600_000_000_000_000_000n, endNs: 1_800_000_000_000_000_000n };
    expect(await engine.labels({ ...range, selectors: [] })).toEqual(["app", "env"]);
    expect(await engine.labelValues("app", { ...range, selectors: [] })).toEqual(["a", "b"]);
    expect(await engine.labelValues("app", { ...range, selectors: ['{env="p"}'] })).toEqual(["a"]);
    expect(await engine.series({ ...range, selectors: [] })).toEqual([{ app: "a", env: "p" }, { app: "b" }]);
  });

  test("let others have a turn between blocks that are only counted", async () => {
    const { writer, engine } = await makeStore();
    engines.push(engine);
    for (let order = 0; order < 60; order++) {
      const labels = { app: `a${order}` };
      append(writer, { labels, sec: 1_700_000_000, nsec: 0, text: "x", level: "info", order });
    }
    await writer.flush(60);
    // Each look at the clock finds a slice over.
    let ms = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => (ms += 10));
    let turns = 0;
    const most: number[] = [];
    const count = () => {
      turns++;
      if (most.length > 0) setImmediate(count);
    };
    try {
      const request = { ...{ startNs: 1_600_000_000_000_000_000n, endNs: 1_800_000_000_000_000_000n }, selectors: [] };
      let before = 0;
      most.push(0);
      setImmediate(count);
      await engine.eachBlock(request, () => () => {
        most.push(turns - before);
        before = turns;
      });
    } finally {
      clock.mockRestore();
    }
    const between = most.splice(0).slice(2);
    expect(between).toHaveLength(59);
    expect(Math.min(...between)).toBeGreaterThan(0);
  });

  test("keep lines an interval apart", async () => {
    const { writer, engine } = await makeStore();
    engines.push(engine);
    for (let order = 0; order < 50; order++) {
      append(writer, {
        labels: { app: "a" },
        sec: 1_700_000_000 + order,
        nsec: 0,
        text: `${order}`,
        level: "info",
        order,
      });
    }
    const range = { query: '{app="a"}', startNs: 1_700_000_000_000_000_000n, endNs: 1_700_000_100_000_000_000n };
    const request = { ...range, intervalNs: 10_000_000_000n, limit: 3 };
    const forward = await engine.queryRange({ ...request, backward: false });
    expect(entriesOf(forward).map(({ text }) => text)).toEqual(["0", "10", "20"]);
    const backward = await engine.queryRange({ ...request, backward: true });
    expect(entriesOf(backward).map(({ text }) => text)).toEqual(["49", "39", "29"]);
  });

  test("cost a broken segment's own lines only, and say so", async () => {
    const { writer, engine, objects, catalog } = await makeStore();
    engines.push(engine);
    append(writer, { labels: { app: "a" }, sec: 1_700_000_000, nsec: 0, text: "lost", level: "info", order: 0 });
    await writer.flush(1);
    append(writer, { labels: { app: "a" }, sec: 1_700_000_001, nsec: 0, text: "kept", level: "info", order: 1 });
    await writer.flush(2);
    const [first] = catalog.tail();
    const bytes = await objects.get(first.key);
    bytes[40] ^= 0xff;
    await objects.put(first.key, [bytes]);
    const range = { startNs: 1_600_000_000_000_000_000n, endNs: 1_800_000_000_000_000_000n, limit: 10, backward: true };
    const result = await engine.queryRange({ query: '{app="a"} |~ "."', ...range });
    expect(entriesOf(result).map(({ text }) => text)).toEqual(["kept"]);
    expect(result.warnings).toEqual([expect.stringContaining(first.key)]);
  });
});

function sortedWithin(found: readonly Found[]): string[] {
  return found.map((one) => `${one.stream} ${one.timeNs} ${one.text}`).sort();
}
