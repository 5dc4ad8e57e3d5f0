import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileGlob } from "../../src/core/glob.ts";

describe("compileGlob", () => {
  test.each([
    { pattern: "**", fits: ["", "a", "a.b", "."], not: [] },
    { pattern: "a.b", fits: ["a.b"], not: ["", "a", "axb", "a.b.c", "xa.b"] },
    { pattern: "", fits: [""], not: ["a"] },
    { pattern: "*", fits: ["", "a", "abc"], not: ["a.b", "."] },
    { pattern: "a.*", fits: ["a.", "a.b"], not: ["a", "a.b.c"] },
    { pattern: "a.**", fits: ["a.", "a.b", "a.b.c"], not: ["a", "ab"] },
    { pattern: "**.log", fits: [".log", "a.log", "a.b.log"], not: ["log", "a.log.x"] },
    { pattern: "kube.*.app", fits: ["kube.x.app", "kube..app"], not: ["kube.x.y.app"] },
    { pattern: "a?c", fits: ["abc", "aéc"], not: ["ac", "a.c", "abbc"] },
    { pattern: "{a,b.c}.x", fits: ["a.x", "b.c.x"], not: ["b.x", "a.b.c.x", "{a,b.c}.x"] },
    { pattern: "{a,}b", fits: ["ab", "b"], not: ["a", "aab"] },
    { pattern: "{a*,{b,c}?}", fits: ["a", "axy", "bx", "c1"], not: ["b", "d", ""] },
    { pattern: "\\*\\{a\\\\", fits: ["*{a\\"], not: ["x{a\\"] },
    { pattern: "a,b", fits: ["a,b"], not: ["a"] },
    { pattern: "***", fits: ["", "a.b"], not: [] },
    { pattern: "a\nb*", fits: ["a\nb\n"], not: ["a b"] },
  ])("$pattern", ({ pattern, fits, not }) => {
    const test = compileGlob(pattern);
    expect(fits.filter((tag) => !test(tag))).toEqual([]);
    expect(not.filter((tag) => test(tag))).toEqual([]);
  });

  test.each([
    { pattern: "{a", says: /got "\{" without "\}" at character 1/ },
    { pattern: "a}", says: /got "\}" without "\{" at character 2/ },
    { pattern: "a\\", says: /got "\\" at the end/ },
    { pattern: "{a,{b}", says: /without "\}" at character 1/ },
    { pattern: "a*".repeat(1000), says: /got 2000 characters, want at most 1024/ },
  ])("refuses $pattern", ({ pattern, says }) => {
    expect(() => compileGlob(pattern)).toThrow(
      expect.objectContaining({ code: "bad_glob", message: expect.stringMatching(says) }),
    );
  });

  /** The obvious version, which may backtrack. */
  function asRegExp(pattern: string): RegExp {
    const source = pattern.replace(/\*\*|./gs, (c) => {
      const special: Record<string, string> = {
        "**": "[^]*",
        "*": "[^.]*",
        "?": "[^.]",
        "{": "(?:",
        "}": ")",
        ",": "|",
        ".": "\\.",
      };
      return special[c] ?? c;
    });
    return new RegExp(`^${source}$`);
  }

  test("agrees with regular expressions", () => {
    const plain = fc
      .array(fc.constantFrom("a", "b", ".", "*", "**", "?"), { maxLength: 6 })
      .map((parts) => parts.join(""));
    const either = fc.array(plain, { minLength: 1, maxLength: 3 }).map((choices) => `{${choices.join(",")}}`);
    const pattern = fc.array(fc.oneof(plain, either), { maxLength: 3 }).map((parts) => parts.join(""));
    const tag = fc.array(fc.constantFrom("a", "b", "."), { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(pattern, fc.array(tag, { minLength: 5, maxLength: 20 }), (glob, tags) => {
        const fits = compileGlob(glob);
        const regexp = asRegExp(glob);
        for (const each of tags)
          expect({ glob, each, fits: fits(each) }).toEqual({ glob, each, fits: regexp.test(each) });
      }),
      { numRuns: 2000 },
    );
  });

  test("is linear in the tag where backtracking is not", () => {
    const fits = compileGlob(`${"**a*".repeat(20)}b`);
    const start = performance.now();
    expect(fits("a".repeat(100_000))).toBe(false);
    expect(performance.now() - start).toBeLessThan(10_000);
  });
});
