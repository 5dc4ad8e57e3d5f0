import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { figuresOf, type QueryFigures, type QueryPlan } from "../query/explain.ts";
import { INSTANT_STEP_NS } from "../query/metric/windows.ts";
import type { QueryRoutesDeps } from "./loki-routes.ts";
import { alignToStep } from "./metric-json.ts";
import { checkLength, checkLimit, instantTime, rangeParams } from "./params.ts";
import { sendJson } from "./reply.ts";
import { abortOnLeave, nowNs, paramsOf } from "./request.ts";

/** What `GET /api/v1/explain` gives. */
export interface Explanation extends QueryPlan, QueryFigures {
  /** Lines or series of the answer that is not given here. */
  readonly results: number;
  readonly warnings: readonly string[];
}

/**
 * `/api/v1/explain`: runs a query with the parameters of `query_range` (of `query`, where there is a `time`), and gives what was
 * done for it instead of its answer.
 */
export function addExplainRoute(app: FastifyInstance, deps: QueryRoutesDeps): void {
  app.route({
    method: ["GET", "POST"],
    url: "/api/v1/explain",
    handler: async (request, reply) =>
      sendJson(reply, { status: "success", data: await explain(deps, request, reply) }),
  });
}

async function explain(
  { engine, tenants }: QueryRoutesDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<Explanation> {
  const tenant = tenants.of(request.headers);
  const limits = engine.limitsOf(tenant);
  const params = paramsOf(request);
  const signal = abortOnLeave(reply);
  const range = rangeParams(params, nowNs());
  const { kind } = engine.kindOf(range.query);
  const plan = engine.describe(range.query);
  if (kind === "metric") {
    const isInstant = (params.get("time") ?? "") !== "";
    const at = isInstant ? instantTime(params, nowNs()) : 0n;
    const times = isInstant ? { startNs: at, endNs: at, stepNs: INSTANT_STEP_NS } : alignToStep(range);
    if (!isInstant) checkLength(range, limits.max_query_length);
    const { startNs, endNs, stepNs } = times;
    const result = await engine.metric({ tenant, query: range.query, startNs, endNs, stepNs, cutSeries: true, signal });
    return { ...plan, ...figuresOf(result.stats), results: result.series.length, warnings: result.warnings };
  }
  checkLength(range, limits.max_query_length);
  checkLimit(range.limit, limits.max_entries_limit_per_query);
  const result = await engine.queryRange({ ...range, tenant, signal });
  return { ...plan, ...figuresOf(result.stats), results: result.entries.size, warnings: result.warnings };
}
