import { WeirError } from "../core/errors.ts";
import { formatLabels, type Labels } from "../core/labels.ts";
import { formatRfc3339 } from "../core/time.ts";
import { usageError } from "./io.ts";

/** A line as it came back from a query, a tail or a segment. */
export interface Entry {
  /** Nanoseconds since 1970 UTC. */
  readonly ns: bigint;
  /** The stream's labels. */
  readonly labels: Labels;
  readonly metadata: Labels;
  /** What the query's parsers and formatters made. */
  readonly parsed: Labels;
  /** Text as the server sent it, or a segment's very bytes. */
  readonly line: string | Buffer;
}

export const OUTPUT_FORMS = ["text", "json", "raw"] as const;
export type OutputForm = (typeof OUTPUT_FORMS)[number];

/** What `--output` means, for the help of every command that has it. */
export const OUTPUT_HELP = `
Output:
  text   time {stream labels} line; metadata and parsed labels are left out
  json   one object a line: time, labels, metadata, parsed, line
  raw    the lines alone
`;

export function outputForm(text: string): OutputForm {
  const form = OUTPUT_FORMS.find((name) => name === text);
  if (form === undefined) throw usageError(`--output: got ${JSON.stringify(text)}, want text, json or raw`);
  return form;
}

/**
 * A function that prints one entry, newline included.
 *
 * text  `<time> {stream labels} <line>`: every line the same shape, whatever else is in the answer, so that it can be
 *       grepped and cut. Metadata and parsed labels are left to json. On a terminal (`colors`) time and labels are
 *       dimmed, and control characters other than tab and colours are shown as `\xNN`, so that a line can't
 *       drive the terminal.
 * json  one object a line: time, labels, metadata and parsed where there are any, line.
 * raw   the line alone; the bytes as they are where they are at hand.
 */
export function entryPrinter(form: OutputForm, colors: boolean): (entry: Entry) => string | Buffer {
  switch (form) {
    case "raw":
      return ({ line }) => (typeof line === "string" ? `${line}\n` : Buffer.concat([line, LF]));
    case "json":
      return (entry) =>
        `${JSON.stringify({
          time: formatRfc3339(entry.ns),
          labels: entry.labels,
          ...(isEmpty(entry.metadata) ? {} : { metadata: entry.metadata }),
          ...(isEmpty(entry.parsed) ? {} : { parsed: entry.parsed }),
          line: entry.line.toString(),
        })}\n`;
    case "text":
      if (colors) {
        return ({ ns, labels, line }) =>
          `\x1b[2m${formatRfc3339(ns)}\x1b[0m \x1b[36m${visible(formatLabels(labels))}\x1b[0m ${visible(line.toString())}\x1b[0m\n`;
      }
      return ({ ns, labels, line }) => {
        const head = `${formatRfc3339(ns)} ${formatLabels(labels)} `;
        return typeof line === "string" ? `${head}${line}\n` : Buffer.concat([Buffer.from(head), line, LF]);
      };
    default:
      throw new WeirError("bad_usage", `no such output form: ${String(form satisfies never)}`);
  }
}

const LF = Buffer.from("\n");

function isEmpty(labels: Labels): boolean {
  for (const _ in labels) return false;
  return true;
}

/** SGR sequences (colours), which many programs log, are let through; everything else that a terminal obeys is not. */
const CONTROLS = /(\x1b\[[0-9;]*m)|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]/g;

/** Text for a terminal, which it can't drive. */
export function visible(text: string): string {
  return text.replace(CONTROLS, (found, color: string | undefined) =>
    color === undefined ? `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}` : color,
  );
}
