import { z } from "zod";
import { PbfReader } from "../../src/codec/protobuf.ts";

/*
 * ExportLogsServiceResponse: 1 partial_success { 1 rejected_log_records: int64   2 error_message }, as protobuf or JSON.
 * Source: OTLP, opentelemetry/proto/collector/logs/v1/logs_service.proto.
 */
export interface Partial {
  /** Records that were not taken. */
  readonly rejected: number;
  readonly message: string;
}

const PROTOBUF: ReadonlySet<string> = new Set([
  "application/x-protobuf",
  "application/protobuf",
  "application/octet-stream",
]);
const MESSAGE_CHARS_MAX = 1000;

const json = z.object({
  partialSuccess: z
    .object({
      rejectedLogRecords: z.union([z.int(), z.string().regex(/^-?\d{1,15}$/)]).optional(),
      errorMessage: z.string().optional(),
    })
    .nullish(),
});

/** What an answer says, or null for one that is no OTLP by its media type. Throws for one that can't be read. */
export function readPartial(body: Buffer, type: string): Partial | null {
  if (type === "application/json") {
    const { partialSuccess } = json.parse(JSON.parse(body.toString()));
    return made(Number(partialSuccess?.rejectedLogRecords ?? 0), partialSuccess?.errorMessage ?? "");
  }
  return PROTOBUF.has(type) ? readProtobuf(body) : null;
}

function readProtobuf(body: Buffer): Partial {
  const found = { rejected: 0, message: "" };
  const reader = new PbfReader(body);
  reader.readFields((field, _result, pbf) => {
    if (field !== 1) return;
    const end = pbf.readVarint() + pbf.pos;
    // The library trusts lengths.
    if (end > body.length) throw new Error("a length leads out of the answer");
    pbf.readFields(
      (inner, _none, of) => {
        if (inner === 1) found.rejected = of.readVarint(true);
        else if (inner === 2) found.message = of.readString();
      },
      null,
      end,
    );
  }, null);
  if (reader.pos > body.length) throw new Error("the answer is cut off");
  return made(found.rejected, found.message);
}

function made(rejected: number, message: string): Partial {
  if (!Number.isSafeInteger(rejected) || rejected < 0) throw new Error(`${rejected} refused records`);
  return { rejected, message: message.slice(0, MESSAGE_CHARS_MAX) };
}
