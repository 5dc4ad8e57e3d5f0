import type { FastifyReply, FastifyRequest } from "fastify";

/**
 * A request's parameters: those of a form body first, then those of the address, as Go's `r.Form` has them. Bodies of
 * other types are ignored, as Go does.
 */
export function paramsOf(request: FastifyRequest): URLSearchParams {
  const url = request.raw.url ?? "";
  const mark = url.indexOf("?");
  const query = new URLSearchParams(mark === -1 ? "" : url.slice(mark + 1));
  if (!(request.body instanceof URLSearchParams)) return query;
  const merged = new URLSearchParams(request.body);
  for (const [name, value] of query) merged.append(name, value);
  return merged;
}

/** The flags of X-Loki-Response-Encoding-Flags: by comma, neither trimmed nor checked; unknown ones are echoed. */
export function encodingFlags(header: string | string[] | undefined): string[] {
  const text = Array.isArray(header) ? header.join(",") : (header ?? "");
  return text === "" ? [] : text.split(",");
}

export const CATEGORIZE = "categorize-labels";

/** Aborts when the client goes away before its answer has been written. */
export function abortOnLeave(reply: FastifyReply): AbortSignal {
  const left = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished) left.abort();
  });
  return left.signal;
}

export const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;
