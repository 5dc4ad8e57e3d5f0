import type { FastifyInstance } from "fastify";

const METHODS = "GET, POST, PUT, DELETE, OPTIONS";
/** What browsers ask for when they don't say which headers they mean. */
const HEADERS = "Content-Type, X-Scope-OrgID, X-Query-Tags, X-Loki-Response-Encoding-Flags, Authorization";
const EXPOSED = "X-Request-ID, X-Delete-Request-ID";
const MAX_AGE_S = "86400";

/** Lets pages of other origins read answers. `origins`: whole ones such as https://a.example, or `*` for all; none: nothing happens. */
export function allowOrigins(app: FastifyInstance, origins: readonly string[]): void {
  if (origins.length === 0) return;
  const all = origins.includes("*");
  const allowed = new Set(origins);
  app.addHook("onRequest", async (request, reply) => {
    const { origin } = request.headers;
    if (!all) reply.header("vary", "Origin");
    if (origin === undefined || !(all || allowed.has(origin))) return;
    reply.header("access-control-allow-origin", all ? "*" : origin);
    reply.header("access-control-expose-headers", EXPOSED);
    // A browser's question before the request itself.
    if (request.method !== "OPTIONS" || request.headers["access-control-request-method"] === undefined) return;
    return reply
      .code(204)
      .header("access-control-allow-methods", METHODS)
      .header("access-control-allow-headers", request.headers["access-control-request-headers"] ?? HEADERS)
      .header("access-control-max-age", MAX_AGE_S)
      .send();
  });
}
