import type { RecordSinkSpec } from "../src/core/sink.ts";
import elasticsearch from "./elasticsearch.ts";
import file from "./file.ts";
import forward from "./forward.ts";
import http from "./http.ts";
import kafka from "./kafka.ts";
import loki from "./loki.ts";
import nothing from "./null.ts";
import otlp from "./otlp.ts";
import prometheus from "./prometheus.ts";
import remoteWrite from "./remote-write.ts";
import stdout from "./stdout.ts";

export { lineSinks } from "./line-sinks.ts";

/** Sinks that send records on, each at its own pace, by the name of their type, in the order of the reference page. */
export const recordSinks = {
  elasticsearch,
  loki,
  otlp,
  http,
  forward,
  kafka,
  file,
  prometheus,
  remote_write: remoteWrite,
  stdout,
  null: nothing,
} satisfies Record<string, RecordSinkSpec>;
