import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { codeOf, messageOf } from "../core/errors.ts";
import { NS_PER_SECOND, parseRfc3339 } from "../core/time.ts";
import { checkDeleteQuery } from "../query/deletes.ts";
import { parseGoDuration } from "../query/syntax/units.ts";
import { BadRequest } from "./errors.ts";
import { goDuration, parseInt64 } from "./go.ts";
import { sendJson, sendText } from "./reply.ts";
import { paramsOf } from "./request.ts";

const NS_PER_MS = 1_000_000n;

/** A deletion request as the list shows it. Times in nanoseconds or milliseconds since 1970. */
export interface ListedDelete {
  readonly id: string;
  readonly query: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly createdMs: number;
  readonly status: "received" | "processing" | "processed";
  readonly percent: number;
  readonly processedMs: number | null;
  readonly removed: { readonly lines: number; readonly bytes: number; readonly segments: number };
}

/** Takes deletion requests. `cancel` rejects with `delete_unknown`, `delete_processed`, `delete_partial`, `delete_late`. */
export interface DeleteService {
  /** Resolves once the request is durable and its lines are hidden. Both times are inclusive. */
  add(wanted: {
    readonly tenant: string;
    readonly query: string;
    readonly startNs: bigint;
    readonly endNs: bigint;
  }): Promise<{ readonly id: string }>;
  /** Sorted by creation. */
  list(tenant: string): Promise<readonly ListedDelete[]>;
  cancel(tenant: string, id: string, options: { readonly force: boolean }): Promise<void>;
  /** Longest `max_interval`, 0 for any, and how long a request may be cancelled without force. */
  readonly maxIntervalMs: number;
  readonly cancelMs: number;
}

export interface DeleteRoutesDeps {
  readonly deletes: DeleteService;
  /** Whose request it is. Throws what the other routes throw for one that says it wrongly. */
  readonly tenantOf: (request: FastifyRequest) => string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** `/loki/api/v1/delete`. Source: "Loki's HTTP contract", 12; texts of refusals as Loki's compactor has them. */
export function addDeleteRoutes(app: FastifyInstance, { deletes, tenantOf, now }: DeleteRoutesDeps): void {
  const url = "/loki/api/v1/delete";
  app.route({
    method: ["POST", "PUT"],
    url,
    handler: async (request, reply) => {
      const tenant = tenantOf(request);
      const { id } = await deletes.add({ tenant, ...deleteParams(paramsOf(request), now(), deletes.maxIntervalMs) });
      return reply.code(204).header("x-delete-request-id", id).send();
    },
  });
  app.route({
    method: "GET",
    url,
    handler: async (request, reply) => sendJson(reply, (await deletes.list(tenantOf(request))).map(listed)),
  });
  app.route({ method: "DELETE", url, handler: (request, reply) => cancel(request, reply, { deletes, tenantOf }) });
}

async function cancel(
  request: FastifyRequest,
  reply: FastifyReply,
  { deletes, tenantOf }: Pick<DeleteRoutesDeps, "deletes" | "tenantOf">,
): Promise<FastifyReply> {
  const params = paramsOf(request);
  try {
    await deletes.cancel(tenantOf(request), params.get("request_id") ?? "", { force: params.get("force") === "true" });
  } catch (error) {
    switch (codeOf(error)) {
      case "delete_unknown":
        return sendText(reply, 404, messageOf(error));
      case "delete_late": {
        const deadline = goDuration(BigInt(deletes.cancelMs) * NS_PER_MS);
        const text = `deletion of request past the deadline of ${deadline} since its creation is not allowed. To force, use the ?force query parameter`;
        return sendText(reply, 400, text);
      }
      case "delete_partial":
      case "delete_processed":
        return sendText(reply, 400, messageOf(error));
      default:
        throw error;
    }
  }
  return reply.code(204).send();
}

/**
 * The parameters of a new request, checked in Loki's order. Throws BadRequest, and QueryError for the query.
 * `max_interval` is how Loki cuts a request in pieces; here it is only checked.
 */
export function deleteParams(
  params: URLSearchParams,
  nowMs: number,
  maxIntervalMs: number,
): { query: string; startNs: bigint; endNs: bigint } {
  const query = params.get("query") ?? "";
  if (query === "") throw new BadRequest("query not set");
  const { hasFilter } = checkDeleteQuery(query);
  const startText = params.get("start") ?? "";
  if (startText === "") throw new BadRequest("start time not set");
  const startNs = deleteTime("start", startText);
  const endText = params.get("end") ?? "";
  // Up to now means all of this millisecond.
  const nowNs = BigInt(nowMs) * NS_PER_MS + NS_PER_MS - 1n;
  const endNs = endText === "" ? nowNs : deleteTime("end", endText);
  if (endNs > nowNs) throw new BadRequest("deletes in the future are not allowed");
  if (startNs > endNs) throw new BadRequest("start time can't be greater than end time");
  if (hasFilter) checkInterval(params.get("max_interval") ?? "", endNs - startNs, maxIntervalMs);
  return { query, startNs, endNs };
}

/** Unix seconds of ten digits, or RFC 3339. */
function deleteTime(name: "start" | "end", text: string): bigint {
  const ns = parseRfc3339(text);
  if (ns !== null) return ns;
  if (!/^[+-]?[0-9]+$/.test(text) || text.length !== 10) {
    throw new BadRequest(`invalid ${name} time: require unix seconds or RFC3339 format`);
  }
  return parseInt64(text) * NS_PER_SECOND;
}

function checkInterval(text: string, rangeNs: bigint, maxIntervalMs: number): void {
  // As Loki counts it: in milliseconds.
  const rangeMs = Number(rangeNs / NS_PER_MS);
  if (text === "") {
    if (rangeMs >= 1000) return;
    throw new BadRequest("difference between start time and end time must be at least one second");
  }
  const ns = parseGoDuration(text);
  if (ns === null || ns < 1e9) throw new BadRequest("invalid max_interval: valid time units are 's', 'm', 'h'");
  const ms = ns / 1e6;
  if (maxIntervalMs > 0 && ms > maxIntervalMs) {
    throw new BadRequest(`max_interval can't be greater than ${goDuration(BigInt(maxIntervalMs) * NS_PER_MS)}`);
  }
  if (ms > rangeMs) {
    const range = goDuration(BigInt(rangeMs) * NS_PER_MS);
    throw new BadRequest(`max_interval can't be greater than the interval to be deleted (${range})`);
  }
}

/** One entry of the list: Loki's fields, and what has been removed so far. */
function listed(one: ListedDelete): Record<string, unknown> {
  return {
    request_id: one.id,
    start_time: Number(one.startNs / NS_PER_MS) / 1000,
    end_time: Number(one.endNs / NS_PER_MS) / 1000,
    query: one.query,
    status: one.status === "processing" ? `${one.percent}% Complete` : one.status,
    created_at: one.createdMs / 1000,
    user_id: "",
    removed: one.removed,
    processed_at: one.processedMs === null ? null : one.processedMs / 1000,
  };
}
