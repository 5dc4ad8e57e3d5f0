import { isUtf8 } from "node:buffer";
import { z } from "zod";
import type { SinkRecord } from "../../src/core/sink.ts";
import { formatRfc3339, joinNs } from "../../src/core/time.ts";

export const FORMS = ["json", "record", "line"] as const;
export type Form = (typeof FORMS)[number];

/** What a record looks like where one line of text stands for one record. */
export const form = z
  .enum(FORMS)
  .default("json")
  .describe(
    "What stands for a record. `json`: an object with id, time, tenant, labels, metadata and line; `record`: the record's own fields as an object; `line`: the line's bytes alone, so that a line with newlines in it becomes several.",
  );

const LF = Buffer.from("\n");

/** The bytes for a record, with a newline at the end. */
export function encodeRecord(record: SinkRecord, as: Form): Buffer {
  if (as === "line") return Buffer.concat([record.line, LF]);
  return Buffer.from(`${as === "json" ? envelope(record) : fieldsJson(record)}\n`);
}

/** The bytes for a record that stands alone. */
export function encodeMessage(record: SinkRecord, as: Form): Buffer {
  if (as === "line") return record.line;
  return Buffer.from(as === "json" ? envelope(record) : fieldsJson(record));
}

/**
 * `{"id":"0-12-3","time":"2026-01-02T03:04:05.000000006Z","tenant":"…","labels":{…},"metadata":{…},"line":"…"}`. A line that is
 * not UTF-8 has U+FFFD for what is none, and its bytes as `line_base64`.
 */
function envelope(record: SinkRecord): string {
  const { id, tenant, sec, nsec, canonical, metadata, line } = record;
  const time = timeText(sec, nsec);
  const exact = isUtf8(line) ? "" : `,"line_base64":"${line.toString("base64")}"`;
  const more = JSON.stringify(Object.fromEntries(metadata));
  return `{"id":"${id}","time":"${time}","tenant":${JSON.stringify(tenant)},"labels":${canonical},"metadata":${more},"line":${JSON.stringify(line.toString())}${exact}}`;
}

let lastSec = Number.NaN;
let lastText = "";

/** As formatRfc3339, which is slow, once for all records of a second. */
export function timeText(sec: number, nsec: number): string {
  if (sec !== lastSec) {
    lastSec = sec;
    lastText = formatRfc3339(joinNs(sec, 0)).slice(0, -1);
  }
  return nsec === 0 ? `${lastText}Z` : `${lastText}.${String(nsec).padStart(9, "0").replace(/0+$/, "")}Z`;
}

/** The record's fields as a JSON object; of one that has none (a pushed line) the line and its metadata. */
export function fieldsJson({ json, metadata, line }: SinkRecord): string {
  if (json !== "" && json !== "{}") return json;
  return JSON.stringify({ ...Object.fromEntries(metadata), line: line.toString() });
}
