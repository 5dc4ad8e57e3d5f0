import { isUtf8 } from "node:buffer";
import { z } from "zod";
import type { Fields, FieldValue, ParseLine } from "../../core/component.ts";
import { messageOf, WeirError } from "../../core/errors.ts";
import { type ParserRef, parserRefs } from "../../core/parser-refs.ts";
import { pathText } from "../../core/path.ts";
import type { PipelineBuilder } from "../builder.ts";
import type { RecordContext } from "../context.ts";
import { fieldText } from "../parsed.ts";
import { defineStep } from "../step.ts";
import { firstOf, readValue } from "../value-source.ts";
import { setTime } from "./time.ts";

const options = z.strictObject({
  with: parserRefs.describe(
    "The parser, or several: the first that takes the line wins. No default: it depends on what your programs write.",
  ),
  from: pathText.optional().describe("Field to take apart. Absent: the line."),
  keep_line: z
    .boolean()
    .default(false)
    .describe(
      "Whether an envelope (cri, docker) stays around the line. Off: the inner line, which is what the program wrote, takes its place.",
    ),
  time: z
    .boolean()
    .default(true)
    .describe(
      "Whether an envelope's time becomes the record's time. On, since it is nearer to the event than the agent's.",
    ),
  line_bytes_max: z
    .int()
    .min(64)
    .default(262_144)
    .describe(
      "Longer lines are left as they are, and counted as unparsed: taking one apart costs memory many times its length.",
    ),
  parse_error: z
    .boolean()
    .default(false)
    .describe(
      "Whether a line that no parser takes gets metadata `parse_error` with their names. Off: such lines are ordinary, and counted in any case.",
    ),
});

interface CompiledParser {
  readonly parse: ParseLine;
  readonly innerField: string | null;
  readonly timeField: string | null;
}

export default defineStep({
  name: "parse",
  summary:
    "Takes the line apart into fields for the steps after it, without the line end that may be in it. The line itself is stored as it came, unless it is an envelope around another line.",
  options,
  compile({ with: refs, from, keep_line, time, line_bytes_max, parse_error }, builder) {
    const parsers = refs.map((ref) => compileParser(ref, builder));
    const source = from === undefined ? null : firstOf([from], builder.scope);
    const names = parse_error ? refs.map(({ name }) => name).join(",") : "";
    const layer = builder.layers.push(builder.names.count) - 1;
    builder.runs.push((record) => {
      const text =
        source !== null
          ? readValue(source, record)
          : record.lineEnd - record.lineStart > line_bytes_max
            ? ""
            : record.lineBytes.toString("utf8", record.lineStart, record.lineEnd);
      record.parsed[layer] = null;
      // Agents leave the line's end in its text (Fluent Bit's `docker` parser does). It is none of what a parser looks at; a CR
      // may be the program's own, and stays in the line within an envelope.
      const outer = text.endsWith("\n") ? text.slice(0, -1) : text;
      const line = outer.endsWith("\r") ? outer.slice(0, -1) : outer;
      for (const { parse, innerField, timeField } of parsers) {
        const fields = text.length > line_bytes_max ? null : parse(innerField === null ? line : outer);
        if (fields === null) continue;
        record.parsed[layer] = fields;
        if (innerField === null) return true;
        if (time && timeField !== null) takeTime(record, fields[timeField]);
        if (keep_line) return true;
        if (source === null) record.lineEnd -= text.length - outer.length;
        takeInner(record, fields[innerField], source === null ? outer : null);
        return true;
      }
      builder.counts.unparsed++;
      if (names !== "") record.parseError = record.parseError === "" ? names : `${record.parseError},${names}`;
      return true;
    });
  },
});

function compileParser({ name, options: given }: ParserRef, { parsers }: PipelineBuilder): CompiledParser {
  const spec = Object.hasOwn(parsers, name) ? parsers[name] : undefined;
  if (spec === undefined) {
    const known = Object.keys(parsers).join(", ");
    throw new WeirError("bad_parser", `parse: there is no parser ${JSON.stringify(name)}, only ${known}`);
  }
  const checked = spec.options.safeParse(given);
  if (!checked.success) throw new WeirError("bad_parser", `parse: options of ${name}: ${messageOf(checked.error)}`);
  return {
    parse: spec.create(checked.data),
    innerField: spec.innerLine === undefined ? null : spec.innerLine(checked.data),
    timeField: spec.timeField ?? null,
  };
}

function takeTime(record: RecordContext, value: FieldValue | undefined): void {
  if (value !== undefined) setTime(record, fieldText(value), "auto");
}

/**
 * Puts the inner line in the place of the line: as a part of the same bytes wherever it is one, so that bytes that are no
 * UTF-8 survive. `outer` is the line's text, null when the envelope was no line but a field.
 */
function takeInner(record: RecordContext, inner: Fields[string] | undefined, outer: string | null): void {
  if (typeof inner !== "string") return;
  record.level = "";
  record.scan = null;
  if (outer?.endsWith(inner)) {
    const { lineBytes, lineStart, lineEnd } = record;
    const head = outer.slice(0, outer.length - inner.length);
    // What stands before the inner line has as many bytes as its text only when nothing in it was replaced.
    const start = lineStart + Buffer.byteLength(head);
    if (start <= lineEnd && isUtf8(lineBytes.subarray(lineStart, start)) && !head.includes("\ufffd")) {
      record.lineStart = start;
      return;
    }
  }
  record.lineBytes = Buffer.from(inner);
  record.lineStart = 0;
  record.lineEnd = record.lineBytes.length;
}
