import { afterEach, describe, expect, test } from "vitest";
import { Random } from "../../../bench/lines.ts";
import { WeirError } from "../../../src/core/errors.ts";
import { type Logger, silentLogger } from "../../../src/core/log.ts";
import { Metrics } from "../../../src/core/metrics.ts";
import { FanExecutor } from "../../../src/query/peers/fan-executor.ts";
import { PeerMetrics } from "../../../src/query/peers/metrics.ts";
import { PeerScans } from "../../../src/query/peers/peer-scans.ts";
import { type BatchBlock, emptyResult, nextJobId, ScanControl, type ScanJob } from "../../../src/query/scan-job.ts";
import { FakeExecutor } from "./fake-executor.ts";
import { FaultyQuerier, until, untilUp, VERSION } from "./support.ts";

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const makeJob = (more: Partial<ScanJob> = {}): ScanJob => ({
  ...{
    id: nextJobId(),
    tenant: "fake",
    mode: "scan",
    query: '{app="a"}',
    ids: null,
    startNs: 0n,
    endNs: 9n,
    limit: 10,
  },
  ...{ backward: true, categorize: false, textBytesMax: 0, endsAtMs: Number.POSITIVE_INFINITY },
  control: ScanControl.create(true).memory,
  ...more,
});

let orders = 0;
const block = (more: Partial<BatchBlock> = {}): BatchBlock => ({
  ...{ key: "segments/fake/2023-11-14/0-00000000000000000120-0123456789ab.gz", offset: 0, length: 10, order: orders++ },
  ...{ timeMinNs: 0n, timeMaxNs: 5n, bytes: null, rows: null, hide: null },
  ...more,
});

class Other {
  readonly executor: FakeExecutor;
  readonly querier: FaultyQuerier;

  constructor(id: string, executor: FakeExecutor, version = VERSION) {
    this.executor = executor;
    const metrics = new PeerMetrics(new Metrics());
    this.querier = new FaultyQuerier(new PeerScans({ id, version, executor, metrics }), new Random(1));
  }

  static async start(id: string, executor = new FakeExecutor(), version = VERSION): Promise<Other> {
    const other = new Other(id, executor, version);
    await other.querier.start();
    ends.push(() => other.querier.kill());
    return other;
  }
}

interface Fan {
  readonly fan: FanExecutor;
  readonly local: FakeExecutor;
  readonly metrics: Metrics;
  readonly said: { readonly level: string; readonly text: string }[];
}

async function open(
  others: readonly Other[],
  { local = new FakeExecutor(), up = others.length, timeoutMs = 120_000 } = {},
): Promise<Fan> {
  const metrics = new Metrics();
  const said: { level: string; text: string }[] = [];
  const say = (level: string) => (_: object, text: string) => said.push({ level, text });
  const log = Object.assign(Object.create(silentLogger), { warn: say("warn"), info: say("info") }) as Logger;
  const addresses = others.map(({ querier }) => querier.address);
  const fan = new FanExecutor(
    { addresses, key: "", timeoutMs },
    { id: "me", version: VERSION, local, metrics: new PeerMetrics(metrics), log },
  );
  ends.unshift(() => fan.close());
  await untilUp(metrics, up);
  return { fan, local, metrics, said };
}

async function requests({ metrics }: Fan): Promise<Record<string, number>> {
  const found = (await metrics.render()).matchAll(/^weir_query_peer_requests_total\{[^}]*outcome="(\w+)"\} (\d+)$/gm);
  const sums: Record<string, number> = {};
  for (const [, outcome, count] of found) sums[outcome] = (sums[outcome] ?? 0) + Number(count);
  return sums;
}

describe("batches go", () => {
  test("to whoever has the least to do, no more at a time than it wants", async () => {
    const other = await Other.start("other", new FakeExecutor(1, 2));
    const opened = await open([other]);
    const { fan, local } = opened;
    expect([fan.parallel, fan.ahead]).toEqual([2, 3]);
    const job = makeJob();
    const results = Array.from({ length: 5 }, () => fan.run(job, [block()]));
    await until("all have what they can have", () => other.executor.calls.length === 2);
    expect(local.calls.length).toBe(1);
    expect(local.calls[0].blocks[0].order).toBeLessThan(other.executor.calls[0].blocks[0].order);
    other.executor.isQuick = true;
    for (const call of [...other.executor.calls]) call.finish();
    await until("the other has done what waited", () => other.executor.seen === 4);
    local.calls[0].finish();
    const done = await Promise.all(results);
    expect(done.filter(({ peer }) => peer === other.querier.address)).toHaveLength(4);
    expect(done.filter(({ peer }) => peer === undefined)).toHaveLength(1);
    expect(await requests(opened)).toEqual({ done: 4 });
  });

  test("nowhere else while there is room here and nothing to do", async () => {
    const other = await Other.start("other");
    const { fan, local } = await open([other]);
    local.isQuick = true;
    for (let i = 0; i < 5; i++) await fan.run(makeJob(), [block()]);
    expect(other.querier.asked).toBe(0);
  });

  test("here when a block is in memory only", async () => {
    const other = await Other.start("other");
    const { fan, local } = await open([other]);
    const job = makeJob();
    const results = [1, 2, 3].map(() => fan.run(job, [block(), block({ key: "", bytes: new Uint8Array(4) })]));
    expect(local.calls.length).toBe(3);
    for (const call of [...local.calls]) call.finish();
    await Promise.all(results);
    expect(other.querier.asked).toBe(0);
  });

  test("of queries by turns", async () => {
    const { fan, local } = await open([]);
    const jobs = [makeJob(), makeJob()];
    const results = [jobs[0], jobs[0], jobs[0], jobs[1], jobs[1]].map((job) => fan.run(job, [block()]));
    const order: number[] = [];
    for (let i = 0; i < 5; i++) {
      await until("a batch is here", () => local.calls.length === 1);
      order.push(jobs.indexOf(local.calls[0].job));
      local.calls[0].finish();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(results);
    // The first one was alone when it came.
    expect(order).toEqual([0, 0, 1, 0, 1]);
  });

  test("with what is known: bound, bytes, time, tenant, what is hidden", async () => {
    const other = await Other.start("other");
    const { fan, local } = await open([other]);
    const job = makeJob({ textBytesMax: 777, endsAtMs: performance.now() + 5000, limit: 42 });
    new ScanControl(job.control, true).bound(123_456n);
    const hide = { fromNs: 3n, deletes: [{ query: '{app="x"}', startNs: 1n, endNs: 2n }] };
    const results = [fan.run(job, [block()]), fan.run(job, [block({ hide })])];
    await until("it has come", () => other.executor.calls.length === 1);
    const [call] = other.executor.calls;
    expect(call.control.boundNs).toBe(123_456n);
    expect(call.job).toMatchObject({ textBytesMax: 777, limit: 42, tenant: "fake", backward: true });
    expect(call.job.endsAtMs - performance.now()).toBeLessThanOrEqual(5000);
    expect(call.blocks[0].hide).toEqual(hide);
    call.finish();
    local.calls[0].finish();
    await Promise.all(results);
  });
});

describe("a batch that is no longer wanted", () => {
  test("ends at the other querier when the query stops, and gives nothing", async () => {
    const other = await Other.start("other", new FakeExecutor(1, 5));
    const opened = await open([other]);
    const { fan, local } = opened;
    const job = makeJob();
    const results = Array.from({ length: 4 }, () => fan.run(job, [block()]));
    await until("they are there", () => other.executor.calls.length === 3);
    new ScanControl(job.control, true).stop();
    fan.stop(job);
    // Here, the scan itself sees it.
    local.calls[0].finish();
    expect(await Promise.all(results)).toEqual(Array(4).fill(emptyResult()));
    expect(await fan.run(job, [block()])).toEqual(emptyResult());
    await until("the other has heard of it", () => other.executor.calls.every(({ control }) => control.stopped));
    expect(other.executor.ended.length).toBeGreaterThanOrEqual(3);
    expect(local.stopped).toEqual([job.id]);
    await until("it is counted", async () => (await requests(opened)).left === 3);
    // It did nothing wrong.
    expect(opened.said.filter(({ level }) => level === "warn")).toEqual([]);
  });

  test("ends at the other querier when better lines are enough, and the others go on", async () => {
    const other = await Other.start("other", new FakeExecutor(1, 5));
    const opened = await open([other]);
    const { fan, local } = opened;
    const job = makeJob();
    const here = fan.run(job, [block({ timeMaxNs: 9n })]);
    const mixed = fan.run(job, [block({ timeMaxNs: 3n }), block({ timeMaxNs: 8n })]);
    const old = fan.run(job, [block({ timeMaxNs: 3n }), block({ timeMaxNs: 4n })]);
    const equal = fan.run(job, [block({ timeMaxNs: 7n })]);
    await until("they are there", () => other.executor.calls.length === 3);
    new ScanControl(job.control, true).bound(7n);
    fan.bounded(job);
    expect(await old).toEqual(emptyResult());
    await until("the other has heard of it", () => other.executor.calls.some(({ control }) => control.stopped));
    const going = other.executor.calls.filter(({ control }) => !control.stopped);
    expect(going.map(({ blocks }) => blocks.map(({ timeMaxNs }) => timeMaxNs))).toEqual([[3n, 8n], [7n]]);
    for (const call of [...going, ...local.calls]) call.finish();
    expect((await mixed).peer).toBe(other.querier.address);
    await Promise.all([equal, here]);
    await until("it is counted", async () => (await requests(opened)).left === 1);
    expect(await requests(opened)).toMatchObject({ done: 2, left: 1 });
  });

  test("is rejected when the query has ended, wherever it is", async () => {
    const other = await Other.start("other");
    const { fan, local } = await open([other]);
    const job = makeJob();
    const results = Array.from({ length: 5 }, () => fan.run(job, [block()]));
    await until("it is there", () => other.executor.calls.length === 1);
    fan.end(job);
    for (const result of await Promise.allSettled(results)) {
      expect(result).toMatchObject({ status: "rejected", reason: { code: "query_cancelled" } });
    }
    expect(local.ended).toEqual([job.id]);
    await until("the other has heard of it", () => other.executor.calls[0].control.stopped);
  });

  test("is rejected when the process stops", async () => {
    const other = await Other.start("other");
    const { fan } = await open([other]);
    const job = makeJob();
    const results = Promise.allSettled([1, 2, 3].map(() => fan.run(job, [block()])));
    await until("it is there", () => other.executor.calls.length === 1);
    await fan.close();
    fan.end(job);
    for (const result of await results) expect(result).toMatchObject({ status: "rejected" });
    await expect(fan.run(job, [block()])).rejects.toMatchObject({ code: "query_closed" });
  });
});

describe("a querier that fails", () => {
  test("is replaced by one more, then by the own threads", async () => {
    const others = [await Other.start("a"), await Other.start("b"), await Other.start("c")];
    for (const { querier } of others) querier.faultOf = () => "error";
    const opened = await open(others);
    const { fan, local } = opened;
    const job = makeJob();
    const first = fan.run(job, [block()]);
    const second = fan.run(job, [block()]);
    await until("it was tried twice", () => others.reduce((sum, { querier }) => sum + querier.asked, 0) === 2);
    local.calls[0].finish();
    await first;
    await until("it is here", () => local.calls.length === 1);
    local.calls[0].finish();
    expect((await second).peer).toBeUndefined();
    expect(await requests(opened)).toEqual({ failed: 2 });
    expect(opened.said.filter(({ level }) => level === "warn")).toHaveLength(2);
  });

  test("rests, is said to be in trouble once, and is used again", async () => {
    const other = await Other.start("other");
    other.executor.isQuick = true;
    let failures = 3;
    other.querier.faultOf = () => (failures-- > 0 ? "garbage" : null);
    const opened = await open([other]);
    const { fan, local } = opened;
    const ask = async () => {
      const job = makeJob();
      let isDone = false;
      const results = Promise.all([fan.run(job, [block()]), fan.run(job, [block()])]).finally(() => {
        isDone = true;
      });
      while (!isDone) {
        for (const call of [...local.calls]) call.finish();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await results;
      fan.end(job);
    };
    await until("it is used again", async () => {
      await ask();
      return other.querier.answered > 0;
    });
    const { failed } = await requests(opened);
    expect(failed).toBe(3);
    expect(opened.said.map(({ level }) => level)).toEqual(["warn", "info"]);
  });

  test("to read what can be read here is done without, and told so", async () => {
    const other = await Other.start("other");
    const opened = await open([other]);
    const { fan, local, said } = opened;
    const job = makeJob();
    const here = fan.run(job, [block()]);
    const there = block();
    const result = fan.run(job, [there]);
    await until("it is there", () => other.executor.calls.length === 1);
    other.executor.calls[0].finish({ ...emptyResult(), lost: [{ order: there.order, reason: "no such object" }] });
    local.calls[0].finish();
    await here;
    await until("it is here", () => local.calls.length === 1);
    local.calls[0].finish();
    expect(await result).toEqual(emptyResult());
    expect(await requests(opened)).toEqual({ lost: 1 });
    expect(said.map(({ level }) => level)).toEqual(["warn"]);
    expect(await opened.metrics.render()).toMatch(/^weir_query_peer_up\{[^}]*\} 0$/m);
  });

  test("to read what nobody can read is used on, and the loss is told as it is here", async () => {
    const others = [await Other.start("a"), await Other.start("b")];
    const opened = await open(others);
    const { fan, local, said } = opened;
    const job = makeJob();
    const here = fan.run(job, [block()]);
    const there = block();
    const result = fan.run(job, [there]);
    const calls = () => others.flatMap(({ executor }) => executor.calls);
    await until("it is there", () => calls().length === 1);
    calls()[0].finish({ ...emptyResult(), lost: [{ order: there.order, reason: "theirs" }] });
    local.calls[0].finish();
    await here;
    await until("it is here", () => local.calls.length === 1);
    const lost = [{ order: there.order, reason: "ours" }];
    local.calls[0].finish({ ...emptyResult(), lost });
    expect((await result).lost).toEqual(lost);
    expect(said).toEqual([]);
    expect(await opened.metrics.render()).not.toMatch(/^weir_query_peer_up\{[^}]*\} 0$/m);
    // What a scan here has passed over because nobody wants it any more proves nothing.
    const next = makeJob();
    const first = fan.run(next, [block()]);
    const unread = block();
    const second = fan.run(next, [unread]);
    await until("it is there", () => calls().length === 1);
    calls()[0].finish({ ...emptyResult(), lost: [{ order: unread.order, reason: "theirs" }] });
    local.calls[0].finish();
    await first;
    await until("it is here", () => local.calls.length === 1);
    new ScanControl(next.control, true).bound(7n);
    local.calls[0].finish();
    await second;
    expect(said).toEqual([]);
    expect(await requests(opened)).toEqual({ lost: 2 });
  });

  test("by taking too long is done without, and told so", async () => {
    const other = await Other.start("other");
    const opened = await open([other], { timeoutMs: 200 });
    const { fan, local } = opened;
    const job = makeJob();
    const results = [fan.run(job, [block()]), fan.run(job, [block()])];
    await until("it is there", () => other.executor.calls.length === 1);
    local.calls[0].finish();
    await until("it is here", () => local.calls.length === 1);
    local.calls[0].finish();
    await Promise.all(results);
    await until("the other has stopped", () => other.executor.calls[0]?.control.stopped !== false);
    expect(await requests(opened)).toEqual({ failed: 1 });
  });

  test("to say anything does not hold up a query: its last batches are done here as well", async () => {
    const other = await Other.start("other", new FakeExecutor(1, 3));
    const opened = await open([other]);
    const { fan, local } = opened;
    const job = makeJob();
    const results = [fan.run(job, [block()]), fan.run(job, [block()])];
    await until("it is there", () => other.executor.calls.length === 1);
    const [away] = other.executor.calls;
    local.calls[0].finish();
    await until("it is here as well", () => local.calls.length === 1);
    expect(local.calls[0].blocks).toEqual(away.blocks);
    local.calls[0].finish();
    await Promise.all(results);
    await until("the other has stopped", () => away.control.stopped);
    expect(await requests(opened)).toEqual({ left: 1 });
  });

  test("because it is busy gets less, and is not in trouble", async () => {
    const other = await Other.start("other", new FakeExecutor(1, 4));
    other.querier.faultOf = () => "busy";
    const opened = await open([other]);
    const { fan, local } = opened;
    const job = makeJob();
    const results = [fan.run(job, [block()]), fan.run(job, [block()])];
    await until("it was asked", async () => (await requests(opened)).busy === 1);
    expect(fan.ahead).toBeLessThanOrEqual(1 + 2);
    for (let i = 0; i < 2; i++) {
      await until("it is here", () => local.calls.length === 1);
      local.calls[0].finish();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(results);
    expect(opened.said.filter(({ level }) => level === "warn")).toEqual([]);
  });

  test("of another version is never asked, and that is said once", async () => {
    const other = await Other.start("other", new FakeExecutor(), "another version");
    const { fan, local, said } = await open([other], { up: 0 });
    await until("it was told", () => said.length > 0);
    local.isQuick = true;
    for (let i = 0; i < 20; i++) {
      const job = makeJob();
      await Promise.all([fan.run(job, [block()]), fan.run(job, [block()])]);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(other.querier.asked).toBe(0);
    expect(said).toHaveLength(1);
  });

  test("to be another: a querier knows itself", async () => {
    const me = await Other.start("me");
    const { fan, local, said } = await open([me], { up: 0 });
    local.isQuick = true;
    await until("it was greeted", () => me.querier.greeted > 0);
    await Promise.all([1, 2, 3].map(() => fan.run(makeJob(), [block()])));
    expect(me.querier.asked).toBe(0);
    expect(said.filter(({ level }) => level === "warn")).toEqual([]);
    expect([fan.parallel, fan.ahead]).toEqual([local.parallel, local.ahead]);
  });

  test("leaves an error only when nobody can", async () => {
    const other = await Other.start("other");
    other.querier.faultOf = () => "reset";
    const { fan, local } = await open([other]);
    const job = makeJob();
    const results = Promise.allSettled([fan.run(job, [block()]), fan.run(job, [block()])]);
    const died = new WeirError("query_worker_failed", "a scan worker died", { retriable: true });
    for (let i = 0; i < 2; i++) {
      await until("it is here", () => local.calls.length === 1);
      local.calls[0].fail(died);
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const result of await results) expect(result).toMatchObject({ status: "rejected", reason: died });
  });
});
