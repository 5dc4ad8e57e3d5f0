import { parsers } from "../../parsers/index.ts";
import { httpOptions } from "../api/options.ts";
import type { ReceiverSpec, Registries } from "../config/config.ts";
import { formatListenUrl, parseListenUrl } from "../forward/listen-url.ts";
import { type ForwardOptions, forwardOptions } from "../forward/options.ts";
import { intakeOptions } from "../intake/intake-options.ts";
import { s3Options } from "../objects/options.ts";
import { limitsOptions } from "../pipeline/options.ts";
import { steps } from "../pipeline/steps/index.ts";
import { ingestOptions, otlpOptions, pushOptions } from "../push/options.ts";
import { queryOptions } from "../query/options.ts";
import { deadLetterOptions } from "../roles/dead-letter-options.ts";
import { sinkSpecs } from "../roles/sink-specs.ts";
import { workerOptions } from "../roles/worker-options.ts";
import { compactorOptions } from "../store/compact/options.ts";
import { storeOptions } from "../store/options.ts";
import { topicOptions } from "../topics/options.ts";
import { retentionSection } from "./retention-section.ts";

const forward = {
  name: "forward",
  summary: "Receives logs by the Fluentd Forward Protocol, as Fluent Bit and Fluentd send them.",
  options: forwardOptions,
  claims: ({ listen }: ForwardOptions) => [...new Set(listen.flatMap(claimOf))],
} satisfies ReceiverSpec;

/** An address that only one receiver can listen on. Port 0 stands for any that is free. */
function claimOf(url: string): string[] {
  const address = parseListenUrl(url);
  if (typeof address === "string") return []; // The schema has refused it.
  if (address.scheme === "unix") return [`the address ${url}`];
  return address.port === 0
    ? []
    : [`the address ${formatListenUrl({ ...address, scheme: "tcp" }).slice("tcp://".length)}`];
}

const push = {
  name: "push",
  summary:
    "Receives logs by Loki's push API on the HTTP server, as promtail, Alloy, Fluent Bit's and Vector's loki outputs and pino-loki send them. There without being written.",
  options: pushOptions,
  byDefault: true,
} satisfies ReceiverSpec;

const otlp = {
  name: "otlp",
  summary:
    "Receives OpenTelemetry logs over HTTP on the HTTP server, as collectors and SDKs send them. There without being written.",
  options: otlpOptions,
  byDefault: true,
} satisfies ReceiverSpec;

const kafka = {
  name: "kafka",
  summary:
    "Reads topics of Kafka that others write: Fluent Bit, Filebeat, Logstash, Vector, OpenTelemetry collectors. Each message is stored once.",
  options: topicOptions,
} satisfies ReceiverSpec;

/** Everything that a pipeline file may name: what `weir check`, `weir run` and the reference page go by. */
export const registries = {
  receivers: { forward, push, otlp, kafka },
  steps,
  parsers,
  sinks: sinkSpecs,
  sections: {
    store: storeOptions,
    compactor: compactorOptions,
    retention: retentionSection,
    s3: s3Options,
    dead_letters: deadLetterOptions,
    intake: intakeOptions,
    ingest: ingestOptions,
    limits: limitsOptions,
    query: queryOptions,
    http: httpOptions,
    workers: workerOptions,
  },
} satisfies Registries;
