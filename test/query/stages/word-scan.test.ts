import { describe, expect, test } from "vitest";
import { plainEnd, standsAt, wordText } from "../../../src/query/stages/word-scan.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";

/** Bytes at a place of a larger buffer, as a block's lines are. */
function viewOf(bytes: Uint8Array, before: number): DataView {
  const all = new Uint8Array(before + bytes.length + 5).fill(0x22);
  all.set(bytes, before);
  return new DataView(all.buffer, before, bytes.length);
}

function plainly(bytes: Uint8Array, from: number, to: number): number {
  for (let at = from; at < to; at++) if (bytes[at] === 0x22 || bytes[at] === 0x5c) return at;
  return to;
}

describe("strings, four bytes at a time", () => {
  test.each([
    { name: "nothing", text: "", end: 0 },
    { name: "no end", text: "abcdefgh", end: 8 },
    { name: "a quote first", text: '"abcdefg', end: 0 },
    { name: "a quote in the fourth byte", text: 'abc"efgh', end: 3 },
    { name: "a backslash before a quote", text: 'ab\\"efgh', end: 2 },
    { name: "a quote before a backslash", text: 'abcd"\\gh', end: 4 },
    { name: "one in what is left over", text: 'abcdefg"', end: 7 },
    { name: "bytes that differ from a quote by their highest or lowest bit", text: "#\u00a2\u00dc]!\u0023", end: 6 },
  ])("$name", ({ text, end }) => {
    const bytes = Buffer.from(text, "latin1");
    expect(plainEnd(viewOf(bytes, 3), 0, bytes.length)).toBe(end);
  });

  test("every byte beside every other: only a quote and a backslash end a string", () => {
    for (let first = 0; first < 256; first++) {
      for (let second = 0; second < 256; second++) {
        const bytes = Uint8Array.of(first, second, first, second, second, first);
        expect(plainEnd(viewOf(bytes, 1), 0, 6)).toBe(plainly(bytes, 0, 6));
      }
    }
  });

  test("at any place, to any end, over random bytes as one by one", () => {
    const random = makeRandomQuery(SEED);
    for (let round = 0; round < 3000; round++) {
      const odds = random.pick([0.02, 0.2, 0.6]);
      const bytes = Uint8Array.from({ length: random.below(60) }, () =>
        random.chance(odds) ? random.pick([0x22, 0x5c, 0x23, 0x21, 0x5b, 0x5d, 0xa2, 0xdc, 0]) : random.below(256),
      );
      const from = random.below(bytes.length + 1);
      const to = from + random.below(bytes.length - from + 1);
      expect(plainEnd(viewOf(bytes, random.below(5)), from, to), `round ${round}`).toBe(plainly(bytes, from, to));
    }
  });

  test("a text is found where it stands, whole, before the end, and nowhere else", () => {
    const random = makeRandomQuery(SEED + 1);
    for (let round = 0; round < 3000; round++) {
      const letters = () => random.pick(["a", "b", '"']);
      const line = Array.from({ length: random.below(30) }, letters).join("");
      const from = random.below(line.length + 1);
      const text = random.chance(0.5)
        ? line.slice(from, from + random.below(12))
        : Array.from({ length: random.below(12) }, letters).join("");
      const to = random.below(line.length + 1);
      const word = wordText(text);
      if (word === null) throw new Error("null for a text in ASCII");
      const view = viewOf(Buffer.from(line), random.below(5));
      expect(standsAt(word, view, from, to), `round ${round}`).toBe(
        line.slice(from, Math.max(from, to)).startsWith(text) && from + text.length <= to,
      );
    }
  });

  test.each(["\u00e9", "key\u00ff", "\ud83d\ude00", "\ud800"])("%j is no text of ASCII", (text) => {
    expect(wordText(text)).toBeNull();
  });
});
