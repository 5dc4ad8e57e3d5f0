import { z } from "zod";
import { pathText } from "../../core/path.ts";
import { readTime, TIME_FORMATS, type TimeFormat } from "../../core/read-time.ts";
import { splitNs } from "../../core/time.ts";
import type { RecordContext } from "../context.ts";
import { defineStep } from "../step.ts";
import { firstOf, readValue } from "../value-source.ts";

const options = z.strictObject({
  from: z
    .union([pathText, z.array(pathText).min(1)])
    .describe(
      "The field with the time, or several, of which the first that is there counts. No default: only you know its name.",
    ),
  format: z
    .enum(TIME_FORMATS)
    .default("auto")
    .describe(
      "What stands in it. `auto` takes RFC 3339 text, and numbers by their size: below 1e11 seconds, below 1e14 ms, below 1e17 us, else ns.",
    ),
});

export default defineStep({
  name: "time",
  summary:
    "Takes the record's time from a field instead of from the agent. A value that is no time leaves the agent's, and is counted.",
  options,
  compile({ from, format }, { scope, runs, counts }) {
    const source = firstOf(typeof from === "string" ? [from] : from, scope);
    runs.push((record) => {
      const text = readValue(source, record);
      if (text !== "" && !setTime(record, text, format)) counts.badTimes++;
      return true;
    });
  },
});

/** Sets the record's time; false, and nothing has changed, when the text is no time. */
export function setTime(record: RecordContext, text: string, format: TimeFormat): boolean {
  const ns = readTime(text, format);
  if (ns === null) return false;
  const { sec, nsec } = splitNs(ns);
  record.sec = sec;
  record.nsec = nsec;
  return true;
}
