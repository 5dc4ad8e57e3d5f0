import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { ENTRY_FORWARD, ENTRY_PUSH } from "../../src/core/intake-entry.ts";
import type { RecordHead } from "../../src/intake/kafka-record.ts";
import { PartitionWindow, type Verdict } from "../../src/intake/partition-window.ts";
import { Random } from "../random.ts";

const id = (of: string | number) => createHash("sha256").update(String(of)).digest().subarray(0, 16);

function head(more: Partial<RecordHead>): RecordHead {
  const plain = {
    kind: ENTRY_FORWARD,
    tenant: "t",
    source: "in",
    receivedMs: 1,
    hasLane: false,
    payloadCrc: 0,
  } as const;
  return { ...plain, uid: id("u"), dedupeKey: null, part: null, lineIds: null, ...more };
}
const chunk = (key: string, part: RecordHead["part"] = null) => head({ dedupeKey: key, uid: id(Math.random()), part });
const push = (...lines: number[]) =>
  head({ kind: ENTRY_PUSH, uid: id(Math.random()), lineIds: Buffer.concat(lines.map(id)) });
const verdicts = (window: PartitionWindow, heads: readonly RecordHead[], from = 0) =>
  heads.map((one, i) => window.see(one, from + i));
const isRepeat = ({ repeat }: Verdict) => repeat;

describe("the window of repeats", () => {
  test.each([
    {
      name: "a chunk that stands there already",
      heads: [chunk("a"), chunk("b"), chunk("a")],
      repeats: [false, false, true],
    },
    {
      name: "the same chunk of two tenants",
      heads: [chunk("a"), { ...chunk("a"), tenant: "u" }],
      repeats: [false, false],
    },
    {
      name: "the parts of a chunk, one by one",
      heads: [chunk("a", { number: 1, of: 2 }), chunk("a", { number: 2, of: 2 }), chunk("a", { number: 1, of: 2 })],
      repeats: [false, false, true],
    },
    {
      name: "a record that was written twice",
      heads: [head({ uid: id(1) }), head({ uid: id(2) }), head({ uid: id(1) })],
      repeats: [false, false, true],
    },
    {
      name: "a push of which every line is there",
      heads: [push(1, 2), push(2), push(1, 3)],
      repeats: [false, true, false],
    },
    {
      name: "a chunk that is sent a third time",
      heads: [chunk("a"), chunk("a"), chunk("a")],
      repeats: [false, true, true],
    },
  ])("knows $name", ({ heads, repeats }) => {
    expect(verdicts(new PartitionWindow({ entries: 100, lines: 100 }), heads).map(isRepeat)).toEqual(repeats);
  });

  test("names the lines that are new", () => {
    const window = new PartitionWindow({ entries: 100, lines: 100 });
    expect(verdicts(window, [push(1, 2), push(2, 3, 1, 4, 3)])).toEqual([
      { repeat: false, isNew: null, lines: 2 },
      { repeat: false, isNew: Uint8Array.of(0, 1, 0, 1, 0), lines: 2 },
    ]);
  });

  test("reaches back as far as it says, and no further", () => {
    const others = (count: number) => Array.from({ length: count }, (_, i) => chunk(`other ${i}`));
    const last = (gap: number) =>
      verdicts(new PartitionWindow({ entries: 10, lines: 4 }), [chunk("a"), ...others(gap), chunk("a")]).at(-1);
    expect(last(9)).toMatchObject({ repeat: true });
    expect(last(10)).toMatchObject({ repeat: false });
    const lines = (gap: number) => {
      const between = Array.from({ length: gap }, (_, i) => 10 + i);
      return verdicts(new PartitionWindow({ entries: 10, lines: 4 }), [push(1), push(...between), push(1)]).at(-1);
    };
    expect(lines(3)).toMatchObject({ repeat: true });
    expect(lines(4)).toMatchObject({ repeat: false });
  });

  test("does not take a write that comes late for the last entry of its lane", () => {
    const lane = (key: string) => ({ ...chunk(`lane\0${key}`), hasLane: true });
    const others = Array.from({ length: 20 }, (_, i) => chunk(`other ${i}`));
    const heads = [lane("1"), lane("2"), lane("1"), ...others, lane("2")];
    const got = verdicts(new PartitionWindow({ entries: 10, lines: 4 }), heads).map(isRepeat);
    expect(got).toEqual([false, false, true, ...Array(20).fill(false), true]);
  });

  test("knows the last entry of a lane for good, from what was kept as well, and each part of a split one", () => {
    const bounds = { entries: 10, lines: 4 };
    const lane = (name: string, key: string, part: RecordHead["part"] = null) => ({
      ...chunk(`${name}\0${key}`, part),
      hasLane: true,
    });
    const others = (count: number) => Array.from({ length: count }, (_, i) => chunk(`other ${i}`));
    const part = (number: number) => lane("split", "k", { number, of: 3 });
    const before = [lane("a", "1"), lane("b", "1"), lane("b", "2"), part(1), part(2), ...others(100)];
    const after = [
      ...[lane("a", "1"), lane("a", "1"), lane("b", "2"), { ...lane("a", "1"), tenant: "u" }],
      ...[part(2), part(3), part(1), ...others(20), part(3), lane("a", "2"), ...others(20)],
      // No longer the last of its lane, and beyond the window.
      lane("a", "1"),
    ];
    const want = [true, true, true, false, true, false, true, ...Array(20).fill(false), true, false];
    const whole = new PartitionWindow(bounds);
    verdicts(whole, before);
    const kept = whole.encode(before.length);
    const got = verdicts(whole, after, before.length).map(isRepeat);
    expect(got.slice(0, want.length)).toEqual(want);
    expect(got.at(-1)).toBe(false);
    const restored = new PartitionWindow(bounds);
    expect(restored.decode(kept)).toBe(before.length);
    expect(verdicts(restored, after, before.length).map(isRepeat)).toEqual(got);
  });

  test("comes to the same verdicts wherever a worker begins, from the log or from what was kept", () => {
    const random = new Random();
    let repeats = 0;
    for (let round = 0; round < 6; round++) {
      const bounds = { entries: 5 + random.below(40), lines: 5 + random.below(60) };
      const log = Array.from({ length: 400 }, () => {
        const kind = random.below(3);
        if (kind === 0) return chunk(`c${random.below(60)}`);
        if (kind === 1) return head({ uid: id(`u${random.below(60)}`) });
        return push(...Array.from({ length: 1 + random.below(6) }, () => random.below(120)));
      });
      const first = random.below(50);
      const whole = new PartitionWindow(bounds);
      const kept: Buffer[] = [];
      const want = log.map((one, i) => {
        kept.push(whole.encode(first + i));
        return whole.see(one, first + i);
      });
      repeats += want.filter(isRepeat).length;
      for (let start = 0; start < log.length; start += 1 + random.below(30)) {
        const again = new PartitionWindow(bounds);
        const back = Math.max(0, start - bounds.entries);
        verdicts(again, log.slice(back, start), first + back);
        expect(verdicts(again, log.slice(start), first + start)).toEqual(want.slice(start));
        const restored = new PartitionWindow(bounds);
        const at = Math.max(0, start - random.below(20));
        expect(restored.decode(kept[at])).toBe(first + at);
        verdicts(restored, log.slice(at, start), first + at);
        expect(verdicts(restored, log.slice(start), first + start)).toEqual(want.slice(start));
      }
    }
    expect(repeats).toBeGreaterThan(20);
  });

  test("refuses what was cut or changed", () => {
    const window = new PartitionWindow({ entries: 100, lines: 100 });
    verdicts(window, [chunk("a"), push(1, 2), { ...chunk("b\0c"), hasLane: true }]);
    const whole = window.encode(3);
    const fresh = () => new PartitionWindow({ entries: 100, lines: 100 });
    expect(fresh().decode(whole)).toBe(3);
    for (let length = 0; length < whole.length; length++)
      expect(() => fresh().decode(whole.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "repeat_window" }),
      );
    for (let at = 0; at < whole.length; at++) {
      if (at === 10 || at === 11) continue;
      const bytes = Buffer.from(whole);
      bytes[at] ^= 0x40;
      expect(() => fresh().decode(bytes)).toThrow(expect.objectContaining({ code: "repeat_window" }));
    }
  });
});
