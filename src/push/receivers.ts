import { PbfWriter } from "../codec/protobuf.ts";
import { messageOf } from "../core/errors.ts";
import { DEFAULT_TENANT } from "../core/labels.ts";
import { type Encoding, inflateBody } from "./body.ts";
import { InflateGate } from "./gate.ts";
import type { Ingest, PushAnswer } from "./ingest.ts";
import { ItemBudget } from "./item-budget.ts";
import { readLokiJson } from "./loki-json.ts";
import { readLokiProto } from "./loki-proto.ts";
import { limitsOf, type OtlpOptions, type PushOptions } from "./options.ts";
import { otlpStreams } from "./otlp.ts";
import { readOtlpJson } from "./otlp-json.ts";
import { readOtlpProto } from "./otlp-proto.ts";
import { runSliced } from "./slices.ts";
import { inflateSnappy } from "./snappy.ts";
import { PushError } from "./stream.ts";

/** A request as the HTTP server has it. */
export interface PushRequest {
  /** Of the request, where tenants are told apart; absent: the only one. */
  readonly tenant?: string;
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly body: Buffer;
  /** Told of memory that the body takes beside itself, until it is answered. Throws when there is none left. */
  readonly hold: (bytes: number) => void;
}

/** An answer, with a body of its own kind where there is one. */
export interface ReceiverAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

/** Where a kind of push is taken. */
export interface PushReceiver {
  readonly name: string;
  readonly path: string;
  /** The tenant of everything that comes, whatever a request says; absent: the request's. */
  readonly tenant: string | undefined;
  /** Further paths with the same meaning. */
  readonly aliases: readonly string[];
  /** Code of the answer to what is Weir's own fault: 503 where clients take 500 for the body's fault and drop it. */
  readonly failureStatus: 500 | 503;
  /** Never rejects for what a body holds. */
  receive(request: PushRequest): Promise<ReceiverAnswer>;
  /** The answer to a request that was refused before its body was read. */
  refuse(status: number, text: string): ReceiverAnswer;
}

/** Bodies that are inflated at the same time: enough to keep a core and the pool busy. */
const INFLATING = new InflateGate(2);
const NO_BODY = Buffer.alloc(0);
const TEXT = "text/plain; charset=utf-8";
/** Longest text of an answer. It names what was refused, with labels that may be as long as the body, and waits in memory for its reader. */
const ANSWER_CHARS_MAX = 128 << 10;
const LEGACY_PUSH = "/api/prom/push";
const STANDARD_PUSH = "/loki/api/v1/push";

/** Loki's push, as JSON or protobuf. */
export function lokiReceiver(name: string, options: PushOptions, ingest: Ingest): PushReceiver {
  return {
    name,
    path: options.path,
    tenant: options.tenant,
    aliases: options.path === STANDARD_PUSH ? [LEGACY_PUSH] : [],
    failureStatus: 500,
    refuse: textAnswer,
    receive: (request) =>
      answered(textAnswer, async () => {
        const isJson = mediaType(request.contentType) === "application/json";
        const body = await lokiBody(request, isJson, ingest.options.inflated_bytes_max);
        const items = new ItemBudget(request.hold);
        const pieces = isJson ? readLokiJson(body, items) : readLokiProto(body, items);
        return ingest.store(name, tenantOf(options.tenant, request), pieces, request.hold);
      }),
  };
}

/** OpenTelemetry's logs, as protobuf or JSON. `now`: milliseconds since 1970. */
export function otlpReceiver(name: string, options: OtlpOptions, ingest: Ingest, now: () => number): PushReceiver {
  return {
    name,
    path: options.path,
    tenant: options.tenant,
    aliases: [],
    failureStatus: 503,
    refuse: statusAnswer,
    receive: (request) =>
      answered(statusAnswer, async () => {
        const { contentType } = request;
        if (contentType !== "application/json" && contentType !== "application/x-protobuf") {
          throw new PushError(400, `content type: ${contentType ?? ""} is not supported`);
        }
        const body = await otlpBody(request, ingest.options.inflated_bytes_max);
        const decode = contentType === "application/json" ? readOtlpJson : readOtlpProto;
        const tenant = tenantOf(options.tenant, request);
        const limits = limitsOf(ingest.options, tenant);
        const resources = decode(body, new ItemBudget(request.hold));
        const pieces = otlpStreams(resources, limits, BigInt(now()) * 1_000_000n);
        return ingest.store(name, tenant, pieces, request.hold);
      }),
  };
}

const tenantOf = (fixed: string | undefined, request: PushRequest): string => fixed ?? request.tenant ?? DEFAULT_TENANT;

/** The media type without its parameters. Throws PushError 400 where there is none, with Go's text. */
function mediaType(contentType: string | undefined): string {
  const type = (contentType ?? "").split(";", 1)[0].trim().toLowerCase();
  if (type === "") throw new PushError(400, "mime: no media type");
  return type;
}

async function lokiBody(request: PushRequest, isJson: boolean, bytesMax: number): Promise<Buffer> {
  const encoding = (request.contentEncoding ?? "").trim();
  let inflated = request.body;
  if (encoding === "gzip" || encoding === "deflate") inflated = await inflateHeld(request, encoding, bytesMax);
  else if (encoding !== "" && encoding !== "snappy")
    throw new PushError(400, `Content-Encoding "${encoding}" not supported`);
  return isJson ? inflated : unsnap(request, inflated, bytesMax);
}

/** Of a block without frames. */
function unsnap(request: PushRequest, block: Buffer, bytesMax: number): Promise<Buffer> {
  return INFLATING.run(async () => heldBody(request, await runSliced(inflateSnappy(block, bytesMax))));
}

function inflateHeld(request: PushRequest, encoding: Encoding, bytesMax: number): Promise<Buffer> {
  return INFLATING.run(async () => heldBody(request, await inflateBody(request.body, encoding, bytesMax)));
}

function heldBody({ hold }: PushRequest, inflated: Buffer): Buffer {
  hold(inflated.length);
  return inflated;
}

async function otlpBody(request: PushRequest, bytesMax: number): Promise<Buffer> {
  const encoding = (request.contentEncoding ?? "").trim();
  if (encoding === "") return request.body;
  if (encoding === "gzip" || encoding === "zstd" || encoding === "lz4") return inflateHeld(request, encoding, bytesMax);
  // Loki takes none of these. The collector sends each where it is told to; `zlib` is its other name of RFC 9110's deflate.
  if (encoding === "deflate" || encoding === "zlib") return inflateHeld(request, "deflate", bytesMax);
  if (encoding === "snappy") return unsnap(request, request.body, bytesMax);
  throw new PushError(400, `Content-Encoding "${encoding}" not supported`);
}

async function answered(
  answer: (status: number, text: string) => ReceiverAnswer,
  work: () => Promise<PushAnswer>,
): Promise<ReceiverAnswer> {
  try {
    const { status, text } = await work();
    return answer(status, shortened(text));
  } catch (error) {
    if (!(error instanceof PushError)) throw error;
    return answer(error.status, shortened(messageOf(error)));
  }
}

function shortened(text: string): string {
  if (text.length <= ANSWER_CHARS_MAX) return text;
  return `${text.slice(0, ANSWER_CHARS_MAX)}… (${text.length - ANSWER_CHARS_MAX} characters more)`;
}

function textAnswer(status: number, text: string): ReceiverAnswer {
  return { status, type: TEXT, body: text === "" ? NO_BODY : Buffer.from(`${text}\n`) };
}

/** google.rpc.Status, its message in field 2. */
function statusAnswer(status: number, text: string): ReceiverAnswer {
  if (text === "") return { status, type: TEXT, body: NO_BODY };
  const writer = new PbfWriter();
  writer.writeStringField(2, text);
  return { status, type: "application/octet-stream", body: Buffer.from(writer.finish()) };
}
