import { z } from "zod";
import { defineParser } from "../src/core/component.ts";

const options = z.strictObject({
  message_key: z
    .string()
    .min(1)
    .default("message")
    .describe(
      "Field that receives the text after the flag. The default is the name that Fluent Bit's own `cri` parser gives.",
    ),
});

const COLON = 0x3a;
const SPACE = 0x20;

/**
 * `<RFC 3339 time> <stdout|stderr> <F|P>[:tags] <message>`. P means that the runtime cut the line and the rest follows.
 * Source: Kubernetes, "CRI container log format". The names are those of Fluent Bit's parser.
 */
function split(line: string): { time: string; stream: string; logtag: string; message: string } | null {
  const afterTime = line.indexOf(" ");
  if (afterTime <= 0) return null;
  const stream = line.slice(afterTime + 1, afterTime + 7);
  if ((stream !== "stdout" && stream !== "stderr") || line.charCodeAt(afterTime + 7) !== SPACE) return null;
  const flagAt = afterTime + 8;
  const logtag = line.charAt(flagAt);
  if (logtag !== "F" && logtag !== "P") return null;
  let end = flagAt + 1;
  if (line.charCodeAt(end) === COLON) {
    const afterTags = line.indexOf(" ", end);
    end = afterTags === -1 ? line.length : afterTags;
  }
  if (end < line.length && line.charCodeAt(end) !== SPACE) return null;
  return { time: line.slice(0, afterTime), stream, logtag, message: line.slice(end + 1) };
}

export default defineParser({
  name: "cri",
  summary:
    "Unwraps a line of a Kubernetes container runtime (containerd, CRI-O) into time, stream, flag and message. Pieces of a line that the runtime cut stay lines of their own: the agent joins them, Fluent Bit with `multiline.parser cri`.",
  options,
  examples: [
    {
      title: "A full line",
      line: "2024-05-01T09:00:00.5Z stderr F disk full",
      gives: { time: "2024-05-01T09:00:00.5Z", stream: "stderr", logtag: "F", message: "disk full" },
    },
    {
      title: "A piece of a line that the runtime cut",
      line: "2024-05-01T09:00:00.5Z stdout P first part, ",
      gives: { time: "2024-05-01T09:00:00.5Z", stream: "stdout", logtag: "P", message: "first part, " },
    },
    {
      title: "Another key",
      line: "2024-05-01T09:00:00.5Z stdout F hello",
      options: { message_key: "log" },
      gives: { time: "2024-05-01T09:00:00.5Z", stream: "stdout", logtag: "F", log: "hello" },
    },
    { title: "Another format", line: "disk full", gives: null },
  ],
  innerLine: ({ message_key }) => message_key,
  timeField: "time",
  create:
    ({ message_key }) =>
    (line) => {
      const parts = split(line);
      if (parts === null) return null; // The pipeline decides what an unparsed line becomes.
      const { time, stream, logtag, message } = parts;
      return { time, stream, logtag, [message_key]: message };
    },
});
