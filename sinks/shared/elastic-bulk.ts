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
 * and answers in the same order: {"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"…","reason":"…"}}}]}
 * Source: Elasticsearch, "Bulk API".
 */

/** What is wanted of the answer: of a document that was taken its status alone. */
export const BULK_ANSWER = [
  "items.*.status",
  ...["type", "reason", "caused_by.type", "caused_by.reason"].map((name) => `items.*.error.${name}`),
].join(",");

const REASON_CHARS_MAX = 1000;
const item = z.object({ create: z.object({ status: z.int(), error: z.unknown().optional() }) });
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
/** The same, where the type says nothing. */
const STATE_REASON = /maximum (\S+ )?shards open|no write index is defined|pipeline with id \[[^\]]*\] does not exist/;

export interface BulkResult {
  /** Places of documents that were there already. */
  readonly repeats: number;
  readonly refused: readonly Refused[];
}

/** What an answer says of `count` documents. Throws `sink_reply` when it says something else. */
export function readBulkAnswer(body: unknown, count: number, where: string): BulkResult {
  const found = answer.safeParse(body);
  if (!found.success || found.data.items.length !== count) {
    const what = found.success ? `${found.data.items.length} answers` : "something else";
    throw new WeirError("sink_reply", `${where}: got ${what}, want the bulk API's answers to ${count} documents`, {
      retriable: true,
      cause: found.error,
    });
  }
  let repeats = 0;
  const refused: Refused[] = [];
  for (const [position, { create }] of found.data.items.entries()) {
    const { status, error } = create;
    if (status >= 200 && status < 300 && error === undefined) continue;
    if (status === CONFLICT) repeats++;
    else refused.push({ position, reason: reasonOf(status, error), retriable: isState(status, error) });
  }
  return { repeats, refused };
}

function isState(status: number, error: unknown): boolean {
  if (status < 400 || status >= 500 || STATE.has(status)) return true;
  const known = errorType.safeParse(error);
  if (!known.success) return false;
  return STATE_TYPES.has(known.data.type) || STATE_REASON.test(known.data.reason ?? "");
}

function reasonOf(status: number, error: unknown): string {
  const text = `${status} ${errorText(error)}`.trim();
  return text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX)}…` : text;
}
