import { describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import { compressSnappy } from "../../src/codec/snappy.ts";
import { WeirError } from "../../src/core/errors.ts";
import { frameSnappy, unframeSnappy } from "../../src/kafka/snappy-frame.ts";
import { SEED } from "../random.ts";

const random = new Random(SEED);

const texts = [0, 1, 100, 5000, 70_000, 200_000].map((length) =>
  Buffer.from(Array.from({ length }, () => 97 + random.below(random.below(2) === 0 ? 3 : 26))),
);

const codecs = [
  { name: "snappy, framed", pack: frameSnappy, unpack: unframeSnappy, code: "bad_snappy" },
  { name: "snappy, one block", pack: compressSnappy, unpack: unframeSnappy, code: "bad_snappy" },
];

describe.each(codecs)("$name", ({ pack, unpack, code }) => {
  const isNamed = (error: unknown) => {
    // What the library itself refuses has its own words, but is an error all the same.
    expect(error).toBeInstanceOf(Error);
    if (error instanceof WeirError) expect(error.code).toBe(code);
  };

  test("gives back what went in", () => {
    for (const text of texts) expect(unpack(pack(text), 64 << 20).equals(text)).toBe(true);
  });

  test("gives an error for every cut, or less, and never hangs", () => {
    const whole = pack(texts[2]);
    for (let length = 0; length < whole.length; length++) {
      try {
        expect(unpack(whole.subarray(0, length), 64 << 20).length).toBeLessThanOrEqual(texts[2].length);
      } catch (error) {
        isNamed(error);
      }
    }
  });

  test("keeps to its limit whatever the bytes say", () => {
    const whole = pack(texts[3]);
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.from(whole);
      for (let i = 0; i <= random.below(4); i++) bytes[random.below(bytes.length)] = random.below(256);
      try {
        expect(unpack(bytes, 1 << 20).length).toBeLessThanOrEqual(1 << 20);
      } catch (error) {
        isNamed(error);
      }
    }
  });

  test("refuses more than its limit", () => {
    expect(() => unpack(pack(texts[5]), 1000)).toThrow(/want at most/);
  });
});
