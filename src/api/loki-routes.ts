import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { WeirError } from "../core/errors.ts";
import type { Engine, StreamsRequest } from "../query/engine.ts";
import { BadRequest } from "./errors.ts";
import { groupsOf, streamsAnswer } from "./json.ts";
import {
  checkLength,
  checkLimit,
  instantTime,
  labelsRange,
  limitParam,
  rangeParams,
  type TimeRange,
  timeRange,
} from "./params.ts";
import { type AnswerBudget, sendJson, sendPieces, sendText } from "./reply.ts";
import { abortOnLeave, CATEGORIZE, encodingFlags, nowNs, paramsOf } from "./request.ts";
import { constantMatrix, sampleText, seconds } from "./samples.ts";

export interface QueryRoutesDeps {
  readonly engine: Engine;
  readonly budget: AnswerBudget;
  readonly stallMs: number;
}

type Handler = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply>;

const LOG_QUERY_AS_INSTANT =
  "log queries are not supported as an instant query type, please change your query to a range query type";

/** The read paths of Loki that need no lines from metric queries. Source: "Loki's HTTP contract", 5 and 6. */
export function queryRoutes(deps: QueryRoutesDeps): Record<string, Handler> {
  const { engine } = deps;
  const label: Handler = async (request, reply) => {
    const range = labelsRange(paramsOf(request), nowNs());
    checkLength(range, engine.options.max_query_length);
    return sendNames(reply, await engine.labels(streamsRequest(request, reply, range, ["query"])));
  };
  return {
    "/loki/api/v1/query": (request, reply) => instant(deps, request, reply),
    "/loki/api/v1/query_range": (request, reply) => range(deps, request, reply),
    "/loki/api/v1/labels": label,
    "/loki/api/v1/label": label,
    "/loki/api/v1/label/:name/values": async (request, reply) => {
      const range = labelsRange(paramsOf(request), nowNs());
      checkLength(range, engine.options.max_query_length);
      const { name } = request.params as { name: string };
      if (name === "") return sendText(reply, 404, "404 page not found");
      return sendNames(reply, await engine.labelValues(name, streamsRequest(request, reply, range, ["query"])));
    },
    "/loki/api/v1/series": async (request, reply) => {
      const range = timeRange(paramsOf(request), nowNs());
      if (range.endNs < range.startNs) throw new BadRequest("end timestamp must not be before or equal to start time");
      checkLength(range, engine.options.max_query_length);
      const wanted = streamsRequest(request, reply, range, ["match", "match[]"]);
      // `{}` matches everything and is refused like every selector that does, but by itself it means all series.
      const all = wanted.selectors.length === 1 && /^\s*\{\s*\}\s*$/.test(wanted.selectors[0]);
      const data = await engine.series(all ? { ...wanted, selectors: [] } : wanted);
      return sendJson(reply, { status: "success", data });
    },
  };
}

/** Registers each handler for GET and POST. */
export function addQueryRoutes(app: FastifyInstance, deps: QueryRoutesDeps): void {
  for (const [url, handler] of Object.entries(queryRoutes(deps))) {
    app.route({ method: ["GET", "POST"], url, handler });
  }
}

async function range(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const { engine, budget, stallMs } = deps;
  const params = rangeParams(paramsOf(request), nowNs());
  const kind = engine.kindOf(params.query);
  checkLength(params, engine.options.max_query_length);
  if (kind.kind === "metric") {
    if (kind.constant === null) throw notYet(params.query);
    return sendJson(reply, {
      status: "success",
      data: { resultType: "matrix", result: matrixOf(kind.constant.value, params), stats: {} },
    });
  }
  checkLimit(params.limit, engine.options.max_entries_limit_per_query);
  const flags = encodingFlags(request.headers["x-loki-response-encoding-flags"]);
  budget.check();
  const result = await engine.queryRange({
    ...params,
    categorize: flags.includes(CATEGORIZE),
    signal: abortOnLeave(reply),
  });
  const texts = streamsAnswer(result, await groupsOf(result), flags);
  return sendPieces(reply, { texts, holds: result.entries.bytes }, budget, stallMs);
}

async function instant(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const params = paramsOf(request);
  limitParam(params);
  const timeNs = instantTime(params, nowNs());
  const query = params.get("query") ?? "";
  const kind = deps.engine.kindOf(query);
  if (kind.kind === "log") throw new BadRequest(LOG_QUERY_AS_INSTANT);
  if (kind.constant === null) throw notYet(query);
  const { value } = kind.constant;
  const sample = [seconds(timeNs), sampleText(value ?? 0)];
  const result = kind.constant.type === "scalar" ? sample : value === null ? [] : [{ metric: {}, value: sample }];
  return sendJson(reply, { status: "success", data: { resultType: kind.constant.type, result, stats: {} } });
}

/** A vector that a comparison left empty has no series. */
function matrixOf(value: number | null, params: Parameters<typeof constantMatrix>[1]): unknown[] {
  return value === null ? [] : constantMatrix(value, params);
}

function notYet(query: string): WeirError {
  return new WeirError("bad_query", `metric queries over log lines are not supported yet: ${query}`);
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
function sendNames(reply: FastifyReply, names: readonly string[]): FastifyReply {
  return sendJson(reply, names.length === 0 ? { status: "success" } : { status: "success", data: names });
}
