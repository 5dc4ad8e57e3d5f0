import type { FastifyReply, FastifyRequest } from "fastify";
import { BadRequest } from "./errors.ts";

/** Most parameters of a request, as many as Go reads: half a million of them, which a megabyte may be, are half a second of work. */
const PARAMS_MAX = 10_000;

/** Parameters as forms and addresses have them; what to refuse the request with where they are too many. */
export function formOf(text: string): URLSearchParams | BadRequest {
  let count = 1;
  for (let at = text.indexOf("&"); at !== -1; at = text.indexOf("&", at + 1)) {
    if (++count > PARAMS_MAX) return new BadRequest(`too many parameters: want no more than ${PARAMS_MAX}`);
  }
  return new URLSearchParams(text);
}

/** The same, of which too many are thrown. */
export function paramsIn(text: string): URLSearchParams {
  const params = formOf(text);
  if (params instanceof BadRequest) throw params;
  return params;
}

/**
 * A request's parameters: those of a form body first, then those of the address, as Go's `r.Form` has them. Bodies of
 * other types are ignored, as Go does. Throws BadRequest for too many of them.
 */
export function paramsOf(request: FastifyRequest): URLSearchParams {
  const url = request.raw.url ?? "";
  const mark = url.indexOf("?");
  const query = paramsIn(mark === -1 ? "" : url.slice(mark + 1));
  if (request.body instanceof BadRequest) throw request.body;
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
