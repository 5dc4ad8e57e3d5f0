import { describe, expect, test } from "vitest";
import { parsers } from "../../parsers/index.ts";
import type { ParserSpec } from "../../src/core/component.ts";
import { Random } from "../random.ts";

/** Patterns that backtracking engines drown in. */
const REGEX = { line_length_max: 1 << 20, pattern: "^(?P<a>(?:x+x+)+y)|(?P<b>\\S+) (?P<c>.*?)(?P<d>\\d*)$" };
/**
 * CPU time, since other work on the machine says nothing about a parser. A line of 1 MiB takes under 100 ms, one of
 * 64 KiB by a regular expression at its worst too; anything that is not linear takes minutes.
 */
const ALLOWED_MS = 5000;

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

const compiled = Object.values<ParserSpec>(parsers).map((spec) => ({
  name: spec.name,
  parse: spec.create(spec.options.parse(spec.name === "regex" ? REGEX : {})),
}));
const examples = Object.values<ParserSpec>(parsers).flatMap((spec) => spec.examples.map(({ line }) => line));

const CHARACTERS = [
  ..." \t\n\r\0\"'\\{}[]:,=|-.0159eEuntaFPé€😀",
  "\ud800",
  "\udc00",
  "\ufeff",
  "\u2028",
  "null",
  "stdout",
  "\\u",
  "__proto__",
];

describe.each(compiled)("$name", ({ name, parse }) => {
  test("takes or refuses 100,000 random and mutated lines without a throw", () => {
    const random = new Random();
    for (let i = 0; i < 100_000; i++) {
      const line =
        i % 2 === 0
          ? random.mutate(random.pick(examples), CHARACTERS)
          : Array.from({ length: random.below(40) }, () => random.pick(CHARACTERS)).join("");
      try {
        const fields = parse(line);
        if (fields !== null && Object.getPrototypeOf(fields) !== Object.prototype) throw new Error("another prototype");
      } catch (error) {
        throw new Error(`parser ${name}, line ${JSON.stringify(line)}`, { cause: error });
      }
    }
  });

  // A regular expression of a user's is linear, too, but RE2's way costs about 1 µs a character.
  const length = name === "regex" ? 1 << 16 : 1 << 20;
  const repeated = (text: string, start = "", end = "") => start + text.repeat(Math.ceil(length / text.length)) + end;
  const istio = examples.find((line) => line.includes("via_upstream")) ?? "";
  const istioEnd = istio.slice(istio.indexOf(' "-" 0 135'));

  test.each([
    { what: "one letter", line: repeated("a") },
    { what: "spaces", line: repeated(" ") },
    { what: "quotes", line: repeated('"') },
    { what: "spaced quotes", line: repeated(' "') },
    { what: "backslashes", line: repeated("\\") },
    { what: "a string of escapes", line: repeated("\\n", '{"a":"', '"}') },
    { what: "an unclosed string of escapes", line: repeated("\\n", '{"a":"') },
    { what: "strings with escapes before a far quote", line: repeated('"\\', '{"a":"') },
    { what: "opening brackets", line: repeated("[") },
    { what: "opening maps", line: repeated('{"a":') },
    { what: "many fields", line: repeated('"a":1,', "{", '"b":2}') },
    {
      what: "many distinct fields",
      line: `{${Array.from({ length: length / 17 }, (_, i) => `"k${i}":${i}`).join(",")}}`,
    },
    { what: "many pairs", line: repeated("a=b ") },
    { what: "many distinct pairs", line: Array.from({ length: length / 10 }, (_, i) => `k${i}=1`).join(" ") },
    { what: "unclosed quotes", line: repeated('a="b\\" ') },
    { what: "equals signs", line: repeated("=") },
    { what: "an unclosed long quote", line: repeated("x ", 'a="') },
    { what: "codes without an end", line: repeated('" 200 - - ', '[t] "GET / HTTP/1.1') },
    { what: "codes before a good end", line: repeated('" 2000 - - ', '[t] "GET / HTTP/1.1', istioEnd) },
    { what: "quotes before a good end", line: repeated('" ', '[t] "GET / HTTP/1.1', istioEnd) },
    { what: "codes without a protocol", line: repeated('" 200 - - ', '[t] "GET', istioEnd) },
    { what: "a long bracket", line: repeated("x", "[") },
    { what: "tags", line: repeated(":x", "T stdout F") },
    { what: "what a backtracking engine drowns in", line: repeated("x", "", "z") },
    { what: "digits", line: repeated("1", '{"a":', "}") },
  ])("a long line of $what takes linear time", ({ line }) => {
    const start = cpuMs();
    parse(line.slice(0, length));
    parse(line);
    expect(cpuMs() - start).toBeLessThan(ALLOWED_MS);
  });
});
