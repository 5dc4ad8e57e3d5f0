import type { SinkSpec } from "../src/core/component.ts";
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
import store from "./store.ts";

/** Sinks that get lines as the pipeline makes them, by the name of their type. */
export const lineSinks = { store } satisfies Record<string, SinkSpec>;

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
