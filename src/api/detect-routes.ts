import type { FastifyReply, FastifyRequest } from "fastify";
import { Slices } from "../core/slices.ts";
import { parseLogQuery, parseSelector } from "../query/syntax/parse.ts";
import { DetectedFields, detectLabels, type SampledEntry } from "./detect.ts";
import { BadRequest } from "./errors.ts";
import type { QueryRoutesDeps, RouteHandler } from "./loki-routes.ts";
import { checkLength, countParam, orderedRange, stepOf } from "./params.ts";
import { sendJson } from "./reply.ts";
import { abortOnLeave, nowNs, paramsOf } from "./request.ts";

const LINES_DEFAULT = 100;
const FIELDS_DEFAULT = 1000;
/** Stages that take lines apart, by the names that an answer has for them. */
const PARSERS = ["json", "logfmt", "regexp", "pattern", "unpack"];

/** What labels and fields there are, for Logs Drilldown and autocompletion. Source: "Loki's HTTP contract", 8 and 9. */
export function detectRoutes(deps: QueryRoutesDeps): Record<string, RouteHandler> {
  return {
    "/loki/api/v1/detected_labels": (request, reply) => labels(deps, request, reply),
    "/loki/api/v1/detected_fields": async (request, reply) => {
      const { found, limit } = await sample(deps, request, reply, null);
      const fields = found.list();
      return sendJson(reply, fields.length === 0 ? { limit } : { fields, limit });
    },
    "/loki/api/v1/detected_field/:name/values": async (request, reply) => {
      const { name } = request.params as { name: string };
      const { found, limit } = await sample(deps, request, reply, name);
      const values = found.valuesOf(name, limit);
      return sendJson(reply, values.length === 0 ? {} : { limit, values });
    },
    // Templates of lines are not made yet.
    "/loki/api/v1/patterns": async (request, reply) => {
      const tenant = deps.tenants.of(request.headers);
      const params = paramsOf(request);
      const range = orderedRange(params, nowNs());
      stepOf(params, range);
      checkLength(range, deps.engine.limitsOf(tenant).max_query_length);
      parseSelector(params.get("query") ?? "");
      return sendJson(reply, { status: "success", data: [] });
    },
  };
}

async function labels(deps: QueryRoutesDeps, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const tenant = deps.tenants.of(request.headers);
  const params = paramsOf(request);
  const range = orderedRange(params, nowNs());
  checkLength(range, deps.engine.limitsOf(tenant).max_query_length);
  const query = params.get("query") ?? "";
  const selectors = /^\s*(?:\{\s*\}\s*)?$/.test(query) ? [] : [query];
  const series = await deps.engine.series({ ...range, tenant, selectors, signal: abortOnLeave(reply) });
  return sendJson(reply, { detectedLabels: await detectLabels(series) });
}

/** The fields of the newest lines of a log query, or `only` one of them. */
async function sample(
  { engine, tenants, budget }: QueryRoutesDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  only: string | null,
): Promise<{ found: DetectedFields; limit: number }> {
  const tenant = tenants.of(request.headers);
  const params = paramsOf(request);
  const range = orderedRange(params, nowNs());
  stepOf(params, range);
  const limits = engine.limitsOf(tenant);
  checkLength(range, limits.max_query_length);
  const query = params.get("query") ?? "";
  if (engine.kindOf(query).kind !== "log") throw new BadRequest("only log selector is supported");
  const lines = Math.min(countParam(params, ["line_limit"], LINES_DEFAULT), limits.max_entries_limit_per_query);
  const limit = countParam(params, ["limit", "field_limit"], FIELDS_DEFAULT);
  budget.check();
  const { stages } = parseLogQuery(query);
  const parsers = PARSERS.filter((parser) => stages.some(({ type }) => type === parser));
  const found = new DetectedFields({ parsers, limit, only });
  const result = await engine.queryRange({
    ...range,
    tenant,
    query,
    limit: lines,
    backward: true,
    categorize: true,
    signal: abortOnLeave(reply),
  });
  // Each line is taken apart twice, and all of them together may be as large as an answer.
  const slices = new Slices();
  for (const { group, detail, line } of result.entries) {
    await found.add(entryOf(group, detail, line), slices);
    await slices.turn();
  }
  return { found, limit };
}

/** An entry's JSON, which the engine has made. */
function entryOf(group: string, detail: string, line: Buffer): SampledEntry {
  const { structuredMetadata = {}, parsed = {} } = (detail === "" ? {} : JSON.parse(detail)) as Partial<SampledEntry>;
  return {
    stream: JSON.parse(group) as SampledEntry["stream"],
    structuredMetadata,
    parsed,
    line: line.toString("utf8"),
  };
}
