import { mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { register as registerRebuild } from "../../src/cli/rebuild.ts";
import { register as registerVerify } from "../../src/cli/verify.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { openObjectStore } from "../../src/objects/open.ts";
import type { ObjectInfo, ObjectStore } from "../../src/objects/store.ts";
import { entryKey } from "../../src/store/catalog-entry.ts";
import { rootKey } from "../../src/store/manifest-root.ts";
import { verifyStore } from "../../src/store/verify.ts";
import { fakeIo } from "../cli/harness.ts";
import { expectRows, type Row, TestStore, testLine } from "./support.ts";

let folder: string;
let objects: ObjectStore;
let rows: Row[];

beforeEach(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "weir-verify-"));
  objects = await openObjectStore(folder);
  const store = await TestStore.open(objects);
  for (let i = 0; i < 4; i++) {
    store.append(
      Array.from({ length: 30 }, (_, n) =>
        testLine(`line ${i} ${n}`, { labels: { app: `a${n % 2}` }, sec: i * 100 + n }),
      ),
    );
    await store.writer.flush((i + 1) * 10);
    if (i === 1) await store.catalog.fold();
  }
  rows = await store.rows();
});

afterEach(async () => {
  await objects.close();
  await rm(folder, { recursive: true });
});

async function weir(...args: string[]): Promise<{ out: string; err: string; exitCode: number }> {
  const io = fakeIo();
  const program = new Command("weir").exitOverride();
  for (const register of [registerVerify, registerRebuild]) register(program, io);
  await program.parseAsync(args, { from: "user" });
  return { out: io.out().toString(), err: io.err(), exitCode: io.exitCode };
}

async function keysOf(prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list(prefix)) keys.push(key);
  return keys;
}

/** Changes one byte; `at` counts from the end when it is below zero. */
async function damage(key: string, at: number): Promise<void> {
  const bytes = await objects.get(key);
  bytes[at < 0 ? bytes.length + at : at] ^= 4;
  await objects.put(key, [bytes]);
}

/** A store in which something happens after its catalog was read, and before its segments are listed. */
class ChangingStore extends FaultyStore {
  private readonly change: () => Promise<void>;

  constructor(inner: ObjectStore, change: () => Promise<void>) {
    super(inner);
    this.change = change;
  }

  override async *list(prefix: string, after?: string): AsyncIterable<ObjectInfo> {
    if (prefix === "segments/") await this.change();
    yield* super.list(prefix, after);
  }
}

describe("weir verify", () => {
  test("of a sound store counts what is there, and ends with 0", async () => {
    const { out, exitCode } = await weir("verify", folder);
    expect(out.split("\n")).toEqual([
      "catalog    root 1, 1 pages, 2 entries after it: 4 segments",
      expect.stringMatching(/^segments {3}4 read: 8 blocks, 120 lines, .* of text in .*$/),
      "leftovers  0 objects that nothing names, 0 that were replaced and wait for their end: 0 B",
      "ok",
      "",
    ]);
    expect(exitCode).toBe(0);
  });

  test.each([
    { name: "a block", prefix: "segments/", at: 40, says: /wrong +.*, at byte \d+ of SEGMENT/ },
    { name: "a block's text", prefix: "segments/", at: 200, says: /wrong +.*at byte \d+ of SEGMENT.*; 15 lines/ },
    { name: "an index", prefix: "segments/", at: -150, says: /wrong +.*, at byte \d+ of SEGMENT/ },
    { name: "a footer", prefix: "segments/", at: -60, says: /wrong +.*, at byte \d+ of SEGMENT/ },
    { name: "a page", prefix: "pages/", at: 30, says: /wrong +catalog page SEGMENT: got check/ },
    { name: "a root", prefix: "manifest/", at: 30, says: /wrong +catalog root SEGMENT: got check/ },
    { name: "an entry", prefix: `${entryKey(0, 30)}`, at: 30, says: /wrong +catalog entry SEGMENT: got check/ },
  ])("finds $name that is damaged, names it and ends with 1", async ({ prefix, at, says }) => {
    const [key] = await keysOf(prefix);
    await damage(key, at);
    const { out, exitCode } = await weir("verify", folder);
    expect(out.replaceAll(key, "SEGMENT")).toMatch(says);
    expect(out).toMatch(/things are wrong\n$/);
    expect(exitCode).toBe(1);
  });

  test("finds every byte that was changed, but for those that mean nothing, as gzip's time", async () => {
    const [key] = await keysOf("segments/");
    const { length } = await objects.get(key);
    let unseen = 0;
    for (let at = 0; at < length; at += 37) {
      await damage(key, at);
      if ((await weir("verify", folder)).exitCode === 0) {
        unseen++;
        expectRows(await (await TestStore.open(objects)).rows(), rows, `byte ${at}`);
      }
      await damage(key, at);
    }
    expect(unseen).toBeLessThan(5);
    expect((await weir("verify", folder)).exitCode).toBe(0);
  });

  test("finds what is missing, and a gap", async () => {
    const [first] = await keysOf("segments/");
    await objects.delete(first);
    await objects.delete(entryKey(0, 20));
    const { out, exitCode } = await weir("verify", folder);
    expect(out).toContain(`wrong      segment ${first} is missing, and with it 30 lines\n`);
    expect(out).toContain(
      `wrong      catalog entry ${entryKey(0, 30)}: nothing covers offsets 20 to 29 of partition 0\n`,
    );
    expect(out).toContain("leftovers  1 objects");
    expect(exitCode).toBe(1);
  });

  test.each([
    { name: "a segment of an entry that is in no page yet", lost: "tail" as const },
    { name: "a segment that was replaced, beside a page that is damaged", lost: "replaced" as const },
  ])("tells $name from one that the catalog still names, while the store changes", async ({ lost }) => {
    const { catalog } = await TestStore.open(objects);
    const [page] = catalog.view().root.pages;
    const tail = catalog.tail()[1].key;
    const old = (await catalog.view().segments({ tenant: "fake", startNs: 0n, endNs: 100_000_000_000n }))[0];
    const change = async () => {
      await catalog.replace({ tenant: "fake", remove: [old.key], add: [] });
      await objects.delete(lost === "tail" ? tail : old.key);
      if (lost === "tail") return;
      for (const key of await keysOf("pages/")) if (key !== page.key) await damage(key, 30);
    };
    const problems: string[] = [];
    const busy = new ChangingStore(objects, change);
    await verifyStore(busy, { indexOnly: true, onProblem: (problem) => problems.push(problem) });
    expect(problems).toEqual(lost === "tail" ? [`segment ${tail} is missing, and with it 30 lines`] : []);
  });

  test("takes no entry for missing that is folded while it reads them", async () => {
    const { catalog } = await TestStore.open(objects);
    let folds = 0;
    const busy = new FaultyStore(objects);
    const get = busy.get.bind(busy);
    busy.get = async (key) => {
      if (key.startsWith("catalog/") && folds++ === 0) {
        await catalog.fold();
        await catalog.collect(0);
      }
      return get(key);
    };
    const problems: string[] = [];
    const report = await verifyStore(busy, { indexOnly: true, onProblem: (problem) => problems.push(problem) });
    expect(problems).toEqual([]);
    expect(report).toMatchObject({ problems: 0, root: 3, entries: 0, named: 4, segments: 4 });
  });

  test("looks again where a listing has passed an entry by, as one may that goes on while entries are made", async () => {
    let listings = 0;
    const busy = new FaultyStore(objects);
    const list = busy.list.bind(busy);
    busy.list = async function* (prefix, after) {
      const isFirst = prefix === "catalog/" && listings++ === 0;
      for await (const info of list(prefix, after)) if (!isFirst || info.key !== entryKey(0, 20)) yield info;
    };
    const problems: string[] = [];
    const report = await verifyStore(busy, { indexOnly: true, onProblem: (problem) => problems.push(problem) });
    expect(problems).toEqual([]);
    expect(report).toMatchObject({ problems: 0, entries: 2, named: 4 });
  });

  test("leaves the lines unread when asked to, and lists leftovers", async () => {
    const [key] = await keysOf("segments/");
    await damage(key, 200);
    await objects.put("segments/fake/1970-01-01/leftover.gz", [await objects.get((await keysOf("segments/"))[1])]);
    const { out, exitCode } = await weir("verify", folder, "--index-only", "--leftovers");
    expect(out).toContain("leftovers  1 objects that nothing names");
    expect(out).toContain("\n           segments/fake/1970-01-01/leftover.gz\n");
    expect(exitCode).toBe(0);
  });

  test("of an empty folder asks whether it is the right one", async () => {
    const elsewhere = path.join(folder, "elsewhere");
    expect(await weir("verify", elsewhere)).toMatchObject({ out: "", exitCode: 1 });
    await mkdir(elsewhere);
    const { out, exitCode } = await weir("verify", elsewhere);
    expect(out).toContain("is its address right?");
    expect(exitCode).toBe(1);
  });
});

describe("weir rebuild", () => {
  test("makes a catalog that verifies, after a look at what it would do", async () => {
    await objects.put(rootKey(1), [Buffer.from("nonsense")]);
    expect((await weir("verify", folder)).exitCode).toBe(1);
    const refused = await weir("rebuild", folder);
    expect(refused).toMatchObject({ exitCode: 1, err: expect.stringContaining("the store seems to be in use") });
    const dry = await weir("rebuild", folder, "--dry-run", "--force");
    expect(dry.out).toBe(
      "segments   4 of 4, 120 lines; 0 left out (replaced, or never committed), 0 damaged\nnothing was changed\n",
    );
    expect(await keysOf("manifest/")).toEqual([rootKey(1)]);
    const done = await weir("rebuild", folder, "--force");
    expect(done).toMatchObject({ exitCode: 0, out: expect.stringContaining(`catalog    ${rootKey(2)}, 1 pages`) });
    expect(await weir("verify", folder)).toMatchObject({ exitCode: 0 });
    expectRows(await (await TestStore.open(objects)).rows(), rows);
  });

  test("names segments that it can't read, and ends with 1", async () => {
    const [key] = await keysOf("segments/");
    await damage(key, -20);
    const { out, exitCode } = await weir("rebuild", folder, "--force");
    expect(out).toMatch(/^damaged {4}/);
    expect(out).toContain(key);
    expect(out).toContain("segments   3 of 4, 90 lines");
    expect(exitCode).toBe(1);
  });
});
