import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BestEntries, compareKeys, type EntryKey } from "../../../src/query/entries.ts";
import { MergedEntries } from "../../../src/query/merge.ts";

const key = fc.record({ sec: fc.nat(5), nsec: fc.nat(2), block: fc.nat(3), row: fc.nat(1000) });
const distinct = fc.uniqueArray(key, { maxLength: 200, selector: (k) => `${k.sec} ${k.nsec} ${k.block} ${k.row}` });
const nameOf = ({ sec, nsec, block, row }: EntryKey): string => `${sec}.${nsec}/${block}:${row}`;

/** What the best `limit` are, the plain way. */
function best(keys: readonly EntryKey[], limit: number, backward: boolean): string[] {
  return [...keys]
    .sort((a, b) => (backward ? -1 : 1) * compareKeys(a, b))
    .slice(0, limit)
    .map(nameOf);
}

function pack(keys: readonly EntryKey[], limit: number, backward: boolean) {
  const entries = new BestEntries(limit, backward);
  for (const k of keys) {
    const { sec, nsec, block, row } = k;
    if (!entries.wants(sec, nsec, block, row)) continue;
    entries.add(
      sec,
      nsec,
      block,
      row,
      `{"g":"${row % 3}"}`,
      row % 2 === 0 ? "" : `{"d":${row}}`,
      Buffer.from(nameOf(k)),
    );
  }
  return entries.take();
}

describe("the best entries", () => {
  test("are those that sorting all would give, whatever the batches and their order", () => {
    fc.assert(
      fc.property(
        distinct,
        fc.integer({ min: 1, max: 50 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 7 }),
        (keys, limit, backward, batches) => {
          const merged = new MergedEntries(limit, backward, 1e9);
          for (let b = 0; b < batches; b++) {
            const packed = pack(
              keys.filter((_, i) => i % batches === b),
              limit,
              backward,
            );
            if (packed !== null) merged.merge(packed);
          }
          const entries = [...merged];
          expect(entries.map(nameOf)).toEqual(best(keys, limit, backward));
          for (const entry of entries) {
            expect(entry.line.toString()).toBe(nameOf(entry));
            expect(entry.group).toBe(`{"g":"${entry.row % 3}"}`);
            expect(entry.detail).toBe(entry.row % 2 === 0 ? "" : `{"d":${entry.row}}`);
          }
          const worst = merged.worst();
          expect(worst === null).toBe(keys.length < limit);
          for (const k of keys) {
            const isIn = entries.some((entry) => nameOf(entry) === nameOf(k));
            if (!isIn) expect(merged.wants(k)).toBe(false);
          }
        },
      ),
    );
  });

  test("keep no memory for what was pushed out", () => {
    const merged = new MergedEntries(10, true, 1e9);
    const line = Buffer.alloc(1024 * 1024, 0x78);
    for (let b = 0; b < 100; b++) {
      const entries = new BestEntries(10, true);
      for (let row = 0; row < 10; row++)
        entries.add(b, 0, b, row, `{"b":"${b}"}`, "", row === 5 ? line : Buffer.from("y"));
      const packed = entries.take();
      if (packed !== null) merged.merge(packed);
      expect(merged.bytes).toBeLessThan(32 * 1024 * 1024);
    }
    expect([...merged].map(({ sec }) => sec)).toEqual(Array(10).fill(99));
  });

  test("are refused beyond the bytes of an answer", () => {
    const merged = new MergedEntries(10, true, 1000);
    const batch = (sec: number) => {
      const entries = new BestEntries(10, true);
      entries.add(sec, 0, 0, 0, "{}", "", Buffer.alloc(600));
      const packed = entries.take();
      if (packed === null) throw new Error("nothing was packed");
      return packed;
    };
    merged.merge(batch(1));
    expect(() => merged.merge(batch(2))).toThrow(/^the answer would hold more than max_result_bytes \(1000\)/);
  });

  test("are refused beyond the bytes of an answer, labels included", () => {
    const merged = new MergedEntries(10, true, 1000);
    const batch = (sec: number, rows: number) => {
      const entries = new BestEntries(10, true);
      for (let row = 0; row < rows; row++)
        entries.add(sec, 0, 0, row, `{"g":"${"x".repeat(200)}"}`, `{"d":"${sec}${"y".repeat(200)}"}`, Buffer.from("z"));
      const packed = entries.take();
      if (packed === null) throw new Error("nothing was packed");
      return packed;
    };
    // Texts that lines share are there once.
    merged.merge(batch(1, 5));
    merged.merge(batch(2, 4));
    expect(merged.size).toBe(9);
    expect(() => merged.merge(batch(3, 1))).toThrow(/^the answer would hold more than max_result_bytes \(1000\)/);
  });

  test.each([true, false])("a given time apart hold nothing of those between, backward %s", (backward) => {
    const kept = new MergedEntries(100, backward, 1e9);
    const line = Buffer.alloc(10_000, 0x78);
    for (let page = 0; page < 50; page++) {
      const merged = new MergedEntries(100, backward, 1e9);
      const entries = new BestEntries(100, backward);
      const sec = backward ? 1000 - page : page;
      for (let row = 0; row < 100; row++) entries.add(sec, row, 0, row, `{"p":"${page}"}`, `{"d":${row}}`, line);
      const packed = entries.take();
      if (packed !== null) merged.merge(packed);
      merged.keepSpaced(1_000_000_000n, 100);
      kept.append(merged);
    }
    const [first] = kept;
    const row = backward ? 99 : 0;
    expect([kept.size, first.group, first.detail, first.row]).toEqual([50, '{"p":"0"}', `{"d":${row}}`, row]);
    expect(kept.bytes).toBeLessThan(50 * 11_000);
  });

  test("of several pages are refused beyond the bytes of an answer", () => {
    const kept = new MergedEntries(100, true, 1000);
    const page = (sec: number) => {
      const merged = new MergedEntries(100, true, 1000);
      const entries = new BestEntries(100, true);
      entries.add(sec, 0, 0, 0, "{}", "", Buffer.alloc(600));
      const packed = entries.take();
      if (packed !== null) merged.merge(packed);
      return merged;
    };
    kept.append(page(2));
    expect(() => kept.append(page(1))).toThrow(/^the answer would hold more than max_result_bytes \(1000\)/);
  });
});
