import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { z } from "zod";
import { defineRecordSink } from "../src/core/sink.ts";
import { sendInHalves } from "./shared/bisect.ts";
import { encodeRecord, FORMS } from "./shared/encode.ts";
import { HttpClient } from "./shared/http-client.ts";
import { httpTarget, httpUrl } from "./shared/http-options.ts";

const compress = promisify(gzip);

const options = z.strictObject({
  url: httpUrl.describe("Where records are posted."),
  form: z
    .enum(FORMS)
    .exclude(["line"])
    .default("json")
    .describe(
      "What stands for a record in the body. `json`: an object with id, time, tenant, labels, metadata and line; `record`: the record's own fields as an object.",
    ),
  gzip: z.boolean().default(true).describe("Whether bodies are compressed (`Content-Encoding: gzip`)."),
  ...httpTarget,
});

export default defineRecordSink({
  name: "http",
  summary:
    "Posts records as NDJSON, one JSON object a line. 2xx means taken. 400, 413, 422 and the like refuse records: the batch is sent again in halves until each refused record stands alone, and goes to the dead letters. Everything else is tried again: 408, 425, 429 and 5xx after their `Retry-After`, and 401, 403, 404 or a redirect too, because they speak of the setup and not of the records.",
  options,
  wantsJson: ({ form }) => form === "record",
  open: (own, { now }) => {
    const client = new HttpClient(own, now);
    const headers = { "content-type": "application/x-ndjson", ...(own.gzip ? { "content-encoding": "gzip" } : {}) };
    return {
      write: (batch, signal) =>
        sendInHalves(batch, async (part) => {
          const plain = Buffer.concat(part.map((record) => encodeRecord(record, own.form)));
          const answer = await client.post(own.gzip ? await compress(plain, { level: 1 }) : plain, headers, signal);
          return answer === null ? { taken: true } : { taken: false, reason: answer.text };
        }),
      close: async () => client.close(),
    };
  },
});
