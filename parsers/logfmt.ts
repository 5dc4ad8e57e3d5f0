import { z } from "zod";
import { defineParser, type Fields } from "../src/core/component.ts";
import { setField } from "../src/core/fields.ts";

const options = z.strictObject({
  pairs_min: z
    .int()
    .min(1)
    .max(100)
    .default(1)
    .describe(
      "Fewest pairs that make a line logfmt. 1 takes every line with a pair in it; set 2 where plain text with a stray `a=b` comes the same way.",
    ),
  fields_max: z
    .int()
    .min(1)
    .max(100_000)
    .default(1000)
    .describe(
      "Most pairs in one line, so that no line costs more memory than a record should; one with more is refused.",
    ),
  keep_empty: z
    .boolean()
    .default(false)
    .describe(
      "Keeps `key=` and a bare `key` as empty fields. Off, as in Loki's `logfmt`, because prose is full of bare words.",
    ),
});

const SPACE = 0x20;
const QUOTE = 0x22;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;

/**
 * Reads `key=value` pairs the way Loki's `logfmt` stage does: values are bare or double-quoted with the escapes of
 * JSON; a malformed pair (`=x`, `a=1=2`, a quote inside a bare value, an unclosed one) is skipped to the next space.
 * Source: "LogQL, as Loki evaluates it", parsers.
 */
class LogfmtReader {
  private readonly keepEmpty: boolean;
  private readonly fieldsMax: number;
  private text = "";
  private at = 0;
  private fields: Fields = {};
  private kept = 0;
  private pairs = 0;

  constructor(keepEmpty: boolean, fieldsMax: number) {
    this.keepEmpty = keepEmpty;
    this.fieldsMax = fieldsMax;
  }

  /** The fields and how many pairs with a value were found, or null for more fields than allowed. */
  read(text: string): { fields: Fields; pairs: number } | null {
    this.text = text;
    this.at = 0;
    this.fields = {};
    this.kept = 0;
    this.pairs = 0;
    while (this.kept <= this.fieldsMax) {
      while (this.text.charCodeAt(this.at) <= SPACE) this.at++;
      if (this.at >= text.length) break;
      this.pair();
    }
    this.text = "";
    return this.kept > this.fieldsMax ? null : { fields: this.fields, pairs: this.pairs };
  }

  private pair(): void {
    const start = this.at;
    const end = this.skipWord();
    const key = this.text.slice(start, end);
    const stop = this.text.charCodeAt(end);
    if (stop === QUOTE || (stop === EQUALS && key === "")) this.skipPair();
    else if (stop !== EQUALS) this.keep(key, "");
    else if (this.text.charCodeAt(++this.at) === QUOTE) this.quoted(key);
    else this.bare(key);
  }

  private bare(key: string): void {
    const from = this.at;
    const to = this.skipWord();
    if (this.text.charCodeAt(to) > SPACE) this.skipPair();
    else this.keep(key, this.text.slice(from, to));
  }

  /** Goes on to the next space, quote, equals sign or end, and gives where that is. */
  private skipWord(): number {
    for (;;) {
      const c = this.text.charCodeAt(this.at);
      // At the end of the text c is NaN, of which only `!(c > SPACE)` is true.
      if (!(c > SPACE) || c === EQUALS || c === QUOTE) return this.at;
      this.at++;
    }
  }

  private skipPair(): void {
    while (this.text.charCodeAt(this.at) > SPACE) this.at++;
  }

  /** Stands on the opening quote. Of all the unclosed quotes in a line only one is read to the line's end. */
  private quoted(key: string): void {
    const open = this.at;
    let escapes = false;
    for (let i = open + 1; i < this.text.length; i++) {
      const c = this.text.charCodeAt(i);
      if (c === BACKSLASH) {
        escapes = true;
        i++;
      } else if (c === QUOTE) {
        this.at = i + 1;
        const value = escapes ? unquote(this.text.slice(open, i + 1)) : this.text.slice(open + 1, i);
        if (value !== undefined) this.keep(key, value);
        return;
      }
    }
    this.skipPair();
  }

  private keep(key: string, value: string): void {
    if (value !== "") this.pairs++;
    else if (!this.keepEmpty) return;
    this.kept++;
    setField(this.fields, key, value);
  }
}

/** The text of a quoted string with escapes, or undefined for an escape that there isn't. */
function unquote(quoted: string): string | undefined {
  try {
    // Go's decoder takes control characters as they are, JSON.parse does not.
    const text: unknown = JSON.parse(
      quoted.replace(/[\0-\x1f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`),
    );
    return typeof text === "string" ? text : undefined;
  } catch {
    return undefined;
  }
}

export default defineParser({
  name: "logfmt",
  summary: "Takes the `key=value` pairs out of a line. Fits any line with a pair in it, so name it last.",
  options,
  examples: [
    {
      title: "Bare and quoted values",
      line: 'time=2024-05-01T12:00:00Z level=info msg="user \\"bob\\" logged in" took=12ms',
      gives: { time: "2024-05-01T12:00:00Z", level: "info", msg: 'user "bob" logged in', took: "12ms" },
    },
    { title: "Malformed pairs are skipped", line: "ok=1 =bad x=1=2 bare last=2", gives: { ok: "1", last: "2" } },
    { title: "Empty values", line: "a=1 b= c", options: { keep_empty: true }, gives: { a: "1", b: "", c: "" } },
    { title: "Another format", line: "listening on 8080", gives: null },
  ],
  create: ({ pairs_min, fields_max, keep_empty }) => {
    const reader = new LogfmtReader(keep_empty, fields_max);
    return (line) => {
      const found = reader.read(line);
      return found === null || found.pairs < pairs_min ? null : found.fields;
    };
  },
});
