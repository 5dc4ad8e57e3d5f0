import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { z } from "zod";
import { messageOf } from "../src/core/errors.ts";
import { RESOURCE_ATTRIBUTES } from "../src/core/resource-attributes.ts";
import { defineRecordSink, type Refused, type SinkRecord } from "../src/core/sink.ts";
import type { Verdict } from "./shared/bisect.ts";
import { sendByTenant, tenantTemplate } from "./shared/by-tenant.ts";
import { type HttpAnswer, HttpClient } from "./shared/http-client.ts";
import { httpTarget, httpUrl } from "./shared/http-options.ts";
import { readPartial } from "./shared/otlp-answer.ts";
import { encodeOtlp, otlpProblem } from "./shared/otlp-encode.ts";
import { compileTemplate } from "./shared/template.ts";

const compress = promisify(gzip);

/** As OpenTelemetry names what labels hold with `_` for `.`. */
const NAMES: ReadonlyMap<string, string> = new Map(
  RESOURCE_ATTRIBUTES.map((name) => [name.replaceAll(".", "_"), name]),
);

/** What may be sent again. Source: OTLP/HTTP, "Retryable Response Codes". */
const LATER: ReadonlySet<number> = new Set([429, 502, 503, 504]);
/** These speak of the setup: no record is to blame, so they wait until it is mended. */
const SETUP: ReadonlySet<number> = new Set([401, 403, 404, 405, 407, 408, 425]);

const options = z.strictObject({
  url: httpUrl.describe("Where logs are posted, as `http://collector:4318/v1/logs`."),
  tenant: tenantTemplate,
  resource: z
    .record(z.string().min(1), z.string().min(1))
    .default({})
    .describe(
      "Resource attributes that labels become, as `app: service.name`. Without a word here a label like `k8s_pod_name` becomes the attribute that OpenTelemetry has for it (`k8s.pod.name`), and any other keeps its name.",
    ),
  record_attributes: z
    .boolean()
    .default(false)
    .describe("Whether the record's fields go along as attributes, beside its structured metadata."),
  on_partial_success: z
    .enum(["dead_letter", "halve"])
    .default("dead_letter")
    .describe(
      "What becomes of a request of which the destination says that it took some records, but not which. `dead_letter`: all of its records go to the dead letters, and nothing is sent again, as OTLP wants it; `halve`: it is sent again in halves until each refused record stands alone, for a destination that recognises repeats, as Loki and Weir do.",
    ),
  gzip: z.boolean().default(true).describe("Whether bodies are compressed (`Content-Encoding: gzip`)."),
  ...httpTarget,
});

export default defineRecordSink({
  name: "otlp",
  summary:
    "Sends OpenTelemetry logs over HTTP (protobuf), to a collector, another Weir, or whatever else takes OTLP. Labels become resource attributes, structured metadata attributes; ids, flags, level and times have the places that OTLP has for them. 429, 502, 503 and 504 are tried again after their `Retry-After`, as are answers that speak of the setup (401, 403, 404, a redirect); what else is no success refuses records: a 4xx is sent again in halves until each refused record stands alone, a 5xx is not sent again at all. Refused records go to the dead letters.",
  options,
  wantsJson: ({ record_attributes }) => record_attributes,
  open: (own, { now, log, name }) => {
    const client = new HttpClient(own, now);
    const tenantOf = compileTemplate(own.tenant);
    const form = {
      attributeOf: (label: string) =>
        (Object.hasOwn(own.resource, label) ? own.resource[label] : NAMES.get(label)) ?? label,
      withFields: own.record_attributes,
    };
    const coding: Record<string, string> = own.gzip ? { "content-encoding": "gzip" } : {};
    let warning = "";
    const warn = (text: string) => {
      if (text !== "" && text !== warning) log.warn({ sink: name }, `sink ${name}: the destination warns: ${text}`);
      warning = text;
    };
    const verdictOf = (answer: HttpAnswer, count: number): Verdict => {
      const { taken, status, text } = answer;
      if (!taken) return { taken: false, reason: text, final: status >= 500 };
      const partial = partialOf(answer, client);
      if (partial.rejected === 0) {
        warn(partial.message);
        return { taken: true };
      }
      const what = `${partial.rejected} of ${count} records refused`;
      const reason = partial.message === "" ? what : `${what}: ${partial.message}`;
      return { taken: false, reason, final: own.on_partial_success === "dead_letter" || partial.rejected >= count };
    };
    return {
      async write(batch, signal) {
        signal.throwIfAborted();
        const { sayable, failed } = sorted(batch);
        const result = await sendByTenant(
          sayable.map((place) => batch[place]),
          tenantOf,
          async (part, header) => {
            const headers = { "content-type": "application/x-protobuf", ...coding, ...header };
            const plain = encodeOtlp(part, form);
            const body = own.gzip ? await compress(plain, { level: 1 }) : plain;
            return verdictOf(await client.ask(body, headers, signal, isRefusal), part.length);
          },
        );
        for (const refused of result.failed) failed.push({ ...refused, position: sayable[refused.position] });
        return { failed };
      },
      close: async () => client.close(),
    };
  },
});

function isRefusal(status: number): boolean {
  return status >= 400 && !LATER.has(status) && !SETUP.has(status);
}

/** What an answer that is a success says of the records. Rejects `sink_unavailable` for one that is none of OTLP's. */
function partialOf({ status, type, body }: HttpAnswer, client: HttpClient): { rejected: number; message: string } {
  if (body.length === 0) return { rejected: 0, message: "" };
  try {
    const partial = readPartial(body, type);
    if (partial !== null) return partial;
  } catch (error) {
    throw client.unavailable(`answers ${status} with what is no OTLP: ${messageOf(error)}`, error);
  }
  // A page of a proxy that wants somebody to log in, say: nobody has taken anything.
  throw client.unavailable(`answers ${status} with ${type || "no content type"}, want application/x-protobuf`);
}

/** Places of the records that OTLP can say; the others are refused. */
function sorted(batch: readonly SinkRecord[]): { sayable: number[]; failed: Refused[] } {
  const sayable: number[] = [];
  const failed: Refused[] = [];
  for (const [position, record] of batch.entries()) {
    const reason = otlpProblem(record);
    if (reason === null) sayable.push(position);
    else failed.push({ position, reason, retriable: false });
  }
  return { sayable, failed };
}
