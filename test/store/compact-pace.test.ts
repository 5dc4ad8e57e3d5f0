import { describe, expect, test } from "vitest";
import { Pace } from "../../src/store/compact/pace.ts";

/** A pace on a clock that only moves when told to, and what it slept. */
function paceOf(share: number) {
  const clock = { ms: 0 };
  const slept: number[] = [];
  const abort = new AbortController();
  const pace = new Pace(share, {
    now: () => clock.ms,
    sleep: async (ms) => {
      slept.push(ms);
      clock.ms += ms;
    },
    signal: abort.signal,
  });
  return { clock, slept, abort, pace };
}

describe("the pace of compaction", () => {
  test("a quarter of a core rests three times as long as it works", async () => {
    const { clock, slept, pace } = paceOf(0.25);
    for (let i = 0; i < 100; i++) {
      clock.ms += 1;
      await pace.turn();
    }
    expect(slept.reduce((sum, ms) => sum + ms, 0)).toBe(300);
    expect(slept.length).toBe(25);
  });

  test("waiting counts as rest", async () => {
    const { clock, slept, pace } = paceOf(0.5);
    clock.ms += 10;
    await pace.turn();
    expect(slept).toEqual([10]);
    pace.worked(10);
    await pace.wait(
      Promise.resolve().then(() => {
        clock.ms += 8;
      }),
    );
    clock.ms += 4;
    await pace.turn();
    expect(slept).toEqual([10, 6]);
  });

  test("work that takes turns while it is waited for does not put off the next one", async () => {
    const { clock, pace } = paceOf(1);
    await pace.wait(
      (async () => {
        for (let i = 0; i < 100; i++) {
          clock.ms += 4;
          await pace.turn();
        }
      })(),
    );
    let turns = 0;
    setImmediate(() => turns++);
    clock.ms += 5;
    await pace.turn();
    expect(turns).toBe(1);
  });

  test("work between waits that take no time adds up to a slice", async () => {
    const { clock, slept, pace } = paceOf(0.5);
    for (let i = 0; i < 4; i++) {
      clock.ms += 1;
      await pace.wait(Promise.resolve());
      await pace.turn();
    }
    expect(slept).toEqual([4]);
  });

  test("a whole core never sleeps, and others get a turn all the same", async () => {
    const { clock, slept, pace } = paceOf(1);
    let turns = 0;
    setImmediate(() => turns++);
    clock.ms += 5;
    await pace.turn();
    await new Promise((resolve) => setImmediate(resolve));
    expect({ slept, turns }).toEqual({ slept: [], turns: 1 });
  });

  test("ends when it is told to", async () => {
    const { abort, pace } = paceOf(1);
    abort.abort();
    await expect(pace.turn()).rejects.toMatchObject({ code: "aborted" });
    await expect(pace.wait(Promise.resolve())).rejects.toMatchObject({ code: "aborted" });
  });

  test("what was begun before it ended may fail unheard", async () => {
    const { abort, pace } = paceOf(1);
    abort.abort();
    const begun = pace.turn();
    await expect(pace.wait(begun)).rejects.toMatchObject({ code: "aborted" });
    const unheard: unknown[] = [];
    const hear = (error: unknown) => unheard.push(error);
    process.on("unhandledRejection", hear);
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.off("unhandledRejection", hear);
    expect(unheard).toEqual([]);
  });
});
