import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { retentionSection } from "../../src/cli/retention-section.ts";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { sleepFor } from "../../src/core/wait.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { type Forgetting, openForgetting } from "../../src/roles/forget.ts";
import { type Catalog, openCatalog } from "../../src/store/catalog.ts";
import { Compactor, type PassReport } from "../../src/store/compact/compactor.ts";
import { compactorOptions } from "../../src/store/compact/options.ts";
import type { DeleteReport } from "../../src/store/deletes.ts";
import { type Given, makeStore, SECOND, T0, type TestStore, textsOf } from "../query/run/harness.ts";
import { SEED } from "../random.ts";

const HOUR_MS = 3_600_000;
const T0_MS = Number(T0 / 1_000_000n);

interface Setup {
  readonly retention?: Record<string, unknown>;
  readonly compactor?: Record<string, unknown>;
}

/** A store whose compactor removes what has expired or was deleted. `nowMs` is everybody's clock. */
class Kept {
  readonly store: TestStore;
  readonly forgetting: Forgetting;
  readonly compactor: Compactor;
  nowMs = T0_MS + HOUR_MS;
  /** Lines that were received; the store has those that were flushed. */
  received = 0;
  private readonly view: { hides: boolean };

  private constructor(store: TestStore, forgetting: Forgetting, compactor: Compactor, view: { hides: boolean }) {
    this.store = store;
    this.forgetting = forgetting;
    this.compactor = compactor;
    this.view = view;
  }

  static async open({ retention = {}, compactor = {} }: Setup = {}): Promise<Kept> {
    const view = { hides: true };
    const late: { kept?: Kept } = {};
    const now = () => late.kept?.nowMs ?? T0_MS;
    const store = await makeStore({
      hidden: (tenant) => (view.hides ? (late.kept?.forgetting.hidden(tenant) ?? null) : null),
    });
    const metrics = new Metrics();
    const forgetting = await openForgetting(retentionSection.parse(retention), {
      objects: store.objects,
      catalog: store.catalog,
      intakeEnds: async () => ({ 0: late.kept?.received ?? 0 }),
      metrics,
      log: silentLogger,
      now,
    });
    const made = compactorOver(store.objects, store.catalog, forgetting, now, compactor);
    late.kept = new Kept(store, forgetting, made, view);
    open.push(late.kept);
    return late.kept;
  }

  append(...lines: readonly Given[]): void {
    for (const line of lines) this.store.append(line);
    this.received += lines.length;
  }

  pass(): Promise<PassReport> {
    return this.compactor.pass({ removals: true });
  }

  async ask(query: string, from: bigint, to: bigint): Promise<void> {
    await this.forgetting.service.add({ tenant: "fake", query, startNs: from, endNs: to });
  }

  list(): DeleteReport[] {
    return this.forgetting.deletes.list("fake");
  }

  /** The texts that queries give. */
  async seen(): Promise<string[]> {
    const range = { startNs: T0 - 10n ** 17n, endNs: T0 + 10n ** 17n };
    return textsOf(
      await this.store.engine.queryRange({ query: '{app=~".+"}', ...range, limit: 100_000, backward: false }),
    );
  }

  /** The texts that are there, hidden or not. */
  async there(): Promise<string[]> {
    this.view.hides = false;
    const texts = await this.seen();
    this.view.hides = true;
    return texts;
  }
}

function compactorOver(
  objects: ObjectStore,
  catalog: Catalog,
  { removals }: Forgetting,
  now: () => number,
  options: Record<string, unknown>,
): Compactor {
  return new Compactor(compactorOptions.parse({ cpu_share: 1, fan_in: 1000, ...options }), {
    objects,
    catalog,
    blockBytes: 4096,
    removals,
    metrics: new Metrics(),
    log: silentLogger,
    now,
    sleep: sleepFor,
    signal: new AbortController().signal,
  });
}

const open: Kept[] = [];
afterEach(async () => {
  for (const { store } of open.splice(0)) await store.close();
});

const at = (n: number) => T0 + BigInt(n) * SECOND;
const line = (n: number, text: string, app = "web"): Given => ({ labels: { app }, ns: at(n), text });

describe("a deletion request", () => {
  test("is gone from the store after a pass, with a report; what it does not mean is still there", async () => {
    const kept = await Kept.open();
    kept.append(
      line(0, "a secret"),
      line(1, "plain"),
      line(2, "a secret, elsewhere", "other"),
      line(9, "a secret, later"),
    );
    await kept.store.flush();
    await kept.ask('{app="web"} |= "secret"', at(0), at(5));
    const left = ["plain", "a secret, elsewhere", "a secret, later"];
    expect(await kept.seen()).toEqual(left);
    expect((await kept.there()).length).toBe(4);
    expect((await kept.pass()).removedLines).toBe(1);
    expect(await kept.there()).toEqual(left);
    expect(await kept.seen()).toEqual(left);
    const removed = { lines: 1, bytes: "a secret\n".length, segments: 1 };
    expect(kept.list()).toMatchObject([{ status: "processed", percent: 100, removed, processedMs: kept.nowMs }]);
    expect(await kept.pass()).toMatchObject({ merges: 0, removedLines: 0 });
  });

  test("of which a state can't be read holds up neither the others nor compaction, and goes on hiding its lines", async () => {
    const kept = await Kept.open({ compactor: { fan_in: 2 } });
    for (const [n, text] of ["secret 1", "secret 2", "plain"].entries()) {
      kept.append(line(n, text));
      await kept.store.flush();
    }
    await kept.ask('{app="web"} |= "secret 1"', at(0), at(5));
    const [{ id }] = kept.list();
    const state = `deletes/fake/${id}.000001.json`;
    await kept.store.objects.put(state, [Buffer.from("damaged")]);
    await kept.ask('{app="web"} |= "secret 2"', at(0), at(5));
    expect((await kept.pass()).merges).toBeGreaterThan(0);
    expect(kept.list().map((one) => [one.id === id, one.status])).toEqual(
      expect.arrayContaining([
        [true, "received"],
        [false, "processed"],
      ]),
    );
    expect(await kept.there()).toEqual(["secret 1", "plain"]);
    expect(await kept.seen()).toEqual(["plain"]);
    // Or the next pass would follow at once, again and again.
    expect(kept.forgetting.removals.isDue()).toBe(false);
    await kept.store.objects.delete(state);
    await kept.pass();
    expect(await kept.there()).toEqual(["plain"]);
  });

  test("is not done while a page of the catalog can't be read, and what others name is removed all the same", async () => {
    const kept = await Kept.open();
    kept.append(line(0, "secret"));
    await kept.store.flush();
    await kept.store.catalog.fold();
    // A day later, so in a page of its own.
    kept.append(line(86_400, "secret, a day later"));
    await kept.store.flush();
    await kept.store.catalog.fold();
    const [first] = kept.store.catalog.view().root.pages.toSorted((a, b) => (a.day < b.day ? -1 : 1));
    const page = await kept.store.objects.get(first.key);
    await kept.store.objects.put(first.key, [Buffer.from("damaged")]);
    kept.nowMs = T0_MS + 90_000_000;
    const again = await openCatalog(kept.store.objects, new Metrics(), silentLogger);
    const compactor = compactorOver(kept.store.objects, again, kept.forgetting, () => kept.nowMs, {});
    await kept.ask('{app="web"} |= "secret"', at(0), at(86_400));
    expect((await compactor.pass({ removals: true })).removedLines).toBe(1);
    expect(kept.list()).toMatchObject([{ status: "processing", removed: { lines: 1 } }]);
    await kept.store.objects.put(first.key, [page]);
    expect((await compactor.pass({ removals: true })).removedLines).toBe(1);
    await compactor.pass({ removals: true });
    expect(kept.list()).toMatchObject([{ status: "processed" }]);
  });

  test("without a filter takes whole blocks, and may leave nothing", async () => {
    const kept = await Kept.open();
    for (let n = 0; n < 500; n++) kept.append(line(n, `line ${n}`));
    await kept.store.flush();
    await kept.ask('{app="web"}', at(0), at(1000));
    await kept.pass();
    expect(await kept.there()).toEqual([]);
    expect(await kept.store.catalog.view().segments({ tenant: "fake", startNs: at(0), endNs: at(1000) })).toEqual([]);
    expect(kept.list()).toMatchObject([{ status: "processed", removed: { lines: 500 } }]);
  });

  test("that means nothing that is there is done without a segment being written", async () => {
    const kept = await Kept.open();
    kept.append(line(0, "plain"));
    await kept.store.flush();
    await kept.ask('{app="web"} |= "secret"', at(0), at(5));
    await kept.ask('{app="nobody"}', at(0), at(5));
    expect(await kept.pass()).toMatchObject({ merges: 0 });
    expect(kept.list().map(({ status }) => status)).toEqual(["processed", "processed"]);
  });

  test("is not done before the lines that were received when it was made are in segments", async () => {
    const kept = await Kept.open();
    kept.append(line(0, "secret 0"));
    await kept.store.flush();
    kept.append(line(1, "secret 1"));
    await kept.ask('{app="web"} |= "secret"', at(0), at(5));
    await kept.pass();
    expect(kept.list()).toMatchObject([{ status: "processing", removed: { lines: 1 } }]);
    expect(await kept.seen()).toEqual([]);
    expect(await kept.there()).toEqual(["secret 1"]);
    await kept.store.flush();
    await kept.pass();
    expect(kept.list()).toMatchObject([{ status: "processed", removed: { lines: 2, segments: 2 } }]);
    expect(await kept.there()).toEqual([]);
  });

  test("means lines that come later only until it is done", async () => {
    const kept = await Kept.open();
    await kept.ask('{app="web"}', at(0), at(5));
    kept.append(line(1, "late"));
    await kept.store.flush();
    expect(await kept.seen()).toEqual([]);
    await kept.pass();
    expect(kept.list()).toMatchObject([{ status: "processed", removed: { lines: 1 } }]);
    kept.append(line(2, "later"));
    await kept.store.flush();
    await kept.pass();
    expect(await kept.seen()).toEqual(["later"]);
  });

  test("only hides as long as it is told to wait, and can be taken back meanwhile", async () => {
    const kept = await Kept.open({ retention: { delete_wait: "24h" } });
    kept.append(line(0, "secret"));
    await kept.store.flush();
    await kept.ask('{app="web"}', at(0), at(5));
    await kept.ask('{app="web"} |= "secret"', at(0), at(5));
    kept.nowMs += 23 * HOUR_MS;
    expect(kept.forgetting.removals.isDue()).toBe(false);
    await kept.pass();
    expect(await kept.seen()).toEqual([]);
    expect(await kept.there()).toEqual(["secret"]);
    for (const { id } of kept.list()) await kept.forgetting.service.cancel("fake", id, { force: false });
    expect(await kept.seen()).toEqual(["secret"]);
    await kept.ask('{app="web"}', at(0), at(5));
    kept.nowMs += 25 * HOUR_MS;
    expect(kept.forgetting.removals.isDue()).toBe(true);
    await kept.pass();
    expect(kept.forgetting.removals.isDue()).toBe(false);
    expect(await kept.there()).toEqual([]);
  });

  test("survives a restart, half done", async () => {
    const kept = await Kept.open();
    kept.append(line(0, "secret 0"));
    await kept.store.flush();
    kept.append(line(1, "secret 1"));
    await kept.ask('{app="web"} |= "secret"', at(0), at(5));
    await kept.pass();
    const again = await openForgetting(retentionSection.parse({}), {
      objects: kept.store.objects,
      catalog: kept.store.catalog,
      intakeEnds: async () => ({}),
      metrics: new Metrics(),
      log: silentLogger,
      now: () => kept.nowMs,
    });
    expect(again.deletes.list("fake")).toEqual(kept.list());
    await kept.store.flush();
    const pass = await again.removals.begin();
    const segments = await kept.store.catalog.view().segments({ tenant: "fake", startNs: at(0), endNs: at(9) });
    expect(segments.map((segment) => pass.judge(segment))).toEqual(["check"]);
  });

  test("is forgotten when its time in the list is over", async () => {
    const kept = await Kept.open({ retention: { delete_history: "1h" } });
    await kept.ask('{app="web"}', at(0), at(5));
    await kept.pass();
    kept.nowMs += 2 * HOUR_MS;
    await kept.pass();
    expect(kept.list()).toEqual([]);
    expect(await kept.store.objects.list("deletes/")[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  });
});

describe("two processes on one store", () => {
  test("agree: one takes the request, the other removes, and no query sees the lines in between", async () => {
    const here = await Kept.open();
    here.append(line(0, "secret"), line(1, "plain"));
    await here.store.flush();
    await here.ask('{app="web"} |= "secret"', at(0), at(5));
    const metrics = new Metrics();
    const catalog = await openCatalog(here.store.objects, metrics, silentLogger);
    const there = await openForgetting(retentionSection.parse({}), {
      objects: here.store.objects,
      catalog,
      intakeEnds: async () => ({}),
      metrics,
      log: silentLogger,
      now: () => here.nowMs,
    });
    const compactor = compactorOver(here.store.objects, catalog, there, () => here.nowMs, {});
    expect(await compactor.pass({ removals: true })).toMatchObject({ removedLines: 1 });
    // Not told yet: it still reads the old segment, and still hides.
    expect(await here.there()).toEqual(["secret", "plain"]);
    expect(await here.seen()).toEqual(["plain"]);
    expect((await here.forgetting.service.list("fake")).map(({ status }) => status)).toEqual(["processed"]);
    expect(here.forgetting.hidden("fake")).toBeNull();
    expect(await here.seen()).toEqual(["plain"]);
  });
});

describe("a store that fails now and then", () => {
  test("delays a removal, and never loses or brings back a line", async () => {
    for (let failing = 0; ; failing++) {
      const kept = await Kept.open();
      kept.append(line(0, "secret 0"), line(1, "plain 1"));
      await kept.store.flush();
      kept.append(line(2, "secret 2"), line(3, "plain 3"));
      await kept.store.flush();
      await kept.ask('{app="web"} |= "secret"', at(0), at(5));
      const broke = failAt(kept.store.objects, failing);
      await kept.pass().catch((error: unknown) => expect(error).toMatchObject({ code: "store_unavailable" }));
      const hasBroken = broke();
      expect(await kept.seen()).toEqual(["plain 1", "plain 3"]);
      await kept.pass();
      expect(await kept.seen()).toEqual(["plain 1", "plain 3"]);
      expect(await kept.there()).toEqual(["plain 1", "plain 3"]);
      expect(kept.list()).toMatchObject([{ status: "processed", removed: { lines: 2, segments: 2 } }]);
      if (!hasBroken) {
        expect(failing).toBeGreaterThan(10);
        return;
      }
    }
  });
});

/** Lets one call of the store fail. Gives a function that mends it, and says whether it came to that call. */
function failAt(objects: ObjectStore, failing: number): () => boolean {
  let calls = 0;
  const names = ["put", "putIfAbsent", "get", "getRange", "getSuffix", "head"] as const;
  const plain = names.map((name) => objects[name]);
  for (const name of names) {
    const call = objects[name].bind(objects) as (...args: unknown[]) => Promise<never>;
    Reflect.set(objects, name, (...args: unknown[]) => {
      if (calls++ === failing) {
        const what = `${name} ${String(args[0])}`;
        return Promise.reject(new WeirError("store_unavailable", what, { retriable: true }));
      }
      return call(...args);
    });
  }
  return () => {
    names.forEach((name, i) => {
      Reflect.set(objects, name, plain[i]);
    });
    return calls > failing;
  };
}

describe("retention", () => {
  test("drops a segment that has expired as a whole without reading it", async () => {
    const kept = await Kept.open({ retention: { period: "2h" } });
    kept.append(line(0, "old"));
    await kept.store.flush();
    kept.nowMs = T0_MS + 3 * HOUR_MS;
    kept.append({ ...line(0, "new"), ns: BigInt(kept.nowMs) * 1_000_000n });
    await kept.store.flush();
    expect(await kept.seen()).toEqual(["new"]);
    const reads: string[] = [];
    const { objects } = kept.store;
    for (const name of ["get", "getRange", "getSuffix"] as const) {
      const plain = objects[name].bind(objects) as (key: string, ...rest: number[]) => Promise<never>;
      objects[name] = (key: string, ...rest: number[]) => {
        reads.push(key);
        return plain(key, ...rest);
      };
    }
    expect(await kept.pass()).toMatchObject({ removedLines: 1 });
    expect(reads.filter((key) => key.startsWith("segments/"))).toEqual([]);
    expect(await kept.there()).toEqual(["new"]);
  });

  test("takes a stream out of a segment once, when all of the segment is that old", async () => {
    const kept = await Kept.open({ retention: { streams: [{ selector: '{app="dev"}', period: "24h" }] } });
    kept.append(
      line(0, "dev 0", "dev"),
      line(0, "prod 0", "prod"),
      line(3600, "dev 1", "dev"),
      line(7200, "prod 1", "prod"),
    );
    await kept.store.flush();
    kept.nowMs = T0_MS + 24.5 * HOUR_MS;
    expect(await kept.seen()).toEqual(["prod 0", "dev 1", "prod 1"]);
    expect(await kept.pass()).toMatchObject({ merges: 0 });
    kept.nowMs = T0_MS + 25.5 * HOUR_MS;
    expect(await kept.seen()).toEqual(["prod 0", "prod 1"]);
    expect(await kept.pass()).toMatchObject({ merges: 0 });
    kept.nowMs = T0_MS + 26.5 * HOUR_MS;
    expect(await kept.pass()).toMatchObject({ merges: 1, removedLines: 2 });
    expect(await kept.there()).toEqual(["prod 0", "prod 1"]);
    expect(await kept.pass()).toMatchObject({ merges: 0, removedLines: 0 });
  });
});

describe("whatever is asked for", () => {
  test(`what is hidden and what is removed is the same, and nothing else is touched (seed ${SEED})`, async () => {
    const random = new Random(SEED);
    const kept = await Kept.open({
      retention: {
        period: "6h",
        streams: [
          { selector: '{app="a1"}', period: "1h" },
          { selector: '{app="a2"}', period: "0s" },
        ],
      },
      compactor: { fan_in: 3, fan_in_above: 2 },
    });
    const periods: Record<string, number> = { a0: 6, a1: 1, a2: Number.POSITIVE_INFINITY };
    let model: Given[] = [];
    const requests: { app: string; word: string; from: bigint; to: bigint }[] = [];
    for (let round = 0; round < 12; round++) {
      for (let left = 60; left > 0; left--) {
        const app = `a${random.below(3)}`;
        // Up to an hour late, each at a time of its own, so that there is one order.
        const ns = BigInt(kept.nowMs - random.below(HOUR_MS)) * 1_000_000n + BigInt(model.length);
        const one: Given = { labels: { app }, ns, text: `${app} ${random.pick(["x", "y", "z"])} ${round}.${left}` };
        kept.append(one);
        model.push(one);
      }
      for (let left = random.below(3); left > 0; left--) {
        const from = BigInt(kept.nowMs - random.below(3 * HOUR_MS)) * 1_000_000n;
        const request = {
          app: `a${random.below(3)}`,
          word: random.pick([" x ", " y "]),
          from,
          to: from + BigInt(random.below(HOUR_MS)) * 1_000_000n,
        };
        requests.push(request);
        await kept.ask(`{app="${request.app}"} |= "${request.word}"`, request.from, request.to);
      }
      const meant = ({ labels, ns, text }: Given) =>
        requests.some(
          ({ app, word, from, to }) => labels.app === app && String(text).includes(word) && from <= ns && ns <= to,
        );
      const lives = (one: Given) =>
        one.ns >= BigInt(Math.max(0, kept.nowMs - (periods[one.labels.app] ?? 0) * HOUR_MS)) * 1_000_000n;
      const want = () =>
        model
          .filter((one) => lives(one) && !meant(one))
          .sort((a, b) => (a.ns < b.ns ? -1 : 1))
          .map(({ text }) => String(text));
      expect(await kept.seen()).toEqual(want());
      if (random.below(3) > 0) await kept.store.flush();
      await kept.pass();
      expect(await kept.seen()).toEqual(want());
      // Of a request that is done nothing is left, and nothing else is missing.
      const there = new Set(await kept.there());
      for (const text of want()) expect(there.has(text)).toBe(true);
      if (kept.list().every(({ status }) => status === "processed")) {
        model = model.filter((one) => !meant(one));
        requests.length = 0;
        expect([...there].every((text) => model.some((one) => one.text === text))).toBe(true);
      }
      kept.nowMs += HOUR_MS / 2;
    }
    expect(kept.list().filter(({ status }) => status === "processed").length).toBeGreaterThan(0);
  });
});
