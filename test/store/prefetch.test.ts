import { describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { FaultyStore } from "../../src/objects/faulty.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import { type BlockPlace, prefetchBlocks } from "../../src/store/prefetch.ts";

const KIB = 1024;

/** Objects of 8 MiB whose bytes say where they stand. */
async function makeStore(): Promise<{ objects: FaultyStore; calls: string[]; at: (place: BlockPlace) => Buffer }> {
  const memory = new MemoryStore();
  const contents = new Map<string, Buffer>();
  for (const key of ["a", "b"]) {
    const bytes = Buffer.alloc(8192 * KIB);
    for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(i ^ (key === "a" ? 0 : 0xffff_ff), i);
    contents.set(key, bytes);
    await memory.put(key, [bytes]);
  }
  const calls: string[] = [];
  const objects = new FaultyStore(memory, ({ op, key }) => {
    calls.push(`${op} ${key}`);
    return undefined;
  });
  const at = ({ key, offset, length }: BlockPlace) => (contents.get(key) as Buffer).subarray(offset, offset + length);
  return { objects, calls, at };
}

const place = (key: string, offsetKib: number, kib = 64): BlockPlace => ({
  key,
  offset: offsetKib * KIB,
  length: kib * KIB,
});

describe("blocks that are read ahead", () => {
  test.each([
    { name: "neighbours come with one request", places: [place("a", 0), place("a", 64), place("a", 128)], requests: 1 },
    { name: "a small gap is read along", places: [place("a", 0), place("a", 300)], requests: 1 },
    { name: "a large gap is not", places: [place("a", 0), place("a", 400)], requests: 2 },
    { name: "backward as forward", places: [place("a", 128), place("a", 64), place("a", 0)], requests: 1 },
    { name: "objects apart", places: [place("a", 0), place("b", 0), place("a", 64), place("b", 64)], requests: 2 },
    {
      name: "a request has 4 MiB at most",
      places: Array.from({ length: 100 }, (_, i) => place("a", i * 64)),
      requests: 2,
    },
    { name: "the same block twice is read once", places: [place("a", 0), place("a", 0)], requests: 1 },
    { name: "nothing for nothing", places: [], requests: 0 },
  ])("$name", async ({ places, requests }) => {
    const { objects, calls, at } = await makeStore();
    const read = prefetchBlocks(objects, places);
    // Before anything is asked for.
    expect(calls).toHaveLength(requests);
    for (const wanted of places) expect((await read(wanted)).equals(at(wanted))).toBe(true);
    expect(calls).toHaveLength(requests);
  });

  test("all requests are under way at one time", async () => {
    const { objects, calls, at } = await makeStore();
    objects.plan = ({ op, key }) => {
      calls.push(`${op} ${key}`);
      return { delayMs: 100 };
    };
    const places = Array.from({ length: 10 }, (_, i) => place("a", i * 700));
    const read = prefetchBlocks(objects, places);
    // None of them has been answered yet.
    expect(calls).toHaveLength(places.length);
    for (const wanted of places) expect((await read(wanted)).equals(at(wanted))).toBe(true);
  });

  test("a block that was not announced is read for itself", async () => {
    const { objects, calls, at } = await makeStore();
    const read = prefetchBlocks(objects, [place("a", 0)]);
    expect((await read(place("b", 640))).equals(at(place("b", 640)))).toBe(true);
    expect(calls).toEqual(["getRange a", "getRange b"]);
  });

  test("an object that was cut off costs only the blocks behind its end", async () => {
    const { objects, at } = await makeStore();
    const whole = at({ key: "a", offset: 0, length: 100 * KIB });
    await objects.put("a", [Buffer.from(whole)]);
    const read = prefetchBlocks(objects, [place("a", 0), place("a", 64)]);
    expect((await read(place("a", 0))).equals(whole.subarray(0, 64 * KIB))).toBe(true);
    await expect(Promise.resolve(read(place("a", 64)))).rejects.toMatchObject({ code: "object_range" });
  });

  test("a request that fails fails its blocks alone, and unheard when nobody asks for them", async () => {
    const { objects, at } = await makeStore();
    objects.plan = ({ key }) => (key === "a" ? { outcome: "fail" } : undefined);
    const read = prefetchBlocks(objects, [place("a", 0), place("a", 64), place("b", 0)]);
    await expect(Promise.resolve(read(place("a", 0)))).rejects.toBeInstanceOf(WeirError);
    expect((await read(place("b", 0))).equals(at(place("b", 0)))).toBe(true);
  });
});
