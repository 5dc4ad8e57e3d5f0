import { describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { codeOf } from "../../../src/core/errors.ts";
import { decodeScanRequest, encodeScanRequest, REQUEST_BYTES_MAX } from "../../../src/query/peers/scan-request.ts";
import type { BatchBlock, ScanJob } from "../../../src/query/scan-job.ts";
import { compactedKey, isSegmentKeyOf, segmentKey } from "../../../src/store/keys.ts";
import { SEED } from "../../random.ts";

const KEY = "segments/fake/2023-11-14/0-00000000000000000120-0123456789ab.gz";

type Job = Omit<ScanJob, "id" | "control" | "endsAtMs">;

const JOB: Job = {
  tenant: "fake",
  mode: "scan",
  query: '{app="über"} |= "x"',
  ids: [{ slot: 0, low8: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 255]), texts: ["00", "11"] }],
  startNs: -(2n ** 63n),
  endNs: 2n ** 63n - 1n,
  limit: 5000,
  backward: true,
  categorize: false,
  textBytesMax: 0,
};
const BLOCK: BatchBlock = {
  key: KEY,
  offset: 0,
  length: 100_000,
  order: 2 ** 52,
  timeMinNs: 1n,
  timeMaxNs: 1_700_000_000_000_000_001n,
  bytes: null,
  rows: null,
  hide: { fromNs: 5n, deletes: [{ query: '{app="x"}', startNs: 0n, endNs: 9n }] },
};

const encode = (job: Job, blocks: readonly BatchBlock[]) =>
  encodeScanRequest("v", { job, boundNs: 7n, timeoutMs: 1234.5, blocks });

/** A request as a document that can be spoilt. */
function document(): Record<string, unknown> & { blocks: Record<string, unknown>[] } {
  return JSON.parse(encode(JOB, [BLOCK])?.toString() ?? "");
}

const decodeDocument = (value: unknown) => decodeScanRequest(Buffer.from(JSON.stringify(value)));

describe("a request to scan", () => {
  test.each<{ name: string; job: Job; blocks: readonly BatchBlock[] }>([
    { name: "a scan", job: JOB, blocks: [BLOCK, { ...BLOCK, order: 3, hide: null }] },
    { name: "rows", job: { ...JOB, mode: "rows", ids: null }, blocks: [{ ...BLOCK, rows: Uint32Array.of(1, 5) }] },
    {
      name: "a metric query",
      job: { ...JOB, mode: "metric", evaluate: { startNs: 1n, endNs: 9n, stepNs: 2n } },
      blocks: [BLOCK],
    },
  ])("comes out as it went in: $name", ({ job, blocks }) => {
    const body = encode(job, blocks);
    expect(decodeScanRequest(body ?? Buffer.alloc(0))).toEqual({
      ...{ version: "v", job, boundNs: 7n, timeoutMs: 1235, blocks },
    });
  });

  test.each<{ name: string; job?: Partial<Job>; block: Partial<BatchBlock> }>([
    { name: "a block in memory", block: { bytes: new Uint8Array(3), key: "" } },
    { name: "another tenant's segment", job: { tenant: "other" }, block: {} },
    { name: "an object that is no segment", block: { key: "manifest/1.json" } },
    { name: "more than can be held in memory there", block: { length: 2 ** 30 } },
    { name: "more rows than fit into a request", job: { mode: "rows" }, block: { rows: new Uint32Array(3e6) } },
  ])("is not made for $name", ({ job, block }) => {
    expect(encode({ ...JOB, ...job }, [{ ...BLOCK, ...block }])).toBeNull();
  });

  test.each<{ name: string; spoil: (request: ReturnType<typeof document>) => unknown }>([
    { name: "no object", spoil: () => null },
    { name: "a list", spoil: () => [] },
    { name: "another tenant's key", spoil: (r) => ({ ...r, tenant: "other" }) },
    { name: "a tenant that can't be", spoil: (r) => ({ ...r, tenant: "../x" }) },
    { name: "a field that nobody knows", spoil: (r) => ({ ...r, path: "/" }) },
    { name: "no blocks", spoil: (r) => ({ ...r, blocks: [] }) },
    { name: "too many blocks", spoil: (r) => ({ ...r, blocks: Array(9000).fill(r.blocks[0]) }) },
    { name: "too many bytes", spoil: (r) => ({ ...r, blocks: Array(3000).fill(r.blocks[0]) }) },
    { name: "a mode that nobody knows", spoil: (r) => ({ ...r, mode: "all" }) },
    { name: "a metric query without times", spoil: (r) => ({ ...r, mode: "metric" }) },
    { name: "rows where none are meant", spoil: (r) => ({ ...r, blocks: [{ ...r.blocks[0], rows: [1] }] }) },
    { name: "no rows where some are meant", spoil: (r) => ({ ...r, mode: "rows" }) },
    { name: "a time that is none", spoil: (r) => ({ ...r, startNs: "now" }) },
    { name: "a time too long to be read", spoil: (r) => ({ ...r, startNs: "9".repeat(1e6) }) },
    { name: "a step of 0", spoil: (r) => ({ ...r, evaluate: { startNs: "0", endNs: "1", stepNs: "0" } }) },
    { name: "a limit below 0", spoil: (r) => ({ ...r, limit: -1 }) },
    { name: "a limit that is no whole number", spoil: (r) => ({ ...r, limit: 1.5 }) },
    { name: "a query that is too long", spoil: (r) => ({ ...r, query: "x".repeat(200_000) }) },
    { name: "all the time in the world", spoil: (r) => ({ ...r, timeoutMs: 1e12 }) },
    {
      name: "a slot that ids have not",
      spoil: (r) => ({ ...r, ids: [{ slot: 4, low8: "00".repeat(8), texts: null }] }),
    },
    { name: "an id that is none", spoil: (r) => ({ ...r, ids: [{ slot: 0, low8: "x", texts: null }] }) },
    ...[
      "../../../etc/passwd",
      "segments/fake/../../secret",
      `${KEY}/../x`,
      `/${KEY}`,
      KEY.replace("/fake/", "/other/"),
      KEY.replace("/fake/", "/fake/x/"),
      KEY.replace(".gz", ".gz\u0000"),
      KEY.replace("segments/", "dead/"),
      "",
    ].map((key) => ({
      name: `the key ${JSON.stringify(key)}`,
      spoil: (r: ReturnType<typeof document>) => ({ ...r, blocks: [{ ...r.blocks[0], key }] }),
    })),
    ...["offset", "length", "order"].flatMap((field) =>
      [-1, 0.5, 2 ** 60, "1", null].map((value) => ({
        name: `${field} ${JSON.stringify(value)}`,
        spoil: (r: ReturnType<typeof document>) => ({ ...r, blocks: [{ ...r.blocks[0], [field]: value }] }),
      })),
    ),
  ])("is refused with $name", ({ spoil }) => {
    expect(() => decodeDocument(spoil(document()))).toThrow(expect.objectContaining({ code: "bad_scan_request" }));
  });

  test("cut anywhere, or changed at random, it is refused or a request for the tenant's own segments", () => {
    const random = new Random(SEED);
    const body = encode(JOB, [BLOCK]) ?? Buffer.alloc(0);
    expect(body.length).toBeLessThan(REQUEST_BYTES_MAX);
    const check = (bytes: Buffer, about: string) => {
      try {
        const { job, blocks } = decodeScanRequest(bytes);
        for (const { key } of blocks) expect(isSegmentKeyOf(job.tenant, key), about).toBe(true);
      } catch (error) {
        expect(codeOf(error), `${about}: ${error}`).toBe("bad_scan_request");
      }
    };
    for (let length = 0; length < body.length; length++) check(body.subarray(0, length), `cut to ${length}`);
    for (let i = 0; i < 3000; i++) {
      const broken = Buffer.from(body);
      for (let changes = 1 + random.below(3); changes > 0; changes--) {
        broken[random.below(body.length)] = random.pick([0x22, 0x2c, 0x30, 0x39, 0x2d, 0x7b, 0x5d, random.below(256)]);
      }
      check(broken, `seed ${SEED}, change ${i}`);
    }
  });
});

describe("keys of a tenant's segments", () => {
  const RANGE = { partition: 3, firstOffset: 120, nextOffset: 130 };

  test.each(["fake", "a b's (tenant)!", "x".repeat(150), "ü", "a/b"])("are known: %s", (tenant) => {
    expect(isSegmentKeyOf(tenant, segmentKey(tenant, 1_700_000_000, RANGE))).toBe(true);
    const compacted = compactedKey(tenant, -62_135_596_800, RANGE, { merge: "0123456789ab", output: 12 });
    expect(isSegmentKeyOf(tenant, compacted)).toBe(true);
    expect(isSegmentKeyOf(`${tenant}x`, compacted)).toBe(false);
  });
});
