import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import * as dead from "../../src/cli/dead.ts";
import { WeirError } from "../../src/core/errors.ts";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import type { RecordSink, SinkRecord, WriteResult } from "../../src/core/sink.ts";
import { openObjectStore } from "../../src/objects/open.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { DeadLetterBox, type Letter, type LetterFilter } from "../../src/roles/dead-letter-box.ts";
import { deadLetterOptions } from "../../src/roles/dead-letter-options.ts";
import { DeadLetterStore } from "../../src/roles/dead-letters.ts";
import { verifyStore } from "../../src/store/verify.ts";
import { fakeIo } from "../cli/harness.ts";
import { record, records } from "../contract/sinks.ts";
import { Random, SEED } from "../random.ts";
import { HttpDestination } from "../sinks/destinations.ts";

let folder = "";
let objects: ObjectStore;
let now = 0;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "weir-dead-"));
  objects = await openObjectStore(path.join(folder, "store"), {});
  now = Date.UTC(2026, 0, 2);
});
afterEach(async () => {
  await objects.close();
  await rm(folder, { recursive: true, force: true });
});

const store = (given: Record<string, unknown> = {}) =>
  new DeadLetterStore(deadLetterOptions.parse(given), {
    objects,
    metrics: new Metrics(),
    log: silentLogger,
    now: () => now,
  });
const box = (over = objects) => DeadLetterBox.open(over, silentLogger);
const letters = (lines: readonly string[], reason = "no such field", offset = 7) =>
  records(lines, offset).map((one) => ({ record: one, reason }));

async function all(filter: LetterFilter = {}): Promise<Letter[]> {
  const found: Letter[] = [];
  for await (const letter of (await box()).letters(filter)) found.push(letter);
  return found;
}
const lines = async (filter: LetterFilter = {}) => (await all(filter)).map((one) => one.record.line.toString()).sort();

/** A destination that refuses lines with "bad" in them. */
class Destination implements RecordSink {
  readonly taken: SinkRecord[] = [];
  answer: (batch: readonly SinkRecord[]) => WriteResult | Promise<WriteResult> = (batch) => ({
    failed: batch.flatMap(({ line }, position) =>
      line.includes("bad") ? [{ position, reason: "still no", retriable: false }] : [],
    ),
  });
  async write(batch: readonly SinkRecord[]): Promise<WriteResult> {
    const answer = await this.answer(batch);
    const failed = new Set(answer.failed.map(({ position }) => position));
    this.taken.push(...batch.filter((_, i) => !failed.has(i)));
    return answer;
  }
  async close(): Promise<void> {}
}
const replayAll = {
  limit: Number.POSITIVE_INFINITY,
  bounds: { records: 3, bytes: 1 << 20 },
  signal: new AbortController().signal,
};

describe("dead letters", () => {
  test("come back as they were, with reason and time", async () => {
    const odd = { ...record(0, Buffer.from([0xff, 0x0a, 0x00]), { app: "x" }), tenant: "t 2", sec: -5 };
    const huge = { ...record(1, Buffer.alloc(3 << 20, "abc ")), json: JSON.stringify({ log: "z".repeat(1 << 20) }) };
    await store().add("search", [
      { record: odd, reason: "" },
      { record: huge, reason: "too large" },
    ]);
    const found = await all();
    expect(found.map(({ record: one }) => one.id)).toEqual(["0-7-1", "0-7-0"]);
    expect(found[1]).toEqual({ sink: "search", reason: "no reason given", atMs: now, record: odd });
    expect(found[0].record.line.equals(huge.line)).toBe(true);
    expect(found[0].record.json).toBe(huge.json);
  });

  test("are bounded: a sink with one more waits until there is room again", async () => {
    const its = store({ bytes_max: 1 << 20 });
    const random = new Random(1);
    const noise = Buffer.from(Array.from({ length: 1 << 20 }, () => random.below(256)));
    await its.add("out", [{ record: record(0, noise), reason: "a" }]);
    await expect(its.add("out", letters(["b"]))).rejects.toMatchObject({ code: "dead_letters_full", retriable: true });
    expect(await (await box()).remove({ sink: "out" })).toBe(1);
    await its.add("out", letters(["b"]));
    expect(await lines()).toEqual(["b"]);
  });

  test("are nothing to the store itself", async () => {
    await store().add("out", letters(["a"]));
    const problems: string[] = [];
    const report = await verifyStore(objects, { indexOnly: false, onProblem: (text) => problems.push(text) });
    expect([problems, report.segments, report.leftovers]).toEqual([[], 0, []]);
  });

  test.each([
    { name: "a sink", filter: { sink: "a" }, left: ["b new", "b old"] },
    { name: "a reason", filter: { reason: "too o" }, left: ["a new", "b new"] },
    { name: "an age", filter: { beforeMs: Date.UTC(2026, 0, 3) }, left: ["a new", "b new"] },
    { name: "both", filter: { sink: "a", reason: "too old" }, left: ["a new", "b new", "b old"] },
    { name: "everything", filter: {}, left: [] },
    { name: "nobody", filter: { tenant: "other" }, left: ["a new", "a old", "b new", "b old"] },
  ])("are dropped by $name", async ({ filter, left }) => {
    const its = store();
    await its.add("a", letters(["a old"], "too old"));
    await its.add("b", letters(["b old"], "too old"));
    now += 2 * 86_400_000;
    await its.add("a", letters(["a new"], "too new", 8));
    await its.add("b", letters(["b new"], "too new", 8));
    expect(await (await box()).remove(filter)).toBe(4 - left.length);
    expect(await lines()).toEqual(left);
  });

  test("are sent again, and those that are taken are removed", async () => {
    const its = store();
    await its.add("out", letters(["a", "bad 1", "b", "c", "bad 2", "d"]));
    await its.add("other", letters(["not mine"]));
    const to = new Destination();
    const report = await (await box()).replay("out", to, replayAll);
    expect(report).toEqual({ taken: 4, refused: 2, reason: "still no", later: 0, trouble: null });
    expect(to.taken.map(({ id }) => id)).toEqual(["0-7-0", "0-7-2", "0-7-3", "0-7-5"]);
    expect(await lines()).toEqual(["bad 1", "bad 2", "not mine"]);
    // Once more: nothing is sent twice.
    expect(await (await box()).replay("out", to, replayAll)).toMatchObject({ taken: 0, refused: 2 });
    expect(to.taken).toHaveLength(4);
    expect(await lines()).toEqual(["bad 1", "bad 2", "not mine"]);
  });

  test("of one record that was refused twice are sent once, and both removed", async () => {
    const its = store();
    await its.add("out", letters(["a"]));
    await its.add("out", letters(["a"]));
    const to = new Destination();
    expect(await (await box()).replay("out", to, replayAll)).toMatchObject({ taken: 1 });
    expect(to.taken).toHaveLength(1);
    expect(await lines()).toEqual([]);
  });

  test("of two records that have one id, since their log was replaced, are both sent", async () => {
    const its = store();
    await its.add("out", letters(["before"]));
    await its.add("out", letters(["after"]));
    const to = new Destination();
    to.answer = ([{ line }]) => ({
      failed: line.toString() === "before" ? [{ position: 0, reason: "no", retriable: false }] : [],
    });
    expect(
      await (await box()).replay("out", to, { ...replayAll, bounds: { ...replayAll.bounds, records: 1 } }),
    ).toMatchObject({
      taken: 1,
      refused: 1,
    });
    expect(await lines()).toEqual(["before"]);
  });

  test("are sent in batches no larger than the sink has them", async () => {
    const sizes: number[] = [];
    const to = new Destination();
    to.answer = (batch) => {
      sizes.push(batch.length);
      return { failed: [] };
    };
    await store().add("out", letters(["a", "b", "c", "d", "e"].map((text) => text.repeat(10_000))));
    await (await box()).replay("out", to, { ...replayAll, bounds: { records: 1000, bytes: 50_000 } });
    expect(sizes).toEqual([2, 2, 1]);
  });

  test("stay until a sink that has to be asked has made them durable", async () => {
    await store().add("out", letters(["a"]));
    let isAway = true;
    const flush = {
      everyMs: 1000,
      run: async () => {
        if (isAway) throw new WeirError("sink_unavailable", "away", { retriable: true });
      },
    };
    const to = Object.assign(new Destination(), { flush });
    expect(await (await box()).replay("out", to, replayAll)).toMatchObject({ taken: 0, later: 1, trouble: "away" });
    expect(await lines()).toEqual(["a"]);
    isAway = false;
    expect(await (await box()).replay("out", to, replayAll)).toMatchObject({ taken: 1 });
    expect(await lines()).toEqual([]);
  });

  test("stay when the destination is away, but for those that it took before", async () => {
    await store().add("out", letters(["a", "b", "c", "d", "e"]));
    const to = new Destination();
    to.answer = (batch) => ({
      failed: to.taken.length === 0 ? [] : batch.map((_, position) => ({ position, reason: "busy", retriable: true })),
    });
    expect(await (await box()).replay("out", to, replayAll)).toMatchObject({ taken: 3, later: 2, trouble: "busy" });
    expect(await lines()).toEqual(["d", "e"]);
  });

  test("are sent again after a crash between sending and removing, with the same ids", async () => {
    await store().add("out", letters(["a", "b"]));
    const crashing = new Proxy(objects, {
      get(target, name: keyof ObjectStore) {
        if (name === "put" || name === "putIfAbsent") return () => Promise.reject(new Error("killed"));
        const member = target[name];
        return typeof member === "function" ? member.bind(target) : member;
      },
    });
    const to = new Destination();
    await expect((await box(crashing)).replay("out", to, replayAll)).rejects.toThrow("killed");
    expect(await lines()).toEqual(["a", "b"]);
    await (await box()).replay("out", to, replayAll);
    expect(to.taken.map(({ id }) => id)).toEqual(["0-7-0", "0-7-1", "0-7-0", "0-7-1"]);
    expect(await lines()).toEqual([]);
  });

  test("are neither lost nor back while letters come, are replayed and dropped at once", async () => {
    const random = new Random(SEED);
    const its = store();
    const added: string[] = [];
    const to = new Destination();
    let writing = true;
    const writer = (async () => {
      for (let i = 0; i < 25; i++) {
        const some = Array.from(
          { length: 1 + random.below(4) },
          (_, n) => `${random.below(3) === 0 ? "bad" : "ok"} ${i} ${n}`,
        );
        added.push(...some);
        // The runner tries on as well when somebody was quicker.
        for (;;) {
          try {
            await its.add("out", letters(some, "no", i));
            break;
          } catch (error) {
            expect(error).toMatchObject({ code: "position_taken" });
          }
        }
        await its.add("noise", letters([`noise ${i}`], "no", i));
      }
      writing = false;
    })();
    const replayer = (async () => {
      while (writing) await (await box()).replay("out", to, replayAll);
    })();
    const dropper = (async () => {
      while (writing) await (await box()).remove({ sink: "noise" });
    })();
    await Promise.all([writer, replayer, dropper]);
    await (await box()).replay("out", to, replayAll);
    await (await box()).remove({ sink: "noise" });
    const bad = added.filter((line) => line.startsWith("bad"));
    const good = added.filter((line) => line.startsWith("ok"));
    expect([...new Set(await lines())], `seed ${SEED}`).toEqual([...bad].sort());
    expect([...new Set(to.taken.map(({ line }) => line.toString()))].sort(), `seed ${SEED}`).toEqual([...good].sort());
  });
});

describe("weir dead", () => {
  const weir = (...args: string[]) => on({}, ...args);

  async function on(world: Parameters<typeof fakeIo>[0], ...args: string[]) {
    const io = fakeIo(world);
    const program = new Command("weir").exitOverride();
    dead.register(program, io);
    await program.parseAsync(["node", "weir", "dead", ...args]);
    return { out: io.out().toString(), err: io.err(), exitCode: io.exitCode };
  }
  const url = () => path.join(folder, "store");

  test("list counts by sink, tenant and reason, but for digits", async () => {
    const its = store();
    await its.add("search", letters(["a", "bb"], "limit 5 of 10"));
    await its.add("search", letters(["ccc"], "limit 7 of 10", 8));
    await its.add("other", [{ record: { ...record(0, "x"), tenant: "t2" }, reason: "no" }]);
    expect((await weir("list", url())).out).toBe(
      [
        "search  fake  3 letters, 6 B, 2026-01-02T00:00:00.000Z to 2026-01-02T00:00:00.000Z",
        "    limit 5 of 10",
        "other  t2  1 letters, 1 B, 2026-01-02T00:00:00.000Z to 2026-01-02T00:00:00.000Z",
        "    no",
        "",
      ].join("\n"),
    );
    expect((await weir("list", url(), "--sink", "nobody")).out).toBe("no dead letters\n");
  });

  test("show prints letters, up to a limit", async () => {
    await store().add("search", letters(["a", "b", "c"]));
    expect((await weir("show", url(), "--limit", "2")).out).toMatch(
      /^0-7-0 {2}search {2}fake {2}refused 2026-01-02T00:00:00.000Z: no such field\n {4}2023-11-14T22:13:20.000000005Z {2}\{"app":"web"\}\n {4}a\n0-7-1 [\s\S]*\n {4}b\n$/,
    );
    const [first] = (await weir("show", url(), "--output", "json")).out.split("\n");
    expect(JSON.parse(first)).toMatchObject({ id: "0-7-0", reason: "no such field", record: { log: "a", n: 0 } });
    expect(await weir("show", url(), "--output", "xml")).toMatchObject({ exitCode: 1 });
  });

  test("a terminal does nothing that a record or a destination says", async () => {
    await store().add("search", letters(["a\x1b]0;owned\x07b"], "no\x1b[2Jpe"));
    for (const command of ["list", "show"]) {
      const { out } = await on({ tty: true }, command, url());
      expect(out).toContain("no\\x1b[2Jpe");
      expect(out).not.toMatch(/[\x1b\x07]/);
      expect((await weir(command, url())).out).toContain("no\x1b[2Jpe");
    }
  });

  test("replay into counters that nobody could scrape is refused", async () => {
    const file = path.join(folder, "weir.yaml");
    await writeFile(
      file,
      "receivers: { forward: { type: forward } }\npipelines: { all: { to: [search] } }\nsinks:\n  search: { type: prometheus, metrics: [{ type: counter, name: a_total, help: A. }] }\n",
    );
    await store().add("search", letters(["a"]));
    expect(await weir("replay", file, "--sink", "search", "--data", folder)).toMatchObject({
      exitCode: 1,
      err: expect.stringContaining("nobody could scrape"),
    });
    expect(await lines()).toEqual(["a"]);
  });

  test("a mistyped place or age is told, and nothing is made there", async () => {
    const nowhere = path.join(folder, "nowhere");
    for (const args of [
      ["list", nowhere],
      ["show", nowhere],
      ["drop", nowhere, "--all"],
    ]) {
      expect(await weir(...args)).toMatchObject({ exitCode: 1, err: expect.stringContaining("cannot open the store") });
    }
    expect(existsSync(nowhere)).toBe(false);
    expect(await weir("list", url(), "--older-than", "old")).toMatchObject({
      exitCode: 1,
      err: 'weir: --older-than: got "old", want a duration such as 30m, 1h30m or 7d\n',
    });
  });

  test("drop wants to know which", async () => {
    await store().add("search", letters(["a"]));
    expect(await weir("drop", url())).toMatchObject({ exitCode: 1, err: expect.stringContaining("--all") });
    expect((await weir("drop", url(), "--older-than", "1000y")).out).toBe("0 dead letters dropped\n");
    expect((await weir("drop", url(), "--all")).out).toBe("1 dead letters dropped\n");
    expect(await lines()).toEqual([]);
  });

  test("replay sends through the sink of the pipeline file", async () => {
    const to = await HttpDestination.start();
    try {
      to.answer = ({ body }) => (body.includes("bad") ? { status: 422, text: "still no" } : { status: 200 });
      const file = path.join(folder, "weir.yaml");
      await writeFile(
        file,
        `receivers: { forward: { type: forward } }\npipelines: { all: { to: [store, search] } }\nsinks:\n  store: { type: store }\n  search: { type: http, url: "${to.url}/in", batch_records_max: 2 }\n`,
      );
      await store().add("search", letters(["a", "bad", "b"]));
      const ran = await weir("replay", file, "--sink", "search", "--data", folder);
      expect(ran).toMatchObject({ err: "", exitCode: 1 });
      expect(ran.out).toBe("2 taken and removed, 1 refused again, 0 not taken now\n    refused: 422 still no\n");
      expect(await lines()).toEqual(["bad"]);
      to.answer = () => ({ status: 503 });
      expect((await weir("replay", file, "--sink", "search", "--data", folder)).out).toContain(
        "1 not taken now\n    ended early: ",
      );
      to.answer = () => ({ status: 200 });
      expect(await weir("replay", file, "--sink", "search", "--data", folder)).toMatchObject({ exitCode: 0 });
      expect(await lines()).toEqual([]);
      expect(await weir("replay", file, "--sink", "store", "--data", folder)).toMatchObject({
        exitCode: 1,
        err: expect.stringContaining("it has search"),
      });
    } finally {
      await to.stop();
    }
  });
});
