import { z } from "zod";
import { defineParser } from "../src/core/component.ts";
import { JsonReader } from "./json.ts";

/** `attrs` is a map of labels and variables, one level deep. */
const ENVELOPE = { depth_max: 8, fields_max: 1000 };

export default defineParser({
  name: "docker",
  summary:
    "Unwraps a line of Docker's `json-file` log driver into the container's line, its stream and its time. Pieces of a line that Docker cut stay lines of their own: the agent joins them, Fluent Bit with `multiline.parser docker`.",
  options: z.strictObject({}),
  examples: [
    {
      title: "A full line loses its newline",
      line: '{"log":"Hello\\n","stream":"stdout","time":"2019-01-01T11:11:11.111111111Z"}',
      gives: { log: "Hello", stream: "stdout", time: "2019-01-01T11:11:11.111111111Z", logtag: "F" },
    },
    {
      title: "A piece of a line that Docker cut",
      line: '{"log":"first part, ","stream":"stderr","time":"2019-01-01T11:11:11.5Z"}',
      gives: { log: "first part, ", stream: "stderr", time: "2019-01-01T11:11:11.5Z", logtag: "P" },
    },
    { title: "JSON of another kind", line: '{"level":"info","log":"x"}', gives: null },
    { title: "Another format", line: "Hello", gives: null },
  ],
  innerLine: () => "log",
  timeField: "time",
  create: () => {
    const reader = new JsonReader(ENVELOPE);
    return (line) => {
      const fields = reader.read(line);
      if (fields === null) return null;
      const { log, stream, time } = fields;
      // A program may log JSON with a field `log` of its own; the three together are Docker's.
      if (typeof log !== "string" || typeof stream !== "string" || typeof time !== "string") return null;
      // The newline ends the program's line. A piece that was cut at 16 KiB has none; CRI calls that P, so do we.
      const full = log.endsWith("\n");
      fields.log = full ? log.slice(0, -1) : log;
      fields.logtag = full ? "F" : "P";
      return fields;
    };
  },
});
