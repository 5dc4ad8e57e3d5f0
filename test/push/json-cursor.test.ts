import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JsonCursor } from "../../src/push/json-cursor.ts";
import { unescapeJson } from "../../src/push/json-escapes.ts";
import { SEED } from "../random.ts";
import { whole } from "./receive.ts";

const MIB = 1 << 20;

/** The inside of a string without its escapes, made in steps of `step` bytes; null when it is refused. */
function unescaped(inside: Buffer, step: number): string | null {
  const made = { out: Buffer.alloc(inside.length), length: 0, at: 0 };
  while (made.at < inside.length) {
    if (!unescapeJson(inside, Math.min(inside.length, made.at + step), inside.length, made)) return null;
  }
  return made.out.toString("utf8", 0, made.length);
}

describe("escapes", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      '\\"',
      "\\\\",
      "\\/",
      "\\b",
      "\\f",
      "\\n",
      "\\r",
      "\\t",
      "é",
      "😀",
      "x",
      "\\u00e9",
      "\\uD83D\\ude00",
    ),
    fc.integer({ min: 0, max: 0xffff }).map((code) => `\\u${code.toString(16).padStart(4, "0")}`),
    fc.constantFrom("\\", "\\u", "\\u12", "\\x", "\\u12g4", "u", "12"),
  );

  test("become what JSON.parse makes of them, in steps of any size", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 1, max: 20 }), (pieces, step) => {
        const inside = pieces.join("");
        let want: string | null;
        try {
          // Half a pair becomes U+FFFD on its way through UTF-8.
          want = Buffer.from(JSON.parse(`"${inside}"`) as string).toString("utf8");
        } catch {
          want = null;
        }
        // Else its end is elsewhere: the cursor never gives such an inside.
        fc.pre(/^(?:[^"\\]|\\.)*$/s.test(inside));
        expect(unescaped(Buffer.from(inside), step)).toBe(want);
      }),
      { seed: SEED, numRuns: 3000 },
    );
  });

  test("leave other bytes as they are", () => {
    const made = { out: Buffer.alloc(4), length: 0, at: 0 };
    expect(unescapeJson(Buffer.from([0xff, 0x5c, 0x6e, 0xc3]), 4, 4, made)).toBe(true);
    expect([...made.out.subarray(0, made.length)]).toEqual([0xff, 0x0a, 0xc3]);
  });
});

describe("long strings", () => {
  const long = `${"x".repeat(3 * MIB)}\\n${"é".repeat(MIB)}\\u0041`;
  const read = (cursor: JsonCursor): string[] => {
    const out: string[] = [];
    cursor.open(0x5b);
    for (let isFirst = true; cursor.more(0x5b, isFirst); isFirst = false) out.push(cursor.text());
    return out;
  };

  test.each([
    { name: "without escapes", texts: ["a".repeat(5 * MIB)] },
    { name: "with escapes", texts: [long] },
    { name: "several", texts: ["short", long, "a\\tb", long, "y".repeat(2 * MIB)] },
  ])("are read in turns: $name", ({ texts }) => {
    const cursor = new JsonCursor(Buffer.from(`[${texts.map((text) => `"${text}"`).join(",")}] `));
    let turns = 0;
    let found = cursor.attempt(read);
    for (; found === null; found = cursor.attempt(read)) {
      turns++;
      expect(cursor.at).toBe(0);
    }
    expect(found).toEqual(texts.map((text) => JSON.parse(`"${text}"`) as string));
    expect(turns).toBeGreaterThanOrEqual(Math.floor(texts.join("").length / MIB) - 1);
    cursor.end();
  });

  test("are read at once where nobody waits", () => {
    expect(new JsonCursor(Buffer.from(`"${long}"`)).text()).toBe(JSON.parse(`"${long}"`));
  });

  test.each([
    { name: "a cut one", text: `["${"x".repeat(2 * MIB)}`, says: /want the string's end/ },
    { name: "one cut in an escape", text: `["${"x".repeat(2 * MIB)}\\`, says: /want the string's end/ },
    {
      name: "a control character",
      text: `["${"x".repeat(2 * MIB)}\n"]`,
      says: /want an escape for a control character/,
    },
    { name: "a bad escape", text: `["${"x".repeat(2 * MIB)}\\x"]`, says: /want a string with JSON's escapes/ },
  ])("are refused: $name", ({ text, says }) => {
    const cursor = new JsonCursor(Buffer.from(text));
    expect(() => whole(cursor.whole(read))).toThrow(says);
  });
});

describe("values that nobody wants", () => {
  test("are passed over in turns, whatever they are", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.boolean(), (value, isSpaced) => {
        const cursor = new JsonCursor(Buffer.from(`${JSON.stringify(value, null, isSpaced ? 2 : 0)}!`));
        whole(cursor.skipping());
        expect(cursor.bytes.toString("latin1", cursor.at)).toBe("!");
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  test("give others turns", () => {
    const text = JSON.stringify({
      a: Array.from({ length: 5000 }, (_, i) => ({ i, x: "y".repeat(100) })),
      b: "z".repeat(3 * MIB),
    });
    let turns = 0;
    for (const _ of new JsonCursor(Buffer.from(text)).skipping()) turns++;
    expect(turns).toBeGreaterThan(10);
  });

  test("give others turns within what is read at once, too, and are passed over once", () => {
    const ignored = `[${'[1,{"a":[]}],'.repeat(100_000)}"${"x".repeat(3 * MIB)}"]`;
    const cursor = new JsonCursor(Buffer.from(`[${ignored},"end"]`));
    let turns = 0;
    const read = (it: JsonCursor): string => {
      it.open(0x5b);
      it.more(0x5b, true);
      it.skip();
      it.more(0x5b, false);
      const text = it.text();
      it.more(0x5b, false);
      return text;
    };
    let found = cursor.attempt(read);
    for (; found === null; found = cursor.attempt(read)) turns++;
    expect(found).toBe("end");
    cursor.end();
    expect(turns).toBeGreaterThan(20);
    expect(turns).toBeLessThan(40);
  });

  test.each([
    "[1,]",
    "{",
    '{"a"}',
    "[1 2]",
    "[".repeat(200),
    '{"a":1,}',
    "tru",
    '["a]',
    "[01]",
    "[1x]",
    "[1.]",
    "[1e]",
    "[-]",
    "{1:2}",
    '{"a":1 "b":2}',
  ])("are refused: %s", (text) => {
    expect(() => whole(new JsonCursor(Buffer.from(text)).skipping())).toThrow(/couldn't read the JSON body/);
  });
});
