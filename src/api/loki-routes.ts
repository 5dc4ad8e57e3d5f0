import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Engine, MetricRequest, MetricResult, StreamsRequest } from "../query/engine.ts";
import { INSTANT_STEP_NS } from "../query/metric/windows.ts";
import { detectRoutes } from "./detect-routes.ts";
import { BadRequest } from "./errors.ts";
import { indexRoutes } from "./index-routes.ts";
import { groupsOf, streamsAnswer } from "./json.ts";
import { legacyRange } from "./legacy.ts";
import { alignToStep, instantAnswer, matrixAnswer, metricBytes } from "./metric-json.ts";
import {
  backwardParam,
  checkLength,
  checkLimit,
  instantTime,
  labelsRange,
  limitParam,
  orderedRange,
  rangeParams,
  type TimeRange,
} from "./params.ts";
import { type AnswerBudget, sendJson, sendPieces, sendText } from "./reply.ts";
import { abortOnLeave, CATEGORIZE, encodingFlags, nowNs, paramsOf } from "./request.ts";
import type { Tenants } from "./tenants.ts";

export interface QueryRoutesDeps {
  readonly engine: Engine;
  readonly tenants: Tenants;
  readonly budget: AnswerBudget;
  readonly stallMs: number;
}

export type RouteHandler = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>;

/** Bytes that the labels of a stream take in memory, about. */
const SERIES_BYTES = 500;
const LOG_QUERY_AS_INSTANT =
  "log queries are not supported as an instant query type, please change your query to a range query type";

/** The read paths of Loki. Source: "Loki's HTTP contract", 5 and 6. */
export function queryRoutes(deps: QueryRoutesDeps): Record<string, RouteHandler> {
  const { engine, tenants, budget } = deps;
  const label: RouteHandler = async (request, reply) => {
    const tenant = tenants.of(request.headers);
    const range = labelsRange(paramsOf(request), nowNs());
    checkLength(range, engine.limitsOf(tenant).max_query_length);
    budget.check();
    return sendNames(reply, await engine.labels({ ...streamsRequest(request, reply, range, ["query"]), tenant }), deps);
  };
  const values: RouteHandler = async (request, reply) => {
    const tenant = tenants.of(request.headers);
    const range = labelsRange(paramsOf(request), nowNs());
    checkLength(range, engine.limitsOf(tenant).max_query_length);
    const { name } = request.params as { name: string };
    if (name === "") return sendText(reply, 404, "404 page not found");
    budget.check();
    const wanted = { ...streamsRequest(request, reply, range, ["query"]), tenant };
    return sendNames(reply, await engine.labelValues(name, wanted), deps);
  };
  const series: RouteHandler = async (request, reply) => {
    const tenant = tenants.of(request.headers);
    const range = orderedRange(paramsOf(request), nowNs());
    checkLength(range, engine.limitsOf(tenant).max_query_length);
    budget.check();
    const wanted = { ...streamsRequest(request, reply, range, ["match", "match[]"]), tenant };
    // `{}` matches everything and is refused like every selector that does, but by itself it means all series.
    const all = wanted.selectors.length === 1 && /^\s*\{\s*\}\s*$/.test(wanted.selectors[0]);
    const data = await engine.series(all ? { ...wanted, selectors: [] } : wanted);
    return sendList(reply, data, data.length * SERIES_BYTES, deps);
  };
  return {
    "/loki/api/v1/query": (request, reply) => instant(deps, request, reply),
    "/loki/api/v1/query_range": (request, reply) => range(deps, request, reply),
    "/loki/api/v1/labels": label,
    "/loki/api/v1/label": label,
    "/loki/api/v1/label/:name/values": values,
    "/loki/api/v1/series": series,
    // Loki's oldest names.
    "/api/prom/query": (request, reply) => legacyRange(deps, request, reply),
    "/api/prom/label": label,
    "/api/prom/label/:name/values": values,
    "/api/prom/series": series,
  };
}

/** Registers each handler for GET and POST. */
export function addQueryRoutes(app: FastifyInstance, deps: QueryRoutesDeps): void {
  for (const [url, handler] of Object.entries({ ...queryRoutes(deps), ...indexRoutes(deps), ...detectRoutes(deps) })) {
    app.route({ method: ["GET", "POST"], url, handler });
  }
}

async function range(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { engine, tenants, budget, stallMs } = deps;
  const tenant = tenants.of(request.headers);
  const params = rangeParams(paramsOf(request), nowNs());
  const kind = engine.kindOf(params.query);
  checkLength(params, engine.limitsOf(tenant).max_query_length);
  if (kind.kind === "metric") {
    const { query, startNs, endNs, stepNs } = alignToStep(params);
    return metric(deps, request, reply, { query, startNs, endNs, stepNs }, matrixAnswer);
  }
  checkLimit(params.limit, engine.limitsOf(tenant).max_entries_limit_per_query);
  const flags = encodingFlags(request.headers["x-loki-response-encoding-flags"]);
  budget.check();
  const result = await engine.queryRange({
    ...params,
    tenant,
    categorize: flags.includes(CATEGORIZE),
    partial: wantsPartial(paramsOf(request)),
    signal: abortOnLeave(reply),
  });
  const texts = streamsAnswer(result, await groupsOf(result), flags);
  return sendPieces(reply, { texts, holds: result.entries.bytes }, budget, stallMs);
}

async function instant(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  deps.tenants.of(request.headers); // Nobody is told of a bad parameter before he has said who he is.
  const params = paramsOf(request);
  limitParam(params);
  backwardParam(params); // Only that it is one: there is no order of lines.
  const timeNs = instantTime(params, nowNs());
  const query = params.get("query") ?? "";
  const kind = deps.engine.kindOf(query);
  if (kind.kind === "log") throw new BadRequest(LOG_QUERY_AS_INSTANT);
  const times = { startNs: timeNs, endNs: timeNs, stepNs: INSTANT_STEP_NS };
  return metric(deps, request, reply, { query, ...times }, (result) => instantAnswer(result, timeNs));
}

async function metric(
  { engine, tenants, budget, stallMs }: QueryRoutesDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  wanted: MetricRequest,
  answer: (result: MetricResult, wanted: MetricRequest) => Generator<string>,
): Promise<FastifyReply> {
  // Without a selector there are no lines to hold: Grafana's health check is always answered.
  if (wanted.query.includes("{")) budget.check();
  const cutSeries = isDrilldown(request.headers["x-query-tags"]);
  const result = await engine.metric({
    ...wanted,
    tenant: tenants.of(request.headers),
    cutSeries,
    partial: wantsPartial(paramsOf(request)),
    signal: abortOnLeave(reply),
  });
  return sendPieces(reply, { texts: answer(result, wanted), holds: metricBytes(result) }, budget, stallMs);
}

/** Whether a part of the answer is better than none when a limit is reached. */
function wantsPartial(params: URLSearchParams): boolean {
  return params.get("partial") === "true";
}

/** Grafana Logs Drilldown rather gets a part of too many series than an error. */
function isDrilldown(tags: string | string[] | undefined): boolean {
  const texts = typeof tags === "string" ? [tags] : (tags ?? []);
  return texts.some((text) => /(?:^|,)\s*source=grafana-lokiexplore-app\s*(?:,|$)/i.test(text));
}

function streamsRequest(
  request: FastifyRequest,
  reply: FastifyReply,
  range: TimeRange,
  names: readonly string[],
): StreamsRequest {
  const params = paramsOf(request);
  const selectors = names.flatMap((name) => params.getAll(name)).filter((text) => text !== "");
  return { ...range, selectors, signal: abortOnLeave(reply) };
}

/** Loki leaves `data` out when there is nothing. */
function sendNames(reply: FastifyReply, names: readonly string[], deps: QueryRoutesDeps): FastifyReply {
  if (names.length === 0) return sendJson(reply, { status: "success" });
  const bytes = names.reduce((sum, name) => sum + name.length, 0);
  return sendList(reply, names, bytes, deps);
}

/** A list of any length, in pieces. `holds`: bytes that its items take in memory. */
function sendList(
  reply: FastifyReply,
  data: readonly unknown[],
  holds: number,
  { budget, stallMs }: QueryRoutesDeps,
): FastifyReply {
  return sendPieces(reply, { texts: listJson(data), holds }, budget, stallMs);
}

function* listJson(data: readonly unknown[]): Generator<string> {
  yield '{"status":"success","data":[';
  for (let i = 0; i < data.length; i++) yield (i === 0 ? "" : ",") + JSON.stringify(data[i]);
  yield "]}\n";
}
