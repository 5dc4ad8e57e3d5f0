import type { FastifyReply, FastifyRequest } from "fastify";
import { parseSelector } from "../query/syntax/parse.ts";
import { BadRequest } from "./errors.ts";
import type { QueryRoutesDeps, RouteHandler } from "./loki-routes.ts";
import { checkLength, limitParam, orderedRange, stepOf, type TimeRange } from "./params.ts";
import { sendJson, sendPieces } from "./reply.ts";
import { abortOnLeave, nowNs, paramsOf } from "./request.ts";
import { IndexStats, Volumes } from "./volumes.ts";

/** `{}`, which means everything where it is allowed. */
const EVERYTHING = /^\s*\{\s*\}\s*$/;

/** What is stored, in numbers. Source: "Loki's HTTP contract", 7. */
export function indexRoutes(deps: QueryRoutesDeps): Record<string, RouteHandler> {
  return {
    "/loki/api/v1/index/stats": (request, reply) => stats(deps, request, reply),
    "/loki/api/v1/index/volume": (request, reply) => volume(deps, request, reply, false),
    "/loki/api/v1/index/volume_range": (request, reply) => volume(deps, request, reply, true),
  };
}

async function stats(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const tenant = deps.tenants.of(request.headers);
  const params = paramsOf(request);
  const range = checkedRange(deps, tenant, params);
  const query = params.get("query") ?? "";
  parseSelector(query);
  let sums = new IndexStats(range.startNs, range.endNs);
  const wanted = { ...range, tenant, selectors: [query], signal: abortOnLeave(reply) };
  await deps.engine.eachBlock(wanted, () => {
    const fresh = new IndexStats(range.startNs, range.endNs);
    sums = fresh;
    return (block) => fresh.add(block);
  });
  return sendJson(reply, sums.toJson());
}

async function volume(
  deps: QueryRoutesDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  isRange: boolean,
): Promise<FastifyReply> {
  const tenant = deps.tenants.of(request.headers);
  const params = paramsOf(request);
  const range = checkedRange(deps, tenant, params);
  const query = params.get("query") ?? "";
  const everything = EVERYTHING.test(query);
  const matchers = everything ? [] : parseSelector(query);
  const aggregateBy = params.get("aggregateBy") ?? "";
  if (!["", "series", "labels"].includes(aggregateBy)) throw new BadRequest("invalid aggregation option");
  const targets = (params.get("targetLabels") ?? "").split(",").filter((name) => name !== "");
  const names = [...new Set(targets.length > 0 ? targets : matchers.map(({ name }) => name))];
  const isNames = aggregateBy === "labels";
  const volumes = {
    ...range,
    stepNs: isRange ? stepOf(params, range) : null,
    limit: volumeLimit(params),
    by: names.length === 0 || (isNames && targets.length === 0) ? null : names,
    mustHaveAll: targets.length > 0 && !isNames,
    names: isNames,
    bytesMax: deps.engine.options.max_query_partial_bytes,
  };
  deps.budget.check();
  let sums = new Volumes(volumes);
  const wanted = { ...range, tenant, selectors: everything ? [] : [query], signal: abortOnLeave(reply) };
  await deps.engine.eachBlock(wanted, () => {
    const fresh = new Volumes(volumes);
    sums = fresh;
    return (block) => fresh.add(block);
  });
  return sendPieces(reply, { texts: await sums.answer(), holds: sums.bytes }, deps.budget, deps.stallMs);
}

function checkedRange({ engine }: QueryRoutesDeps, tenant: string, params: URLSearchParams): TimeRange {
  const range = orderedRange(params, nowNs());
  checkLength(range, engine.limitsOf(tenant).max_query_length);
  return range;
}

/** 0 is the default, too. */
function volumeLimit(params: URLSearchParams): number {
  return params.get("limit") === "0" ? limitParam(new URLSearchParams()) : limitParam(params);
}
