import { z } from "zod";
import { messageOf, WeirError } from "../../core/errors.ts";
import { ID_SLOTS } from "../../core/line.ts";
import { tenantName } from "../../core/tenant.ts";
import { isSegmentKeyOf } from "../../store/keys.ts";
import type { BatchBlock, ScanJob } from "../scan-job.ts";
import { INPUT_MAX } from "../syntax/parse.ts";

/*
 * A batch as one querier asks another to scan it: JSON, because a batch has some dozens of blocks. Times and bounds are
 * nanoseconds since 1970 as decimal text, which JSON's numbers could not hold. Both ends use this file, and both are
 * of one version of Weir, which `version` says.
 */

/** Most bytes of a request. A batch of the largest kind takes a quarter of it. */
export const REQUEST_BYTES_MAX = 4 * 1024 * 1024;
/** Most blocks of a batch, and most compressed bytes in them, for what they take in memory where they are scanned. */
const BLOCKS_MAX = 8192;
const BLOCK_BYTES_MAX = 256 * 1024 * 1024;
/** Forms of an id that are looked for at one time, and texts of each. */
const IDS_MAX = 16;
/** Rows that may be asked of one block. */
const ROWS_MAX = 1_000_000;
const DELETES_MAX = 10_000;
/** Longest time that a batch may be asked to take. */
const TIMEOUT_MS_MAX = 3_600_000;
const KEY_CHARS_MAX = 512;

const ns = z
  .string()
  .regex(/^-?\d{1,20}$/)
  .transform(BigInt);
const count = z.int().min(0);
const query = z.string().max(INPUT_MAX);

const wantedId = z.strictObject({
  slot: z
    .int()
    .min(0)
    .max(ID_SLOTS - 1),
  low8: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .transform((hex) => new Uint8Array(Buffer.from(hex, "hex"))),
  texts: z.array(z.string().max(100)).max(IDS_MAX).nullable(),
});

const block = z.strictObject({
  key: z.string().max(KEY_CHARS_MAX),
  offset: count,
  length: z.int().positive(),
  order: count,
  timeMinNs: ns,
  timeMaxNs: ns,
  rows: z
    .array(z.int().min(0).max(0xffff_ffff))
    .max(ROWS_MAX)
    .transform((rows) => Uint32Array.from(rows))
    .nullable(),
  hide: z
    .strictObject({
      fromNs: ns.nullable(),
      deletes: z.array(z.strictObject({ query, startNs: ns, endNs: ns })).max(DELETES_MAX),
    })
    .nullable(),
});

const scanRequest = z.strictObject({
  version: z.string().max(200),
  tenant: tenantName,
  mode: z.enum(["scan", "times", "rows", "metric"]),
  query,
  evaluate: z
    .strictObject({ startNs: ns, endNs: ns, stepNs: ns.refine((step) => step > 0n, "want a step above 0") })
    .nullable(),
  ids: z.array(wantedId).max(IDS_MAX).nullable(),
  startNs: ns,
  endNs: ns,
  limit: count,
  backward: z.boolean(),
  categorize: z.boolean(),
  /** As `ScanControl.bound`; null when nothing is known yet. */
  boundNs: ns.nullable(),
  textBytesMax: count,
  /** What is left of the query's time, or less. */
  timeoutMs: z.int().positive().max(TIMEOUT_MS_MAX),
  blocks: z.array(block).min(1).max(BLOCKS_MAX),
});

/** A request as it is read. */
export interface ScanRequest {
  /** What the asking querier's version is; another one may mean something else by the same words. */
  readonly version: string;
  readonly job: Omit<ScanJob, "id" | "control" | "endsAtMs">;
  readonly boundNs: bigint | null;
  readonly timeoutMs: number;
  readonly blocks: readonly BatchBlock[];
}

/** The request for a batch; null when it can't be asked of another: a block is in memory only, or it is too large. */
export function encodeScanRequest(
  version: string,
  { job, boundNs, timeoutMs, blocks }: Omit<ScanRequest, "version"> & { readonly job: ScanRequest["job"] },
): Buffer | null {
  const { tenant, mode, query, evaluate = null, ids, startNs, endNs, limit, backward, categorize, textBytesMax } = job;
  if (!canBeAsked(tenant, blocks)) return null;
  const request = {
    ...{ version, tenant, mode, query, evaluate, startNs, endNs, limit, backward, categorize, boundNs, textBytesMax },
    ids: ids?.map(({ slot, low8, texts }) => ({ slot, low8: Buffer.from(low8).toString("hex"), texts })) ?? null,
    timeoutMs: Math.max(1, Math.min(TIMEOUT_MS_MAX, Math.ceil(timeoutMs))),
    blocks: blocks.map(({ bytes: _, rows, ...place }) => ({ ...place, rows: rows === null ? null : [...rows] })),
  };
  const body = Buffer.from(
    JSON.stringify(request, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value)),
  );
  return body.length > REQUEST_BYTES_MAX ? null : body;
}

/** Errors: `bad_scan_request` for anything but a request as `encodeScanRequest` makes it. */
export function decodeScanRequest(body: Buffer): ScanRequest {
  const { version, boundNs, timeoutMs, blocks: places, evaluate, ...job } = parse(body);
  const blocks = places.map((place) => ({ ...place, bytes: null }));
  if (!canBeAsked(job.tenant, blocks)) {
    throw badRequest(
      `want blocks of at most ${BLOCK_BYTES_MAX} bytes together, in segments of the tenant ${JSON.stringify(job.tenant)}`,
    );
  }
  if ((job.mode === "metric") !== (evaluate !== null))
    throw badRequest("want times of evaluation with mode metric alone");
  if (blocks.some(({ rows }) => (job.mode === "rows") !== (rows !== null)))
    throw badRequest("want rows with mode rows alone");
  return { version, job: evaluate === null ? job : { ...job, evaluate }, boundNs, timeoutMs, blocks };
}

function parse(body: Buffer): z.output<typeof scanRequest> {
  let document: unknown;
  try {
    document = JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw badRequest(`no JSON: ${messageOf(error)}`);
  }
  const parsed = scanRequest.safeParse(document);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw badRequest(`${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not as it should be"}`);
}

/** No tenant's query is answered from another's segments, whoever asks. */
function canBeAsked(tenant: string, blocks: readonly BatchBlock[]): boolean {
  if (blocks.length === 0 || blocks.length > BLOCKS_MAX) return false;
  let bytes = 0;
  for (const block of blocks) {
    bytes += block.length;
    if (block.bytes !== null || bytes > BLOCK_BYTES_MAX || !isSegmentKeyOf(tenant, block.key)) return false;
  }
  return true;
}

function badRequest(what: string): WeirError {
  return new WeirError("bad_scan_request", `request to scan: ${what}`.slice(0, 1000));
}
