import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { WeirError } from "../../src/core/errors.ts";
import { canonicalLabels, type Labels } from "../../src/core/labels.ts";
import type { RecordSink, SinkRecord, WriteResult } from "../../src/core/sink.ts";

/** A sink together with a destination that does what it is told. */
export interface SinkUnderTest {
  readonly sink: RecordSink;
  /** Lines that the destination has, in the order of their arrival; repeats too. */
  taken(): Promise<Buffer[]>;
  /** Nobody takes anything any more; what is under way fails. */
  readonly away?: () => Promise<void>;
  readonly back?: () => Promise<void>;
  /** Requests get no answer from now on. */
  readonly hang?: () => void;
  close(): Promise<void>;
}

export interface ContractOptions {
  /** Whether lines with `refuse me` in them are refused for good, and with which words. */
  readonly refusesWith?: string;
  /** Whether what it takes can't be looked at. */
  readonly forgets?: boolean;
  /** Whether it is always there: within the process, say. */
  readonly isAlwaysThere?: boolean;
  /** Whether it always answers. */
  readonly alwaysAnswers?: boolean;
}

const NEVER = new AbortController().signal;
const HUGE_BYTES = 6 << 20;

export function record(place: number, line: string | Buffer, labels: Labels = { app: "web" }, offset = 7): SinkRecord {
  const bytes = typeof line === "string" ? Buffer.from(line) : line;
  return {
    id: `0-${offset}-${place}`,
    tenant: "fake",
    sec: 1_700_000_000 + place,
    nsec: 5,
    labels,
    canonical: canonicalLabels(labels),
    metadata: [["trace_id", "0af7651916cd43dd8448eb211c80319c"]],
    line: bytes,
    json: JSON.stringify({ log: bytes.toString(), n: place }),
  };
}

export const records = (lines: readonly (string | Buffer)[], offset = 7) =>
  lines.map((line, i) => record(i, line, { app: "web" }, offset));

/** What every sink that sends records on promises. `open` gives a new sink and a new, empty destination. */
export function recordSinkContract(
  name: string,
  open: () => Promise<SinkUnderTest>,
  { refusesWith, forgets = false, isAlwaysThere = false, alwaysAnswers = isAlwaysThere }: ContractOptions = {},
): void {
  describe(`record sink contract: ${name}`, () => {
    let it: SinkUnderTest;
    beforeEach(async () => {
      it = await open();
    });
    afterEach(async () => {
      await it.sink.close();
      await it.close();
    });
    const texts = async () => (await it.taken()).map((line) => line.toString());
    const unique = async () => [...new Set(await texts())];

    test("takes an empty batch, and sends nothing", async () => {
      expect((await it.sink.write([], NEVER)).failed).toEqual([]);
      expect(await it.taken()).toEqual([]);
    });

    test("sends each record once, batch after batch", async () => {
      expect((await it.sink.write(records(["a 1", "a 2", "a 3"], 7), NEVER)).failed).toEqual([]);
      expect((await it.sink.write(records(["b 1", "b 2"], 8), NEVER)).failed).toEqual([]);
      if (!forgets) expect(await texts()).toEqual(["a 1", "a 2", "a 3", "b 1", "b 2"]);
    });

    test("sends records of several streams, and empty lines", async () => {
      const batch = [record(0, "one", { app: "a" }), record(1, "", { app: "b" }), record(2, "two", { app: "a" })];
      expect((await it.sink.write(batch, NEVER)).failed).toEqual([]);
      if (!forgets) expect((await texts()).sort()).toEqual(["", "one", "two"]);
    });

    test("sends a huge record", async () => {
      const line = Buffer.alloc(HUGE_BYTES, "0123456789abcdef");
      expect((await it.sink.write([record(0, "small"), record(1, line)], NEVER)).failed).toEqual([]);
      if (forgets) return;
      const taken = await it.taken();
      expect(taken.map(({ length }) => length)).toEqual([5, HUGE_BYTES]);
      expect(taken[1].equals(line)).toBe(true);
    });

    test("sends a line of any bytes", async () => {
      const line = Buffer.from([0xff, 0x00, 0xc3, 0x28, 0x22, 0x5c, 0x1b, 0x80]);
      expect((await it.sink.write([record(0, line)], NEVER)).failed).toEqual([]);
      if (!forgets) expect((await it.taken()).map((bytes) => bytes.toString("hex"))).toEqual([line.toString("hex")]);
    });

    test("sends nothing once its signal is aborted", async () => {
      await expect(it.sink.write(records(["late"]), AbortSignal.abort())).rejects.toThrow();
      expect(await it.taken()).toEqual([]);
    });

    // What a destination can't do is no case of it.
    const testWhere = (can: boolean) => (name: string, check: () => Promise<void>) => {
      if (can) test(name, check);
    };
    const whereRefused = testWhere(refusesWith !== undefined);
    const whereAway = testWhere(!isAlwaysThere);
    const whereHanging = testWhere(!alwaysAnswers);

    whereRefused("names the bad record among good ones, which are taken", async () => {
      const lines = Array.from({ length: 21 }, (_, i) => (i === 13 ? "refuse me" : `good ${i}`));
      const { failed } = await it.sink.write(records(lines), NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([[13, false]]);
      expect(failed[0].reason).toContain(refusesWith);
      expect((await unique()).sort()).toEqual(lines.filter((line) => line !== "refuse me").sort());
    });

    whereRefused("names all of them when all are bad", async () => {
      const { failed } = await it.sink.write(records(["refuse me 1", "refuse me 2", "refuse me 3"]), NEVER);
      expect(failed.map(({ position, retriable }) => [position, retriable])).toEqual([
        [0, false],
        [1, false],
        [2, false],
      ]);
      expect(await texts()).toEqual([]);
    });

    whereAway("says of a destination that is away that it may be back, and then sends", async () => {
      const { away, back } = can(it);
      await it.sink.write(records(["before"], 6), NEVER);
      await away();
      const batch = records(["x", "y"]);
      expect(await missed(it.sink.write(batch, NEVER), batch.length)).toBe(batch.length);
      await back();
      expect((await it.sink.write(batch, NEVER)).failed).toEqual([]);
      if (!forgets) expect((await unique()).sort()).toEqual(["before", "x", "y"]);
    });

    whereHanging("ends a request at once when its signal is aborted", async () => {
      await it.sink.write(records(["before"], 6), NEVER);
      can(it).hang();
      const abort = new AbortController();
      const writing = it.sink.write(records(["x"]), abort.signal);
      writing.catch(() => {}); // Looked at below.
      await new Promise((resolve) => setTimeout(resolve, 50));
      const started = performance.now();
      abort.abort();
      await expect(writing).rejects.toThrow();
      expect(performance.now() - started).toBeLessThan(10_000); // Far sooner than a request that has no answer ends by itself.
    });

    whereHanging("settles a write when it is closed in the middle of it", async () => {
      await it.sink.write(records(["before"], 6), NEVER);
      can(it).hang();
      const abort = new AbortController();
      const writing = Promise.allSettled([it.sink.write(records(["x"]), abort.signal)]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      abort.abort(); // As the runner does it.
      await it.sink.close();
      expect(await writing).toHaveLength(1);
    });

    test("can be closed twice, and without having written", async () => {
      await it.sink.close();
      await it.sink.close();
    });
  });
}

/** What a destination is made to do, unless the options say that it can't be. */
function can(it: SinkUnderTest): Required<Pick<SinkUnderTest, "away" | "back" | "hang">> {
  const missing = (what: string) => () => {
    throw new Error(`the sink under test has no ${what}`);
  };
  const { away = missing("away"), back = missing("back"), hang = missing("hang") } = it;
  return { away, back, hang };
}

/** How many of a batch's records are to be sent again. Throws when one of them is refused for good, or for a bug. */
async function missed(writing: Promise<WriteResult>, all: number): Promise<number> {
  try {
    const { failed } = await writing;
    expect(failed.every(({ retriable }) => retriable)).toBe(true);
    return failed.length;
  } catch (error) {
    if (!(error instanceof WeirError)) throw error;
    expect(error.retriable).toBe(true);
    return all;
  }
}
