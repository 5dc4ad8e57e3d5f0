import type { AddressInfo, Server } from "node:net";
import formbody from "@fastify/formbody";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Engine } from "../query/engine.ts";
import { errorAnswer } from "./errors.ts";
import { addQueryRoutes } from "./loki-routes.ts";
import { type HttpOptions, splitListen } from "./options.ts";
import { AnswerBudget, sendText } from "./reply.ts";
import { TailSockets } from "./tail-route.ts";
import { addServiceRoutes, addTraceRoute } from "./weir-routes.ts";

/** Room for an escaped query of 128 KiB in an address; Go's servers take 1 MiB as well. */
const HEADER_BYTES_MAX = 1_048_576;
/** Longest part of a path that is a parameter: a label's name, or an id in its longest form. */
const PATH_PARAM_CHARS_MAX = 2048;
/** How long answers that are being written may go on after `close`. */
const DRAIN_MS = 5000;

export interface HttpDeps {
  readonly engine: Engine;
  /** Whether the process can take logs and answer, and if not, why: a sentence. */
  readonly ready: () => { readonly ready: boolean; readonly reason: string };
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Version of the program, for `status/buildinfo`. */
  readonly version: string;
}

export interface HttpServer {
  /** Where it listens: `127.0.0.1:3100`. */
  readonly address: string;
  /** Takes no more connections, lets answers under way end within 5 s, and cuts off what is left. */
  close(): Promise<void>;
}

/**
 * Starts the HTTP API. Errors: `listen_failed` with the system's reason (port in use, no such address).
 */
export async function startHttp(options: HttpOptions, deps: HttpDeps): Promise<HttpServer> {
  const { log, engine } = deps;
  const budget = new AnswerBudget(options.answers_bytes_max);
  const app = await createApp(options, deps, budget);
  const tails = new TailSockets({ engine, log, stallMs: options.stall_timeout_ms });
  app.server.on("upgrade", (request, socket, head) => tails.upgrade(request, socket, head));
  app.server.maxConnections = options.connections_max;
  const { host, port } = splitListen(options.listen);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw new WeirError("listen_failed", `http: cannot listen on ${options.listen}: ${messageOf(error)}`, {
      cause: error,
      context: { code: codeOf(error) },
    });
  }
  return {
    address: addressOf(app.server),
    async close() {
      await tails.close();
      const cut = setTimeout(() => app.server.closeAllConnections(), DRAIN_MS);
      await app.close();
      clearTimeout(cut);
    },
  };
}

function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo; // Listening on a TCP port, so never a path.
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}

async function createApp(options: HttpOptions, deps: HttpDeps, budget: AnswerBudget): Promise<FastifyInstance> {
  const { engine, ready, metrics, version } = deps;
  const app = fastify({
    logger: false,
    exposeHeadRoutes: false,
    bodyLimit: options.body_bytes_max,
    requestTimeout: options.request_timeout_ms,
    http: { maxHeaderSize: HEADER_BYTES_MAX },
    routerOptions: { maxParamLength: PATH_PARAM_CHARS_MAX },
    forceCloseConnections: "idle",
  });
  app.removeAllContentTypeParsers();
  await app.register(formbody, {
    bodyLimit: options.body_bytes_max,
    parser: (text) => new URLSearchParams(text) as unknown as Record<string, unknown>,
  });
  // Bodies of other types are read (up to the limit) and ignored, as Go's ParseForm does.
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, _body, done) => done(null, undefined));
  answerErrors(app, deps);
  measure(app, metrics, budget);
  const query = { engine, budget, stallMs: options.stall_timeout_ms };
  addQueryRoutes(app, query);
  addTraceRoute(app, query);
  addServiceRoutes(app, { ready, metrics, version });
  // Without upgrade headers the request comes here; with them the server's `upgrade` event has it.
  app.get("/loki/api/v1/tail", async (_request, reply) => sendText(reply, 400, "Bad Request"));
  return app;
}

/** Loki's texts for what goes wrong: an unknown path, a wrong method, and errors of a handler. */
function answerErrors(app: FastifyInstance, { log }: HttpDeps): void {
  app.setNotFoundHandler((request: FastifyRequest, reply: FastifyReply) => {
    const path = (request.raw.url ?? "").split("?", 1)[0] ?? "";
    const methods = ["GET", "POST"].filter((method) => app.findRoute({ method, url: routeOf(path) }) !== null);
    return methods.length > 0 ? reply.code(405).send() : sendText(reply, 404, "404 page not found");
  });
  app.setErrorHandler((error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const { status, text } = errorAnswer(error);
    if (status >= 500) log.warn({ url: request.raw.url?.slice(0, 500), status, err: error }, `http: ${text}`);
    return sendText(reply, status, text);
  });
}

/** The route that a path belongs to, for those with a parameter. */
function routeOf(path: string): string {
  if (/^\/loki\/api\/v1\/label\/[^/]+\/values$/.test(path)) return "/loki/api/v1/label/:name/values";
  if (/^\/api\/v1\/traces\/[^/]+$/.test(path)) return "/api/v1/traces/:id";
  return path;
}

function measure(app: FastifyInstance, metrics: Metrics, budget: AnswerBudget): void {
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
    // The response's own end, because the framework tells of none when a client leaves.
    reply.raw.once("close", () => {
      // The route, not the path: paths are without number.
      const route = request.routeOptions.url ?? "none";
      const code = reply.raw.writableFinished ? String(reply.raw.statusCode) : "499";
      requests.inc({ route, code });
      times.observe({ route }, (performance.now() - started) / 1000);
    });
  });
}
