import { Encoder, ExtData } from "@msgpack/msgpack";
import { PbfWriter } from "pbf";
import type { MessageFormat } from "./topic-writer.ts";

const encoder = new Encoder();

/** How others write to topics: the `n`th message with a line of text, at a time of its own. */
export const FORMATS: Readonly<Record<string, MessageFormat>> = {
  raw: { format: "line", value: (line) => Buffer.from(line) },
  filebeat: {
    format: "json",
    value: (message, ms) => json({ "@timestamp": new Date(ms).toISOString(), message, host: { name: "a" } }),
  },
  // Fluent Bit's out_kafka: `Format json` with a float for the time, and `Format msgpack` with an EventTime.
  fb_json: { format: "json", value: (log, ms) => json({ "@timestamp": ms / 1000, log, stream: "stderr" }) },
  fb_msgpack: {
    format: "msgpack",
    value: (log, ms) => Buffer.from(encoder.encode({ "@timestamp": eventTime(ms), log, stream: "stderr" })),
  },
  otlp_proto: { format: "otlp_proto", value: otlpProto },
  otlp_json: {
    format: "otlp_json",
    value: (text, ms) =>
      json({
        resourceLogs: [
          {
            resource: { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] },
            scopeLogs: [{ logRecords: [{ timeUnixNano: `${ms}000000`, body: { stringValue: text } }] }],
          },
        ],
      }),
  },
};

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

function eventTime(ms: number): ExtData {
  const data = Buffer.alloc(8);
  data.writeUInt32BE(Math.floor(ms / 1000), 0);
  data.writeUInt32BE((ms % 1000) * 1_000_000, 4);
  return new ExtData(0, data);
}

/** An ExportLogsServiceRequest of one line (opentelemetry/proto/logs/v1/logs.proto). */
function otlpProto(text: string, ms: number): Buffer {
  const out = new PbfWriter();
  const any = (value: string, pbf: PbfWriter) => pbf.writeStringField(1, value);
  out.writeMessage(
    1, // resource_logs
    (_: null, logs: PbfWriter) => {
      logs.writeMessage(
        1, // resource
        (__: null, resource: PbfWriter) =>
          resource.writeMessage(
            1, // attributes
            (___: null, pair: PbfWriter) => {
              pair.writeStringField(1, "service.name");
              pair.writeMessage(2, any, "shop");
            },
            null,
          ),
        null,
      );
      logs.writeMessage(
        2, // scope_logs
        (__: null, scope: PbfWriter) =>
          scope.writeMessage(
            2, // log_records
            (___: null, record: PbfWriter) => {
              record.writeFixed64Field(1, ms * 1_000_000);
              record.writeMessage(5, any, text);
            },
            null,
          ),
        null,
      );
    },
    null,
  );
  return Buffer.from(out.finish());
}
