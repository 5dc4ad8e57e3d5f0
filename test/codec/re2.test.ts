import { describe, expect, test } from "vitest";
import { compileRegex, type RegexOptions } from "../../src/codec/re2.ts";
import { WeirError } from "../../src/core/errors.ts";
import { SEED } from "../random.ts";
import { makeRandom } from "./re2-random.ts";

function errorOf(pattern: string, options?: RegexOptions): string {
  try {
    compileRegex(pattern, options);
  } catch (error) {
    expect(error).toBeInstanceOf(WeirError);
    if (error instanceof WeirError) {
      expect(error.code).toBe("bad_regex");
      return error.message;
    }
  }
  return "(no error)";
}

// As Go 1.26's regexp package words them.
describe("errors", () => {
  test.each([
    ["(", "missing closing ): `(`"],
    ["a)", "unexpected ): `a)`"],
    ["[a", "missing closing ]: `[a`"],
    ["a**", "invalid nested repetition operator: `**`"],
    ["a++", "invalid nested repetition operator: `++`"],
    ["*a", "missing argument to repetition operator: `*`"],
    ["a|*", "missing argument to repetition operator: `*`"],
    ["a{1001}", "invalid repeat count: `{1001}`"],
    ["(a{500}){3}", "invalid repeat count: `{3}`"],
    ["a{2,1}", "invalid repeat count: `{2,1}`"],
    ["\\", "trailing backslash at end of expression: ``"],
    ["\\q", "invalid escape sequence: `\\q`"],
    ["\\8", "invalid escape sequence: `\\8`"],
    ["(a)\\1", "invalid escape sequence: `\\1`"],
    ["\\C", "invalid escape sequence: `\\C`"],
    ["\\Z", "invalid escape sequence: `\\Z`"],
    ["[z-a]", "invalid character class range: `z-a`"],
    ["[[:foo:]]", "invalid character class range: `[:foo:]`"],
    ["\\pX", "invalid character class range: `\\pX`"],
    ["(?=a)", "invalid or unsupported Perl syntax: `(?=`"],
    ["(?!a)", "invalid or unsupported Perl syntax: `(?!`"],
    ["(?P=n)", "invalid or unsupported Perl syntax: `(?P`"],
    ["(?z)", "invalid or unsupported Perl syntax: `(?z`"],
    ["(?P<n", "invalid named capture: `(?P<n`"],
    ["(?<=a)b", "invalid named capture: `(?<=a)b`"],
  ])("%s", (pattern, message) => {
    expect(errorOf(pattern)).toBe(`error parsing regexp: ${message}`);
    expect(errorOf(pattern, { anchored: true, dotAll: true })).toBe(`error parsing regexp: ${message}`);
  });
  test("deep nesting and bytes that are no text", () => {
    expect(errorOf("(".repeat(4000) + ")".repeat(4000))).toMatch(/^error parsing regexp: expression nests too deeply/);
    expect(errorOf("(".repeat(65_000))).toMatch(/^error parsing regexp: expression too large: /);
    expect(errorOf("a\udcff")).toBe("error parsing regexp: invalid UTF-8: `a\ufffd`");
  });
});

describe("long choices of plain texts", () => {
  const names = Array.from({ length: 4000 }, (_, i) => `cart-api\\.${i}/é`);
  const pattern = names.join("|");
  test("match a whole text without an engine, whatever their length", () => {
    const regex = compileRegex(pattern, { anchored: true, dotAll: true });
    expect(
      ["cart-api.0/é", "cart-api.3999/é", "cart-api.4000/é", "cart-api.1/é ", ""].map((text) => regex.test(text)),
    ).toEqual([true, true, false, false, false]);
    expect(regex.exec("cart-api.7/é")).toEqual({ index: 0, groups: {} });
    expect(regex.exec("cart-api.7")).toBeNull();
    expect(compileRegex(`${pattern}|`, { anchored: true }).test("")).toBe(true);
  });
  test("mean what re2js takes them for", () => {
    const some = `${"x".repeat(900)}|${names.slice(0, 20).join("|")}|a\\|b|\\_|=~"@`;
    const regex = compileRegex(some, { anchored: true });
    for (const text of ["a|b", "a", "_", '=~"@', "cart-api.3/é", "cart-api.33/é", "x".repeat(900)]) {
      expect([text, regex.test(text)]).toEqual([text, regex.testRe2(text)]);
    }
    const few = compileRegex(`${"x".repeat(2000)}|a\\.c`);
    expect(few.choice).toEqual(["x".repeat(2000), "a.c"]);
    expect(few.test("-a.c-")).toBe(true);
    expect(few.test("abc")).toBe(false);
    expect(few.matchAll("a.c").length).toBe(1);
  });
  test("that have to be searched for are too large beyond a bound", () => {
    expect(errorOf(pattern)).toMatch(/^error parsing regexp: expression too large: `cart-api/);
    expect(errorOf(`${pattern}|a.*`, { anchored: true })).toMatch(/expression too large/);
  });
});

// Where RE2 and JavaScript's own engine part ways.
describe("meaning", () => {
  test.each([
    { name: "inline case folding", pattern: "(?i)error", yes: ["ERROR", "eRRor"], no: ["eror"] },
    { name: "folding of k and s beyond ASCII", pattern: "(?i)^ks$", yes: ["KS", "\u212a\u017f"], no: ["k"] },
    { name: "folding beyond ASCII", pattern: "(?i)^é$", yes: ["É", "é"], no: ["e"] },
    { name: "folding for a part", pattern: "a(?i:b)c", yes: ["aBc", "abc"], no: ["Abc", "abC"] },
    { name: "folding switched off again", pattern: "(?i)a(?-i)b", yes: ["Ab"], no: ["AB"] },
    { name: "folded class", pattern: "(?i)^[a-f]+$", yes: ["aF"], no: ["ag"] },
    { name: "negated folded class", pattern: "(?i)^[^a]$", yes: ["b"], no: ["A", "a"] },
    { name: "dot and newline", pattern: "a.b", yes: ["a\rb", "a\u2028b", "a b"], no: ["a\nb"] },
    { name: "(?s)", pattern: "(?s)a.b", yes: ["a\nb"], no: ["ab"] },
    { name: "$ is the end of the text", pattern: "a$", yes: ["ba"], no: ["a\n"] },
    { name: "(?m)", pattern: "(?m)^a$", yes: ["b\na\nc", "a"], no: ["b\ra\rc"] },
    { name: "\\A and \\z", pattern: "\\Aa\\z", yes: ["a"], no: ["a\n", "ba"] },
    { name: "\\Q..\\E", pattern: "\\Qa.b*\\E+", yes: ["a.b**"], no: ["axb"] },
    { name: "\\Q without \\E", pattern: "x\\Q(.", yes: ["x(."], no: ["x(a"] },
    { name: "POSIX classes", pattern: "^[[:alpha:][:digit:]_]+$", yes: ["a1_"], no: ["a-"] },
    { name: "negated POSIX class", pattern: "^[[:^space:]]+$", yes: ["ab"], no: ["a b"] },
    { name: "\\d is ASCII", pattern: "^\\d$", yes: ["5"], no: ["٥"] },
    { name: "\\w is ASCII", pattern: "^\\w+$", yes: ["aZ_9"], no: ["é"] },
    { name: "\\s has neither \\v nor NBSP", pattern: "^\\s$", yes: [" ", "\t", "\f"], no: ["\v", "\u00a0", "\u2028"] },
    { name: "\\b is ASCII", pattern: "\\bx\\b", yes: ["é x é", "éxé"], no: ["axa"] },
    { name: "\\pL", pattern: "^\\pL+$", yes: ["aé水"], no: ["a1"] },
    { name: "\\p{Greek}", pattern: "\\p{Greek}", yes: ["α"], no: ["a"] },
    { name: "(?U) turns greed around", pattern: "(?U)^a+b", yes: ["aab"], no: ["b"] },
    { name: "braces without a count are plain", pattern: "^a{,2}$", yes: ["a{,2}"], no: ["aa"] },
    { name: "plain closing bracket", pattern: "^[]a]+]$", yes: ["]a]"], no: ["b]"] },
    { name: "one character for a surrogate pair", pattern: "^.$", yes: ["😀", "é"], no: ["😀😀"] },
    { name: "code points in classes", pattern: "^[😀-😎]$", yes: ["😁"], no: ["😏"] },
    { name: "escapes", pattern: "^\\x41\\x{1F600}\\101\\t\\a$", yes: ["A😀A\t\x07"], no: ["A"] },
    { name: "(?P<n>) and (?<n>)", pattern: "^(?P<a>x)(?<b>y)$", yes: ["xy"], no: ["x"] },
    { name: "empty alternatives", pattern: "^(?:|a)+$", yes: ["", "aaa"], no: ["b"] },
    { name: "repeated assertion", pattern: "(?:^)*a", yes: ["ba"], no: ["b"] },
  ])("$name: $pattern", ({ pattern, yes, no }) => {
    const regex = compileRegex(pattern);
    for (const text of yes) expect([text, regex.test(text), regex.testRe2(text)]).toEqual([text, true, true]);
    for (const text of no) expect([text, regex.test(text), regex.testRe2(text)]).toEqual([text, false, false]);
  });

  test("anchored and dotAll", () => {
    expect(compileRegex("a|b", { anchored: true }).test("ab")).toBe(false);
    expect(compileRegex("a|ab", { anchored: true }).test("ab")).toBe(true);
    expect(compileRegex("a.b", { anchored: true, dotAll: true }).test("a\nb")).toBe(true);
    expect(compileRegex("a.b", { anchored: true }).test("a\nb")).toBe(false);
    expect(compileRegex("(?-s)a.b", { anchored: true, dotAll: true }).test("a\nb")).toBe(false);
    expect(compileRegex("a\\Qb", { anchored: true }).test("ab")).toBe(true);
    expect(compileRegex("", { anchored: true }).test("")).toBe(true);
  });

  test("the leftmost match, its groups by name", () => {
    expect(compileRegex("(?P<a>x)?(?P<b>y+?)(z)").exec("--yyz")).toEqual({
      index: 2,
      groups: { a: undefined, b: "yy" },
    });
    expect(compileRegex("(?P<first>a|ab)(?P<rest>.*)").exec("abc")?.groups).toEqual({ first: "a", rest: "bc" });
    expect(compileRegex("(?P<n>x)").exec("y")).toBeNull();
    expect(compileRegex("(?P<n>x)(y)(?P<m>z)").groups).toEqual(["n", "", "m"]);
    // JavaScript forgets a group at each round of the loop around it, RE2 does not.
    expect(compileRegex("(?:(?P<a>x)|y){2}").exec("xy")?.groups).toEqual({ a: "x" });
    expect(compileRegex("(?P<a>a*)?b").exec("b")?.groups).toEqual({ a: "" });
  });

  test("ill-formed UTF-8 is decoded as one U+FFFD for each begun sequence", () => {
    const decode = (...bytes: number[]) => Buffer.from(bytes).toString("utf8");
    expect(compileRegex("^a.b$").test(decode(0x61, 0xff, 0x62))).toBe(true);
    // Go counts bytes here: to it this is one more character.
    expect(compileRegex("^a.b$").test(decode(0x61, 0xe2, 0x82, 0x62))).toBe(true);
    expect(compileRegex("^a..b$").test(decode(0x61, 0xe2, 0x82, 0x62))).toBe(false);
    expect(compileRegex("\\x{FFFD}").test(decode(0xff))).toBe(true);
    expect(compileRegex("\\x{FFFD}").literalGroups).toEqual([]);
  });
});

describe("literals", () => {
  test.each([
    { pattern: "error", groups: [["error"]], choice: ["error"] },
    { pattern: "error|503|panic", groups: [["error", "503", "panic"]], choice: ["error", "503", "panic"] },
    { pattern: "a(b|cd)e", groups: [["abe", "acde"]], choice: ["abe", "acde"] },
    { pattern: "[Ee]rror: .*timeout", groups: [["timeout"], ["Error: ", "error: "]], choice: null },
    { pattern: "took=(\\d+)ms", groups: [["took="], ["ms"]], choice: null },
    { pattern: "(foo)+bar?", groups: [["foo"], ["bar", "ba"]], choice: null },
    { pattern: "(?i)error", groups: [], choice: null },
    { pattern: "(?i)404 not", groups: [["404 "]], choice: null },
    { pattern: "^GET", groups: [["GET"]], choice: null },
    { pattern: "x*", groups: [], choice: null },
    { pattern: "a|.*", groups: [], choice: null },
    { pattern: "(?:ab.*|.*cde)x", groups: [["ab", "cde"], ["x"]], choice: null },
    { pattern: "\\Qa.b\\E", groups: [["a.b"]], choice: ["a.b"] },
    { pattern: "", groups: [], choice: [""] },
  ])("$pattern", ({ pattern, groups, choice }) => {
    const regex = compileRegex(pattern);
    expect(regex.literalGroups).toEqual(groups);
    expect(regex.choice).toEqual(choice);
  });
});

/** Processor time of this process in milliseconds: the machine may be busy with other things. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

describe("time", () => {
  const long = "a".repeat(65_536);
  test.each([
    { pattern: "(a+)+$", text: `${long}b` },
    { pattern: "(.*)*x", text: long },
    { pattern: "(a|a)*b", text: long },
    { pattern: "(a|aa)+$", text: `${long}b` },
    { pattern: "a*a*a*a*a*b", text: long },
    { pattern: ".*.*.*=x", text: long },
    { pattern: "\\d+x", text: "1".repeat(65_536) },
    { pattern: "(?:\\w+,)*;", text: "a,".repeat(32_768) },
    { pattern: "a{0,500}b", text: long },
    { pattern: "(x+x+)+y", text: "x".repeat(65_536) },
    { pattern: "foo.*bar.*baz", text: "foobar".repeat(10_922) },
    { pattern: "(?i)(a|b|ab)*c", text: "ab".repeat(32_768) },
    { pattern: "^(\\w+\\s?)*$", text: `${"word ".repeat(13_000)}!` },
  ])("$pattern stays linear", ({ pattern, text }) => {
    const regex = compileRegex(pattern);
    regex.test("warm up");
    const begun = cpuMs();
    regex.test(text);
    const testMs = cpuMs() - begun;
    regex.captures(text.slice(0, 8192));
    const ms = cpuMs() - begun;
    // Some 5 to 100 ms each; a quadratic engine would take seconds, an exponential one for ever.
    expect(testMs).toBeLessThan(300);
    expect(ms).toBeLessThan(600);
  });

  test("short texts of the same patterns stay fast on either engine", () => {
    for (const pattern of ["\\d+x", "a*a*b", ".*.*=x", "(?P<a>\\w+) (?P<b>.*) (?P<c>\\w+)"]) {
      const regex = compileRegex(pattern);
      const begun = cpuMs();
      for (let n = 0; n < 2000; n += 10) regex.test("1".repeat(n));
      expect(cpuMs() - begun).toBeLessThan(1500);
    }
  });
});

describe("V8 agrees with re2js", () => {
  const PATTERNS = Number(process.env.RE2_PATTERNS ?? 1500);
  test("on random patterns and texts", () => {
    const random = makeRandom(SEED);
    let fast = 0;
    let matched = 0;
    for (let i = 0; i < PATTERNS; i++) {
      const pattern = random.pattern();
      const options = { anchored: random.chance(0.3), dotAll: random.chance(0.3) };
      const regex = compileRegex(pattern, options);
      if (regex.isFast) fast++;
      for (let k = 0; k < 6; k++) {
        const text = random.text();
        const want = regex.testRe2(text);
        const note = `${JSON.stringify(pattern)} ${JSON.stringify(options)} on ${JSON.stringify(text)}`;
        expect(regex.test(text), note).toBe(want);
        expect(regex.captures(text), note).toEqual(regex.capturesRe2(text));
        if (!want) continue;
        matched++;
        for (const group of regex.literalGroups) {
          expect(
            group.some((literal) => text.includes(literal)),
            `${note}: ${JSON.stringify(group)}`,
          ).toBe(true);
        }
      }
      if (regex.choice !== null && !options.anchored) {
        const text = random.text();
        expect(regex.choice.some((literal) => text.includes(literal))).toBe(regex.testRe2(text));
      }
    }
    // A test in which nothing took V8's way, or nothing matched, would prove nothing.
    expect(fast).toBeGreaterThan(PATTERNS / 4);
    expect(matched).toBeGreaterThan(PATTERNS / 2);
  }, 600_000);
});

describe("all matches", () => {
  test.each<[pattern: string, text: string, found: string[]]>([
    ["a+", "baaac", ["1-4:aaa"]],
    ["a*", "baaac", ["0-0:", "1-4:aaa", "5-5:"]],
    ["", "ab", ["0-0:", "1-1:", "2-2:"]],
    ["^a*", "aab", ["0-2:aa"]],
    ["x", "", []],
    ["(?i)É", "éÉ", ["0-1:é", "1-2:É"]],
    ["\\b", "a b", ["0-0:", "1-1:", "2-2:", "3-3:"]],
    ["(a)|(b)", "ab", ["0-1:a", "1-2:b"]],
    [".", "a😀b", ["0-1:a", "1-3:😀", "3-4:b"]],
  ])("of %s in %s", (pattern, text, found) => {
    const matches = compileRegex(pattern).matchAll(text);
    expect(matches.map(({ index, end, values }) => `${index}-${end}:${values[0]}`)).toEqual(found);
  });
  test("have their groups", () => {
    const [first, second] = compileRegex("(?P<k>\\w)=(\\d)?").matchAll("a=1 b=");
    expect([first.values, second.values]).toEqual([
      ["a=1", "a", "1"],
      ["b=", "b", undefined],
    ]);
  });
});

describe("loops at the edges cost one walk", () => {
  test.each<[pattern: string, yes: string[], no: string[]]>([
    ["[a-z]+[0-9]{7,}", ["x1234567", "x12345678y"], ["x123456", "1234567"]],
    [".*x.*", ["x", "axb"], ["", "y"]],
    ["a*\\bx", ["x", "aa x"], ["ax", "aax"]],
    ["x*$", ["", "y"], []],
    ["(a+|b+)c+", ["ac", "bbcc"], ["c", "ab"]],
    ["(?:ab){2,3}", ["abab"], ["aba"]],
    ["a{2,}b{0,3}", ["aa"], ["a"]],
    ["(a*)(b)?", ["", "x"], []],
  ])("%s", (pattern, yes, no) => {
    const regex = compileRegex(pattern);
    for (const text of yes) expect([text, regex.test(text), regex.testRe2(text)]).toEqual([text, true, true]);
    for (const text of no) expect([text, regex.test(text), regex.testRe2(text)]).toEqual([text, false, false]);
  });
  test("on a text that took quadratic time", () => {
    const regex = compileRegex("[a-z]+[0-9]{7,}");
    expect(regex.isFast).toBe(true);
    const begun = performance.now();
    expect(regex.test("a".repeat(1_000_000))).toBe(false);
    // Some milliseconds; in quadratic time it were minutes.
    expect(performance.now() - begun).toBeLessThan(20_000);
  });
});
