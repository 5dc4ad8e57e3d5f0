import { expect, test } from "vitest";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";

const unavailable = { code: "store_unavailable", retriable: true };
const bytes = [Buffer.from("x")];

test("a failed call does nothing, and the next may succeed", async () => {
  const inner = new MemoryStore();
  const store = new FaultyStore(inner, ({ n }) => (n === 0 ? { outcome: "fail" } : undefined));
  await expect(store.put("k", bytes)).rejects.toMatchObject(unavailable);
  expect(await inner.head("k")).toBeNull();
  await store.put("k", bytes);
  expect(await inner.head("k")).not.toBeNull();
});

test("a lost answer leaves the object there", async () => {
  const inner = new MemoryStore();
  const store = new FaultyStore(inner, ({ op }) => (op === "putIfAbsent" ? { outcome: "lost_answer" } : undefined));
  await expect(store.putIfAbsent("k", bytes)).rejects.toMatchObject(unavailable);
  expect((await store.get("k")).toString()).toBe("x");
});

test("calls can be picked by kind and key, and delayed", async () => {
  const store = new FaultyStore(new MemoryStore(), ({ op, key }) =>
    op === "get" && key === "slow" ? { delayMs: 30 } : undefined,
  );
  await store.put("slow", bytes);
  const started = performance.now();
  await store.get("slow");
  expect(performance.now() - started).toBeGreaterThan(25);
});

test("a listing can break in the middle", async () => {
  const store = new FaultyStore(new MemoryStore());
  for (const key of ["a", "b", "c"]) await store.put(key, bytes);
  store.plan = () => ({ outcome: "fail", afterObjects: 2 });
  const seen: string[] = [];
  await expect(
    (async () => {
      for await (const { key } of store.list("")) seen.push(key);
    })(),
  ).rejects.toMatchObject(unavailable);
  expect(seen).toEqual(["a", "b"]);
});
