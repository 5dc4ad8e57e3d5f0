import { z } from "zod";
import { WeirError } from "../../src/core/errors.ts";
import type { Refused } from "../../src/core/sink.ts";
import { errorText } from "./elastic-client.ts";

/*
 * The bulk API: a line that says what to do, and a line with the document, for each.
 *
 *   {"create":{"_index":"weir-2026.01.02","_id":"0-120-7-thp8lh.6-1b2c3d"}}
 *   {"@timestamp":"2026-01-02T03:04:05.000000006Z","message":"hello"}
 *
 * and answers: {"items":[{"create":{"_id":"…","status":201}},{"create":{"_id":"…","status":400,"error":{"type":"…","reason":"…"}}}]}
 * in the same order, but for documents that go through ingest pipelines: those that a pipeline refuses or drops stand in the order in
 * which that happened. So it is the id that tells which is meant.
 * Source: Elasticsearch, "Bulk API"; the order as OpenSearch 2.19 and 3.8 have it.
 */

/** What is wanted of the answer: of a document that was taken its id and status alone. */
export const BULK_ANSWER = [
  "items.*._id",
  "items.*.status",
  ...["type", "reason", "caused_by.type", "caused_by.reason"].map((name) => `items.*.error.${name}`),
].join(",");

const REASON_CHARS_MAX = 1000;
const item = z.object({
  create: z.object({ _id: z.string().nullish(), status: z.int(), error: z.unknown().optional() }),
});
const answer = z.object({ items: z.array(item) });
const errorType = z.object({ type: z.string(), reason: z.string().nullish() });

/** Stored by an earlier try: ids are made of the record's place in the intake log. */
const CONFLICT = 409;
/** These speak of the state of the cluster, of an index or of Weir's rights, and not of the document. */
const STATE: ReadonlySet<number> = new Set([401, 403, 404, 408, 429]);
const STATE_TYPES: ReadonlySet<string> = new Set([
  "cluster_block_exception",
  "index_closed_exception",
  "index_not_found_exception",
  "resource_already_exists_exception",
  "es_rejected_execution_exception",
  "rejected_execution_exception",
  "circuit_breaking_exception",
  "unavailable_shards_exception",
  "process_cluster_event_timeout_exception",
  "security_exception",
]);
/** What ingest processors say of a document, though with status 500. */
const DOCUMENT_TYPES: ReadonlySet<string> = new Set(["fail_processor_exception", "find_match"]);
/** As STATE_TYPES, where the type says nothing. */
const STATE_REASON = /maximum (\S+ )?shards open|no write index is defined|pipeline with id \[[^\]]*\] does not exist/;

export interface BulkResult {
  /** Places of documents that were there already. */
  readonly repeats: number;
  readonly refused: readonly Refused[];
}

/** What an answer says of the documents with these ids. Throws `sink_reply` when it says something else. */
export function readBulkAnswer(body: unknown, ids: readonly string[], where: string): BulkResult {
  const found = answer.safeParse(body);
  if (!found.success || found.data.items.length !== ids.length) {
    const what = found.success ? `${found.data.items.length} answers` : "something else";
    throw new WeirError("sink_reply", `${where}: got ${what}, want the bulk API's answers to ${ids.length} documents`, {
      retriable: true,
      cause: found.error,
    });
  }
  let repeats = 0;
  const refused: Refused[] = [];
  const { items } = found.data;
  const positions = positionsOf(
    items.map(({ create }) => create._id ?? null),
    ids,
  );
  for (const [i, { create }] of items.entries()) {
    const { status, error } = create;
    if (status >= 200 && status < 300 && error === undefined) continue;
    if (status === CONFLICT) repeats++;
    else refused.push({ position: positions[i], reason: reasonOf(status, error), retriable: isState(status, error) });
  }
  return { repeats, refused };
}

/**
 * Where the documents stand that the answers are to. A pipeline may give a document another id, and a server may name none: such answers
 * are to the documents that are left, in their order.
 */
function positionsOf(answered: readonly (string | null)[], ids: readonly string[]): readonly number[] {
  if (answered.every((id, i) => id === ids[i])) return ids.map((_, i) => i);
  const open = new Map(ids.map((id, i) => [id, i]));
  const known = answered.map((id) => {
    const position = id === null ? undefined : open.get(id);
    if (position !== undefined) open.delete(ids[position]);
    return position;
  });
  const left = [...open.values()];
  let next = 0;
  return known.map((position) => position ?? left[next++]);
}

function isState(status: number, error: unknown): boolean {
  const known = errorType.safeParse(error);
  if (known.success && DOCUMENT_TYPES.has(known.data.type)) return false;
  if (status < 400 || status >= 500 || STATE.has(status)) return true;
  if (!known.success) return false;
  return STATE_TYPES.has(known.data.type) || STATE_REASON.test(known.data.reason ?? "");
}

function reasonOf(status: number, error: unknown): string {
  const text = `${status} ${errorText(error)}`.trim();
  return text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX)}…` : text;
}
