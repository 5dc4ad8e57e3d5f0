import { describe, expect, test } from "vitest";
import { compileRegex } from "../../../src/codec/re2.ts";
import { anchorOf } from "../../../src/codec/re2-anchor.ts";
import { parseTree } from "../../../src/codec/re2-tree.ts";
import { makeRandom } from "../../codec/re2-random.ts";
import { SEED } from "../../random.ts";
import { makeRandomQuery } from "../syntax/random-query.ts";
import { runQuery } from "./run-query.ts";

const PATTERNS = Number(process.env.WEIR_TEST_ROUNDS ?? 1000);

describe("the literal that a search goes by", () => {
  test.each<[pattern: string, literals: string[] | null, before?: number, isWhole?: boolean]>([
    ["[0-9]{3} (ms|OK|-) ", [" ms ", " OK ", " - "], 3, true],
    ["abc[0-9]+", ["abc"], 0, false],
    ["[0-9]abc", ["abc"], 1, true],
    ["x[0-9]hello[a-z]*y", ["hello"], 2, false],
    ["[0-9]+abc", null],
    ["\\bfoo", null],
    ["a|bcd", null],
    ["(?i)abc", null],
    ["[^a]bcd", null],
    ["", null],
  ])("of %s", (pattern, literals, before = 0, isWhole = false) => {
    const tree = parseTree(pattern, false);
    const found = tree === null ? null : anchorOf(tree);
    if (literals === null) expect(found).toBeNull();
    else {
      expect(found).toMatchObject({ literals, isWhole });
      expect(found?.before.length).toBe(before);
    }
  });
});

test("a line filter keeps the lines that re2js matches", () => {
  const random = makeRandom(SEED);
  const { below, pick } = makeRandomQuery(SEED);
  const middles = ["ab", "abc", "a é", "bb-", "(ab|ba)", "(abc|cb|a-)", "-[ab]-", "ac", "ab*c"];
  const edges = [
    "",
    "",
    "[a-c]",
    "[0-9]{2}",
    "a+",
    "\\d",
    ".",
    "[^b]",
    "(a|b)",
    "x?",
    "\\b",
    "[ab]{2,3}",
    ".*",
    "c$",
    "^a",
  ];
  const chars = [..."aaabbbccc-- 019é😀x"];
  let anchored = 0;
  let kept = 0;
  for (let i = 0; i < PATTERNS; i++) {
    const pattern = random.chance(0.3)
      ? random.pattern()
      : pick(edges) + pick(edges) + pick(middles) + pick(edges) + pick(edges);
    const regex = compileRegex(pattern);
    if (regex.anchor !== null) anchored++;
    const lines = Array.from({ length: 8 }, () =>
      random.chance(0.2) ? random.text() : Array.from({ length: below(14) }, () => pick(chars)).join(""),
    ).filter((line) => !line.includes("\n"));
    const want = lines.flatMap((line, row) => (regex.testRe2(Buffer.from(line).toString()) ? [row] : []));
    kept += want.length;
    for (const backward of [false, true]) {
      const found = runQuery(`{job="w"} |~ ${JSON.stringify(pattern)}`, lines, { backward }).map(({ row }) => row);
      if (String(found) !== String(want)) expect({ pattern, lines, found }).toEqual({ pattern, lines, found: want });
    }
  }
  expect(anchored).toBeGreaterThan(PATTERNS / 5);
  expect(kept).toBeGreaterThan(PATTERNS / 2);
});
