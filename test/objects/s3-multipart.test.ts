import { createHash, randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { S3Store } from "../../src/objects/s3.ts";
import type { Fault } from "../contract/s3-proxy.ts";
import { proxiedS3 } from "../live/proxied-s3.ts";
import { S3_PROGRAM, S3_SKIPPED } from "../live/s3-server.ts";
import { openBehind } from "./proxied-store.ts";

if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

const INTERNAL: Fault = { kind: "error", status: 500, code: "InternalError" };
const MIB = 1024 * 1024;

describe.skipIf(S3_PROGRAM === "")("S3 uploads in parts", () => {
  const s3 = proxiedS3();

  const open = (options: Record<string, unknown> = {}) => openBehind(s3.proxy, options);

  const options = { multipart_bytes: 5 * MIB, part_bytes: 5 * MIB };
  const bytes = randomBytes(5 * MIB + 99_999);
  const cuts = [0, 1, 5 * MIB - 1, 5 * MIB + 3, bytes.length];
  const pieces = cuts.slice(1).map((end, i) => bytes.subarray(cuts[i], end));
  const sum = (buffer: Buffer) => createHash("sha256").update(buffer).digest("hex");
  let store: S3Store;
  beforeEach(() => {
    store = open(options);
  });
  afterEach(() => store.close());

  const isStep = (step: string) => (request: { method: string; parameters: URLSearchParams }) =>
    step === "begin"
      ? request.method === "POST" && request.parameters.has("uploads")
      : step === "part"
        ? request.method === "PUT" && request.parameters.get("partNumber") === "2"
        : request.method === "POST" && request.parameters.has("uploadId");

  const failStep = (step: string, fault: Fault, times = 1) => {
    let left = times;
    s3.proxy.plan = (request) => (isStep(step)(request) && left-- > 0 ? fault : undefined);
  };

  /** Uploads that were begun and neither finished nor aborted. */
  const leftovers = () => store.abortLeftovers(Date.now() + 60_000);

  test("are used for large objects, and give back what was put", async () => {
    await store.put("large", pieces);
    expect(s3.proxy.seen.filter((line) => line.includes("partNumber="))).toHaveLength(2);
    expect(sum(await store.get("large"))).toBe(sum(bytes));
    expect(await store.head("large")).toMatchObject({ size: bytes.length });
    expect(sum(await store.getRange("large", 5 * MIB - 10, 20))).toBe(sum(bytes.subarray(5 * MIB - 10, 5 * MIB + 10)));
    expect(await leftovers()).toBe(0);
  });

  test("create only what is absent, and leave nothing when they are refused", async () => {
    await store.putIfAbsent("large", pieces);
    await expect(store.putIfAbsent("large", [bytes])).rejects.toMatchObject({ code: "object_exists" });
    await store.put("small", [Buffer.from("x")]);
    await expect(store.putIfAbsent("small", [bytes])).rejects.toMatchObject({ code: "object_exists" });
    expect((await store.get("small")).toString()).toBe("x");
    expect(await leftovers()).toBe(0);
  });

  test("of racing ones exactly one creates the object", async () => {
    const racers = Array.from({ length: 4 }, () => randomBytes(6 * MIB));
    const results = await Promise.allSettled(racers.map((racer) => store.putIfAbsent("race", [racer])));
    const winners = results.flatMap(({ status }, i) => (status === "fulfilled" ? [i] : []));
    expect(winners).toHaveLength(1);
    expect((await store.get("race")).equals(racers[winners[0]])).toBe(true);
    expect(await leftovers()).toBe(0);
  });

  test.each(
    ["begin", "part", "complete"].flatMap((step) =>
      [INTERNAL, { kind: "cut_before" } as const, { kind: "lost_answer" } as const].flatMap((fault) =>
        [true, false].map((ifAbsent) => ({ step, fault, kind: fault.kind, ifAbsent })),
      ),
    ),
  )("get over $kind at the step $step (only if absent: $ifAbsent)", async ({ step, fault, ifAbsent }) => {
    failStep(step, fault);
    await (ifAbsent ? store.putIfAbsent("k", pieces) : store.put("k", pieces));
    expect(sum(await store.get("k"))).toBe(sum(bytes));
    // An upload whose beginning was answered to nobody stays until it is found.
    expect(await leftovers()).toBe(step === "begin" && fault.kind === "lost_answer" ? 1 : 0);
  });

  test.each(["part", "complete"])("that fail at the step %s are ended, and their parts freed", async (step) => {
    failStep(step, INTERNAL, 100);
    await expect(store.put("k", pieces)).rejects.toMatchObject({ code: "store_unavailable" });
    s3.proxy.plan = () => undefined;
    expect(await store.head("k")).toBeNull();
    expect(await leftovers()).toBe(0);
  });

  test("are begun anew when somebody ended them", async () => {
    let calls = 0;
    s3.proxy.plan = (request) =>
      isStep("complete")(request) && calls++ === 0 ? { kind: "error", status: 404, code: "NoSuchUpload" } : undefined;
    await store.putIfAbsent("k", pieces);
    expect(sum(await store.get("k"))).toBe(sum(bytes));
    expect(s3.proxy.seen.filter((line) => line.includes("uploads"))).toHaveLength(2);
  });

  test("that were left are ended when they are old enough, those of other prefixes never", async () => {
    const other = open(options);
    for (const some of [store, other]) {
      s3.proxy.plan = ({ method, parameters }) =>
        method === "DELETE" || (method === "PUT" && parameters.has("partNumber")) ? INTERNAL : undefined;
      await expect(some.put("k", pieces)).rejects.toMatchObject({ code: "store_unavailable" });
    }
    s3.proxy.plan = () => undefined;
    expect(await store.abortLeftovers(Date.now() - 60_000)).toBe(0);
    expect(await leftovers()).toBe(1);
    expect(await leftovers()).toBe(0);
    expect(await other.abortLeftovers(Date.now() + 60_000)).toBe(1);
    await other.close();
  });
});
