import { createHash, timingSafeEqual } from "node:crypto";
import type { AddressInfo } from "node:net";
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from "fastify";
import { codeOf, messageOf, WeirError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { PeerScans } from "../query/peers/peer-scans.ts";
import { HELLO_PATH, RESULT_TYPE, SCAN_PATH, SCAN_TYPE } from "../query/peers/protocol.ts";
import { REQUEST_BYTES_MAX } from "../query/peers/scan-request.ts";
import { errorAnswer, HttpProblem } from "./errors.ts";
import { splitListen } from "./options.ts";
import { sendText } from "./reply.ts";
import { abortOnLeave } from "./request.ts";

/** Some dozens of queriers with a connection for each of their batches. */
const CONNECTIONS_MAX = 4096;
/** Longest time until a request is here; it is sent at once by a machine nearby. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How long an answer may wait for whoever asked to take it. */
const STALL_MS = 30_000;

export interface QuerierServerOptions {
  /** `HOST:PORT`. */
  readonly listen: string;
  /** What whoever asks has to know; "" for nothing. */
  readonly key: string;
}

export interface QuerierServer {
  /** Where it listens: `127.0.0.1:3101`. */
  readonly address: string;
  /** Ends all connections: those who asked go elsewhere. */
  close(): Promise<void>;
}

/**
 * Listens for other queriers. It is not part of the API and has no tenants: whoever may ask here may read everything. Errors:
 * `listen_failed`.
 */
export async function startQuerierServer(
  { listen, key }: QuerierServerOptions,
  { scans, log }: { readonly scans: PeerScans; readonly log: Logger },
): Promise<QuerierServer> {
  const app = fastify({
    logger: false,
    exposeHeadRoutes: false,
    bodyLimit: REQUEST_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(SCAN_TYPE, { parseAs: "buffer" }, (_request, body, done) => done(null, body));
  guard(app, key);
  app.get(HELLO_PATH, async () => scans.hello());
  app.route({
    method: "POST",
    url: SCAN_PATH,
    onRequest: async (request, reply) => admit(scans, request, reply),
    handler: (request, reply) => scan(scans, request, reply),
  });
  app.setNotFoundHandler((_request, reply) =>
    sendText(reply, 404, "this port is for queriers of Weir; the API is elsewhere"),
  );
  app.setErrorHandler((error: unknown, _request, reply) => {
    const { status, text } = statusOf(error);
    if (status >= 500 && status !== 503) log.warn({ err: error }, `querier: ${text}`);
    return sendText(reply, status, text);
  });
  try {
    await app.listen(splitListen(listen));
  } catch (error) {
    await app.close();
    throw new WeirError(
      "listen_failed",
      `queriers: cannot listen on ${listen}: ${messageOf(error)}; choose another with --querier-listen`,
      {
        cause: error,
        context: { code: codeOf(error) },
      },
    );
  }
  const { address, family, port } = app.server.address() as AddressInfo; // A TCP port, so never a path.
  return { address: family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`, close: async () => app.close() };
}

/** Turns strangers away before anything of their body is read. */
function guard(app: FastifyInstance, key: string): void {
  const wanted = digest(`Bearer ${key}`);
  app.addHook("onRequest", async (request, reply) => {
    // Queriers send none; a page in a browser, which could be made to ask a port of its own machine, can't leave it off.
    if (request.headers.origin !== undefined) return sendText(reply, 403, "no pages");
    if (key === "") return undefined;
    // Of digests, so that neither time nor length tell anything of the key.
    if (timingSafeEqual(digest(request.headers.authorization ?? ""), wanted)) return undefined;
    reply.header("connection", "close");
    return sendText(reply, 401, "want the key of the queriers");
  });
}

/** What each request's bytes are counted with until its answer has been taken. */
const held = new WeakMap<FastifyRequest, (bytes: number) => void>();

/** Counts a request before its body is read: thousands of connections may bring one at the same time. */
function admit(scans: PeerScans, request: FastifyRequest, reply: FastifyReply): void {
  const bytes = Number(request.headers["content-length"] ?? Number.NaN);
  // Queriers say how long it is.
  if (!Number.isSafeInteger(bytes)) throw new HttpProblem(411, "request to scan: want a content-length");
  if (bytes > REQUEST_BYTES_MAX) return; // The framework refuses it unread.
  const hold = scans.admit(bytes);
  held.set(request, hold);
  reply.raw.once("close", () => hold(0));
}

async function scan(scans: PeerScans, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (!Buffer.isBuffer(request.body))
    throw new WeirError("bad_scan_request", `request to scan: want a body of type ${SCAN_TYPE}`);
  const frame = await scans.run(request.body, abortOnLeave(reply));
  if (!reply.raw.destroyed) held.get(request)?.(frame.length);
  reply.raw.setTimeout(STALL_MS, () => reply.raw.destroy());
  return reply.header("content-type", RESULT_TYPE).send(frame);
}

/** What is particular to queriers; the rest is as in the API. */
function statusOf(error: unknown): { status: number; text: string } {
  switch (codeOf(error)) {
    case "bad_scan_request":
      return { status: 400, text: messageOf(error) };
    case "querier_version":
      return { status: 409, text: messageOf(error) };
    case "querier_busy":
      return { status: 503, text: messageOf(error) };
    default:
      return errorAnswer(error);
  }
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
