import { z } from "zod";
import { WeirError } from "../core/errors.ts";
import { decodeCheckedJson, encodeCheckedJson } from "./checked-json.ts";
import { tenantPart } from "./keys.ts";

/*
 * Deletion requests in the object store, version 1. Both kinds of object are JSON with a check (checked-json.ts), are
 * created with create-if-absent, and never changed.
 *
 *   deletes/<tenant part>/<id>.json                what is asked for
 *   deletes/<tenant part>/<id>.<n, 6 digits>.json  its state, n = 1, 2, …; the one with the highest n counts, and
 *                                                  none means `received`. Whoever creates n has made the change.
 *
 *   {"version":1,"id":"5f0c9a1b","tenant":"fake","query":"{app=\"web\"}","start_ns":"1714554000000000000",
 *    "end_ns":"1714557600000999999","created_ms":1714560000123,"upto":{"0":180},"crc32":"…"}
 *   {"version":1,"id":"5f0c9a1b","tenant":"fake","n":1,"status":"processing","at_ms":1714560300000,
 *    "removed":{"lines":9,"bytes":812,"segments":2},"percent":50,"clean":["segments/fake/…"],"crc32":"…"}
 */
export const DELETES_PREFIX = "deletes/";
const VERSION = 1;
const KEY = /^deletes\/[^/]+\/([0-9a-z]{1,32})(?:\.(\d{6}))?\.json$/;
const STATES_MAX = 999_999;

const count = z.int().nonnegative();
const decimal = z.string().regex(/^-?\d{1,30}$/);
const requestSchema = z.object({
  version: z.literal(VERSION),
  id: z.string().min(1),
  tenant: z.string(),
  query: z.string().min(1),
  start_ns: decimal,
  end_ns: decimal,
  created_ms: count,
  upto: z.record(z.string().regex(/^\d+$/), count),
});
const removedSchema = z.object({ lines: count, bytes: count, segments: count });
const stateSchema = z.object({
  version: z.literal(VERSION),
  id: z.string().min(1),
  tenant: z.string(),
  n: z.int().positive().max(STATES_MAX),
  status: z.enum(["processing", "processed", "cancelled"]),
  at_ms: count,
  removed: removedSchema,
  percent: z.int().min(0).max(100),
  clean: z.array(z.string()),
});

/** A request to delete lines: those that `query` gives with times in [startNs, endNs]. */
export interface DeleteRequest {
  readonly id: string;
  readonly tenant: string;
  /** A log query of LogQL. */
  readonly query: string;
  /** Nanoseconds since 1970, both inclusive. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** Milliseconds since 1970. */
  readonly createdMs: number;
  /**
   * By partition, the intake offset that the next entry had when the request was made. Once the catalog's chains have
   * come that far, all lines that were there then are in segments.
   */
  readonly upto: Readonly<Record<string, number>>;
}

/** What compaction has removed for a request. */
export interface RemovedLines {
  readonly lines: number;
  /** Bytes of their text. */
  readonly bytes: number;
  /** Segments that they were in. */
  readonly segments: number;
}

export const NOTHING_REMOVED: RemovedLines = { lines: 0, bytes: 0, segments: 0 };

export function sumRemoved(a: RemovedLines, b: RemovedLines): RemovedLines {
  return { lines: a.lines + b.lines, bytes: a.bytes + b.bytes, segments: a.segments + b.segments };
}

/** Where a request stands. Without one it is `received`. */
export interface DeleteState {
  /** Counts the states of a request. */
  readonly n: number;
  readonly status: "processing" | "processed" | "cancelled";
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly removed: RemovedLines;
  /** How much of the store has been looked at. */
  readonly percent: number;
  /** Segments that compaction has written without the request's lines. Empty once it is done. */
  readonly clean: readonly string[];
}

export type DeleteObject =
  | { readonly kind: "request"; readonly request: DeleteRequest }
  | { readonly kind: "state"; readonly tenant: string; readonly id: string; readonly state: DeleteState };

export function requestKey(tenant: string, id: string): string {
  return `${DELETES_PREFIX}${tenantPart(tenant)}/${id}.json`;
}

export function stateKey(tenant: string, id: string, n: number): string {
  return `${DELETES_PREFIX}${tenantPart(tenant)}/${id}.${String(n).padStart(6, "0")}.json`;
}

/** Whether an object below `deletes/` is one of ours, by its name. */
export function isDeleteKey(key: string): boolean {
  return KEY.test(key);
}

export function encodeRequest(request: DeleteRequest): Buffer {
  return encodeCheckedJson({
    version: VERSION,
    id: request.id,
    tenant: request.tenant,
    query: request.query,
    start_ns: request.startNs.toString(),
    end_ns: request.endNs.toString(),
    created_ms: request.createdMs,
    upto: request.upto,
  });
}

export function encodeState({ tenant, id }: Pick<DeleteRequest, "tenant" | "id">, state: DeleteState): Buffer {
  const { n, status, atMs, removed, percent, clean } = state;
  return encodeCheckedJson({ version: VERSION, id, tenant, n, status, at_ms: atMs, removed, percent, clean });
}

/** Reads either kind, told apart by its name. Throws `delete_corrupt`, which names the object, for anything else. */
export function decodeDelete(key: string, bytes: Buffer): DeleteObject {
  const value = decodeCheckedJson(bytes, (what, cause) => bad(key, what, cause));
  const isState = KEY.exec(key)?.[2] !== undefined;
  const object = isState ? stateOf(key, value) : requestOf(key, value);
  const named =
    object.kind === "request"
      ? requestKey(object.request.tenant, object.request.id)
      : stateKey(object.tenant, object.id, object.state.n);
  if (named !== key) throw bad(key, `it says that it is ${named}`);
  return object;
}

function requestOf(key: string, value: unknown): DeleteObject {
  const parsed = requestSchema.safeParse(value);
  if (!parsed.success) throw bad(key, z.prettifyError(parsed.error), parsed.error);
  const { id, tenant, query, start_ns, end_ns, created_ms, upto } = parsed.data;
  const times = { startNs: BigInt(start_ns), endNs: BigInt(end_ns) };
  return { kind: "request", request: { id, tenant, query, ...times, createdMs: created_ms, upto } };
}

function stateOf(key: string, value: unknown): DeleteObject {
  const parsed = stateSchema.safeParse(value);
  if (!parsed.success) throw bad(key, z.prettifyError(parsed.error), parsed.error);
  const { id, tenant, n, status, at_ms, removed, percent, clean } = parsed.data;
  return { kind: "state", tenant, id, state: { n, status, atMs: at_ms, removed, percent, clean } };
}

function bad(key: string, what: string, cause?: unknown): WeirError {
  return new WeirError(
    "delete_corrupt",
    `deletion request ${key}: ${what}; restore the object, or remove it and make the request again`,
    { context: { key }, cause },
  );
}
