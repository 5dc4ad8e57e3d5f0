import { z } from "zod";
import { defineStep } from "../step.ts";
import { TraceFinder } from "../trace/finder.ts";
import { NAME_NONE, nameCode, normalName } from "../trace/names.ts";

const options = z.strictObject({
  fields: z
    .array(z.string().min(1).max(64))
    .default([])
    .describe(
      "Further names of fields that hold a trace id, looked at before the known ones (trace_id, traceId, dd.trace_id, …).",
    ),
  text: z
    .boolean()
    .default(true)
    .describe(
      "Whether ids are looked for in the line itself, next to a label such as trace_id= or in a known bracket form.",
    ),
  request_id: z
    .boolean()
    .default(true)
    .describe(
      "Whether request ids (x-request-id, and the one in Envoy's and Istio's lines) are kept as metadata `request_id`.",
    ),
  request_id_as_trace: z
    .boolean()
    .default(false)
    .describe(
      "Whether a request id serves as trace id where there is no other. Off: for nearly all tracers it is another number than the trace's.",
    ),
  source: z
    .boolean()
    .default(true)
    .describe(
      "Whether metadata `trace_source` says where the trace id was found. It costs next to nothing, and answers why a line has the id it has.",
    ),
});

export default defineStep({
  name: "trace",
  summary:
    "Finds the ids of trace, span and request in fields, headers and text (W3C, B3, Jaeger, Datadog, X-Ray, SkyWalking, …), and keeps them with the line in one form each.",
  options,
  compile({ fields, text, request_id, request_id_as_trace, source }, builder) {
    const custom = new Set(fields.map(normalName));
    builder.trace = new TraceFinder(
      {
        custom,
        text,
        requestIds: request_id,
        requestIdAsTrace: request_id_as_trace,
        source,
        layers: builder.layers.length,
      },
      builder.ids,
    );
    const { names } = builder;
    builder.plan.idCodeOf = (key) => {
      const name = names.nameOf(key);
      return name === null ? NAME_NONE : nameCode(name, custom);
    };
  },
});
