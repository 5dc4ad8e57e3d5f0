import { describe, expect, test } from "vitest";
import { plainNumber, plainNumberAt } from "../../../src/query/stages/plain-number.ts";
import { parseGoFloat } from "../../../src/query/syntax/units.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";

describe("numbers from bytes", () => {
  test.each([
    { text: "0", value: 0 },
    { text: "204", value: 204 },
    { text: "007", value: 7 },
    { text: "0.1", value: 0.1 },
    { text: "135.128565", value: 135.128565 },
    { text: "999999999999999", value: 999_999_999_999_999 },
    { text: "99999999999999.9", value: 99_999_999_999_999.9 },
    { text: "0.00000000000001", value: 1e-14 },
  ])("$text", ({ text, value }) => {
    expect(plainNumber(text)).toBe(value);
  });

  test.each([
    "",
    ".",
    "1.",
    ".5",
    "-1",
    "+1",
    "1e3",
    "0x1",
    "1_0",
    " 1",
    "1 ",
    "1..2",
    "1.2.3",
    "NaN",
    "\u0661",
    "1\u0100",
    "9999999999999999",
    "10000000000000.001",
  ])("%j is left to others", (text) => {
    expect(plainNumber(text)).toBeNaN();
  });

  test("what is read is what the whole grammar reads, and a text is read as its bytes are", () => {
    const random = makeRandomQuery(SEED);
    let read = 0;
    for (let round = 0; round < 20_000; round++) {
      const text = Array.from({ length: random.below(19) }, () =>
        random.pick([..."00123456789."].concat(round % 7 === 0 ? ["-", "e", "_"] : [])),
      ).join("");
      const bytes = Buffer.from(`7${text}7`);
      const value = plainNumberAt(bytes, 1, 1 + text.length);
      expect(plainNumber(text), text).toBe(value);
      if (Number.isNaN(value)) continue;
      read++;
      expect(value, text).toBe(parseGoFloat(text));
    }
    expect(read).toBeGreaterThan(5000);
  });
});
