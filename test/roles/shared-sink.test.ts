import { expect, test } from "vitest";
import { ALL_TAKEN, type RecordSink } from "../../src/core/sink.ts";
import { SharedSink } from "../../src/roles/shared-sink.ts";
import { records } from "../contract/sinks.ts";

const NEVER = new AbortController().signal;

function counting() {
  const state = { written: 0, durable: 0, flushes: 0, isAway: false, running: 0 };
  const alone = async (work: () => void) => {
    expect(state.running++).toBe(0); // Nobody writes or flushes meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 1));
    state.running--;
    work();
  };
  const sink: RecordSink = {
    async write(batch) {
      await alone(() => {
        state.written += batch.length;
      });
      return ALL_TAKEN;
    },
    flush: {
      everyMs: 60_000,
      run: () =>
        alone(() => {
          state.flushes++;
          if (state.isAway) throw new Error("away");
          state.durable = state.written;
        }),
    },
    close: async () => {},
  };
  return { sink, state };
}

test("one flush is enough for all partitions whose writes it has, and no less than that", async () => {
  const { sink, state } = counting();
  const shared = new SharedSink(sink);
  const [a, b] = [shared.user(), shared.user()];
  await Promise.all([a.write(records(["1"]), NEVER), b.write(records(["2", "3"]), NEVER)]);
  await Promise.all([a.flush?.run(NEVER), b.flush?.run(NEVER)]);
  expect([state.flushes, state.durable]).toEqual([1, 3]);
  await b.write(records(["4"]), NEVER);
  await a.flush?.run(NEVER);
  expect(state.flushes).toBe(1);
  await b.flush?.run(NEVER);
  expect([state.flushes, state.durable]).toEqual([2, 4]);
});

test("a flush that failed is no flush for anybody", async () => {
  const { sink, state } = counting();
  const shared = new SharedSink(sink);
  const [a, b] = [shared.user(), shared.user()];
  state.isAway = true;
  await a.write(records(["1"]), NEVER);
  await expect(a.flush?.run(NEVER)).rejects.toThrow("away");
  await expect(b.flush?.run(NEVER)).rejects.toThrow("away");
  state.isAway = false;
  await a.flush?.run(NEVER);
  expect([state.flushes, state.durable]).toEqual([3, 1]);
});

test("a sink that need not be flushed is not", () => {
  const shared = new SharedSink({ write: async () => ALL_TAKEN, close: async () => {} });
  expect(shared.user().flush).toBeUndefined();
});
