import { afterEach, describe, expect, test } from "vitest";
import { silentLogger } from "../../src/core/log.ts";
import { Metrics } from "../../src/core/metrics.ts";
import { MemoryStore } from "../../src/objects/memory.ts";
import type { ObjectStore } from "../../src/objects/store.ts";
import { type DeleteRequests, openDeleteRequests } from "../../src/store/deletes.ts";
import {
  type DeleteRequest,
  type DeleteState,
  decodeDelete,
  encodeRequest,
  encodeState,
  requestKey,
  stateKey,
} from "../../src/store/deletes-object.ts";
import { verifyStore } from "../../src/store/verify.ts";

const DAY_MS = 86_400_000;
const WANTED = { tenant: "fake", query: '{app="web"} |= "x"', startNs: 5n, endNs: 9n, upto: { 0: 7 } };
const NONE = { lines: 0, bytes: 0, segments: 0 };

const clock = { ms: 1_700_000_000_000 };
afterEach(() => {
  clock.ms = 1_700_000_000_000;
});

function open(objects: ObjectStore, beforeUse = async () => {}): Promise<DeleteRequests> {
  return openDeleteRequests({ objects, metrics: new Metrics(), log: silentLogger, now: () => clock.ms, beforeUse });
}

async function keysOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list("deletes/")) keys.push(key);
  return keys;
}

describe("objects of deletion requests", () => {
  const request: DeleteRequest = {
    ...WANTED,
    id: "5f0c9a1b",
    createdMs: 12,
    tenant: "a/b",
    startNs: -3n,
    endNs: 2n ** 62n,
  };
  const state: DeleteState = {
    n: 3,
    status: "processing",
    atMs: 13,
    removed: { lines: 1, bytes: 2, segments: 3 },
    percent: 50,
    clean: ["segments/x.gz"],
  };
  const key = requestKey(request.tenant, request.id);

  test("come back as they were", () => {
    expect(decodeDelete(key, encodeRequest(request))).toEqual({ kind: "request", request });
    const stateOf = { kind: "state", tenant: "a/b", id: request.id, state };
    expect(decodeDelete(stateKey("a/b", request.id, 3), encodeState(request, state))).toEqual(stateOf);
  });

  test("have names that sort by the number of the state", () => {
    expect(key).toBe("deletes/a=2Fb/5f0c9a1b.json");
    expect(stateKey("a/b", request.id, 3)).toBe("deletes/a=2Fb/5f0c9a1b.000003.json");
  });

  test("are refused wherever they are cut, and with any byte changed", () => {
    const bytes = encodeRequest(request);
    for (let end = 0; end < bytes.length - 1; end++) {
      expect(() => decodeDelete(key, bytes.subarray(0, end))).toThrow(/deletes\/a=2Fb\/5f0c9a1b\.json/);
    }
    for (let at = 0; at < bytes.length - 1; at++) {
      const changed = Buffer.from(bytes);
      changed[at] ^= 1;
      expect(() => decodeDelete(key, changed)).toThrow(expect.objectContaining({ code: "delete_corrupt" }));
    }
  });

  test("are refused under another's name", () => {
    expect(() => decodeDelete(requestKey("other", request.id), encodeRequest(request))).toThrow(/it says that it is/);
  });
});

describe("a request", () => {
  test("is active at once, durable, and known to whoever opens or refreshes", async () => {
    const objects = new MemoryStore();
    const here = await open(objects);
    const there = await open(objects);
    const request = await here.add(WANTED);
    expect(request).toEqual({ ...WANTED, id: request.id, createdMs: clock.ms });
    expect(here.active("fake")).toEqual([request]);
    expect(here.active("other")).toEqual([]);
    expect(there.active("fake")).toEqual([]);
    await there.refresh();
    expect(there.active("fake")).toEqual([request]);
    expect((await open(objects)).list("fake")).toEqual([
      { ...request, status: "received", removed: NONE, percent: 0, processedMs: null },
    ]);
  });

  test("goes through its states, and adds up what was removed", async () => {
    const objects = new MemoryStore();
    const requests = await open(objects);
    const request = await requests.add(WANTED);
    expect(await requests.begin(request)).toBe(true);
    expect(await requests.begin(request)).toBe(true);
    const removed = { lines: 2, bytes: 30, segments: 1 };
    expect(await requests.note(request, { removed, percent: 40, clean: ["a"] })).toBe(true);
    expect(await requests.note(request, { removed, percent: 70, clean: ["a", "b"] })).toBe(true);
    for (const known of [requests, await open(objects)]) {
      const [one] = known.list("fake");
      expect(one).toMatchObject({ status: "processing", removed: { lines: 4, bytes: 60, segments: 2 }, percent: 70 });
      expect(known.state(request)?.clean).toEqual(["a", "b"]);
      expect(known.active("fake")).toEqual([request]);
    }
    clock.ms += 5;
    await requests.finish(request, { lines: 1, bytes: 1, segments: 1 });
    for (const known of [requests, await open(objects)]) {
      const [one] = known.list("fake");
      expect(one).toMatchObject({ status: "processed", removed: { lines: 5, bytes: 61, segments: 3 }, percent: 100 });
      expect(one.processedMs).toBe(clock.ms);
      expect(known.active("fake")).toEqual([]);
    }
  });

  test("is listed by the time of its creation", async () => {
    const objects = new MemoryStore();
    const requests = await open(objects);
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      clock.ms += 1000;
      ids.push((await requests.add(WANTED)).id);
    }
    expect((await open(objects)).list("fake").map(({ id }) => id)).toEqual(ids);
  });

  test("is read by others only after what has to come before", async () => {
    const objects = new MemoryStore();
    const here = await open(objects);
    const request = await here.add(WANTED);
    const activeThen: number[] = [];
    const note = async () => {
      activeThen.push(there?.active("fake").length ?? 0);
    };
    let there: DeleteRequests | null = null;
    there = await open(objects, note);
    const late = await open(objects, note);
    await here.finish(request, NONE);
    activeThen.length = 0;
    // The segments without its lines have to be in view before it stops hiding them.
    await there.refresh();
    expect(activeThen).toEqual([1]);
    expect(there.active("fake")).toEqual([]);
    // The same when it is told so as it wants to change the state itself.
    there = late;
    expect(await late.begin(request)).toBe(false);
    expect(activeThen).toEqual([1, 1]);
    expect(late.active("fake")).toEqual([]);
  });

  test("that is damaged costs only itself", async () => {
    const objects = new MemoryStore();
    const requests = await open(objects);
    const broken = await requests.add(WANTED);
    const whole = await requests.add(WANTED);
    await objects.put(requestKey("fake", broken.id), [Buffer.from("{}")]);
    expect((await open(objects)).active("fake")).toEqual([whole]);
    const problems: string[] = [];
    await verifyStore(objects, { indexOnly: true, onProblem: (problem) => problems.push(problem) });
    expect(problems).toEqual([expect.stringContaining(requestKey("fake", broken.id))]);
  });

  test("is created in spite of an answer that got lost", async () => {
    const objects = new MemoryStore();
    const requests = await open(objects);
    const { putIfAbsent } = objects;
    objects.putIfAbsent = async (key, parts) => {
      await putIfAbsent.call(objects, key, parts);
      // The client behind tried again and met its own object.
      await putIfAbsent.call(objects, key, parts);
    };
    const request = await requests.add(WANTED);
    expect(await requests.begin(request)).toBe(true);
    expect((await keysOf(objects)).length).toBe(2);
  });
});

describe("cancelling", () => {
  const plain = { force: false, cancelMs: DAY_MS };
  const forced = { ...plain, force: true };

  test("takes a request off the list and shows its lines again, everywhere", async () => {
    const objects = new MemoryStore();
    const here = await open(objects);
    const there = await open(objects);
    const { id } = await here.add(WANTED);
    await there.cancel("fake", id, plain);
    await here.refresh();
    for (const known of [here, there, await open(objects)]) {
      expect(known.list("fake")).toEqual([]);
      expect(known.active("fake")).toEqual([]);
    }
  });

  test.each([
    { name: "an id that nobody has", prepare: async () => {}, id: "00000000", options: plain, code: "delete_unknown" },
    { name: "nothing", prepare: async () => {}, id: "", options: plain, code: "delete_unknown" },
    {
      name: "a request twice",
      prepare: (requests: DeleteRequests, { id }: DeleteRequest) => requests.cancel("fake", id, plain),
      options: forced,
      code: "delete_unknown",
    },
    {
      name: "what is done",
      prepare: (requests: DeleteRequests, request: DeleteRequest) => requests.finish(request, NONE),
      options: forced,
      code: "delete_processed",
    },
    {
      name: "what has begun, without force",
      prepare: (requests: DeleteRequests, request: DeleteRequest) => requests.begin(request),
      options: plain,
      code: "delete_partial",
    },
    {
      name: "what is too old, without force",
      prepare: async () => {
        clock.ms += DAY_MS + 1;
      },
      options: plain,
      code: "delete_late",
    },
  ])("refuses $name: $code", async ({ prepare, id, options, code }) => {
    const requests = await open(new MemoryStore());
    const request = await requests.add(WANTED);
    await prepare(requests, request);
    await expect(requests.cancel("fake", id ?? request.id, options)).rejects.toMatchObject({ code });
  });

  test("another tenant's request is an unknown one", async () => {
    const requests = await open(new MemoryStore());
    const { id } = await requests.add(WANTED);
    await expect(requests.cancel("other", id, forced)).rejects.toMatchObject({ code: "delete_unknown" });
  });

  test("with force stops what has begun, and what is old", async () => {
    const requests = await open(new MemoryStore());
    const request = await requests.add(WANTED);
    await requests.begin(request);
    clock.ms += 2 * DAY_MS;
    await requests.cancel("fake", request.id, forced);
    expect(await requests.begin(request)).toBe(false);
    expect(await requests.note(request, { removed: NONE, percent: 1, clean: [] })).toBe(false);
    await requests.finish(request, NONE);
    expect(requests.list("fake")).toEqual([]);
  });

  test("and the beginning of removal exclude each other, whoever is quicker", async () => {
    for (let round = 0; round < 10; round++) {
      const objects = new MemoryStore();
      const here = await open(objects);
      const request = await here.add(WANTED);
      const there = await open(objects);
      const [cancel, begin] = await Promise.allSettled(
        round % 2 === 0
          ? [here.cancel("fake", request.id, plain), there.begin(request)]
          : [there.begin(request), here.cancel("fake", request.id, plain)].reverse(),
      );
      const isCancelled = cancel.status === "fulfilled";
      expect(begin).toEqual({ status: "fulfilled", value: !isCancelled });
      if (!isCancelled) expect(cancel).toMatchObject({ reason: { code: "delete_partial" } });
    }
  });

  test("stops a removal that begins without having heard of it", async () => {
    const objects = new MemoryStore();
    const here = await open(objects);
    const request = await here.add(WANTED);
    const there = await open(objects);
    await here.cancel("fake", request.id, plain);
    expect(there.active("fake")).toEqual([request]);
    expect(await there.begin(request)).toBe(false);
    expect(there.active("fake")).toEqual([]);
  });
});

describe("forgetting", () => {
  test("removes what was done long ago, here, in the store, and in other processes; never what is not done", async () => {
    const objects = new MemoryStore();
    const here = await open(objects);
    const old = await here.add(WANTED);
    const waiting = await here.add(WANTED);
    const cancelled = await here.add(WANTED);
    await here.begin(old);
    await here.finish(old, NONE);
    await here.cancel("fake", cancelled.id, { force: false, cancelMs: DAY_MS });
    const there = await open(objects);
    await here.forget(clock.ms);
    expect(here.list("fake").length).toBe(2);
    await here.forget(clock.ms + 1);
    expect(await keysOf(objects)).toEqual([requestKey("fake", waiting.id)]);
    await there.refresh();
    await here.refresh();
    for (const known of [here, there, await open(objects)]) {
      expect(known.list("fake").map(({ id }) => id)).toEqual([waiting.id]);
    }
  });
});
