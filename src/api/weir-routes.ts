import type { FastifyInstance } from "fastify";
import type { Metrics } from "../core/metrics.ts";
import { BadRequest } from "./errors.ts";
import { groupsOf, traceAnswer, traceLines } from "./json.ts";
import type { QueryRoutesDeps } from "./loki-routes.ts";
import { checkLimit, limitParam, parseTime } from "./params.ts";
import { deliver, sendJson, sendPieces, sendText } from "./reply.ts";
import { abortOnLeave, paramsOf } from "./request.ts";

const NDJSON = "application/x-ndjson";

/** `/api/v1/traces/<id>`: all lines of a trace, in whichever form its id is written. */
export function addTraceRoute(app: FastifyInstance, { engine, tenants, budget, stallMs }: QueryRoutesDeps): void {
  app.route({
    method: ["GET", "POST"],
    url: "/api/v1/traces/:id",
    handler: async (request, reply) => {
      const tenant = tenants.of(request.headers);
      const params = paramsOf(request);
      const { id } = request.params as { id: string };
      const limit = limitParam(params, engine.limitsOf(tenant).max_entries_limit_per_query);
      checkLimit(limit, engine.limitsOf(tenant).max_entries_limit_per_query);
      budget.check();
      const result = await engine.trace({
        tenant,
        id,
        ...optionalTime("startNs", params.get("start")),
        ...optionalTime("endNs", params.get("end")),
        limit,
        signal: abortOnLeave(reply),
      });
      const plain = request.headers.accept?.includes(NDJSON) === true;
      const answer = plain
        ? { texts: traceLines(result), holds: result.entries.bytes, type: NDJSON }
        : { texts: traceAnswer(result, await groupsOf(result), result.traceId), holds: result.entries.bytes };
      return sendPieces(reply, answer, budget, stallMs);
    },
  });
}

/** A trace is looked for at all times unless a parameter says otherwise: its id says nothing about when it was. */
function optionalTime(name: "startNs" | "endNs", text: string | null): Record<string, bigint> {
  if (text === null || text === "") return {};
  try {
    return { [name]: parseTime(text) };
  } catch (error) {
    const parameter = name === "startNs" ? "start" : "end";
    throw new BadRequest(`could not parse '${parameter}' parameter: ${error instanceof Error ? error.message : error}`);
  }
}

export interface ServiceDeps {
  readonly ready: () => { readonly ready: boolean; readonly reason: string };
  readonly metrics: Metrics;
  readonly version: string;
}

/** What is asked about the process itself. Source: "Loki's HTTP contract", 14. */
export function addServiceRoutes(app: FastifyInstance, { ready, metrics, version }: ServiceDeps): void {
  app.get("/ready", async (_request, reply) => {
    const state = ready();
    if (!state.ready) return sendText(reply, 503, state.reason);
    return sendText(reply, 200, state.reason === "" ? "ready" : `ready, but: ${state.reason}`);
  });
  app.get("/metrics", async (_request, reply) =>
    deliver(reply.header("content-type", metrics.contentType), await metrics.render()),
  );
  app.get("/loki/api/v1/status/buildinfo", async (_request, reply) =>
    sendJson(reply, {
      version,
      revision: "",
      branch: "",
      buildUser: "",
      buildDate: "",
      goVersion: "",
    }),
  );
}
