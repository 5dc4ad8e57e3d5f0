import { STATUS_CODES } from "node:http";
import type { AddressInfo, Server } from "node:net";
import type { Duplex } from "node:stream";
import compress from "@fastify/compress";
import formbody from "@fastify/formbody";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import type { PushReceiver } from "../push/receivers.ts";
import type { Engine } from "../query/engine.ts";
import { allowOrigins } from "./cors.ts";
import { addDeleteRoutes, type DeleteService } from "./delete-routes.ts";
import { errorAnswer } from "./errors.ts";
import { addExplainRoute } from "./explain-route.ts";
import { addInfoRoutes, type ProcessInfo } from "./info-routes.ts";
import { addQueryRoutes } from "./loki-routes.ts";
import { type HttpOptions, splitListen } from "./options.ts";
import { addPushRoutes, PushGate } from "./push-routes.ts";
import { AnswerBudget, refuse, sendText } from "./reply.ts";
import { formOf } from "./request.ts";
import { LEGACY_TAIL_PATH, TAIL_PATH, TailSockets } from "./tail-route.ts";
import { Tenants } from "./tenants.ts";
import { requestIds, watchTraffic } from "./traffic.ts";
import { answerWithoutUpgrade, isWebSocket } from "./upgrade.ts";
import { addServiceRoutes, addTraceRoute } from "./weir-routes.ts";

/** Room for an escaped query of 128 KiB in an address; Go's servers take 1 MiB as well. */
const HEADER_BYTES_MAX = 1_048_576;
/** Longest part of a path that is a parameter: a label's name, or an id in its longest form. */
const PATH_PARAM_CHARS_MAX = 2048;
/** Answers below this go as they are. */
const COMPRESS_BYTES_MIN = 1024;
/** Newer Nodes ask which requests are no ordinary ones; for others `answerWithoutUpgrade` makes up for it. */
const UPGRADES = { shouldUpgradeCallback: isWebSocket };
const STOPPING = { ready: false, reason: "the server is stopping" };
/** Status of what is wrong with a request that Node could not read, by its code. */
const BROKEN: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };
/** How long bodies may go on coming after `stopPushes`. */
const PUSH_DRAIN_MS = 2000;
/** How long answers that are being written may go on after `close`. */
const DRAIN_MS = 5000;

export interface HttpDeps {
  readonly engine: Engine;
  /** Takes deletion requests; without it the path is not there, as in a Loki without retention. */
  readonly deletes?: DeleteService;
  /** Whether the process can take logs and answer, and if not, why: a sentence. */
  readonly ready: () => { readonly ready: boolean; readonly reason: string };
  readonly metrics: Metrics;
  readonly log: Logger;
  /** Version of the program, for `status/buildinfo`. */
  readonly version: string;
  readonly info?: ProcessInfo;
  /** Where logs are pushed to, and what their bodies may take; absent: nowhere. */
  readonly push?: {
    readonly receivers: readonly PushReceiver[];
    readonly bodyBytesMax: number;
    readonly memoryBytesMax: number;
  };
}

export interface HttpServer {
  /** Where it listens: `127.0.0.1:3100`. */
  readonly address: string;
  /** Refuses pushes from now on with 503; resolves when those under way are answered, or cut off because they did not end in 2 s. */
  stopPushes(): Promise<void>;
  /** Takes no more connections, lets answers under way end within `ms`, 5 s at most, and cuts off what is left. */
  close(ms?: number): Promise<void>;
}

/**
 * Starts the HTTP API. Errors: `listen_failed` with the system's reason (port in use, no such address).
 */
export async function startHttp(options: HttpOptions, deps: HttpDeps): Promise<HttpServer> {
  const { log, engine } = deps;
  const budget = new AnswerBudget(options.answers_bytes_max);
  const gate = new PushGate(deps.push?.memoryBytesMax ?? 0);
  const tenants = new Tenants(options.auth_enabled);
  const app = await createApp(options, { ...deps, tenants, budget, gate });
  const tails = new TailSockets({ engine, tenants, log, stallMs: options.stall_timeout_ms });
  app.server.on("upgrade", (request, socket, head) => {
    if (isWebSocket(request)) tails.upgrade(request, socket, head);
    else answerWithoutUpgrade(app.server, request, socket, head);
  });
  app.server.maxConnections = options.connections_max;
  const { host, port } = splitListen(options.listen);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await app.close();
    throw new WeirError(
      "listen_failed",
      `http: cannot listen on ${options.listen}: ${messageOf(error)}; choose another with --http`,
      {
        cause: error,
        context: { code: codeOf(error) },
      },
    );
  }
  return {
    address: addressOf(app.server),
    stopPushes: () => gate.shut(PUSH_DRAIN_MS),
    async close(ms = DRAIN_MS) {
      await tails.close();
      const cut = setTimeout(() => app.server.closeAllConnections(), Math.min(ms, DRAIN_MS));
      await app.close();
      clearTimeout(cut);
    },
  };
}

function addressOf(server: Server): string {
  const { address, family, port } = server.address() as AddressInfo; // Listening on a TCP port, so never a path.
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}

interface AppDeps extends HttpDeps {
  readonly tenants: Tenants;
  readonly budget: AnswerBudget;
  readonly gate: PushGate;
}

async function createApp(options: HttpOptions, deps: AppDeps): Promise<FastifyInstance> {
  const { engine, tenants, budget, gate, ready, metrics, version } = deps;
  const app = fastify({
    logger: false,
    genReqId: requestIds(),
    exposeHeadRoutes: false,
    bodyLimit: options.body_bytes_max,
    requestTimeout: options.request_timeout_ms,
    http: { maxHeaderSize: HEADER_BYTES_MAX, ...UPGRADES },
    routerOptions: { maxParamLength: PATH_PARAM_CHARS_MAX },
    forceCloseConnections: "idle",
    clientErrorHandler: (error, socket) => answerBroken(error, socket),
    // Of addresses that can't be read, for which there is no route.
    frameworkErrors: (error, _request, reply) => {
      sendText(reply, error.statusCode ?? 400, error.message);
    },
  });
  app.removeAllContentTypeParsers();
  app.addHook("onRequest", async (request) => passOddType(request));
  await app.register(formbody, {
    bodyLimit: options.body_bytes_max,
    parser: (text) => formOf(text) as unknown as Record<string, unknown>,
  });
  // Bodies of other types are read (up to the limit) and ignored, as Go's ParseForm does.
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_request, _body, done) => done(null, undefined));
  answerErrors(app, deps);
  metrics.gauge(
    "weir_api_push_body_bytes",
    "Bytes of pushed bodies that are being received or worked on.",
    [],
    (gauge) => gauge.set(gate.bytes),
  );
  watchTraffic(app, metrics, budget, deps.log);
  allowOrigins(app, options.cors_origins);
  loadWebTypes();
  await app.register(compress, {
    global: false, // See `deliver`.
    encodings: ["gzip"],
    // Smaller answers gain nothing. Level 1: answers are text, and the time of whoever waits counts more than bytes.
    threshold: COMPRESS_BYTES_MIN,
    zlibOptions: { level: 1 },
    customTypes: /^(?:text\/|application\/(?:json|x-ndjson))/,
    // Bodies of requests are the receivers' matter.
    globalDecompression: false,
  });
  const query = { engine, tenants, budget, stallMs: options.stall_timeout_ms };
  addQueryRoutes(app, query);
  addTraceRoute(app, query);
  addExplainRoute(app, query);
  if (deps.deletes !== undefined) {
    addDeleteRoutes(app, { deletes: deps.deletes, tenantOf: ({ headers }) => tenants.of(headers), now: Date.now });
  }
  if (deps.push !== undefined) addPushRoutes(app, { ...deps.push, tenants, log: deps.log }, gate);
  addServiceRoutes(app, { ready: () => (gate.isShut ? STOPPING : ready()), metrics, version });
  addInfoRoutes(app, deps);
  // Without upgrade headers the request comes here; with them the server's `upgrade` event has it.
  for (const path of [TAIL_PATH, LEGACY_TAIL_PATH]) {
    app.get(path, async (request, reply) => {
      tenants.of(request.headers);
      return sendText(reply, 400, "Bad Request");
    });
  }
  return app;
}

/**
 * Node loads what is behind these names when they are first said, which holds the event loop for some 35 ms. The library that compresses
 * says them with each answer; so they are said here, and not at the expense of the first query.
 */
function loadWebTypes(): void {
  void [Response, ReadableStream];
}

const MEDIA_TYPE = /^\s*[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(?:;|$)/;

/** The framework answers 415 to a type that is none, such as `json`. Go's servers pass it on, and whoever looks at it finds it in `request.raw`. */
function passOddType(request: FastifyRequest): void {
  const type = request.raw.headers["content-type"];
  if (type !== undefined && !MEDIA_TYPE.test(type)) request.headers = { "content-type": "application/octet-stream" };
}

/** What could not be read as a request, or not in time. The framework's own answer is JSON. */
function answerBroken(error: Error, socket: Duplex): void {
  if (codeOf(error) === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = BROKEN[codeOf(error)] ?? 400;
  refuse(socket, status, `${status} ${STATUS_CODES[status]}`);
}

/** Loki's texts for what goes wrong: an unknown path, a wrong method, and errors of a handler. */
function answerErrors(app: FastifyInstance, { log, push }: HttpDeps): void {
  const pushPaths = new Set(push?.receivers.flatMap(({ path, aliases }) => [path, ...aliases]));
  app.setNotFoundHandler((request: FastifyRequest, reply: FastifyReply) => {
    const path = (request.raw.url ?? "").split("?", 1)[0] ?? "";
    if (pushPaths.has(path)) return sendText(reply, 404, "404 page not found"); // As Loki, whatever the method.
    const methods = ["GET", "POST"].filter((method) => app.findRoute({ method, url: routeOf(path) }) !== null);
    return methods.length > 0 ? reply.code(405).send() : sendText(reply, 404, "404 page not found");
  });
  app.setErrorHandler((error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const { status, text } = errorAnswer(error);
    if (status >= 500)
      log.warn({ id: request.id, url: request.raw.url?.slice(0, 500), status, err: error }, `http: ${text}`);
    return sendText(reply, status, text);
  });
}

/** The route that a path belongs to, for those with a parameter. */
function routeOf(path: string): string {
  if (/^\/loki\/api\/v1\/label\/[^/]+\/values$/.test(path)) return "/loki/api/v1/label/:name/values";
  if (/^\/loki\/api\/v1\/detected_field\/[^/]+\/values$/.test(path)) return "/loki/api/v1/detected_field/:name/values";
  if (/^\/api\/prom\/label\/[^/]+\/values$/.test(path)) return "/api/prom/label/:name/values";
  if (/^\/api\/v1\/traces\/[^/]+$/.test(path)) return "/api/v1/traces/:id";
  return path;
}
