import { z } from "zod";
import { ALL_TAKEN, defineRecordSink } from "../src/core/sink.ts";

export default defineRecordSink({
  name: "null",
  summary: "Takes records and forgets them: for measuring, and to try what a `when` lets through by its metrics.",
  options: z.strictObject({}),
  open: () => ({
    async write(_batch, signal) {
      signal.throwIfAborted();
      return ALL_TAKEN;
    },
    close: async () => {},
  }),
});
