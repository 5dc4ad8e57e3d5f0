import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { LOG_LEVELS, type Logger, type LogLevel } from "../core/log.ts";
import type { Engine } from "../query/engine.ts";
import { ownQueryLimits } from "../query/options.ts";
import { QueryError } from "../query/syntax/errors.ts";
import { parseQuery } from "../query/syntax/parse.ts";
import { prettyQuery } from "../query/syntax/pretty.ts";
import { sendJson, sendText } from "./reply.ts";
import { paramsOf } from "./request.ts";
import type { Tenants } from "./tenants.ts";
import { yamlText } from "./yaml-text.ts";

/*
 * What clients ask about the server rather than about logs. Source: "Loki's HTTP contract", 11, 13 and 14.
 */

/** What the process says of itself. */
export interface ProcessInfo {
  /** Parts of the process, each with the word for its state. */
  services(): Readonly<Record<string, string>>;
  /** The configuration that runs, and what it would be without a file, both without secrets. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly defaults: Readonly<Record<string, unknown>>;
  /** What a tenant may push, and how long it is kept (`retention_period`). */
  storeLimits(tenant: string): Readonly<Record<string, unknown>>;
  /** Commits what has arrived. */
  flush(): Promise<void>;
}

export interface InfoRoutesDeps {
  readonly engine: Engine;
  readonly tenants: Tenants;
  readonly log: Logger;
  readonly version: string;
  readonly info?: ProcessInfo;
}

const YAML = "text/plain; charset=utf-8";
const LEVEL_FIELDS =
  "level LEVEL Level log.level severity SEVERITY Severity SeverityText lvl LVL Lvl severity_text Severity_Text SEVERITY_TEXT".split(
    " ",
  );

export function addInfoRoutes(app: FastifyInstance, deps: InfoRoutesDeps): void {
  app.route({ method: ["GET", "POST"], url: "/loki/api/v1/format_query", handler: formatRoute });
  app.get("/loki/api/v1/drilldown-limits", async (request, reply) => sendJson(reply, drilldownLimits(deps, request)));
  // Without a ruler there are no rules, which Grafana takes for an answer.
  const ofRules = (data: unknown) => async (request: FastifyRequest, reply: FastifyReply) => {
    deps.tenants.of(request.headers);
    return sendJson(reply, { status: "success", data, errorType: "", error: "" });
  };
  app.get("/prometheus/api/v1/rules", ofRules({ groups: [] }));
  app.get("/prometheus/api/v1/alerts", ofRules({ alerts: [] }));
  for (const url of ["/loki/api/v1/rules", "/api/prom/rules"]) {
    app.get(url, async (request, reply) => {
      deps.tenants.of(request.headers);
      return sendText(reply, 404, "no rule groups found");
    });
  }
  app.route({
    method: ["GET", "POST"],
    url: "/log_level",
    handler: (request, reply) => logLevel(deps.log, request, reply),
  });
  app.get("/config/tenant/v1/limits", async (request, reply) =>
    sendYaml(reply, allLimits(deps, deps.tenants.of(request.headers))),
  );
  const { info } = deps;
  if (info === undefined) return;
  app.get("/services", async (_request, reply) => {
    const text = Object.entries(info.services()).map(([name, state]) => `${name} => ${state}\n`);
    return reply.header("content-type", YAML).send(text.join(""));
  });
  app.get("/config", async (request, reply) => sendYaml(reply, configOf(info, paramsOf(request).get("mode") ?? "")));
  app.post("/flush", async (_request, reply) => {
    await info.flush();
    return reply.code(204).send();
  });
}

function sendYaml(reply: FastifyReply, value: unknown): FastifyReply {
  return reply.header("content-type", YAML).send(yamlText(value));
}

/** It only reads the query: a bad regular expression in a stage passes. */
async function formatRoute(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  try {
    return sendJson(reply, { status: "success", data: prettyQuery(parseQuery(paramsOf(request).get("query") ?? "")) });
  } catch (error) {
    if (!(error instanceof QueryError)) throw error;
    return sendJson(reply.code(400), { status: "invalid-query", error: error.message });
  }
}

/** `?mode=defaults` gives those, `?mode=diff` what differs from them. */
function configOf({ config, defaults }: ProcessInfo, mode: string): unknown {
  if (mode === "defaults") return defaults;
  if (mode !== "diff") return config;
  return differences(config, defaults) ?? {};
}

/** The parts of `value` that differ from `other`; undefined when none do. */
function differences(value: unknown, other: unknown): unknown {
  if (isRecord(value) && isRecord(other)) {
    const found = Object.entries(value).flatMap(([name, inner]) => {
      const differs = differences(inner, other[name]);
      return differs === undefined ? [] : [[name, differs] as const];
    });
    return found.length === 0 ? undefined : Object.fromEntries(found);
  }
  return JSON.stringify(value) === JSON.stringify(other) ? undefined : value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

async function logLevel(log: Logger, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const wanted = paramsOf(request).get("log_level") ?? "";
  if (request.method === "GET" || wanted === "") {
    return sendJson(reply, { message: `Current log level is ${log.level}` });
  }
  if (!LOG_LEVELS.includes(wanted as LogLevel))
    return sendText(reply, 400, `unrecognized log level ${JSON.stringify(wanted)}`);
  log.level = wanted;
  return sendJson(reply, { message: `Log level set to ${wanted}`, status: "success" });
}

function allLimits({ engine, info }: InfoRoutesDeps, tenant: string): Record<string, unknown> {
  return { ...info?.storeLimits(tenant), ...ownQueryLimits(engine.limitsOf(tenant)) };
}

/** What Logs Drilldown goes by. Loki answers 401 where tenants are not told apart, which only takes this away from it. */
function drilldownLimits(deps: InfoRoutesDeps, request: FastifyRequest): unknown {
  const limits = allLimits(deps, deps.tenants.of(request.headers));
  return {
    limits: {
      discover_log_levels: true,
      discover_service_name: limits.discover_service_name ?? [],
      log_level_fields: LEVEL_FIELDS,
      max_entries_limit_per_query: limits.max_entries_limit_per_query,
      max_line_size_truncate: limits.max_line_size_truncate ?? false,
      max_query_bytes_read: `${limits.max_query_bytes_read}B`,
      max_query_length: limits.max_query_length,
      max_query_lookback: "0s",
      max_query_range: limits.max_query_range,
      max_query_series: limits.max_query_series,
      metric_aggregation_enabled: false,
      otlp_config: limits.otlp_config ?? {},
      pattern_persistence_enabled: false,
      query_timeout: limits.query_timeout,
      retention_period: limits.retention_period ?? "0s",
      volume_enabled: true,
      volume_max_series: 1000,
    },
    pattern_ingester_enabled: false,
    version: deps.version,
  };
}
