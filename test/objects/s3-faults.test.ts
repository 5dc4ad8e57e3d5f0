import { randomBytes } from "node:crypto";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { Random } from "../../bench/lines.ts";
import type { S3Store } from "../../src/objects/s3.ts";
import { objectStoreContract } from "../contract/objects.ts";
import type { Fault } from "../contract/s3-proxy.ts";
import { proxiedS3 } from "../live/proxied-s3.ts";
import { S3_PROGRAM, S3_SKIPPED } from "../live/s3-server.ts";
import { SEED } from "../random.ts";
import { openBehind } from "./proxied-store.ts";

if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

const SLOW_DOWN: Fault = { kind: "error", status: 503, code: "SlowDown" };
const INTERNAL: Fault = { kind: "error", status: 500, code: "InternalError" };

describe.skipIf(S3_PROGRAM === "")("S3 with faults on the way", () => {
  const s3 = proxiedS3();

  const open = (options: Record<string, unknown> = {}) => openBehind(s3.proxy, options);

  describe("of all kinds, at random", () => {
    const random = new Random(SEED);
    afterAll(() => {
      console.log(`s3 faults: ${s3.proxy.faults} requests failed`);
      expect(s3.proxy.faults).toBeGreaterThan(50);
    });
    const kinds: readonly Fault[] = [
      SLOW_DOWN,
      SLOW_DOWN,
      INTERNAL,
      INTERNAL,
      { kind: "cut_before" },
      { kind: "cut_before" },
      { kind: "torn_upload" },
      { kind: "torn_upload" },
      { kind: "lost_answer" },
      { kind: "lost_answer" },
      { kind: "lost_answer" },
      { kind: "cut_answer" },
      { kind: "cut_answer" },
      { kind: "hang" },
    ];
    objectStoreContract("s3 with faults", async () => {
      s3.proxy.plan = () => (random.below(100) < 15 ? kinds[random.below(kinds.length)] : undefined);
      return open({ attempts: 20, requests_at_once: 8, request_timeout_ms: 600 });
    });
  });

  describe("each kind alone", () => {
    let store: S3Store;
    afterEach(() => store.close());

    /** The fault for the first `times` requests of a method that create, change or read the object; the others pass. */
    const failFirst = (method: string, fault: Fault, times = 1) => {
      let left = times;
      s3.proxy.plan = (request) => (request.method === method && left-- > 0 ? fault : undefined);
    };

    /** What is not answered ends by its time; all else has as much time as a busy machine may want. */
    const inTimeOf = ({ kind }: Fault) => (kind === "hang" ? { request_timeout_ms: 2000 } : {});

    const faults: readonly Fault[] = [
      SLOW_DOWN,
      INTERNAL,
      { kind: "cut_before" },
      { kind: "torn_upload" },
      { kind: "lost_answer" },
      { kind: "hang" },
      { kind: "late", ms: 50 },
    ];
    test.each(faults)("a write that meets $kind is tried again", async (fault) => {
      store = open(inTimeOf(fault));
      failFirst("PUT", fault);
      await store.putIfAbsent("k", [Buffer.from("one"), Buffer.from("two")]);
      await s3.proxy.whenQuiet();
      expect((await store.get("k")).toString()).toBe("onetwo");
      expect(s3.proxy.seen.filter((line) => line.startsWith("PUT"))).toHaveLength(2);
    });

    test.each(faults)("a write that meets $kind each time is given up", async (fault) => {
      store = open({ attempts: 3, ...inTimeOf(fault) });
      failFirst("PUT", fault, 3);
      await expect(store.put("k", [Buffer.from("x")])).rejects.toMatchObject({
        code: "store_unavailable",
        retriable: true,
      });
      expect(s3.proxy.seen.filter((line) => line.startsWith("PUT"))).toHaveLength(3);
    });

    test.each<Fault>([SLOW_DOWN, INTERNAL, { kind: "cut_before" }, { kind: "cut_answer" }, { kind: "hang" }])(
      "a read that meets $kind is tried again",
      async (fault) => {
        store = open(inTimeOf(fault));
        const bytes = randomBytes(100_000);
        await store.put("k", [bytes]);
        for (const read of [
          () => store.get("k"),
          () => store.getRange("k", 0, bytes.length),
          async () => (await store.getSuffix("k", bytes.length)).bytes,
        ]) {
          failFirst("GET", fault);
          expect((await read()).equals(bytes)).toBe(true);
        }
        failFirst("HEAD", fault);
        expect(await store.head("k")).toMatchObject({ size: bytes.length });
      },
    );

    test("somebody else's object is not taken for one's own after a lost answer", async () => {
      store = open();
      await store.put("k", [Buffer.from("same bytes")]);
      failFirst("PUT", { kind: "lost_answer" });
      await expect(store.putIfAbsent("k", [Buffer.from("same bytes")])).rejects.toMatchObject({
        code: "object_exists",
        retriable: false,
      });
    });

    test("of racing creations whose answers get lost exactly one wins, also with the same bytes", async () => {
      store = open({ attempts: 20 });
      const random = new Random(7);
      s3.proxy.plan = () => (random.below(3) === 0 ? { kind: "lost_answer" } : undefined);
      for (let round = 0; round < 10; round++) {
        const results = await Promise.allSettled(
          Array.from({ length: 8 }, () => store.putIfAbsent(`race/${round}`, [Buffer.from("equal")])),
        );
        expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      }
    });

    test("a stale listing gives older objects, in order", async () => {
      store = open();
      const list = async () => {
        const keys: string[] = [];
        for await (const { key } of store.list("")) keys.push(key);
        return keys;
      };
      await store.put("b", []);
      expect(await list()).toEqual(["b"]);
      await store.put("a", []);
      failFirst("GET", { kind: "stale" });
      expect(await list()).toEqual(["b"]);
      expect(await list()).toEqual(["a", "b"]);
    });

    test("closing ends what is under way", async () => {
      store = open({ request_timeout_ms: 60_000 });
      s3.proxy.plan = () => ({ kind: "hang" });
      const read = expect(store.get("k")).rejects.toMatchObject({ code: "store_unavailable" });
      await expect.poll(() => s3.proxy.seen.length).toBe(1);
      await store.close();
      await read;
      await expect(store.get("k")).rejects.toMatchObject({ code: "store_unavailable" });
    });

    test("requests at one time are bounded", async () => {
      store = open({ requests_at_once: 3 });
      s3.proxy.plan = () => ({ kind: "hang" });
      const reads = Promise.allSettled(Array.from({ length: 30 }, () => store.get("k")));
      await expect.poll(() => s3.proxy.seen.length).toBe(3);
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(s3.proxy.seen).toHaveLength(3);
      await store.close();
      await reads;
    });
  });
});
