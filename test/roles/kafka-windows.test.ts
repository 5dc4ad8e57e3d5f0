import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../src/objects/memory.ts";
import { windowStore } from "../../src/roles/kafka-windows.ts";

describe("windows beside the segments", () => {
  test("keep one that a start can use, whatever was saved ahead of the store", async () => {
    const objects = new MemoryStore();
    const windows = windowStore(objects);
    const save = (next: number, stored: number) => windows.save(3, next, Buffer.from(String(next)), stored);
    const load = async (next: number) => String(await windows.load(3, next));
    await save(100, 100);
    // Owners, one after the other, that read on and never came to commit what they read.
    for (let next = 110; next < 200; next += 10) await save(next, 100);
    expect(await load(100)).toBe("100");
    expect(await load(135)).toBe("130");
    await save(300, 300);
    await save(310, 310);
    expect(await load(300)).toBe("300");
    const keys: string[] = [];
    for await (const { key } of objects.list("windows/3/")) keys.push(key);
    expect(keys).toHaveLength(2);
    expect(await load(99)).toBe("null");
  });
});
