import type { FastifyReply, FastifyRequest } from "fastify";
import { formatLabels, type Labels } from "../core/labels.ts";
import { formatRfc3339, joinNs } from "../core/time.ts";
import type { DroppedEntry, LogResult, TailEntry } from "../query/engine.ts";
import { quote } from "../query/syntax/strings.ts";
import { BadRequest } from "./errors.ts";
import { type Groups, groupsOf, lineJson } from "./json.ts";
import type { QueryRoutesDeps } from "./loki-routes.ts";
import { checkLength, checkLimit, rangeParams } from "./params.ts";
import { sendPieces } from "./reply.ts";
import { abortOnLeave, nowNs, paramsOf } from "./request.ts";

/*
 * `/api/prom/query` and `/api/prom/tail`, as the first clients of Loki asked: labels are text, times RFC 3339, and a regular
 * expression for lines may come as a parameter of its own. Source: "Loki's HTTP contract", 14.
 */

/** The query, with the line filter that `regexp` stands for. */
export function legacyQuery(params: URLSearchParams): string {
  const query = params.get("query") ?? "";
  const regexp = params.get("regexp") ?? "";
  // A line of its own, because the query may end in a comment.
  return regexp === "" ? query : `${query}\n|~ ${quote(regexp)}`;
}

export async function legacyRange(
  { engine, tenants, budget, stallMs }: QueryRoutesDeps,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const tenant = tenants.of(request.headers);
  const form = paramsOf(request);
  const params = { ...rangeParams(form, nowNs()), query: legacyQuery(form) };
  const limits = engine.limitsOf(tenant);
  if (engine.kindOf(params.query).kind === "metric") {
    throw new BadRequest("legacy endpoints only support streams result type, current type is matrix");
  }
  checkLength(params, limits.max_query_length);
  checkLimit(params.limit, limits.max_entries_limit_per_query);
  budget.check();
  const result = await engine.queryRange({ ...params, tenant, signal: abortOnLeave(reply) });
  const texts = streamsText(result, await groupsOf(result));
  return sendPieces(reply, { texts, holds: result.entries.bytes }, budget, stallMs);
}

function* streamsText(result: LogResult, groups: Groups): Generator<string> {
  yield '{"streams":[';
  for (const [i, { group, places }] of groups.entries()) {
    yield `${i === 0 ? "" : ","}{"labels":${labelText(group)},"entries":[`;
    for (const [p, place] of places.entries()) {
      const { sec, nsec, line } = result.entries.entry(place);
      yield (p === 0 ? "" : ",") + entryJson(joinNs(sec, nsec), line);
    }
    yield "]}";
  }
  yield `],"stats":${JSON.stringify(result.stats.toLoki())}}\n`;
}

/** One message of a tail. Neighbours with the same labels share a group, so the order of lines is kept. */
export function legacyTailMessage(entries: readonly TailEntry[], dropped: readonly DroppedEntry[]): string {
  const streams: string[] = [];
  for (let i = 0; i < entries.length; ) {
    const { group } = entries[i];
    const texts: string[] = [];
    for (; i < entries.length && entries[i].group === group; i++) {
      texts.push(entryJson(entries[i].timeNs, entries[i].line));
    }
    streams.push(`{"labels":${labelText(group)},"entries":[${texts.join(",")}]}`);
  }
  const lost = dropped.map(({ timeNs, labels }) => ({
    timestamp: formatRfc3339(timeNs),
    labels: formatLabels(labels),
  }));
  return `{"streams":[${streams.join(",")}],"dropped_entries":${lost.length === 0 ? "null" : JSON.stringify(lost)}}`;
}

/** JSON of the labels as text, from their JSON. */
function labelText(group: string): string {
  return JSON.stringify(formatLabels(JSON.parse(group) as Labels)); // The engine has made it.
}

function entryJson(ns: bigint, line: Buffer): string {
  return `{"ts":"${formatRfc3339(ns)}","line":${lineJson(line)}}`;
}
