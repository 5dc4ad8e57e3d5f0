import type { SinkRecord } from "../../src/core/sink.ts";
import { compileTemplate, PLACE, template } from "./template.ts";

/*
 * Names of indices and data streams. Elasticsearch wants lower case, none of `\ / * ? " < > | , #` or a space, no `-`, `_` or `+` at the
 * beginning, neither `.` nor `..`, and at most 255 bytes; of a data stream fewer, because its indices get a longer name.
 * Source: Elasticsearch, "Create index API", path parameters.
 */
const NAME_BYTES_MAX = 255;
/** `.ds-` before it, and `-2026.01.02-000001` behind. */
const STREAM_NAME_BYTES_MAX = 230;
/** What a label may take of a name, so that what comes after it is not cut off. */
const LABEL_CHARS_MAX = 80;
const NO_NAME = "none";

/** The option for it. */
export const indexTemplate = template.superRefine((text, context) => {
  const problem = literalProblem(text);
  if (problem !== null) context.addIssue({ code: "custom", message: problem });
});

/** What is wrong with the part of a template that stands in every name, or null. */
function literalProblem(text: string): string | null {
  if (text === "") return "want the name of an index";
  const literal = text.replace(PLACE, "");
  const wrong = /[\\/*?"<>|\s,#:]|[^\x21-\x7e]/.exec(literal)?.[0];
  if (wrong !== undefined) return `an index may not have ${JSON.stringify(wrong)} in its name`;
  const upper = /[A-Z]/.exec(literal)?.[0];
  if (upper !== undefined) return `found ${upper}; names of indices are in lower case`;
  if (/^[-_+]/.test(text)) return "an index's name may not begin with -, _ or +";
  if (/^\.{1,2}$/.test(text)) return "neither . nor .. can be an index";
  return literal.length > STREAM_NAME_BYTES_MAX ? `want a name of at most ${NAME_BYTES_MAX} bytes` : null;
}

/**
 * Gives the name of a record's index. In what labels bring to a data stream's name `-` is `_` as well, since there `-` divides type,
 * dataset and namespace.
 */
export function compileIndexName(text: string, isStream: boolean): (record: SinkRecord) => string {
  const make = compileTemplate(text, isStream ? (value) => plain(value).replaceAll("-", "_") : plain);
  // What begins with a label may not reach what has another meaning by its first character, such as the cluster's own indices.
  const isOpen = text.startsWith("{");
  const max = isStream ? STREAM_NAME_BYTES_MAX : NAME_BYTES_MAX;
  let last = "";
  let name = "";
  return (record) => {
    const made = make(record);
    if (made !== last) {
      last = made;
      name = (isOpen ? made.replace(/^[-_+.]+/, "") : made).slice(0, max);
      if (/^\.{0,2}$/.test(name)) name = NO_NAME;
    }
    return name;
  };
}

/** A label's value as a part of a name: one byte a character, so that lengths can be told. */
function plain(value: string): string {
  return value
    .toLowerCase()
    .replace(/[^a-z0-9._-]/gu, "_")
    .slice(0, LABEL_CHARS_MAX);
}

/** The pattern that all names fit: `logs-{app}-{+yyyy.MM.dd}` gives `logs-*-*`. */
export function indexPattern(text: string): string {
  return text.replace(PLACE, "*").replace(/\*+/g, "*");
}
