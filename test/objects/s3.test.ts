import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openObjectStore } from "../../src/objects/open.ts";
import { PROBE_KEY } from "../../src/objects/s3-probe.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { objectStoreContract } from "../contract/objects.ts";
import { BUCKET, S3_KEYS, S3_PROGRAM, S3_SKIPPED, S3Server } from "../live/s3-server.ts";

if (S3_PROGRAM === "") console.warn(S3_SKIPPED);

describe.skipIf(S3_PROGRAM === "")("S3 on a real server", () => {
  let server: S3Server;
  let stores = 0;
  beforeAll(async () => {
    Object.assign(process.env, S3_KEYS);
    server = await S3Server.start();
  });
  afterAll(async () => {
    for (const name of Object.keys(S3_KEYS)) delete process.env[name];
    await server.stop();
  });

  /** Of an empty store: a new prefix. */
  const newUrl = () => `s3://${BUCKET}/stores/${stores++}?endpoint=${server.endpoint}`;
  const keys = async (store: ObjectStore, prefix = "", after?: string) => {
    const found: string[] = [];
    for await (const { key } of store.list(prefix, after)) found.push(key);
    return found;
  };

  objectStoreContract("s3", () => openObjectStore(newUrl()));

  test("a store in the bucket itself holds what stands under prefixes, too", async () => {
    const inner = await openObjectStore(newUrl());
    const outer = await openObjectStore(`s3://${BUCKET}?endpoint=${server.endpoint}`);
    await inner.put("a/b", [Buffer.from("x")]);
    expect((await outer.get(`stores/${stores - 1}/a/b`)).toString()).toBe("x");
    await Promise.all([inner.close(), outer.close()]);
  });

  test("stores under different prefixes see nothing of each other", async () => {
    const [one, two] = await Promise.all([openObjectStore(newUrl()), openObjectStore(newUrl())]);
    await one.put("k", [Buffer.from("one")]);
    expect(await two.head("k")).toBeNull();
    expect(await keys(two)).toEqual([]);
    await Promise.all([one.close(), two.close()]);
  });

  test("a store is opened again with what is in it, and the object of the probe is in no listing", async () => {
    const url = newUrl();
    const first = await openObjectStore(url);
    await first.put("z", []);
    await first.close();
    const second = await openObjectStore(url);
    expect(await keys(second)).toEqual(["z"]);
    expect(await second.head(PROBE_KEY)).not.toBeNull();
    await second.close();
  });

  test("more objects than a page of a listing has are listed, and deleted, all", { timeout: 400_000 }, async () => {
    const store = await openObjectStore(newUrl());
    const all = Array.from({ length: 1203 }, (_, i) => `n/${String(i).padStart(6, "0")}`);
    await Promise.all(all.map((key) => store.put(key, [])));
    expect(await keys(store)).toEqual(all);
    expect(await keys(store, "n/", all[1000])).toEqual(all.slice(1001));
    await store.deleteMany(all.slice(1));
    expect(await keys(store)).toEqual([all[0]]);
    await store.close();
  });

  test.each([
    {
      name: "a bucket that is not there",
      url: "s3://no-such-bucket/x",
      code: "store_bucket",
      says: /create the bucket/,
    },
    { name: "a wrong secret", secret: "wrong", code: "store_denied", says: /check the access key and its secret/ },
    { name: "an unknown key", key: "nobody", code: "store_denied", says: /check the access key and its secret/ },
  ])("$name is refused with advice", async ({ url, key, secret, code, says }) => {
    Object.assign(process.env, S3_KEYS);
    if (key !== undefined) process.env.AWS_ACCESS_KEY_ID = key;
    if (secret !== undefined) process.env.AWS_SECRET_ACCESS_KEY = secret;
    try {
      const where = url === undefined ? newUrl() : `${url}?endpoint=${server.endpoint}`;
      await expect(openObjectStore(where)).rejects.toMatchObject({ code, message: expect.stringMatching(says) });
    } finally {
      Object.assign(process.env, S3_KEYS);
    }
  });
});
