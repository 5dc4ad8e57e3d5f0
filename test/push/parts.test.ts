import fc from "fast-check";
import snappy from "snappyjs";
import { describe, expect, test } from "vitest";
import { PushBatchCursor, PushBatchWriter } from "../../src/codec/push-batch.ts";
import { formatLabels } from "../../src/core/labels.ts";
import { parseLabels } from "../../src/push/label-text.ts";
import { inflateSnappy } from "../../src/push/snappy.ts";
import { whole } from "./receive.ts";

describe("label text", () => {
  test.each([
    { text: "{}", gives: {} },
    { text: ' { a = "b" , c="d", } ', gives: { a: "b", c: "d" } },
    { text: '{a="x\\"y\\\\z\\n\\t\\u00e9\\x41\\101"}', gives: { a: 'x"y\\z\n\té\x41A' } },
    { text: "{a='it''s'}".replace("''", "\\'"), gives: { a: "it's" } },
    { text: "{a=`raw\\n`}", gives: { a: "raw\\n" } },
    { text: '{a="\\xc3\\xa9"}', gives: { a: "é" } },
    { text: '{a="", b="x"}', gives: { b: "x" } },
    { text: '{_a9="é{}=,"}', gives: { _a9: "é{}=," } },
  ])("$text", ({ text, gives }) => expect(parseLabels(text)).toEqual(gives));

  test.each([
    { text: "", says: "1:1: parse error: unexpected end of input" },
    { text: "app", says: "1:1: parse error: unexpected character: 'a'" },
    { text: "{", says: "1:2: parse error: unexpected end of input inside braces" },
    { text: '{bad-name="x"}', says: "1:5: parse error: unexpected character inside braces: '-'" },
    { text: '{a="b" c="d"}', says: "1:8: parse error: unexpected character inside braces: 'c'" },
    { text: "{a=b}", says: "1:4: parse error: unexpected character inside braces: 'b'" },
    { text: '{a="b', says: "1:4: parse error: unterminated quoted string" },
    { text: "{a=`b", says: "1:4: parse error: unterminated raw string" },
    { text: '{a="\\d"}', says: "1:5: parse error: unknown escape sequence 'd'" },
    { text: '{a="b"} x', says: "1:9: parse error: unexpected character: 'x'" },
    { text: '{é="b"}', says: "1:2: parse error: unexpected character inside braces: 'é'" },
  ])("refuses $text", ({ text, says }) => {
    expect(() => parseLabels(text)).toThrow(`couldn't parse labels: ${says}`);
  });

  test("reads what is printed", () => {
    const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
    const value = fc.string({ unit: "grapheme", minLength: 1 });
    fc.assert(
      fc.property(fc.dictionary(name, value, { noNullPrototype: true }), (labels) => {
        expect(parseLabels(formatLabels(labels))).toEqual(labels);
      }),
    );
  });
});

describe("snappy", () => {
  test("inflates what was compressed", () => {
    const words = fc.array(fc.constantFrom("error ", "GET /index.html ", "\n", "200 ", "é"), { maxLength: 3000 });
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 3000 }),
          words.map((all) => Buffer.from(all.join(""))),
        ),
        (bytes) => {
          const given = Buffer.from(bytes);
          expect(whole(inflateSnappy(snappy.compress(given), 1 << 20)).equals(given)).toBe(true);
        },
      ),
    );
  });

  test("never hangs, and never gives another length than it says", () => {
    const good = snappy.compress(Buffer.from("abcdefgh".repeat(200)));
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
          fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
            const bad = Buffer.from(good);
            bad[at] = byte;
            return bad;
          }),
          fc.nat(good.length - 1).map((length) => good.subarray(0, length)),
        ),
        (bytes) => {
          try {
            const out = whole(inflateSnappy(bytes, 100_000));
            expect(out.length).toBeLessThanOrEqual(100_000);
          } catch (error) {
            expect(error).toMatchObject({ name: "Error", status: expect.toBeOneOf([400, 413]) as number });
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  test.each([
    // A literal of nearly 2^32 bytes: the library alone would go back and begin again, for ever.
    { name: "a literal that is longer than anything", bytes: [0x0a, 0xfc, 0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0] },
    {
      name: "copies beyond the length",
      bytes: [0x05, 0x00, 0x61, ...Array.from({ length: 300 }, () => [0xfe, 1, 0]).flat()],
    },
    { name: "less than it says", bytes: [0x05, 0x00, 0x61] },
    { name: "a copy from before the start", bytes: [0x05, 0x00, 0x61, 0x01, 0x09] },
    { name: "a length that does not end", bytes: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] },
  ])("refuses $name", ({ bytes }) => {
    expect(() => whole(inflateSnappy(Buffer.from(bytes), 1 << 20))).toThrow("snappy: corrupt input");
  });
});

describe("a batch of pushed lines", () => {
  test("is as its comment says", () => {
    const writer = new PushBatchWriter(0);
    writer.stream('{"app":"a"}');
    writer.line(1, 2, Buffer.from("81a16ba176", "hex"), Buffer.from("hi"));
    expect(writer.finish().toString("hex")).toBe("01010b7b22617070223a2261227d02010205" + "81a16ba176" + "026869");
  });

  test("gives back what was written, however large", () => {
    const line = fc.record({
      sec: fc.nat(2 ** 40),
      nsec: fc.nat(999_999_999),
      metadata: fc.uint8Array({ minLength: 1, maxLength: 300 }),
      line: fc.uint8Array({ maxLength: 3000 }),
    });
    const streams = fc.array(fc.record({ canonical: fc.string(), lines: fc.array(line, { maxLength: 5 }) }), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(streams, (given) => {
        const writer = new PushBatchWriter(0);
        for (const { canonical, lines } of given) {
          writer.stream(canonical);
          for (const one of lines) writer.line(one.sec, one.nsec, one.metadata, one.line);
        }
        const cursor = new PushBatchCursor(writer.finish());
        for (const { canonical, lines } of given) {
          for (const one of lines) {
            expect(cursor.next()).toBe(true);
            const { bytes } = cursor;
            expect(bytes.toString("utf8", cursor.streamStart, cursor.streamEnd)).toBe(
              Buffer.from(canonical).toString(),
            );
            expect([cursor.sec, cursor.nsec]).toEqual([one.sec, one.nsec]);
            expect(bytes.subarray(cursor.metadataStart, cursor.metadataEnd).equals(one.metadata)).toBe(true);
            expect(bytes.subarray(cursor.lineStart, cursor.lineEnd).equals(one.line)).toBe(true);
          }
        }
        expect(cursor.next()).toBe(false);
      }),
    );
  });

  test("cut anywhere is an error or fewer lines, never others", () => {
    const writer = new PushBatchWriter(0);
    writer.stream('{"app":"a"}');
    for (let i = 0; i < 5; i++) writer.line(i, i, Buffer.of(0x80), Buffer.from(`line ${i}`));
    const whole = writer.finish();
    for (let length = 1; length < whole.length; length++) {
      const cursor = new PushBatchCursor(whole.subarray(0, length));
      let lines = 0;
      try {
        while (cursor.next()) expect(whole.toString("utf8", cursor.lineStart, cursor.lineEnd)).toBe(`line ${lines++}`);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^bad_/) as string });
      }
      expect(lines).toBeLessThan(5);
    }
    expect(() => new PushBatchCursor(Buffer.of(2))).toThrow("got version 2, want 1");
  });
});
