import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ObjectStore } from "../../src/objects/store.ts";

const text = (bytes: Buffer) => bytes.toString("utf8");
const parts = (...texts: string[]) => texts.map((part) => Buffer.from(part));

async function keys(store: ObjectStore, prefix: string, after?: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { key } of store.list(prefix, after)) found.push(key);
  return found;
}

/** What every object store promises. `open` gives an empty one. */
export function objectStoreContract(name: string, open: () => Promise<ObjectStore>): void {
  describe(`object store contract: ${name}`, () => {
    let store: ObjectStore;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store.close());

    test("gives back what was put, parts joined", async () => {
      await store.put("a/b.gz", parts("one", "", "two"));
      expect(text(await store.get("a/b.gz"))).toBe("onetwo");
      expect(await store.head("a/b.gz")).toMatchObject({ key: "a/b.gz", size: 6 });
    });

    test("an object is dated by when it was written, in listings as in head", async () => {
      // A store's clock may count whole seconds only.
      const before = Date.now() - 1000;
      await store.put("dated", parts("x"));
      const after = Date.now() + 1000;
      const info = await store.head("dated");
      expect(info?.modifiedMs).toBeGreaterThanOrEqual(before);
      expect(info?.modifiedMs).toBeLessThanOrEqual(after);
      for await (const listed of store.list("dated"))
        expect(Math.abs(listed.modifiedMs - (info?.modifiedMs ?? 0))).toBeLessThan(1000);
    });

    test("keeps an object without bytes", async () => {
      await store.put("empty", []);
      expect((await store.get("empty")).length).toBe(0);
      expect(await store.getSuffix("empty", 10)).toEqual({ bytes: Buffer.alloc(0), size: 0 });
      expect((await store.getRange("empty", 0, 0)).length).toBe(0);
    });

    test("put replaces, also for range reads that have looked at the object before", async () => {
      await store.put("k", parts("old value"));
      expect(text(await store.getRange("k", 0, 3))).toBe("old");
      await store.put("k", parts("new"));
      expect(text(await store.get("k"))).toBe("new");
      expect(text(await store.getRange("k", 0, 3))).toBe("new");
      expect((await store.getSuffix("k", 100)).size).toBe(3);
    });

    test("putIfAbsent creates once and leaves what is there", async () => {
      await store.putIfAbsent("catalog/0/1", parts("first"));
      await expect(store.putIfAbsent("catalog/0/1", parts("second"))).rejects.toMatchObject({
        code: "object_exists",
        retriable: false,
      });
      expect(text(await store.get("catalog/0/1"))).toBe("first");
      await store.delete("catalog/0/1");
      await store.putIfAbsent("catalog/0/1", parts("third"));
      expect(text(await store.get("catalog/0/1"))).toBe("third");
    });

    test("of 20 racing putIfAbsent exactly one wins, and its bytes are there", async () => {
      for (let round = 0; round < 5; round++) {
        const key = `race/${round}`;
        const results = await Promise.allSettled(
          Array.from({ length: 20 }, (_, i) => store.putIfAbsent(key, parts(`racer ${i}`))),
        );
        const winners = results.flatMap(({ status }, i) => (status === "fulfilled" ? [i] : []));
        expect(winners).toHaveLength(1);
        expect(text(await store.get(key))).toBe(`racer ${winners[0]}`);
        for (const result of results) {
          if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "object_exists" });
        }
      }
      expect(await keys(store, "race/")).toHaveLength(5);
    });

    test.each([
      { start: 0, length: 10, gives: "0123456789" },
      { start: 3, length: 4, gives: "3456" },
      { start: 10, length: 0, gives: "" },
      { start: 9, length: 2, gives: null },
      { start: 11, length: 0, gives: null },
      { start: -1, length: 2, gives: null },
      { start: 2, length: -1, gives: null },
    ])("range $start, $length", async ({ start, length, gives }) => {
      await store.put("digits", parts("0123456789"));
      const range = store.getRange("digits", start, length);
      if (gives === null) await expect(range).rejects.toMatchObject({ code: "object_range", retriable: false });
      else expect(text(await range)).toBe(gives);
    });

    test("suffix gives the end, or all of a shorter object", async () => {
      await store.put("digits", parts("0123456789"));
      expect(await store.getSuffix("digits", 4)).toEqual({ bytes: Buffer.from("6789"), size: 10 });
      expect(await store.getSuffix("digits", 40)).toEqual({ bytes: Buffer.from("0123456789"), size: 10 });
      expect(await store.getSuffix("digits", 0)).toEqual({ bytes: Buffer.alloc(0), size: 10 });
    });

    test("what is not there is missing, and its deletion succeeds", async () => {
      const missing = { code: "object_missing", retriable: false };
      await expect(store.get("no/such")).rejects.toMatchObject(missing);
      await expect(store.getRange("no/such", 0, 1)).rejects.toMatchObject(missing);
      await expect(store.getSuffix("no/such", 1)).rejects.toMatchObject(missing);
      expect(await store.head("no/such")).toBeNull();
      await store.delete("no/such");
      await store.deleteMany(["no/such", "nor/this"]);
      expect(await keys(store, "")).toEqual([]);
    });

    test("a deleted object is gone for every way of reading", async () => {
      await store.put("k/1", parts("abc"));
      await store.getRange("k/1", 0, 1);
      await store.delete("k/1");
      await expect(store.getRange("k/1", 0, 1)).rejects.toMatchObject({ code: "object_missing" });
      await expect(store.get("k/1")).rejects.toMatchObject({ code: "object_missing" });
      expect(await store.head("k/1")).toBeNull();
    });

    test("a prefix of a key is not an object", async () => {
      await store.put("a/b/c", parts("x"));
      expect(await store.head("a/b")).toBeNull();
      await expect(store.get("a/b")).rejects.toMatchObject({ code: "object_missing" });
      await expect(store.getRange("a", 0, 1)).rejects.toMatchObject({ code: "object_missing" });
      await store.delete("a/b");
      expect(await keys(store, "")).toEqual(["a/b/c"]);
    });

    test("deleteMany removes those and no others", async () => {
      for (const key of ["a/1", "a/2", "b/1"]) await store.put(key, parts(key));
      await store.deleteMany(["a/1", "b/1", "b/9"]);
      expect(await keys(store, "")).toEqual(["a/2"]);
    });

    const many = [
      "a-b",
      "a.b",
      "a/b",
      "a/b-c",
      "a/c/d",
      "a/c0",
      "a0",
      "aa",
      "b/0001",
      "b/0002",
      "b/0010",
      "c=1/x_y.gz",
    ];
    test.each([
      { prefix: "" },
      { prefix: "a" },
      { prefix: "a/" },
      { prefix: "a/b" },
      { prefix: "a/c" },
      { prefix: "b/00" },
      { prefix: "b/0001" },
      { prefix: "zzz" },
      { prefix: "b/0001/" },
      { prefix: "", after: "a/b" },
      { prefix: "", after: "a/c" },
      { prefix: "", after: "a/c/d" },
      { prefix: "", after: "a/c/a" },
      { prefix: "a", after: "a." },
      { prefix: "b/", after: "b/0002" },
      { prefix: "b/", after: "b/0011" },
      { prefix: "b/", after: "a" },
      { prefix: "b/", after: "z" },
    ])("lists prefix '$prefix' after '$after' in order of keys", async ({ prefix, after }) => {
      for (const key of [...many].reverse()) await store.put(key, parts(key));
      const want = many.filter((key) => key.startsWith(prefix) && key > (after ?? ""));
      expect(await keys(store, prefix, after)).toEqual(want.sort());
      for await (const { key, size } of store.list(prefix, after)) expect(size).toBe(key.length);
    });

    test("a listing of several hundred objects is complete", async () => {
      const all = Array.from({ length: 300 }, (_, i) => `segments/${i % 3}/${String(i).padStart(5, "0")}`);
      await Promise.all(all.map((key) => store.put(key, parts("x"))));
      expect(await keys(store, "segments/")).toEqual(all.sort());
    });

    test.each([
      "",
      "/",
      "/a",
      "a/",
      "a//b",
      ".",
      "..",
      "a/../b",
      "a/./b",
      "a b",
      "a\\b",
      "a~b",
      "é",
      "a\0b",
      "a\n",
      `${"a/".repeat(256)}a`,
      "x".repeat(300),
    ])("refuses the key %j", async (key) => {
      const bad = { code: "bad_key", retriable: false };
      await expect(store.put(key, parts("x"))).rejects.toMatchObject(bad);
      await expect(store.putIfAbsent(key, parts("x"))).rejects.toMatchObject(bad);
      await expect(store.get(key)).rejects.toMatchObject(bad);
      await expect(store.getRange(key, 0, 0)).rejects.toMatchObject(bad);
      await expect(store.getSuffix(key, 0)).rejects.toMatchObject(bad);
      await expect(store.head(key)).rejects.toMatchObject(bad);
      await expect(store.delete(key)).rejects.toMatchObject(bad);
    });

    test.each(["../", "a/../", "a//", "/"])("refuses the prefix %j", async (prefix) => {
      await expect(keys(store, prefix)).rejects.toMatchObject({ code: "bad_key" });
    });

    test("bytes that were given or taken can be changed without harm", async () => {
      const given = Buffer.from("abc");
      await store.put("k", [given]);
      given.fill(0);
      (await store.get("k")).fill(0);
      (await store.getRange("k", 0, 3)).fill(0);
      expect(text(await store.get("k"))).toBe("abc");
    });
  });
}
