import path from "node:path";
import { z } from "zod";
import { defineRecordSink } from "../src/core/sink.ts";
import { form } from "./shared/encode.ts";
import { FileSink, gzName } from "./shared/file-sink.ts";
import { template } from "./shared/template.ts";

const options = z.strictObject({
  path: template
    .refine((text) => text !== "" && !text.endsWith("/"), "want the path of a file")
    .describe(
      "Path of the files, as `logs/{namespace}/{app}-{+yyyy-MM-dd}.log`: `{name}` is the label of that name, `{tenant}` the tenant, `{+…}` the record's time in UTC (yyyy, MM, dd, HH, mm). In what comes from labels everything but letters, digits, `.`, `_` and `-` is written as `%` and two hex digits, so no record leads out of the folder.",
    ),
  form,
  gzip: z
    .boolean()
    .default(false)
    .describe(
      "Whether files are compressed: each request's records as a gzip member of their own, which `zcat` reads as one file. Larger batches compress better.",
    ),
  rotate_bytes: z
    .int()
    .min(0)
    .default(100 * 1024 * 1024)
    .describe(
      "Size at which a file gets a name of its own (the time is put into it) and a new one is begun. 0: never.",
    ),
  rotate_age_ms: z
    .int()
    .min(0)
    .default(86_400_000)
    .describe("Age at which the same happens, when something is written. 0: never."),
});

export default defineRecordSink({
  name: "file",
  summary:
    "Writes records to files, one a line. A record counts as sent when it is on the disk (fsync). The sink notes how long its files are, and after a crash cuts off what was not noted and goes on there, so each record is in the files once; for that nobody else may write to them. Files are never deleted.",
  options,
  wantsJson: ({ form: as }) => as === "record",
  // Two that write to one file would write over each other's records.
  claims: ({ path: file, gzip }) => [`the file ${gzName(path.normalize(file), gzip)}`],
  open: (own, { folder, now }) => new FileSink(own, { folder, now }),
});
