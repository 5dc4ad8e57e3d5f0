import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ENTRY_FORWARD, type EntryDraft, type IntakeEntry } from "../../src/core/intake-entry.ts";
import type { Consumers, EntryReader, IntakeLog } from "../../src/intake/intake.ts";

export interface IntakeCase {
  readonly partitions?: number;
  readonly minNextOffset?: (partition: number) => number;
  readonly sizeMaxBytes?: number;
  readonly consumers?: Consumers;
}

export function draft(text: string, more: Partial<EntryDraft> = {}): EntryDraft {
  return {
    kind: ENTRY_FORWARD,
    tenant: "fake",
    source: "in",
    receivedMs: 1_700_000_000_000,
    payload: Buffer.from(text),
    ...more,
  };
}

export async function drain(reader: EntryReader): Promise<IntakeEntry[]> {
  const entries: IntakeEntry[] = [];
  for (let entry = await reader.poll(); entry !== null; entry = await reader.poll()) {
    entries.push({ ...entry, payload: Buffer.from(entry.payload) }); // Its bytes are valid until the next call.
  }
  return entries;
}

export const textOf = (entry: IntakeEntry) => entry.payload.toString("utf8");

/** What every intake log promises. `open` gives an empty one, with at least a MiB of room unless the case says otherwise. */
export function intakeContract(
  name: string,
  open: (what: IntakeCase) => Promise<IntakeLog>,
  { keepsInMemory = true } = {},
): void {
  describe(`intake contract: ${name}`, () => {
    let log: IntakeLog;
    beforeEach(async () => {
      log = await open({});
    });
    afterEach(() => log.close());
    const reopen = async (what: IntakeCase) => {
      await log.close();
      log = await open(what);
    };

    test("offsets count up from 0, and nextOffset is the one to come", async () => {
      expect(log.nextOffset(0)).toBe(0);
      for (let i = 0; i < 3; i++) expect(await log.append(0, draft(`e${i}`))).toEqual({ offset: i });
      expect(log.nextOffset(0)).toBe(3);
    });

    test("an entry comes back as it was given", async () => {
      const given = draft("x", {
        tenant: "tenänt",
        source: "söurce",
        receivedMs: 1_712_345_678_901,
        payload: Buffer.from([0, 255, 10, 13, 0xc3]),
        dedupeKey: "tag\u0000chunk é",
      });
      await log.append(0, given);
      await log.append(0, draft("", { source: "", dedupeKey: "" }));
      const [first, second] = await drain(log.read(0, 0));
      expect(first).toMatchObject({ ...given, offset: 0 });
      expect(second).toMatchObject({ source: "", dedupeKey: "", offset: 1 });
      expect(second.payload.length).toBe(0);
    });

    test("appends at the same time keep their order", async () => {
      const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => log.append(0, draft(`e${i}`))));
      expect(answers.map(({ offset }) => offset)).toEqual(answers.map((_, i) => i));
      expect((await drain(log.read(0, 0))).map(textOf)).toEqual(answers.map((_, i) => `e${i}`));
    });

    test("a reader begins where it is told to", async () => {
      for (let i = 0; i < 5; i++) await log.append(0, draft(`e${i}`));
      expect((await drain(log.read(0, 3))).map(({ offset }) => offset)).toEqual([3, 4]);
    });

    test("a reader at the end gives null, and goes on when there is more", async () => {
      const reader = log.read(0, 0);
      expect(await reader.poll()).toBeNull();
      await log.append(0, draft("a"));
      expect(textOf((await reader.poll()) as IntakeEntry)).toBe("a");
      expect(await reader.poll()).toBeNull();
      await log.append(0, draft("b"));
      expect(textOf((await reader.poll()) as IntakeEntry)).toBe("b");
    });

    test("wait ends when there is an entry, at once when there is one already", async () => {
      const reader = log.read(0, 0);
      let woken = false;
      const waiting = reader.wait().then(() => {
        woken = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      expect(woken).toBe(false);
      await log.append(0, draft("a"));
      await waiting;
      await reader.wait();
      expect(await reader.poll()).not.toBeNull();
    });

    test("after a reader was closed another may read again from an earlier place", async () => {
      for (let i = 0; i < 4; i++) await log.append(0, draft(`e${i}`));
      const first = log.read(0, 0);
      expect((await drain(first)).length).toBe(4);
      expect(() => log.read(0, 0)).toThrow(/reader/);
      await first.close();
      expect(await first.poll()).toBeNull();
      expect((await drain(log.read(0, 1))).map(textOf)).toEqual(["e1", "e2", "e3"]);
    });

    test("a repeat is told from a new entry, whatever its payload", async () => {
      expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: 0 });
      expect(await log.append(0, draft("other", { dedupeKey: "k" }))).toEqual({ offset: null });
      expect(await log.append(0, draft("a", { dedupeKey: "k2" }))).toEqual({ offset: 1 });
      expect(await log.append(0, draft("a"))).toEqual({ offset: 2 });
      expect(await log.append(0, draft("a"))).toEqual({ offset: 3 });
      expect((await drain(log.read(0, 0))).length).toBe(4);
    });

    test("the same key of another tenant is not a repeat", async () => {
      expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: 0 });
      expect(await log.append(0, draft("a", { dedupeKey: "k", tenant: "other" }))).toEqual({ offset: 1 });
    });

    test("of repeats at the same time one is stored, and all are answered", async () => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, () => log.append(0, draft("a", { dedupeKey: "k" }))),
      );
      expect(answers.map(({ offset }) => offset).filter((offset) => offset !== null)).toEqual([0]);
      expect((await drain(log.read(0, 0))).length).toBe(1);
    });

    test("a key stays known after its entry was committed", async () => {
      await log.append(0, draft("a", { dedupeKey: "k" }));
      await log.commit(0, 1);
      expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: null });
    });

    test("partitions count on their own, and a repeat is known in all", async () => {
      await reopen({ partitions: 3 });
      expect(log.partitions).toBe(3);
      expect(await log.append(0, draft("a", { dedupeKey: "k" }))).toEqual({ offset: 0 });
      expect(await log.append(2, draft("b"))).toEqual({ offset: 0 });
      expect(await log.append(2, draft("c"))).toEqual({ offset: 1 });
      expect(await log.append(1, draft("a", { dedupeKey: "k" }))).toEqual({ offset: null });
      expect((await drain(log.read(2, 0))).map(textOf)).toEqual(["b", "c"]);
      expect((await drain(log.read(1, 0))).length).toBe(0);
      expect([0, 1, 2].map((partition) => log.nextOffset(partition))).toEqual([1, 0, 2]);
    });

    test("offsets begin at the end of the catalog's chain", async () => {
      await reopen({ minNextOffset: () => 1000 });
      expect(log.nextOffset(0)).toBe(1000);
      expect(await log.append(0, draft("a"))).toEqual({ offset: 1000 });
      expect((await drain(log.read(0, 1000))).map(({ offset }) => offset)).toEqual([1000]);
    });

    if (keepsInMemory) {
      test("inflated entries stay with an entry that comes from memory", async () => {
        await log.append(0, draft("a", { inflated: Buffer.from("inflated") }));
        const [entry] = await drain(log.read(0, 0));
        expect(entry.inflated?.toString()).toBe("inflated");
      });
    }

    test("at the size limit appends are refused until entries are committed", async () => {
      await reopen({ sizeMaxBytes: 1 << 20 });
      const body = "x".repeat(100_000);
      let stored = 0;
      for (;;) {
        try {
          await log.append(0, draft(body));
          stored++;
        } catch (error) {
          expect(error).toMatchObject({ code: "intake_full", retriable: true });
          break;
        }
      }
      expect(stored).toBeGreaterThan(5);
      expect(stored).toBeLessThan(11);
      expect(log.status()).toMatchObject({ ready: false, reason: expect.stringContaining("full") });
      expect(log.status().bytes).toBeLessThanOrEqual(1 << 20);
      let ready = false;
      const waiting = log.whenReady().then(() => {
        ready = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      expect(ready).toBe(false);
      await log.commit(0, stored);
      await waiting;
      expect(log.status()).toMatchObject({ ready: true, reason: "" });
      expect(await log.append(0, draft(body))).toEqual({ offset: stored });
    });

    test("each consumer reads at its own pace, and entries stay until all are done with them", async () => {
      const behind = 4;
      await reopen({ sizeMaxBytes: 1 << 20, consumers: { slow: () => 0, ahead: () => behind } });
      const body = "x".repeat(100_000);
      const stored: string[] = [];
      while (log.status().ready && stored.length < 20) {
        const text = `${stored.length} ${body}`;
        await log.append(0, draft(text)).then(
          () => stored.push(text),
          (error: unknown) => expect(error).toMatchObject({ code: "intake_full" }),
        );
      }
      expect((await drain(log.read(0, 0))).map(textOf)).toEqual(stored);
      const slow = log.read(0, 0, "slow");
      const ahead = log.read(0, behind, "ahead");
      expect(textOf((await slow.poll()) as IntakeEntry)).toBe(stored[0]);
      expect(() => log.read(0, 0, "slow")).toThrow(/reader/);
      expect((await drain(ahead)).map(textOf)).toEqual(stored.slice(behind));
      await log.commit(0, stored.length);
      await log.commit(0, stored.length, "ahead");
      expect(log.status().ready).toBe(false);
      expect(log.bytesFrom(0, 0)).toBeGreaterThan(stored.length * 100_000);
      expect(log.bytesFrom(0, stored.length)).toBe(0);
      expect((await drain(slow)).map(textOf)).toEqual(stored.slice(1));
      await log.commit(0, stored.length, "slow");
      await log.whenReady();
      expect(await log.append(0, draft(body))).toEqual({ offset: stored.length });
      expect(() => log.commit(0, 1, "unknown")).toThrow(/unknown/);
    });

    test("whenReady is at once true of a log that is ready", async () => {
      expect(log.status()).toMatchObject({ ready: true, reason: "" });
      await log.whenReady();
    });

    test("close finishes appends under way, refuses more and ends readers", async () => {
      const reader = log.read(0, 0);
      const waiting = reader.wait();
      const append = log.append(0, draft("a"));
      await log.close();
      expect(await append).toEqual({ offset: 0 });
      await waiting;
      expect(await reader.poll()).toBeNull();
      await reader.wait();
      await reader.close();
      await expect(log.append(0, draft("b"))).rejects.toMatchObject({ code: "intake_closed", retriable: true });
      expect(log.status().ready).toBe(false);
      await log.whenReady();
      await log.commit(0, 1);
      await log.close();
    });
  });
}
