import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { ALL_TAKEN, type Refused } from "../../src/core/sink.ts";
import { MemoryIntake } from "../../src/intake/memory.ts";
import { SharedSink } from "../../src/roles/shared-sink.ts";
import { SinkPositions } from "../../src/roles/sink-position.ts";
import { Random, SEED } from "../random.ts";
import { away, chunk, FakeDestination, SINK, startRunner } from "./sink-harness.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "weir-sink-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const eventually = (check: () => void | Promise<void>) => vi.waitFor(check, { timeout: 120_000, interval: 2 });
const newIntake = (from = 0) => new MemoryIntake({ consumers: { [SINK]: () => from } });
const lines = (from: number, count: number) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

describe("a sink at its own pace", () => {
  test("gets every record once and in order, with the id of its place", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    const { runner } = await startRunner(intake, out, folder, { options: { batch_records_max: 7 } });
    for (let i = 0; i < 5; i++) await intake.append(0, chunk(lines(i * 10, 10)));
    await eventually(() => expect(out.texts).toEqual(lines(0, 50)));
    expect(out.taken.map(({ id }) => id)).toEqual(
      Array.from({ length: 50 }, (_, i) => `0-${Math.floor(i / 10)}-${i % 10}`),
    );
    expect(Math.max(...out.batches)).toBeLessThanOrEqual(7);
    await eventually(async () =>
      expect((await SinkPositions.open(folder, SINK)).get(0)).toEqual({ offset: 5, place: 0 }),
    );
    await runner.stop();
    expect(out.closed).toBe(true);
  });

  test("gets labels, metadata, time and, if it wants, the whole record", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    const { runner } = await startRunner(intake, out, folder, { wantsJson: true });
    await intake.append(0, chunk(["hello"]));
    await eventually(() => expect(out.taken).toHaveLength(1));
    expect(out.taken[0]).toMatchObject({
      tenant: "fake",
      sec: 1_700_000_000,
      nsec: 0,
      labels: { tag: "app" },
      canonical: '{"tag":"app"}',
      metadata: [],
      json: '{"log":"hello","n":0}',
    });
    await runner.stop();
  });

  test("whose position is beyond the log goes on at its end", async () => {
    await (await SinkPositions.open(folder, SINK)).set(0, { offset: 1000, place: 3 });
    const intake = newIntake();
    await intake.append(0, chunk(["before"]));
    const told: number[] = [];
    const out = Object.assign(new FakeDestination(), { beginAnew: (partition: number) => void told.push(partition) });
    const { runner } = await startRunner(intake, new SharedSink(out).user(), folder);
    await intake.append(0, chunk(["after"]));
    await eventually(() => expect(out.texts).toEqual(["after"]));
    // Whoever keeps ids has to know.
    expect(told).toEqual([0]);
    await eventually(async () => expect((await SinkPositions.open(folder, SINK)).get(0)?.offset).toBe(2));
    await runner.stop();
  });

  test("that fails by a mistake of ours says so, and is counted as stopped", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = () => {
      throw new TypeError("a bug");
    };
    const { runner, metrics } = await startRunner(intake, out, folder);
    expect(runner.failure).toBeNull();
    await eventually(async () => {
      await intake.append(0, chunk(["x"]));
      expect(runner.failure).toMatch(/sink out has stopped.*a bug/);
    });
    expect(await metrics.render()).toMatch(/weir_sink_stopped\{sink="out"\} 1/);
    await runner.stop();
  });

  test("sends what was taken once, also while there is no room for the dead letters of others", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    let tries = 0;
    out.answer = (batch) => ({
      failed: batch.flatMap(({ line }, position): Refused[] =>
        line.includes("bad") ? [{ position, reason: "no", retriable: false }] : [],
      ),
    });
    const bury = async () => {
      if (tries++ < 3) throw new WeirError("dead_letters_full", "no room", { retriable: true });
    };
    const { runner, dead, metrics } = await startRunner(intake, out, folder, { bury });
    await intake.append(0, chunk(["a", "bad", "b"]));
    await intake.append(0, chunk(["c"]));
    await eventually(() => expect(out.texts).toEqual(["a", "b", "c"]));
    expect(dead.map(({ record }) => record.id)).toEqual(["0-0-1"]);
    expect(tries).toBe(4);
    await eventually(async () => expect(await metrics.render()).toMatch(/result="sent"\} 3/));
    await runner.stop();
  });

  test("that is away gets everything when it is back, and the store does not wait for it", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = away;
    const { runner, metrics } = await startRunner(intake, out, folder);
    for (let i = 0; i < 20; i++) await intake.append(0, chunk(lines(i * 10, 10)));
    await intake.commit(0, 20);
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/weir_sink_failures_total\{sink="out"\} [1-9]/),
    );
    expect(out.taken).toEqual([]);
    expect(await metrics.render()).toMatch(/weir_sink_up\{sink="out"\} 0/);
    out.answer = () => ALL_TAKEN;
    await eventually(() => expect(out.texts).toEqual(lines(0, 200)));
    expect(await metrics.render()).toMatch(/weir_sink_up\{sink="out"\} 1/);
    await runner.stop();
  });

  test("that refuses a record for good gets the others, and that one is in the dead letters", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    let isBusy = true;
    out.answer = (batch) => ({
      failed: batch.flatMap(({ line }, position): Refused[] => {
        if (line.includes("bad")) return [{ position, reason: "no such field", retriable: false }];
        if (isBusy && line.includes("late")) return [{ position, reason: "busy", retriable: true }];
        return [];
      }),
    });
    const { runner, dead } = await startRunner(intake, out, folder);
    await intake.append(0, chunk(["a", "bad 1", "late", "b", "bad 2"]));
    await eventually(() => expect(out.texts).toEqual(["a", "b"]));
    isBusy = false;
    await eventually(() => expect(out.texts).toEqual(["a", "b", "late"]));
    expect(dead.map(({ record, reason }) => [record.id, reason])).toEqual([
      ["0-0-1", "no such field"],
      ["0-0-4", "no such field"],
    ]);
    await runner.stop();
  });

  test("goes on after restarts where its own acknowledgements ended", async () => {
    const random = new Random(SEED);
    const intake = newIntake();
    const total = 40;
    for (let i = 0; i < total; i++) await intake.append(0, chunk(lines(i * 10, 10)));
    const out = new FakeDestination();
    let acknowledged = 0;
    for (let round = 0; out.taken.length < total * 10 && round < 200; round++) {
      let batches = random.below(6);
      out.answer = async () => {
        if (batches-- <= 0) return away();
        await new Promise((resolve) => setTimeout(resolve, random.below(2)));
        return ALL_TAKEN;
      };
      const before = out.taken.length;
      const { runner } = await startRunner(intake, out, folder, {
        options: { batch_records_max: 1 + random.below(40) },
      });
      await eventually(() => expect(batches < 0 || out.taken.length === total * 10).toBe(true));
      await runner.stop();
      // Everything that was answered is behind the position: nothing of it comes again.
      if (before > 0) expect(out.taken[before - 1]?.line.toString(), `seed ${SEED}`).toBe(`line ${acknowledged - 1}`);
      acknowledged = out.taken.length;
    }
    expect(out.texts, `seed ${SEED}`).toEqual(lines(0, total * 10));
  });

  test("writes again under the same ids what was under way when the process died", async () => {
    const intake = newIntake();
    await intake.append(0, chunk(lines(0, 10)));
    const first = new FakeDestination();
    const seen: string[] = [];
    // Takes the records, but the answer never comes.
    first.write = (batch, signal) => {
      seen.push(...batch.map(({ id }) => id));
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    };
    const dying = await startRunner(intake, first, folder);
    await eventually(() => expect(seen).toHaveLength(10));
    const again = new FakeDestination();
    const other = new MemoryIntake({ consumers: { [SINK]: () => 0 } });
    await other.append(0, chunk(lines(0, 10)));
    const { runner } = await startRunner(other, again, folder);
    await eventually(() => expect(again.taken.map(({ id }) => id)).toEqual(seen));
    await runner.stop();
    await dying.runner.stop();
  });
});

describe("a sink that has nothing to send", () => {
  test("waits for the next entry once, however long that takes", async () => {
    const intake = newIntake();
    let waits = 0;
    const read = intake.read.bind(intake);
    intake.read = (...args) => {
      const reader = read(...args);
      return {
        poll: () => reader.poll(),
        close: () => reader.close(),
        wait: () => {
          waits++;
          return reader.wait();
        },
      };
    };
    const out = new FakeDestination();
    const { runner } = await startRunner(intake, out, folder);
    await eventually(() => expect(waits).toBe(1));
    await new Promise((resolve) => setTimeout(resolve, 900)); // Several turns.
    expect(waits).toBe(1);
    await intake.append(0, chunk(["x"]));
    await eventually(() => expect(out.texts).toEqual(["x"]));
    await runner.stop();
  });

  test("comes on all the same, while one entry follows the other", async () => {
    const intake = newIntake();
    const draft = chunk(["x"]);
    let offset = 0;
    intake.read = () => ({
      poll: async () => {
        await new Promise((resolve) => setImmediate(resolve));
        return { ...draft, offset: offset++ };
      },
      wait: async () => {},
      close: async () => {},
    });
    const done: number[] = [];
    intake.commit = async (_partition, next) => void done.push(next);
    const { runner } = await startRunner(intake, new FakeDestination(), folder, { options: { sample: 0 } });
    await eventually(() => expect(done.length).toBeGreaterThan(1));
    expect(done.at(-1)).toBeGreaterThan(0);
    await runner.stop();
  });
});

describe("a sink that is told to make durable what it took", () => {
  const counting = () => {
    const out = new FakeDestination();
    const state = { seen: 0, durable: 0, isAway: false };
    const write = out.write.bind(out);
    out.write = async (batch, signal) => {
      const result = await write(batch, signal);
      state.seen += batch.length;
      return result;
    };
    const flush = {
      everyMs: 20,
      run: async () => {
        if (state.isAway) throw away();
        state.durable = state.seen;
      },
    };
    return { sink: Object.assign(out, { flush }), state };
  };
  const positionOf = async () => (await SinkPositions.open(folder, SINK)).get(0)?.offset ?? 0;

  test("keeps its position until it has, and takes more meanwhile", async () => {
    const intake = newIntake();
    const { sink, state } = counting();
    state.isAway = true;
    const { runner, metrics } = await startRunner(intake, sink, folder);
    for (let i = 0; i < 5; i++) await intake.append(0, chunk(lines(i * 10, 10)));
    await eventually(() => expect(state.seen).toBe(50));
    await eventually(async () => expect(await metrics.render()).toMatch(/weir_sink_up\{sink="out"\} 0/));
    expect(await positionOf()).toBe(0);
    state.isAway = false;
    await eventually(async () => expect(await positionOf()).toBe(5));
    expect(state.durable).toBe(50);
    await runner.stop();
  });

  test("gets it again after a stop, when it is another", async () => {
    const intake = newIntake();
    const first = counting();
    first.state.isAway = true;
    const { runner } = await startRunner(intake, first.sink, folder);
    await intake.append(0, chunk(lines(0, 10)));
    await eventually(() => expect(first.state.seen).toBe(10));
    await runner.stop();
    const second = counting();
    const next = await startRunner(intake, second.sink, folder);
    await eventually(() => expect(second.state.durable).toBe(10));
    await next.runner.stop();
  });

  test("that is away for too long goes on, and leaves out nothing that it has", async () => {
    const intake = newIntake();
    const { sink, state } = counting();
    state.isAway = true;
    const { runner, metrics } = await startRunner(intake, sink, folder, { options: { lag_bytes_max: 1 << 20 } });
    for (let i = 0; i < 40; i++) {
      await intake.append(0, chunk([`${i} ${"x".repeat(100_000)}`], i));
      await eventually(() => expect(state.seen).toBe(i + 1));
    }
    await intake.commit(0, 40);
    await eventually(() => expect(intake.bytesFrom(0, 0)).toBeLessThan(2_000_000));
    state.isAway = false;
    await eventually(async () => expect(await positionOf()).toBe(40));
    expect(sink.taken).toHaveLength(40);
    expect(await metrics.render()).not.toMatch(/weir_sink_dropped_entries_total\{sink="out"\} [1-9]/);
    await runner.stop();
  });
});

test("a sink of digests that is behind makes one of each interval, not one of each entry", async () => {
  const intake = newIntake();
  for (let i = 0; i < 20; i++) await intake.append(0, chunk(["same line"], 1000 + i * 100));
  const out = new FakeDestination();
  const { runner } = await startRunner(intake, out, folder, {
    options: { digest: { interval_ms: 1000 } },
    now: () => 1_000_000,
  });
  const counts = () => out.texts.map((text) => (JSON.parse(text) as { count: number }).count);
  await eventually(() => expect(counts()).toEqual([10, 10]));
  await runner.stop();
});

describe("a sink whose partition goes to another process", () => {
  const positionOf = async () => (await SinkPositions.open(folder, SINK)).get(0);

  test("lets the request under way end, keeps how far it came, and begins no other", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    let answer: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      out.answer = () => {
        resolve();
        return new Promise((done) => {
          answer = () => done(ALL_TAKEN);
        });
      };
    });
    const { runner } = await startRunner(intake, out, folder, { options: { batch_records_max: 10 } });
    for (let i = 0; i < 5; i++) await intake.append(0, chunk(lines(i * 10, 10)));
    await asked;
    const left = runner.leave(15_000);
    answer();
    await left;
    expect(out.texts).toEqual(lines(0, 10));
    expect(await positionOf()).toEqual({ offset: 0, place: 10 });
    expect(out.closed).toBe(true);
    // Whoever goes on there sends the rest, once.
    const next = new FakeDestination();
    const { runner: other } = await startRunner(intake, next, folder);
    await eventually(() => expect(next.texts).toEqual(lines(10, 40)));
    await other.stop();
  });

  test("does not wait for a destination that is away", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = away;
    const { runner, metrics } = await startRunner(intake, out, folder);
    await intake.append(0, chunk(lines(0, 10)));
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/weir_sink_failures_total\{sink="out"\} [1-9]/),
    );
    // Longer than the test may take.
    await runner.leave(600_000);
    expect(await positionOf()).toBeNull();
    expect(out.closed).toBe(true);
  });

  test("does not wait for ever for one that says nothing, and is no longer counted", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    const asked = new Promise<void>((resolve) => {
      out.write = (_batch, signal) => {
        resolve();
        return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      };
    });
    const { runner, metrics } = await startRunner(intake, out, folder);
    await intake.append(0, chunk(lines(0, 10)));
    await asked;
    expect(await metrics.render()).toMatch(/weir_sink_lag_entries\{sink="out"\} 1/);
    await runner.leave(5);
    expect(await positionOf()).toBeNull();
    expect(await metrics.render()).toMatch(/weir_sink_lag_entries\{sink="out"\} 0/);
  });

  test("has what it took made durable first, where that has to be asked for", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    let flushed = 0;
    const flush = {
      everyMs: 600_000,
      run: async () => {
        flushed = out.taken.length;
      },
    };
    const { runner } = await startRunner(intake, Object.assign(out, { flush }), folder);
    await intake.append(0, chunk(lines(0, 10)));
    await eventually(() => expect(out.taken).toHaveLength(10));
    await runner.leave(15_000);
    expect(flushed).toBe(10);
    expect(await positionOf()).toEqual({ offset: 0, place: 10 });
  });
});

describe("a sink that falls behind", () => {
  const big = (i: number) => chunk([`${i} ${"x".repeat(100_000)}`], i);
  const many = 40;

  test("leaves out the oldest beyond its bound in bytes, and says so", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = away;
    const { runner, metrics } = await startRunner(intake, out, folder, { options: { lag_bytes_max: 1 << 20 } });
    for (let i = 0; i < many; i++) await intake.append(0, big(i));
    await intake.commit(0, many);
    // Before there is all that there will be, less may have been left out.
    await eventually(() => expect(intake.bytesFrom(0, 0)).toBeLessThan(12 * 100_000));
    out.answer = () => ALL_TAKEN;
    await eventually(() => expect(out.texts.at(-1)).toMatch(new RegExp(`^${many - 1} `)));
    expect(out.taken.length).toBeLessThan(12);
    expect(out.taken.length).toBeGreaterThan(4);
    expect(await metrics.render()).toMatch(/weir_sink_dropped_entries_total\{sink="out"\} [1-9]/);
    await runner.stop();
  });

  test("leaves out what is too old", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    for (let i = 0; i < 10; i++) await intake.append(0, chunk([`line ${i}`], i * 1000));
    const { runner } = await startRunner(intake, out, folder, {
      now: () => 9500,
      options: { lag_age_max_ms: 2000 },
    });
    await eventually(() => expect(out.texts).toEqual(["line 8", "line 9"]));
    await runner.stop();
  });

  test("leaves out nothing that is young enough, though it waits in one request with what is not", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = away;
    let now = 10_000;
    const { runner, metrics } = await startRunner(intake, out, folder, {
      now: () => now,
      options: { lag_age_max_ms: 5000, batch_age_ms: 20 },
    });
    await intake.append(0, chunk(["old", "old too"], 6000));
    await intake.append(0, chunk(["young"], 10_000));
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/weir_sink_failures_total\{sink="out"\} [1-9]/),
    );
    now = 12_000;
    await eventually(async () => expect(await metrics.render()).toMatch(/result="dropped"\} 2/));
    out.answer = () => ALL_TAKEN;
    await eventually(() => expect(out.texts).toEqual(["young"]));
    await runner.stop();
  });

  test("says how old the oldest record is that waits, not the newest", async () => {
    const intake = newIntake();
    const out = new FakeDestination();
    out.answer = away;
    const { runner, metrics } = await startRunner(intake, out, folder, { now: () => 1_000_000 });
    await intake.append(0, chunk(["a"], 100_000));
    await eventually(async () =>
      expect(await metrics.render()).toMatch(/weir_sink_failures_total\{sink="out"\} [1-9]/),
    );
    await intake.append(0, chunk(["b"], 999_000));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await metrics.render()).toMatch(/weir_sink_lag_seconds\{sink="out"\} 900$/m);
    out.answer = () => ALL_TAKEN;
    await eventually(async () => expect(await metrics.render()).toMatch(/weir_sink_lag_seconds\{sink="out"\} 0$/m));
    await runner.stop();
  });

  test("with on_lag: block keeps everything, and the intake log fills", async () => {
    const intake = new MemoryIntake({ consumers: { [SINK]: () => 0 }, sizeMaxBytes: 2 << 20 });
    const out = new FakeDestination();
    out.answer = away;
    const { runner } = await startRunner(intake, out, folder, {
      options: { lag_bytes_max: 1 << 20, on_lag: "block" },
    });
    let stored = 0;
    const full = () => intake.append(0, big(stored)).then(() => stored++);
    for (;;) {
      try {
        await full();
      } catch (error) {
        expect(error).toMatchObject({ code: "intake_full" });
        break;
      }
    }
    await intake.commit(0, stored);
    expect(intake.status().ready).toBe(false);
    out.answer = () => ALL_TAKEN;
    await intake.whenReady();
    await eventually(() => expect(out.taken).toHaveLength(stored));
    await runner.stop();
  });
});

describe("a sink's position", () => {
  test("that can't be read stops the start, with the file's name", async () => {
    const { writeFile } = await import("node:fs/promises");
    await writeFile(path.join(folder, `${SINK}.json`), "{");
    await expect(SinkPositions.open(folder, SINK)).rejects.toThrow(/out\.json.*remove the file/s);
  });
});
