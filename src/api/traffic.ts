import { randomBytes } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { AnswerBudget } from "./reply.ts";

/** A request's id that a client or a proxy has given is kept when it is short and plain. */
const GIVEN_ID = /^[A-Za-z0-9_.:+/=-]{1,128}$/;

/** Ids for requests: those they came with, else ones that no other process gives. */
export function requestIds(): (request: { headers: Record<string, string | string[] | undefined> }) => string {
  const own = randomBytes(6).toString("hex");
  let next = 0;
  return ({ headers }) => {
    const given = headers["x-request-id"];
    return typeof given === "string" && GIVEN_ID.test(given) ? given : `${own}-${(next++).toString(36)}`;
  };
}

/** Counts requests, gives each answer its id, and writes one line of log for each at level debug. */
export function watchTraffic(app: FastifyInstance, metrics: Metrics, budget: AnswerBudget, log: Logger): void {
  const requests = metrics.counter("weir_api_requests_total", "HTTP requests, by route and code.", ["route", "code"]);
  const times = metrics.histogram(
    "weir_api_request_seconds",
    "Time from a request to the end of its answer.",
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    ["route"],
  );
  metrics.gauge("weir_api_unread_answer_bytes", "Bytes of answers that clients are still reading.", [], (gauge) =>
    gauge.set(budget.bytes),
  );
  app.addHook("onRequest", async (request, reply) => {
    const started = performance.now();
    reply.header("x-request-id", request.id);
    // The response's own end, because the framework tells of none when a client leaves.
    reply.raw.once("close", () => {
      // The route, not the path: paths are without number.
      const route = request.routeOptions.url ?? "none";
      const status = reply.raw.writableFinished ? reply.raw.statusCode : 499;
      const ms = performance.now() - started;
      requests.inc({ route, code: String(status) });
      times.observe({ route }, ms / 1000);
      if (log.isLevelEnabled("debug")) log.debug(accessOf(request, status, ms), "http");
    });
  });
}

function accessOf(request: FastifyRequest, status: number, ms: number): Record<string, unknown> {
  const { headers, socket } = request.raw;
  return {
    id: request.id,
    from: socket.remoteAddress,
    method: request.method,
    url: request.raw.url?.slice(0, 2000),
    status,
    ms: Math.round(ms * 10) / 10,
    tenant: headers["x-scope-orgid"],
    tags: headers["x-query-tags"],
    agent: headers["user-agent"],
  };
}
