import { describe, expect, test } from "vitest";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import { Line } from "../../src/core/line.ts";
import { DigestCollector } from "../../src/roles/digest.ts";
import { digestOptions } from "../../src/roles/digest-options.ts";
import { deliveryOptions } from "../../src/roles/sink-options.ts";
import { sinkSpecs } from "../../src/roles/sink-specs.ts";

interface Digest {
  readonly count: number;
  readonly bytes: number;
  readonly first: string;
  readonly last: string;
  readonly levels: Record<string, number>;
  readonly shape?: string;
  readonly other?: boolean;
  readonly example: string;
}

const collector = (given: Record<string, unknown> = {}) =>
  new DigestCollector(3, "out", digestOptions.parse({ interval_ms: 1000, ...given }), 1);

function add(
  to: DigestCollector,
  text: string,
  {
    labels = { app: "web" },
    level = "",
    sec = 100,
    tenant = "fake",
  }: { labels?: Labels; level?: string; sec?: number; tenant?: string } = {},
): void {
  const line = new Line();
  line.bytes = Buffer.from(text);
  line.end = line.bytes.length;
  line.sec = sec;
  line.level = level;
  to.append(to.stream(tenant, labels, canonicalLabels(labels)), line);
}

const bodies = (to: DigestCollector, until = 9) =>
  to.take(until).map(({ record }) => ({ ...record, body: JSON.parse(record.line.toString()) as Digest }));

describe("digests", () => {
  test("have count, bytes, times, levels, shape and an example of each group", () => {
    const it = collector();
    it.begin({ offset: 5, receivedMs: 10_000 }, 0);
    add(it, "failed after 12 ms", { level: "error", sec: 100 });
    add(it, "failed after 7 ms", { level: "error", sec: 90 });
    add(it, "started", { level: "info", sec: 101 });
    it.begin({ offset: 6, receivedMs: 10_500 }, 0);
    add(it, "failed after 1 ms", { level: "error", sec: 102 });
    const [failed, started, ...none] = bodies(it, 7);
    expect(none).toEqual([]);
    expect(failed).toMatchObject({
      id: expect.stringMatching(/^3-5-0-d[0-9a-f]{8}$/),
      tenant: "fake",
      sec: 102,
      labels: { app: "web" },
      canonical: '{"app":"web"}',
      metadata: [["detected_level", "error"]],
    });
    expect(failed.body).toEqual({
      count: 3,
      bytes: 52,
      first: "1970-01-01T00:01:30Z",
      last: "1970-01-01T00:01:42Z",
      levels: { error: 3 },
      shape: "failed after <n> ms",
      example: "failed after 12 ms",
    });
    expect(failed.json).toBe(failed.line.toString());
    expect([started.id.slice(0, 6), started.body.count]).toEqual(["3-5-1-", 1]);
    expect(it.count).toBe(0);
    expect(it.oldestMs).toBeNull();
  });

  test("move the position with the last of them alone, to the end of the interval", () => {
    const it = collector();
    it.begin({ offset: 5, receivedMs: 10_000 }, 2);
    for (const text of ["skipped", "skipped too", "a", "b", "c"]) add(it, text);
    const taken = it.take(8);
    expect(taken.map(({ after }) => after)).toEqual([
      { offset: 5, place: 2 },
      { offset: 5, place: 2 },
      { offset: 8, place: 0 },
    ]);
    // An id that no record of the entry has had, which may have been sent before the option was there.
    expect(taken.map(({ record }) => record.id.slice(0, 6))).toEqual(["3-5-2-", "3-5-3-", "3-5-4-"]);
  });

  test.each([
    { name: "chosen labels", given: { by: ["app"], shape: false, level: false }, want: [3, 1] },
    { name: "all labels", given: { shape: false, level: false }, want: [2, 1, 1] },
    { name: "no labels", given: { by: [], shape: false, level: false }, want: [4] },
    { name: "level", given: { by: [], shape: false }, want: [3, 1] },
    { name: "shape", given: { by: [], level: false }, want: [3, 1] },
  ])("are told apart by $name", ({ given, want }) => {
    const it = collector(given);
    it.begin({ offset: 0, receivedMs: 0 }, 0);
    add(it, "n 1", { labels: { app: "a", pod: "1" }, level: "info" });
    add(it, "n 2", { labels: { app: "a", pod: "1" }, level: "info" });
    add(it, "n 3", { labels: { app: "a", pod: "2" }, level: "warn" });
    add(it, "m 4", { labels: { app: "b", pod: "1" }, level: "info" });
    expect(bodies(it).map(({ body }) => body.count)).toEqual(want);
  });

  test("of two tenants are never one", () => {
    const it = collector({ by: [], level: false, shape: false });
    it.begin({ offset: 0, receivedMs: 0 }, 0);
    add(it, "x", { tenant: "a" });
    add(it, "x", { tenant: "b" });
    expect(bodies(it).map(({ tenant, body }) => [tenant, body.count])).toEqual([
      ["a", 1],
      ["b", 1],
    ]);
  });

  test("of one entry are bounded, whatever levels its lines bring", () => {
    const it = collector({ groups_max: 2 });
    it.begin({ offset: 0, receivedMs: 0 }, 0);
    add(it, "first", { level: "info" });
    for (let i = 0; i < 1000; i++) add(it, `line ${i}`, { level: `level ${i}` });
    add(it, "first", { level: "info" });
    const all = bodies(it);
    expect(all.map(({ metadata }) => metadata[0][1])).toEqual(["info", "level 0", "level 1", "level 2", "other"]);
    expect(all.map(({ body }) => body.count)).toEqual([2, 1, 1, 1, 997]);
  });

  test("beyond groups_max are of no shape, and end the interval when there are twice as many", () => {
    const it = collector({ groups_max: 2 });
    it.begin({ offset: 0, receivedMs: 10_000 }, 0);
    for (const word of ["a", "b", "c", "d", "other"]) add(it, word);
    expect(it.endsBy(10_000)).toBe(false);
    add(it, "a");
    add(it, "e", { labels: { app: "x" } });
    expect(it.endsBy(10_000)).toBe(true);
    expect(bodies(it).map(({ body: { count, shape, other } }) => [count, shape, other])).toEqual([
      [2, "a", undefined],
      [1, "b", undefined],
      [3, undefined, true],
      [1, undefined, true],
    ]);
  });

  test("hold little of a long line", () => {
    const it = collector({ example_bytes_max: 10 });
    it.begin({ offset: 0, receivedMs: 0 }, 0);
    add(it, "é".repeat(1 << 20));
    const [{ body }] = bodies(it);
    expect(body.bytes).toBe(2 << 20);
    expect(body.example).toBe("ééééé");
  });

  test("belong to the interval in which their entries were received", () => {
    const it = collector();
    expect(it.endsBy(99_999)).toBe(false);
    it.begin({ offset: 0, receivedMs: 10_999 }, 0);
    add(it, "x");
    expect(it.endsBefore({ offset: 1, receivedMs: 10_100 })).toBe(false);
    expect(it.endsBefore({ offset: 1, receivedMs: 9_000 })).toBe(false); // A little late.
    expect(it.endsBefore({ offset: 1, receivedMs: 11_000 })).toBe(true);
    expect([it.endsBy(10_999), it.endsBy(11_000), it.endsBy(9_500), it.endsBy(0)]).toEqual([false, true, false, true]);
  });

  test("of sinks with other options have other ids", () => {
    const ids = [
      collector(),
      collector({ by: [] }),
      new DigestCollector(3, "out2", digestOptions.parse({ interval_ms: 1000 }), 1),
    ].map((it) => {
      it.begin({ offset: 0, receivedMs: 0 }, 0);
      add(it, "x");
      return it.take(1)[0]?.record.id;
    });
    expect(new Set(ids).size).toBe(3);
  });

  test("count unusual levels together", () => {
    const it = collector({ level: false, shape: false });
    it.begin({ offset: 0, receivedMs: 0 }, 0);
    for (let i = 0; i < 100; i++) add(it, "x", { level: `l${i}` });
    const [{ body }] = bodies(it);
    expect(Object.keys(body.levels).length).toBe(17);
    expect(body.levels.other).toBe(84);
  });
});

describe("the option digest", () => {
  test("has defaults, and is absent by default", () => {
    expect(deliveryOptions.parse({}).digest).toBeUndefined();
    expect(deliveryOptions.parse({ digest: {} }).digest).toMatchObject({
      interval_ms: 60_000,
      level: true,
      shape: true,
    });
  });

  test("must leave time to send", () => {
    const { options } = sinkSpecs.null;
    expect(options.safeParse({ digest: { interval_ms: 2000 }, lag_age_max_ms: 4000 }).success).toBe(true);
    const { error } = options.safeParse({ digest: { interval_ms: 2001 }, lag_age_max_ms: 4000 });
    expect(error?.issues).toMatchObject([
      { path: ["digest", "interval_ms"], message: "want at most half of lag_age_max_ms" },
    ]);
  });
});
