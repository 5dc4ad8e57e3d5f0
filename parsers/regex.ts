import { z } from "zod";
import { compileRegex, type Regex } from "../src/codec/re2.ts";
import { defineParser, type Fields } from "../src/core/component.ts";
import { messageOf, WeirError } from "../src/core/errors.ts";
import { setField } from "../src/core/fields.ts";

const options = z.strictObject({
  pattern: z
    .string()
    .min(1)
    .max(10_000)
    .describe(
      "Regular expression in RE2 syntax with named groups, `(?P<name>…)` or `(?<name>…)`; each group that takes part in the match becomes a field. It may match anywhere in the line: write `^` and `$` where it shouldn't.",
    ),
  line_length_max: z
    .int()
    .min(1)
    .default(65_536)
    .describe(
      "Longest line in characters; a longer one is refused. A pattern at its worst costs about 1 µs a character, during which nothing else is received.",
    ),
});

function badPattern(why: string, cause?: unknown): WeirError {
  return new WeirError("bad_parser", why, { context: { option: "pattern" }, cause });
}

function compile(pattern: string): Regex {
  try {
    return compileRegex(pattern);
  } catch (error) {
    throw badPattern(
      `found ${JSON.stringify(pattern)}, want a regular expression in RE2 syntax: ${messageOf(error)}`,
      error,
    );
  }
}

export default defineParser({
  name: "regex",
  summary: "Takes the named groups of a regular expression as fields, in time linear in the line's length.",
  options,
  examples: [
    {
      title: "Named groups",
      line: "2024-05-01 09:00:00 WARN  [pool-1] disk almost full",
      options: { pattern: "^(?P<time>\\S+ \\S+) +(?P<level>[A-Z]+) +\\[(?P<thread>[^\\]]*)\\] (?P<message>.*)$" },
      gives: { time: "2024-05-01 09:00:00", level: "WARN", thread: "pool-1", message: "disk almost full" },
    },
    {
      title: "A group that takes no part is absent",
      line: "took 12ms",
      options: { pattern: "took (?<took>\\d+)ms(?: of (?<limit>\\d+))?" },
      gives: { took: "12" },
    },
    { title: "No match", line: "hello", options: { pattern: "^(?P<code>\\d+)$" }, gives: null },
  ],
  create: ({ pattern, line_length_max }) => {
    const regex = compile(pattern);
    if (regex.groupNames.length === 0) {
      throw badPattern(`found ${JSON.stringify(pattern)}, want at least one named group, such as (?P<status>\\d+)`);
    }
    return (line) => {
      const match = line.length > line_length_max ? null : regex.captures(line);
      if (match === null) return null;
      const fields: Fields = {};
      for (const [i, name] of regex.groups.entries()) {
        const value = match.values[i];
        if (name !== "" && value !== undefined) setField(fields, name, value);
      }
      return fields;
    };
  },
});
