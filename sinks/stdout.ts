import type { Writable } from "node:stream";
import { z } from "zod";
import { messageOf, WeirError } from "../src/core/errors.ts";
import { ALL_TAKEN, defineRecordSink, type RecordSink } from "../src/core/sink.ts";
import { encodeRecord, type Form, form } from "./shared/encode.ts";

const options = z.strictObject({ form });

export default defineRecordSink({
  name: "stdout",
  summary:
    "Prints records, one a line, on the standard output of the process: for trying a pipeline, and for a platform that collects it. A record counts as sent when the reader of the output has it; whatever that does with it, it is not sent again.",
  options,
  wantsJson: ({ form: as }) => as === "record",
  open: ({ form: as }) => printTo(process.stdout, as),
});

/** Prints on any stream. */
export function printTo(stream: Writable, as: Form): RecordSink {
  // Without a listener an error of the stream would end the process; each write hears of its own.
  const ignore = (): void => {};
  stream.on("error", ignore);
  return {
    async write(batch, signal) {
      signal.throwIfAborted();
      if (batch.length === 0) return ALL_TAKEN;
      const bytes = Buffer.concat(batch.map((record) => encodeRecord(record, as)));
      await new Promise<void>((resolve, reject) => {
        const onAbort = () => reject(signal.reason);
        signal.addEventListener("abort", onAbort, { once: true });
        stream.write(bytes, (error) => {
          signal.removeEventListener("abort", onAbort);
          if (!error) return resolve();
          const what = `standard output: ${messageOf(error)}`;
          reject(new WeirError("sink_unavailable", what, { retriable: true, cause: error }));
        });
      });
      return ALL_TAKEN;
    },
    async close() {
      stream.off("error", ignore);
    },
  };
}
